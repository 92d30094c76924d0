#!/usr/bin/env python3
"""The stale-writer race in all its orders.

A reads users/bob. B revokes it. A writes its stale copy back. Whatever the
order in which nodes hear of this, Bob stays revoked on every node, until
somebody says that he means it. "Apart" is made by stopping processes: what
one of them has never heard, it cannot know."""
import json
import signal
import time

import harness
from faked_clock import faked_clock
from harness import (Thread, check, check_equal, check_in, note,
                     wait_until)

BOB = "users/bob"
RECORD = '{"name":"Bob","admin":true}'
# Within what a mesh takes for a clock in bounds, and still the last word of
# any merge that would only look at clocks.
AHEAD_S = 0.4


def given(t):
    """Three nodes that know Bob; A's stale copy and its version."""
    nodes = t.mesh(3)
    nodes[0].ok("put", BOB, RECORD)
    t.converged(nodes)
    stale = json.loads(nodes[0].ok("get", BOB, "--json"))
    check_equal(stale["value"], RECORD)
    return nodes, stale


def refused(node, *flags):
    result = node.cli("put", BOB, RECORD, *flags)
    check_equal(result.returncode, 2, "put on %s: %r" % (node.name,
                                                         result.stderr))
    check_in(b"revoked by", result.stderr)
    check_equal(result.stdout, b"")
    answer = node.request("PUT", "/v1/kv/" + BOB, RECORD)
    check_equal(answer.status, 403, answer.body)
    check_in(b"revoked by", answer.body)
    return result.stderr


def stays_revoked(t, nodes):
    """On all nodes: absent, not listed, and closed to a further stale
    write."""
    t.converged(nodes)
    for node in nodes:
        check_equal(node.cli("get", BOB).returncode, 1, node.name)
        check_equal(node.request("GET", "/v1/kv/" + BOB).status, 404)
        check(BOB not in node.values(), "listed on " + node.name)
        refused(node)
    t.converged(nodes)


def start(nodes):
    for node in nodes:
        node.spawn(bare=True)
    for node in nodes:
        node.wait_ready()


def apart(t, nodes, first, second):
    """first() happens on node 0 and second() on node 1, neither having heard
    of the other; node 2 hears both later."""
    nodes[1].stop()
    nodes[2].stop()
    first()
    nodes[0].stop()
    nodes[1].start(bare=True)
    second()
    nodes[1].stop()
    start(nodes)
    t.converged(nodes)


def test_after_the_revoke_arrived(t):
    """Gossip has told A's node: the write is refused at its origin, and says
    by whom and when."""
    nodes, stale = given(t)
    nodes[1].ok("revoke", BOB)
    for node in nodes:
        node.wait_value(BOB, None)
    told = refused(nodes[0])
    check_in(b"revoked by beta at 2", told)
    # A condition on what was read does not help: it is not the version.
    result = nodes[0].cli("put", BOB, RECORD, "--if-version",
                          stale["version"])
    check(result.returncode in (1, 2), "a stale version: %r" % result.stderr)
    # Nor do the other ways to write it.
    for text in ("put %s back\n" % BOB, '{"ops":[{"op":"put","key":"%s",'
                 '"value":"back"}]}' % BOB):
        result = nodes[0].cli("txn", stdin=text)
        check_equal(result.returncode, 2, result.stderr)
        check_in(b"revoked", result.stderr)
    result = nodes[0].cli("import", "-", stdin=json.dumps({BOB: "back"}))
    check_equal(result.returncode, 2, result.stderr)
    stays_revoked(t, nodes)


def test_concurrent_revoke_first(t):
    """The revoke is older than the stale write, which has not heard of it."""
    nodes, _ = given(t)
    apart(t, nodes, lambda: nodes[0].ok("revoke", BOB),
          lambda: nodes[1].ok("put", BOB, RECORD))
    stays_revoked(t, nodes)
    # Nothing is lost silently: the losing write is still to be seen.
    siblings = nodes[2].siblings(BOB)
    check_equal(len(siblings), 2, "siblings")


def test_concurrent_write_first(t):
    """The stale write is older than the revoke, which has not heard of it."""
    nodes, _ = given(t)
    apart(t, nodes, lambda: nodes[0].ok("put", BOB, RECORD),
          lambda: nodes[1].ok("revoke", BOB))
    stays_revoked(t, nodes)


def test_racing(t):
    """Both at the same moment, many times over, in whatever order the nodes
    happen to take them."""
    nodes = t.mesh(3)
    refusals = 0
    for number in range(20):
        key = "race/%d" % number
        nodes[0].ok("put", key, RECORD)
        t.converged(nodes)

        def write(key=key):
            answer = nodes[0].request("PUT", "/v1/kv/" + key, RECORD)
            if answer.status == 403:
                check_in(b"revoked by", answer.body)
                return 1
            check_equal(answer.status, 200, answer.body)
            return 0

        def revoke(key=key):
            answer = nodes[1].request("POST", "/v1/revoke/" + key)
            check_equal(answer.status, 200, answer.body)

        threads = [Thread(f) for f in ((write, revoke) if number % 2
                                       else (revoke, write))]
        refusals += sum(thread.finish() or 0 for thread in threads)
        t.converged(nodes)
        for node in nodes:
            check_equal(node.get(key), None, "%s on %s" % (key, node.name))
    note("20 races: %d stale writes were refused, %d lost" % (
        refusals, 20 - refusals))


def test_node_asleep(t):
    """A's node is stopped while the stale write and the revoke arrive."""
    nodes, _ = given(t)
    nodes[0].process.signal(signal.SIGSTOP)
    try:
        writer = Thread(nodes[0].cli, "put", BOB, RECORD)
        nodes[1].ok("revoke", BOB)
        nodes[2].wait_value(BOB, None)
    finally:
        nodes[0].process.signal(signal.SIGCONT)
    result = writer.finish()
    check(result.returncode in (0, 2), result.stderr)
    for node in nodes:
        node.wait_value(BOB, None)
    stays_revoked(t, nodes)


def test_after_a_delete_of_the_revoked(t):
    """Deleting what is revoked answers done, and does not lift the revoke,
    here or elsewhere."""
    nodes, _ = given(t)
    nodes[1].ok("revoke", BOB)
    t.converged(nodes)
    for node in nodes:
        node.ok("del", BOB)
        answer = node.request("DELETE", "/v1/kv/" + BOB)
        check_equal(answer.status, 200)
        node.ok("txn", stdin="del %s\n" % BOB)
    node = nodes[0]
    check_equal(node.request("DELETE", "/v1/kv/users/?recurse").status, 200)
    stays_revoked(t, nodes)
    # A delete that has not heard of the revoke is concurrent with it.
    nodes[0].ok("put", "users/eve", RECORD)
    t.converged(nodes)
    apart(t, nodes, lambda: nodes[0].ok("del", "users/eve"),
          lambda: nodes[1].ok("revoke", "users/eve"))
    for node in nodes:
        result = node.cli("put", "users/eve", RECORD)
        check_equal(result.returncode, 2, result.stderr)
        check_in(b"revoked by beta", result.stderr)


def test_revoke_of_the_absent(t):
    """A revoke of a key that a node has never seen holds against a write that
    arrives later."""
    nodes = t.mesh(3)
    apart(t, nodes, lambda: nodes[0].ok("put", BOB, RECORD),
          lambda: nodes[1].ok("revoke", BOB))
    stays_revoked(t, nodes)


def test_clock_ahead(t):
    """A's clock is ahead, so that its stale write has the greatest time of
    all: it loses all the same."""
    nodes, _ = given(t)
    nodes[1].stop()
    nodes[2].stop()
    nodes[0].ok("revoke", BOB)
    nodes[0].stop()
    nodes[1].env = faked_clock("+%.1fs" % AHEAD_S)
    nodes[1].start(bare=True)
    # Its clock is ahead indeed: it tells of a time that has not come yet.
    wait_until(lambda: nodes[1].live()["clocks"]["wall_ms"] >
               time.time() * 1000, "the clock is ahead")
    begun = int(time.time() * 1000)
    nodes[1].ok("put", BOB, RECORD)
    dated = max(s["time_ms"] for s in nodes[1].siblings(BOB))
    check(dated >= begun + 1000 * AHEAD_S, "dated %d, written after %d" % (
        dated, begun))
    nodes[1].stop()
    nodes[1].env = None
    start(nodes)
    for node in nodes:
        node.wait_value(BOB, None)
    stays_revoked(t, nodes)
    # And with A's node still ahead, after the revoke has arrived.
    nodes[1].stop()
    nodes[1].env = faked_clock("+%.1fs" % AHEAD_S)
    nodes[1].start(bare=True)
    refused(nodes[1])
    stays_revoked(t, nodes)


def test_survives_restarts(t):
    """A revoke is on disk: nothing of it is lost with the processes."""
    nodes, _ = given(t)
    nodes[1].ok("revoke", BOB)
    t.converged(nodes)
    for node in nodes:
        node.kill()
    start(nodes)
    stays_revoked(t, nodes)


def test_sets(t):
    """The same for elements: a revoked one stays out whatever stale adders
    do."""
    nodes = t.mesh(3)
    nodes[0].ok("set", "add", "admins", "bob", "alice")
    t.converged(nodes)
    apart(t, nodes, lambda: nodes[0].ok("set", "revoke", "admins", "bob"),
          lambda: nodes[1].ok("set", "add", "admins", "bob", "carol"))
    for node in nodes:
        check_equal(node.set_members("admins"), ["alice", "carol"],
                    node.name)
        result = node.cli("set", "add", "admins", "bob")
        check_equal(result.returncode, 2, result.stderr)
        check_in(b"revoked by alpha", result.stderr)
        node.ok("set", "remove", "admins", "bob")
        check_equal(node.cli("set", "add", "admins", "bob").returncode, 2)
    t.converged(nodes)


def test_meant(t):
    """Who names the revoke may write again, and all nodes agree."""
    nodes, _ = given(t)
    nodes[1].ok("revoke", BOB)
    t.converged(nodes)
    nodes[2].ok("put", BOB, "new", "--unrevoke")
    for node in nodes:
        node.wait_value(BOB, b"new")
    nodes[0].ok("put", BOB, "newer")
    for node in nodes:
        node.wait_value(BOB, b"newer")
    nodes[1].ok("revoke", BOB)
    stays_revoked(t, nodes)


if __name__ == "__main__":
    harness.main(globals())
