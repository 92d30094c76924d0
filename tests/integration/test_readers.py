"""Members that only read: they have everything and count nowhere, neither for
the floor nor for a seal, nor for any --wait. Real processes."""
import json

import harness
from harness import check, check_equal, check_in, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]


def join(t, sponsor, name, *flags):
    node = t.node(name)
    node.flags = FLAGS
    node.start("--name", name, "--join", sponsor.token(*flags))
    return node


def mesh(t):
    alpha = t.init("alpha")
    alpha.flags = FLAGS
    alpha.start()
    beta = join(t, alpha, "beta")
    reader = join(t, alpha, "reader", "--reader")
    for node in (alpha, beta, reader):
        node.wait_alive(3)
    return alpha, beta, reader


def roster(node):
    return json.loads(node.ok("roster", "--json"))


def siblings(node, key):
    answer = node.request("GET", "/v1/mesh/explain/" + key)
    return answer.json().get("siblings", []) if answer.status == 200 else []


def test_reader_has_everything_and_writes_nothing(t):
    alpha, beta, reader = mesh(t)
    alpha.ok("put", "k", "1")
    beta.ok("set", "add", "s", "x")
    reader.wait_value("k", b"1")
    wait_until(lambda: reader.status()["digest"] == alpha.status()["digest"],
               "equal digests")
    check_equal(reader.status()["role"], "reader")
    check_equal(alpha.status()["role"], "writer")
    result = reader.cli("put", "k", "2")
    check(result.returncode != 0, "a reader refuses writes")
    check_in(b"only reads", result.stderr)
    check_equal(reader.request("PUT", "/v1/kv/k", b"3").status, 403)
    check_equal(sorted(m["name"] for m in roster(alpha)["members"]),
                ["alpha", "beta"])
    check_equal(len(json.loads(reader.ok("members", "--json"))["members"]), 3)
    # It comes back by itself, with nothing but its directory.
    reader.restart()
    beta.ok("put", "k", "4")
    reader.wait_value("k", b"4")
    check_equal(reader.wait_well().strip(),
                b"nothing to do: all looks well from this node")


def test_reader_counts_nowhere(t):
    alpha, beta, reader = mesh(t)
    alpha.ok("put", "k", "1")
    reader.wait_value("k", b"1")
    before = alpha.live()["floor"]["moves"]
    reader.kill()
    # The floor moves on without it.
    beta.ok("del", "k")
    for node in (alpha, beta):
        wait_until(lambda n=node: not siblings(n, "k"), "k is collected")
    # What is read shows it a little before the loop knows of it.
    wait_until(lambda: alpha.live()["floor"]["moves"] > before,
               "the floor moved")
    # On a busy machine both have proposed, and one proposal is still open:
    # that passes without the reader, too, whose word is missing nowhere.
    def held_back_by():
        names = [h["name"] for h in alpha.live()["floor"]["held_back_by"]]
        check("reader" not in names, "held back by %s" % names)
        return names
    wait_until(lambda: held_back_by() == [], "no proposal is open")
    # Nobody waits for it, and it is no part of any majority.
    alpha.ok("put", "w", "1", "--wait", "all", "--timeout", "10s")
    alpha.ok("put", "w", "2", "--wait", "majority", "--timeout", "10s")
    result = alpha.cli("put", "w", "3", "--wait", "3", "--timeout", "1s")
    check(result.returncode != 0, "there are two that count")
    # With beta away a majority of two is not there, reader or not.
    reader.start()
    reader.wait_value("w", b"2")
    beta.kill()
    result = alpha.cli("put", "w", "4", "--wait", "majority", "--timeout",
                       "1s")
    check(result.returncode != 0, "one of two is no majority")
    check_in(b"beta", result.stderr)
    reader.wait_value("w", b"4")


def test_seal_without_the_reader(t):
    alpha, beta, reader = mesh(t)
    gamma = join(t, alpha, "gamma")
    gamma.ok("put", "g", "1")
    reader.wait_value("g", b"1")
    reader.kill()
    alpha.ok("evict", "gamma", "--authority", t.authority)
    for node in (alpha, beta):
        wait_until(lambda n=node: len(roster(n)["sealed"]) == 1,
                   "gamma is sealed at " + node.name)
    reader.start()
    wait_until(lambda: len(roster(reader)["sealed"]) == 1,
               "and at the reader, who derives it from the same events")
    wait_until(lambda: reader.status()["digest"] == alpha.status()["digest"],
               "equal digests")


def test_reader_takes_a_cut(t):
    alpha, beta, reader = mesh(t)
    reader.kill()
    for i in range(40):
        (alpha, beta)[i % 2].ok("put", "k%d" % i, "v")
    for i in range(40):
        (beta, alpha)[i % 2].ok("del", "k%d" % i)
    alpha.ok("put", "left", "v")
    for i in range(40):
        wait_until(lambda k=i: not siblings(alpha, "k%d" % k), "collected")
    reader.start()
    reader.wait_value("left", b"v")
    wait_until(lambda: reader.status()["digest"] == alpha.status()["digest"],
               "equal digests")
    check_equal(reader.get("k3"), None)


if __name__ == "__main__":
    harness.main(globals())
