#!/usr/bin/env python3
# parallel-safe
"""Returning: a node whose incarnation has to end (its directory was copied, or
rolled back, or it was evicted) goes on under another one by itself, and what
it wrote and nobody has is written again or kept for a person."""
import os
import shutil
import time

import harness
from harness import check, check_equal, check_in, note, wait_until

RETURN_LIMIT_S = 30


def incarnation(node):
    return node.status()["incarnation"]


def returned(node, before):
    """Waits for a new incarnation, nothing of the return being left."""
    started = time.monotonic()

    def done():
        s = node.status()
        return s["incarnation"] != before and not s["returning"]["reason"]

    wait_until(done, "%s has returned" % node.name, RETURN_LIMIT_S)
    note("%s has returned %.2f s later" % (node.name,
                                           time.monotonic() - started))


def unsent(node):
    return harness.json.loads(node.ok("unsent", "--json"))["unsent"]


def settled(node):
    wait_until(lambda: node.status()["unsent"]["waiting"] == 0,
               "nothing of %s waits for a seal" % node.name, RETURN_LIMIT_S)


def mesh_of(t, *names):
    first = t.mesh()
    nodes = [first] + [t.join(first, name) for name in names]
    t.converged(nodes)
    return nodes


def copy_of(t, node, name):
    """The node's directory on another disk, taken while it runs or not."""
    copy = t.node(name)
    shutil.copytree(node.data, copy.data,
                    ignore=shutil.ignore_patterns("api.sock", "lock"))
    return copy


def test_clone(t):
    """The directory is copied to a second place while the first goes on: two
    machines with one key and one incarnation. Both end under another one."""
    alpha, beta, gamma = mesh_of(t, "beta", "gamma")
    beta.ok("put", "before", "b")
    t.converged([alpha, beta, gamma])
    old = incarnation(beta)
    clone = copy_of(t, beta, "clone")
    clone.start()
    returned(clone, old)
    returned(beta, old)
    beta.ok("put", "of/original", "1")
    clone.ok("put", "of/clone", "2")
    check(incarnation(beta) != incarnation(clone), "each has its own")
    t.converged([alpha, beta, gamma, clone], 60)
    for node in (alpha, beta, gamma, clone):
        check_equal(node.get("before"), b"b")
        check_equal(node.get("of/original"), b"1")
        check_equal(node.get("of/clone"), b"2")
        node.wait_no_alarms()


def test_rollback_with_lost_writes(t):
    """The disk goes back to before writes that others have: their names must
    not be given again, and nothing of them is lost."""
    alpha, beta, gamma = mesh_of(t, "beta", "gamma")
    beta.ok("put", "k", "early")
    beta.stop()
    data = os.path.join(beta.data, "data.mdb")
    shutil.copyfile(data, data + ".old")
    beta.start()
    beta.ok("put", "k", "late")
    beta.ok("put", "lost", "yes")
    t.converged([alpha, beta, gamma])
    old = incarnation(beta)
    beta.kill()
    os.replace(data + ".old", data)
    beta.start()
    returned(beta, old)
    t.converged([alpha, beta, gamma], 60)
    check_equal(beta.get("k"), b"late")
    check_equal(beta.get("lost"), b"yes")
    settled(beta)
    beta.ok("put", "after", "1")
    t.converged([alpha, beta, gamma])
    check_equal(gamma.get("after"), b"1")


def test_rollback_without_own_writes(t):
    """Only what others wrote is lost with the disk: the name may go on, and
    repair brings the rest."""
    alpha, beta, gamma = mesh_of(t, "beta", "gamma")
    beta.stop()
    data = os.path.join(beta.data, "data.mdb")
    shutil.copyfile(data, data + ".old")
    beta.start()
    alpha.ok("put", "k", "late")
    t.converged([alpha, beta, gamma])
    beta.kill()
    os.replace(data + ".old", data)
    beta.start()
    t.converged([alpha, beta, gamma], 60)
    check_equal(beta.get("k"), b"late")


def test_moved_alone(t):
    """A mesh of one node, moved to another place, succeeds itself."""
    alpha = t.mesh()
    alpha.ok("put", "k", "v")
    old = incarnation(alpha)
    alpha.stop()
    moved = copy_of(t, alpha, "moved")
    moved.start()
    returned(moved, old)
    check_equal(moved.get("k"), b"v")
    moved.ok("put", "k", "w")
    now = incarnation(moved)
    moved.restart()
    check_equal(moved.get("k"), b"w")
    check_equal(incarnation(moved), now, "a restart changes nothing")
    joined = t.join(moved, "joined")
    t.converged([moved, joined])


def test_evicted_comes_back_by_token(t):
    """Evicted while it was cut off and wrote: by itself it stays out; with a
    token it returns, and its writes are made again or kept."""
    alpha, beta, gamma = mesh_of(t, "beta", "gamma")
    alpha.stop()
    gamma.stop()
    beta.ok("put", "only", "beta's")
    beta.ok("put", "both", "older")
    beta.ok("put", "user", "back")
    beta.ok("set", "add", "s", "e")
    old = incarnation(beta)
    beta.stop()
    alpha.start()
    gamma.start()
    alpha.wait_alive(2, 30)
    alpha.ok("put", "both", "newer")
    alpha.ok("revoke", "user")
    alpha.ok("evict", "beta", "--authority", alpha.test.authority,
             "--yes")
    t.converged([alpha, gamma])
    beta.start()
    wait_until(lambda: beta.status()["returning"]["waits"] != "",
               "beta is refused", RETURN_LIMIT_S)
    check_in("--join", beta.status()["returning"]["waits"])
    doctor = beta.cli("doctor")
    check_in(b"fresh token", doctor.stdout)
    check_equal(beta.get("only"), b"beta's", "it works on until then")
    beta.stop()
    beta.start("--join", alpha.token())
    returned(beta, old)
    settled(beta)
    t.converged([alpha, beta, gamma], 60)
    for node in (alpha, beta, gamma):
        check_equal(node.get("only"), b"beta's")
        check_equal(node.get("both"), b"newer")
        check_equal(node.cli("get", "user").returncode, 1)
        check_equal(node.ok("set", "members", "s"), b"e\n")
    parked = {u["operations"][0]["key"]: u["state"] for u in unsent(beta)}
    check_equal(parked, {"both": "lost", "user": "revoked"})
    listed = beta.ok("unsent")
    check_in(b"older", listed)
    number = [u["id"] for u in unsent(beta)
              if u["operations"][0]["key"] == "both"][0]
    explained = harness.json.loads(beta.ok("explain", "both", "--json"))
    check_equal(len(explained["parked"]), 1)
    told = beta.ok("explain", "both").decode().split("parked:\n")[1]
    for part in ("%d " % number, "lost", explained["parked"][0]["reason"],
                 'put both "older"'):
        check_in(part, told, "explain tells what is parked")
    beta.ok("unsent", "apply", str(number))
    t.converged([alpha, beta, gamma])
    check_equal(gamma.get("both"), b"older")
    beta.ok("unsent", "drop", "--all")
    check_equal(unsent(beta), [])


if __name__ == "__main__":
    harness.main(globals())
