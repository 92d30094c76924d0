#!/usr/bin/env python3
# parallel-safe
"""Snapshots joined: several of them into an empty directory, or into a living
node, in any order; of the same generation, of one before, of another mesh."""
import itertools
import json
import os
import shutil
import subprocess

import harness
from harness import RESTORE, check, check_equal, check_in, wait_until


def restore(*arguments, code=0):
    result = subprocess.run([RESTORE] + [str(a) for a in arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            check=False, timeout=harness.CLI_TIMEOUT_S)
    check_equal(result.returncode, code, result.stderr)
    return result


def restored(t, name, *arguments, code=0):
    node = t.node(name)
    restore(*arguments, "--data", node.data, "--name", name, "--authority",
            t.authority, "--no-passphrase", code=code)
    return node


def merge(node, *arguments, code=0):
    result = node.cli("restore", "--merge", *arguments, "--json")
    check_equal(result.returncode, code, result.stderr)
    return json.loads(result.stdout) if result.stdout else {}


def lose(node):
    node.kill()
    shutil.rmtree(node.data)


def sides(t):
    """Two members that are cut off from each other write, and each one's
    snapshot goes to a place of its own: alpha's and beta's. What both wrote,
    changed and removed is such that only the union shows it all. Both are
    dead then; the values that a union has are returned."""
    alpha, beta = t.mesh(2)
    alpha.ok("put", "both", "old")
    alpha.ok("put", "gone", "x")
    alpha.ok("put", "changed", "first")
    alpha.ok("set", "add", "s", "a", "b", "c")
    t.converged([alpha, beta])
    beta.kill()
    alpha.ok("put", "alpha", "1")
    alpha.ok("put", "both", "of alpha")
    alpha.ok("del", "gone")
    alpha.ok("set", "remove", "s", "b")
    alpha.ok("set", "add", "s", "of-alpha")
    alpha.ok("snapshot", "now", "--to", t.path("a"))
    alpha.kill()
    beta.start()
    beta.ok("put", "beta", "2")
    beta.ok("put", "changed", "of beta")
    beta.ok("put", "both", "of beta")  # later than alpha's
    beta.ok("set", "add", "s", "of-beta")
    beta.ok("snapshot", "now", "--to", t.path("b"))
    beta.kill()
    return {"alpha": b"1", "beta": b"2", "both": b"of beta",
            "changed": b"of beta"}


def test_two_sides_given_together(t):
    """The sides of a partition of a lost mesh, in either order: the union,
    byte for byte the same."""
    values = sides(t)
    seen = set()
    for n, urls in enumerate(itertools.permutations(["a", "b"])):
        node = restored(t, "phoenix%d" % n, *(t.path(u) for u in urls))
        node.start()
        check_equal(node.values(), values)
        check_equal(node.set_members("s"), ["a", "c", "of-alpha", "of-beta"])
        check_equal(node.get("gone"), None)
        seen.add(node.live()["incarnation"])
        node.kill()
    check_equal(len(seen), 2, "each life has a name of its own")
    # One of them twice, or once by its name, changes nothing.
    name = json.loads(harness.cli("snapshot", "list", t.path("a"),
                                  "--json").stdout.splitlines()[0])["name"]
    node = restored(t, "again", t.path("a"), name, t.path("b"), t.path("a"))
    node.start()
    check_equal(node.values(), values)


def test_two_sides_merged_later(t):
    """One side alone was restored; the other one's snapshot turns up when the
    new generation has writes of its own. A second merge changes nothing."""
    sides(t)
    # A floor that passes meanwhile would have puts on absent keys parked.
    never = ["--floor-interval", "never"]
    node = restored(t, "phoenix", t.path("a"))
    node.flags = never
    node.start()
    second = t.node("second")
    second.flags = never
    second.start("--name", "second", "--join", node.token())
    second.ok("put", "changed", "after")
    second.ok("put", "new", "life")
    t.converged([node, second])
    watch = harness.Events(node.socket, "/v1/watch?prefix=")
    report = merge(node, t.path("b"))
    check_equal([report["joined"], report["retained"], report["parked"]],
                [0, 1, 1], repr(report))
    # Beta's "changed" is older than what was written since: it lost.
    values = {"alpha": b"1", "beta": b"2", "both": b"of beta",
              "changed": b"after", "new": b"life"}
    t.converged([node, second])
    for each in (node, second):
        check_equal(each.values(), values)
        check_equal(each.set_members("s"), ["a", "c", "of-alpha", "of-beta"])
        check_equal(each.get("gone"), None)
    keys = set()
    while not {"beta", "both"} <= keys:
        keys |= {c["key"] for c in changes(watch.next())}
    watch.close()
    parked = json.loads(node.ok("unsent", "--json"))
    check_in("changed", json.dumps(parked))
    again = merge(node, t.path("b"))
    check_equal(again["new_writes"] - again["parked"], 0, repr(again))
    t.converged([node, second])
    check_equal(node.values(), values)


def changes(event):
    """Of one server-sent event, whatever its shape."""
    check(event, "the watch goes on")
    data = event[2]
    if isinstance(data, dict) and "key" in data:
        return [data]
    if isinstance(data, dict):
        return [c for v in data.values() if isinstance(v, list)
                for c in v if isinstance(c, dict) and "key" in c]
    return [c for c in data if isinstance(c, dict) and "key" in c]


def test_merge_into_the_same_generation(t):
    """A member dies with its disk while it was cut off; its snapshot brings
    what nobody else had, as the member's own writes, to all others."""
    alpha, beta, gamma = t.mesh(3)
    alpha.ok("put", "k", "v")
    t.converged([alpha, beta, gamma])
    alpha.kill()
    gamma.kill()
    beta.ok("put", "only", "beta's")
    beta.ok("put", "k", "beta's")
    beta.ok("del", "none")
    beta.ok("set", "add", "s", "e")
    beta.ok("snapshot", "now", "--to", t.path("b"))
    lose(beta)
    alpha.start()
    gamma.start()
    alpha.ok("put", "more", "1")
    dry = merge(alpha, t.path("b"), "--dry-run")
    check_equal([dry["joined"], alpha.get("only")], [1, None])
    watch = harness.Events(alpha.socket, "/v1/watch?prefix=")
    report = merge(alpha, t.path("b"))
    check_equal([report["joined"], report["retained"], report["damaged"]],
                [1, 0, 0], repr(report))
    values = {"k": b"beta's", "only": b"beta's", "more": b"1"}
    check_equal(alpha.values(), values)
    keys = set()
    while not {"k", "only"} <= keys:
        keys |= {c["key"] for c in changes(watch.next())}
    watch.close()
    wait_until(lambda: gamma.values() == values, "gamma has it, too")
    t.converged([alpha, gamma])
    check_equal(gamma.set_members("s"), ["e"])
    again = merge(alpha, t.path("b"))
    check_equal([again["joined"], again["covered"], again["entries"]],
                [0, 1, 0], repr(again))
    # Life goes on: the joined state is written over, and restarts.
    gamma.ok("put", "k", "gamma's")
    alpha.wait_value("k", b"gamma's")
    alpha.stop()
    alpha.start()
    check_equal(alpha.get("only"), b"beta's")


def test_generations_into_a_new_mesh(t):
    """Two generations of a mesh whose authority is lost, too: with --mode
    merge the new mesh has what both knew."""
    node = t.mesh()
    node.ok("put", "k", "v")
    node.ok("snapshot", "now", "--to", t.path("s"))
    node.ok("put", "late", "1")
    node.ok("set", "add", "set", "late")
    node.ok("snapshot", "now", "--to", t.path("late"))
    lose(node)
    node = restored(t, "second", t.path("s")).start()
    node.ok("put", "new", "2")
    node.ok("snapshot", "now", "--to", t.path("s"))
    lose(node)
    both = [t.path("s"), t.path("late"), "--new-authority", t.path("new.key"),
            "--no-passphrase"]
    restore(*both, "--data", t.path("one"), "--name", "one")
    node = t.node("one").start()
    check_equal(node.values(), {"k": b"v", "new": b"2"})
    node.kill()
    os.unlink(t.path("new.key"))
    restore(*both, "--data", t.path("two"), "--name", "two", "--mode", "merge")
    node = t.node("two").start()
    check_equal(node.values(), {"k": b"v", "new": b"2", "late": b"1"})
    check_equal(node.set_members("set"), ["late"])
    other = t.join(node, "other")
    t.converged([node, other])


def test_many_in_any_order(t):
    """Old and new snapshots of two signers in three places, one of them twice:
    every order of the targets gives the same values."""
    alpha, beta = t.mesh(2)
    places = [t.path(p) for p in "xyz"]
    for number in range(6):
        node = (alpha, beta)[number % 2]
        node.ok("put", "n%d" % number, str(number))
        node.ok("put", "last", str(number))
        t.converged([alpha, beta])
        node.ok("snapshot", "now", "--to", places[number % 3])
    shutil.copytree(places[0], places[1], dirs_exist_ok=True)
    values = alpha.values()
    alpha.kill()
    beta.kill()
    for n, order in enumerate(itertools.permutations(places)):
        node = restored(t, "p%d" % n, *order).start()
        check_equal(node.values(), values)
        node.kill()


def test_removes_much(t):
    """A snapshot that saw most keys deleted asks before it deletes them
    here, too."""
    alpha, beta = t.mesh(2)
    connection = alpha.connect()
    for i in range(150):
        connection.put("k/%03d" % i, b"x")
    connection.close()
    t.converged([alpha, beta])
    alpha.kill()
    for start in range(0, 150, 50):
        lines = "".join("del k/%03d\n" % i for i in range(start, start + 50))
        beta.ok("txn", "-", stdin=lines.encode())
    beta.ok("snapshot", "now", "--to", t.path("b"))
    beta.kill()
    alpha.start()
    result = alpha.cli("restore", "--merge", t.path("b"))
    check(result.returncode not in (0, 6), result.stdout)
    check_in(b"--yes", result.stderr)
    check_equal(len(alpha.values()), 150)
    merge(alpha, t.path("b"), "--yes")
    check_equal(alpha.values(), {})


def test_encrypted(t):
    """Only the data key goes to the node; without the recovery key the
    snapshot is refused."""
    alpha, beta = t.mesh(2)
    key = t.path("recovery.key")
    public = harness.cli("recovery-key", "new", key,
                         "--no-passphrase").stdout.split()[-1].decode()
    alpha.ok("put", "k", "v")
    t.converged([alpha, beta])
    alpha.kill()
    beta.stop()
    beta.start("--snapshot-recipient", public)
    beta.ok("put", "secret", "of beta")
    beta.ok("snapshot", "now", "--to", t.path("b"))
    lose(beta)
    alpha.start()
    result = alpha.cli("restore", "--merge", t.path("b"))
    check_equal(result.returncode, 4, result.stderr)
    check_in(b"recovery-key", result.stderr)
    merge(alpha, t.path("b"), "--recovery-key", key, "--no-passphrase")
    check_equal(alpha.get("secret"), b"of beta")


def test_damage_and_refusals(t):
    """The newest is damaged: the one before is joined and the exit code says
    that something was left out. Nothing found, another mesh, nonsense:
    refused, and nothing changes."""
    alpha, beta = t.mesh(2)
    alpha.ok("put", "k", "v")
    t.converged([alpha, beta])
    alpha.kill()
    beta.ok("put", "one", "1")
    beta.ok("snapshot", "now", "--to", t.path("b"))
    first = set(files(t.path("b")))
    beta.ok("put", "two", "-", stdin=os.urandom(30000))
    beta.ok("snapshot", "now", "--to", t.path("b"))
    beta.kill()
    alpha.start()
    packs = [p for p in set(files(t.path("b"))) - first if "/p/" in p]
    with open(packs[0], "r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))
    result = alpha.cli("restore", "--merge", t.path("b"))
    check_equal(result.returncode, 6, result.stderr)
    check_in(os.path.basename(packs[0]).encode(), result.stderr)
    check_equal(alpha.values(), {"k": b"v", "one": b"1"})
    os.mkdir(t.path("nothing"))
    for arguments, code in (
            ([t.path("nothing")], 5), ([t.path("absent")], 5),
            ([t.path("b"), "v1/none"], 5), ([], 64),
            (["v1/x", t.path("b")], 64), (["exec:true"], 4),
            ([t.path("b"), "--prefix", "k"], 64)):
        result = alpha.cli("restore", "--merge", *arguments)
        check_equal(result.returncode, code,
                    "%r: %r" % (arguments, result.stderr))
    other = harness.Test()
    try:
        stranger = other.mesh()
        stranger.ok("put", "evil", "1")
        stranger.ok("snapshot", "now", "--to", other.path("snap"))
        result = alpha.cli("restore", "--merge", other.path("snap"))
        check_equal(result.returncode, 4, result.stderr)
        check_in(b"--adopt", result.stderr)
    finally:
        other.cleanup()
    check_equal(alpha.values(), {"k": b"v", "one": b"1"})


def files(directory):
    return sorted(os.path.join(d, name) for d, _, names in os.walk(directory)
                  for name in names)


def test_two_restores_of_one_mesh(t):
    """Two people restore the same lost mesh on two hosts, without knowing of
    each other. Where the two meet, both raise the alarm, and doctor says how
    to unite them: the one that goes gives a snapshot to the other."""
    node = t.mesh()
    node.ok("put", "k", "v")
    node.ok("snapshot", "now", "--to", t.path("s"))
    lose(node)
    one = restored(t, "one", t.path("s")).start()
    two = restored(t, "two", t.path("s")).start()
    check_equal(one.live()["generation"]["number"],
                two.live()["generation"]["number"])
    one.ok("put", "of-one", "1")
    two.ok("put", "of-two", "2")
    third = t.join(one, "third")
    t.converged([one, third])
    # Life two takes the place that life one had: third knows the address.
    one.stop()
    two.stop()
    two.port = one.port
    two.start()

    def clash(node):
        return [a for a in node.live()["alarms"] if "generation" in a]
    wait_until(lambda: clash(third) and clash(two), "both raise the alarm")
    check_equal(third.get("of-two"), None)
    check_equal(two.get("of-one"), None)
    result = third.cli("doctor")
    check_in(b"restore --merge", result.stdout + result.stderr)
    # As doctor says: who goes gives its snapshot to who stays.
    two.ok("snapshot", "now", "--to", t.path("from-two"))
    lose(two)
    one.start()
    report = merge(third, t.path("from-two"))
    check_equal([report["retained"], report["parked"]], [1, 0], repr(report))
    t.converged([one, third])
    check_equal(one.values(), {"k": b"v", "of-one": b"1", "of-two": b"2"})


if __name__ == "__main__":
    harness.main(globals())
