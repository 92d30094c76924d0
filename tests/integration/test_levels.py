"""Updating a mesh, one node after the other: what is new in the format is
announced, refused until everybody knows it, and never written before. Real
processes; an older program is played by --format-level."""
import json

import harness
from harness import check, check_equal, check_in, wait_until

OLD = ["--format-level", "1"]


def init_old(t, name):
    node = t.node(name)
    result = harness.cli("init", node.data, "--name", name, "--authority",
                         t.authority, "--no-passphrase", *OLD)
    check_equal(result.returncode, 0, result.stderr)
    node.flags = OLD
    return node.start()


def join_old(t, sponsor, name, flags=OLD):
    node = t.node(name)
    node.flags = flags
    return node.start("--name", name, "--join", sponsor.token())


def old_mesh(t, *names):
    nodes = [init_old(t, names[0])]
    for name in names[1:]:
        nodes.append(join_old(t, nodes[0], name))
    for node in nodes:
        node.wait_alive(len(names))
    return nodes


def levels(node):
    members = json.loads(node.ok("roster", "--json"))["members"]
    return {m["name"]: m["format_level"] for m in members}


def own_events(node):
    return node.metric("own_events_total")


def update(node):
    node.stop()
    node.flags = []
    node.start()


def wait_levels(node, wanted):
    wait_until(lambda: levels(node) == wanted,
               "%s knows levels %s" % (node.name, wanted))


def test_rolling_update(t):
    alpha, beta, gamma = old_mesh(t, "alpha", "beta", "gamma")
    check_equal(levels(alpha), {"alpha": 1, "beta": 1, "gamma": 1})
    update(alpha)
    update(beta)
    wanted = {"alpha": 2, "beta": 2, "gamma": 1}
    for node in (alpha, beta, gamma):
        wait_levels(node, wanted)
    # Who does not know it is named, in every place where one would look.
    result = alpha.cli("revoke", "users/bob", "--reason", "left")
    check(result.returncode != 0, "refused")
    check_in(b"gamma", result.stderr)
    check(b"beta" not in result.stderr, result.stderr)
    check_in(b"gamma holds back what is new", alpha.cli("doctor").stdout)
    check_in(b"this node's program knows format level 1",
             gamma.cli("doctor").stdout)
    check_in(b"know a lower format level", alpha.cli("roster").stderr)
    check_in(b"FORMAT", alpha.cli("members").stdout)
    check_equal(alpha.metric("members_behind"), 1)
    check_equal(alpha.metric("format_level"), 1)
    check_equal(alpha.metric("program_format_level"), 2)
    answer = alpha.request("POST", "/v1/revoke/users/bob?reason=left")
    check_equal(answer.status, 409)
    answer = gamma.request("POST", "/v1/revoke/users/bob?reason=left")
    check_equal(answer.status, 409)
    check_in(b"bring it up to date", answer.body)
    # Everything else goes on, without a reason too.
    gamma.ok("put", "k", "1")
    alpha.ok("revoke", "users/eve")
    for node in (alpha, beta, gamma):
        node.wait_value("k", b"1")
    t.converged([alpha, beta, gamma])
    update(gamma)
    for node in (alpha, beta, gamma):
        wait_levels(node, {"alpha": 2, "beta": 2, "gamma": 2})
    beta.ok("revoke", "users/bob", "--reason", "left the company",
            "--wait", "all", "--timeout", "20s")
    t.converged([alpha, beta, gamma])
    result = gamma.cli("put", "users/bob", "{}")
    check(result.returncode != 0, "revoked")
    check_in(b"(left the company)", result.stderr)
    shown = json.loads(gamma.ok("get", "users/bob", "--siblings", "--json"))
    check_equal(shown["siblings"][0]["reason"], "left the company")
    # Told once: a restart writes nothing.
    alpha.restart()
    alpha.wait_alive(3)
    alpha.ok("put", "k", "2")
    check_equal(own_events(alpha), 1)
    for node in (alpha, beta, gamma):
        check_equal(node.metric("members_behind"), 0)
        check_equal(node.metric("format_level"), 2)


def test_no_way_back_and_no_way_in(t):
    (alpha,) = old_mesh(t, "alpha")
    beta = join_old(t, alpha, "beta")
    update(alpha)
    wait_levels(alpha, {"alpha": 2, "beta": 1})
    # The program before does not open what was announced.
    alpha.stop()
    alpha.flags = OLD
    alpha.spawn()
    check(alpha.process.wait() != 0, "it does not start")
    check_in(b"a newer program", alpha.process.stderr())
    alpha.flags = []
    alpha.start()
    # Who knows less than was announced is told so, and gets in once updated.
    gamma = t.node("gamma")
    gamma.flags = OLD
    gamma.spawn("--name", "gamma", "--join", alpha.token())
    wait_until(lambda: b"install a newer one" in gamma.process.stderr(),
               "gamma is told to be updated")
    gamma.stop()
    gamma.flags = []
    gamma.start()
    wait_levels(alpha, {"alpha": 2, "beta": 1, "gamma": 2})
    # An old one that is gone for good does not hold anything back.
    beta.kill()
    check(alpha.cli("revoke", "k", "--reason", "why").returncode != 0, "beta")
    alpha.ok("evict", "beta", "--authority", t.authority)
    wait_until(lambda: alpha.cli("revoke", "k", "--reason",
                                 "why").returncode == 0, "nobody is behind")
    t.converged([alpha, gamma])


def test_bad_levels_and_reasons(t):
    result = harness.cli("init", t.path("x"), "--name", "x", "--no-passphrase",
                         "--format-level", "3")
    check_equal(result.returncode, 64)
    check_in(b"--format-level", result.stderr)
    alpha = t.init("alpha").start()
    check_equal(levels(alpha), {"alpha": 2})
    result = alpha.cli("revoke", "k", "--reason", "x" * 257)
    check_equal(result.returncode, 64)
    check_in(b"the limit is 256", result.stderr)
    answer = alpha.request("POST", "/v1/revoke/k?reason=" + "x" * 257)
    check_equal(answer.status, 400)
    body = {"ops": [{"op": "put", "key": "k", "value": "1", "reason": "r"}]}
    answer = alpha.request("POST", "/v1/txn", json.dumps(body).encode())
    check_equal(answer.status, 400)
    body = {"ops": [{"op": "set-revoke", "key": "s", "element": "e",
                     "reason": "r"}]}
    answer = alpha.request("POST", "/v1/txn", json.dumps(body).encode())
    check_equal(answer.status, 200)
    alpha.ok("set", "revoke", "s", "f", "--reason", "because")
    alpha.ok("txn", stdin=b"revoke k --reason \"two words\"\n")
    result = alpha.cli("set", "add", "s", "f")
    check_in(b"(because)", result.stderr)
    result = alpha.cli("put", "k", "1")
    check_in(b"(two words)", result.stderr)
    # A mesh that this program founded has nothing to announce.
    check_equal(own_events(alpha), 3)


if __name__ == "__main__":
    harness.main(globals())
