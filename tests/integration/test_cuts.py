#!/usr/bin/env python3
"""Catch-up by a cut: a node that was away while the bytes of what it lacks
went out of everybody's reach takes the whole state of another one, joined with
its own."""
import harness
from harness import check, check_equal, check_in, wait_until

MANY = 300


def put_all(node, values):
    connection = node.connect()
    for key, value in values.items():
        connection.put(key, value.encode())
    connection.close()


def cuts(node):
    return node.status()["cuts"]


def bytes_gone(t, before, after):
    """alpha and gamma have what before writes; then gamma is away, after
    writes, beta joins by a cut, alpha is gone for ever. Returns beta and
    gamma."""
    alpha = t.mesh()
    gamma = t.join(alpha, "gamma")
    before(alpha)
    t.converged([alpha, gamma])
    gamma.stop()
    token = alpha.token()
    after(alpha)
    beta = t.join(alpha, "beta")
    wait_until(lambda: beta.status()["digest"] == alpha.status()["digest"],
               "beta has it all")
    check(cuts(beta)["unconfirmed"], "nobody could confirm beta's state")
    wait_until(lambda: cuts(alpha)["counters"]["served"] == 2,
               "alpha counts the cuts that it gave")
    alpha.stop()
    # The two have never met: beta goes where gamma's token leads to.
    beta.stop()
    beta.port = alpha.port
    beta.start()
    gamma.start("--join", token)
    return beta, gamma


def test_bytes_gone(t):
    def before(alpha):
        put_all(alpha, {"app/old": "1", "app/both": "1"})

    def after(alpha):
        put_all(alpha, {"app/new/%d" % i: "v%d" % i for i in range(MANY)})
        put_all(alpha, {"app/both": "2"})
        alpha.ok("del", "app/old")

    beta, gamma = bytes_gone(t, before, after)
    gamma.ok("put", "app/mine", "m")
    events = gamma.events("app/")
    t.converged([beta, gamma], 60)
    gamma.wait_value("app/new/7", b"v7")
    gamma.wait_value("app/both", b"2")
    check_equal(gamma.get("app/old"), None)
    beta.wait_value("app/mine", b"m")
    check_equal(cuts(gamma)["counters"]["adopted"], 1, "cuts joined")
    wait_until(lambda: cuts(beta)["counters"]["served"] == 1, "cuts given")
    wait_until(lambda: not cuts(beta)["unconfirmed"] or
               beta.status()["members"]["in_sync"] == 1, "equal")
    events.close()
    # What is written from now on comes as events.
    gamma.ok("put", "app/later", "l")
    beta.wait_value("app/later", b"l")
    check_equal(cuts(gamma)["counters"]["adopted"], 1, "it was the last one")


def test_mass_deletion_waits(t):
    keys = {"k/%d" % i: "v" for i in range(MANY)}

    def after(alpha):
        answer = alpha.request("DELETE", "/v1/kv/k/?recurse")
        check_equal(answer.status, 200)

    beta, gamma = bytes_gone(t, lambda alpha: put_all(alpha, keys), after)
    wait_until(lambda: "waits" in cuts(gamma), "the cut waits", 60)
    s = cuts(gamma)
    check_equal(s["would_delete"], MANY)
    check_equal(s["of_keys"], MANY)
    check_in("adopt --yes", s["waits"])
    check_in("would delete", gamma.cli("doctor").stdout.decode())
    check_equal(gamma.get("k/5"), b"v", "nothing was deleted")
    gamma.ok("put", "k/5", "w")  # and writes go on
    check_equal(gamma.cli("adopt").returncode, 64)
    gamma.ok("adopt", "--yes")
    t.converged([beta, gamma], 60)
    check_equal(gamma.get("k/6"), None)
    check_equal(beta.get("k/5"), b"w", "what gamma wrote meanwhile")
    check_equal(cuts(gamma)["counters"]["held_deletion"], 1)
    # Whoever confirms gamma's state is gone too: it gives no cuts until then,
    # or until the operator says so.
    check(cuts(gamma)["unconfirmed"])
    gamma.ok("adopt", "--yes")
    wait_until(lambda: not cuts(gamma)["unconfirmed"], "confirmed by hand")
    check(gamma.cli("adopt", "--yes").returncode != 0, "nothing waits")


def test_mass_deletion_is_confirmed_by_a_second_member(t):
    """As before, but delta has the same state as the source: its digest agrees
    to the deletion, and nobody has to be asked."""
    keys = {"k/%d" % i: "v" for i in range(MANY)}

    def after(alpha):
        check_equal(alpha.request("DELETE", "/v1/kv/k/?recurse").status, 200)

    alpha = t.mesh()
    gamma = t.join(alpha, "gamma")
    put_all(alpha, keys)
    t.converged([alpha, gamma])
    gamma.stop()
    token = alpha.token()
    after(alpha)
    beta = t.join(alpha, "beta")
    delta = t.join(alpha, "delta")
    t.converged([alpha, beta, delta])
    wait_until(lambda: not cuts(beta)["unconfirmed"] and
               not cuts(delta)["unconfirmed"], "they confirm each other")
    alpha.stop()
    beta.stop()
    beta.port = alpha.port
    beta.start()
    gamma.start("--join", token)
    t.converged([beta, delta, gamma], 60)
    check_equal(gamma.get("k/6"), None)
    check_equal(cuts(gamma)["counters"]["adopted"], 1)


if __name__ == "__main__":
    harness.main(globals())
