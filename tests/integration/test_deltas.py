#!/usr/bin/env python3
# parallel-safe
"""Between snapshots: what was acknowledged a moment ago comes back, too."""
import json
import os
import shutil
import subprocess
import time

import harness
import snapshot_reader as reader
from harness import RESTORE, check, check_equal, check_in, wait_until

WINDOW_S = 0.3


def flags_of(target, delta="300ms"):
    return ["--snapshot-to", target, "--snapshot-interval", "1h",
            "--snapshot-delta", delta]


def names(target, kind):
    return [n for n in reader.Store(target).names("v1")
            if "/%s/" % kind in n]


def lose(node):
    node.process.signal(9)
    node.kill()
    shutil.rmtree(node.data)


def restore(t, target, name, *flags):
    fresh = t.node(name)
    result = subprocess.run(
        [RESTORE, target, "--data", fresh.data, "--name", name,
         "--authority", t.authority, "--no-passphrase", "--json", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        timeout=harness.CLI_TIMEOUT_S)
    left = [n for n in os.listdir(os.path.dirname(fresh.data))
            if n.startswith(name + ".")]
    check_equal(left, [], "something was left")
    return fresh, result.returncode, \
        json.loads(result.stdout) if result.stdout else {}, result.stderr


def with_first(t, target, value):
    """A node whose first snapshot has the key "a": it was there before anybody
    uploads, so that it is in no delta."""
    node = t.mesh()
    node.ok("put", "a", value)
    node.stop()
    node.start(*flags_of(target))
    wait_until(lambda: names(target, "m"), "a snapshot")
    return node


def settled(node, target):
    """Everything written so far is at the target, and a heartbeat says so."""
    since = time.time() * 1000
    wait_until(lambda: node.live()["snapshot"]["covered_wall_ms"] > since
               and names(target, "h"), "all to be at the target")


def test_loss_between_snapshots(t):
    """Power gone: the deltas bring back what came after the snapshot, sets,
    deletes and revokes too; nothing idle is written but a heartbeat."""
    target = t.path("snap")
    node = t.init()
    node.start(*flags_of(target))
    node.ok("put", "before", "1")
    wait_until(lambda: names(target, "m"), "a first snapshot by itself")
    connection = node.connect()
    for i in range(200):
        connection.put("k/%d" % i, b"value %d" % i)
    connection.close()
    node.ok("put", "big", "-", stdin=os.urandom(100000))
    node.ok("set", "add", "s", "a", "b")
    node.ok("set", "remove", "s", "b")
    node.ok("del", "before")
    node.ok("put", "bob", "x")
    node.ok("revoke", "bob")
    settled(node, target)
    deltas = names(target, "d")
    check(deltas, "deltas")
    (heart,) = names(target, "h")
    check(os.path.getsize(os.path.join(target, heart)) <= 1024, "a heartbeat")
    node.wait_uploaded(times=4)
    check_equal(names(target, "d"), deltas, "idle, and yet a delta")
    check_equal(len(names(target, "m")), 1)
    values = node.values()
    lose(node)
    fresh, code, report, said = restore(t, target, "phoenix")
    check_equal(code, 0, said)
    check_equal(report["deltas"], len(deltas))
    check(report["events"] > 0, repr(report))
    fresh.start(*flags_of(target))
    check_equal(fresh.values(), values)
    check_equal(fresh.set_members("s"), ["a"])
    check_equal(fresh.cli("put", "bob", "back").returncode, 2)
    # Life goes on, is lost again, and comes back again.
    fresh.ok("put", "after", "2")
    values["after"] = b"2"
    wait_until(lambda: len(names(target, "m")) == 2, "a new chain")
    fresh.ok("put", "later", "3")
    values["later"] = b"3"
    settled(fresh, target)
    lose(fresh)
    again, code, report, said = restore(t, target, "again")
    check_equal(code, 0, said)
    check_equal(again.start().values(), values)


def test_size(t):
    """A delta has at most 1.3 times its events and 512 bytes."""
    target = t.path("snap")
    node = with_first(t, target, "1")
    for i in range(5):
        node.ok("put", "random/%d" % i, "-", stdin=os.urandom(10 + 5000 * i))
        settled(node, target)
    snapshot = reader.Snapshot(reader.Store(target), names(target, "m")[0])
    total = 0
    for name in names(target, "d"):
        delta = reader.Delta(reader.Store(target), name, snapshot)
        events = sum(len(e) for e in delta.events)
        check(delta.size <= 1.3 * events + 512, "%d bytes for %d of events"
              % (delta.size, events))
        total += len(delta.events)
    check_equal(total, 5)


def test_damage(t):
    """A delta that is missing, flipped, cut, or another's: those before it
    are used, and the exit code tells."""
    target = t.path("snap")
    node = with_first(t, target, "0")
    for i in range(1, 5):
        node.ok("put", "a", str(i))
        wait_until(lambda n=i: len(names(target, "d")) >= n, "a delta")
    settled(node, target)
    lose(node)
    deltas = names(target, "d")
    check_equal(len(deltas), 4)
    path = os.path.join(target, deltas[2])
    with open(path, "rb") as file:
        good = file.read()
    with open(os.path.join(target, deltas[1]), "rb") as file:
        other = file.read()
    flips = [bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
             for at in range(0, len(good), max(1, len(good) // 7))]
    for number, bad in enumerate([None, good[:-1], good + b"x", b"",
                                  other] + flips):
        if bad is None:
            os.unlink(path)
        else:
            with open(path, "wb") as file:
                file.write(bad)
        _, code, report, said = restore(t, target, "dry%d" % number,
                                        "--dry-run")
        check_equal(code, 6, said)
        check_equal(report["deltas"], 2, repr(said))
        check_in(b"not used: ", said)
    fresh, code, report, said = restore(t, target, "partial")
    check_equal(code, 6, said)
    check_equal(fresh.start().get("a"), b"2")
    fresh.stop()
    with open(path, "wb") as file:
        file.write(good)
    # The last ones gone: the heartbeat knows of them.
    os.rename(os.path.join(target, deltas[3]), t.path("kept"))
    _, code, _, said = restore(t, target, "short", "--dry-run")
    check_equal(code, 6, said)
    check_in(b"later deltas", said)
    os.rename(t.path("kept"), os.path.join(target, deltas[3]))
    fresh, code, _, said = restore(t, target, "whole")
    check_equal(code, 0, said)
    check_equal(fresh.start().get("a"), b"4")


def test_at_and_sequences(t):
    """--at, --seq, --min-seq, --dry-run."""
    target = t.path("snap")
    node = with_first(t, target, "1")
    check_equal(node.snapshot_now().returncode, 0)
    node.ok("put", "a", "2")
    settled(node, target)
    then = int(time.time()) + 1
    wait_until(lambda: time.time() >= then + 1, "a second between two states")
    node.ok("put", "a", "3")
    node.ok("put", "b", "3")
    settled(node, target)
    # While a snapshot is under way deltas go on with the chain before it.
    node.stop()
    node.start(*flags_of(target, "never"))
    node.ok("put", "a", "4")
    check_equal(node.snapshot_now().returncode, 0)
    lose(node)
    fresh, code, report, said = restore(t, target, "at", "--at", str(then))
    check_equal(code, 0, said)
    check_equal(fresh.start().values(), {"a": b"2"})
    fresh.stop()
    sequences = [int(n[-20:]) for n in names(target, "m")]
    fresh, code, report, said = restore(t, target, "new")
    check_equal(code, 0, said)
    check_equal(report["sequence"], max(sequences))
    check_equal(fresh.start().values(), {"a": b"4", "b": b"3"})
    fresh.stop()
    fresh, code, report, said = restore(t, target, "seq", "--seq",
                                        str(max(sequences) - 1))
    check_equal(code, 0, said)
    check_equal(report["sequence"], max(sequences) - 1)
    check_equal(fresh.start().values(), {"a": b"3", "b": b"3"})
    fresh.stop()
    _, code, _, said = restore(t, target, "none", "--at", "1000")
    check_equal(code, 5, said)
    fresh, code, _, said = restore(t, target, "stale", "--min-seq",
                                   str(max(sequences) + 1))
    check_equal(code, 7, said)
    check(not os.path.exists(fresh.data), "something was made")
    # Of each signer by its name or key id.
    newest = max(names(target, "m"))
    key_id = newest.split("/")[3]
    for signer in (node.name, key_id):
        for extra, wanted in ((0, 0), (1, 7)):
            _, code, _, said = restore(
                t, target, "least", "--dry-run", "--min-seq",
                "%s:%d" % (signer, max(sequences) + extra))
            check_equal(code, wanted, said)
    _, code, _, said = restore(t, target, "least", "--dry-run", "--min-seq",
                               "%s:1" % node.name, "--min-seq", "nobody:1")
    check_equal(code, 7, said)
    check_in(b"there is none", said)
    for bad in ("alpha:", ":1", "x"):
        _, code, _, said = restore(t, target, "least", "--min-seq", bad)
        check_equal(code, 64, said)
    fresh, code, report, said = restore(t, target, "dry", "--dry-run")
    check_equal(code, 0, said)
    check(not os.path.exists(fresh.data), "something was made")
    check_equal(report["restored"], False)


def test_two_sides(t):
    """Two nodes that had lost sight of each other, each with its snapshot and
    deltas in one target: the restored state is the union."""
    target = t.path("snap")
    nodes = t.mesh(2)
    nodes[0].ok("put", "shared", "1")
    nodes[0].ok("put", "deleted", "1")
    t.converged(nodes)
    nodes[1].ok("snapshot", "now", "--to", target)
    nodes[1].stop()
    nodes[0].ok("put", "left", "1")
    nodes[0].ok("put", "shared", "left")
    nodes[0].ok("del", "deleted")
    nodes[0].ok("snapshot", "now", "--to", target)
    nodes[0].stop()
    nodes[1].start(*flags_of(target))
    nodes[1].ok("put", "right", "1")
    nodes[1].ok("set", "add", "s", "right")
    wait_until(lambda: names(target, "d"), "its chain to go on")
    nodes[1].ok("put", "right2", "2")
    settled(nodes[1], target)
    lose(nodes[1])
    shutil.rmtree(nodes[0].data)
    fresh, code, report, said = restore(t, target, "union")
    check_equal(code, 0, said)
    check_equal(report["joined"], 2, repr(report))
    check_equal(fresh.start().values(),
                {"shared": b"left", "left": b"1", "right": b"1",
                 "right2": b"2"})
    check_equal(fresh.set_members("s"), ["right"])


def test_reassert(t):
    """Old values as new writes, in a living mesh, under a prefix; shown
    first."""
    nodes = t.mesh(2)
    target = t.path("snap")
    for i in range(3):
        nodes[0].ok("put", "app/%d" % i, "old %d" % i)
    nodes[0].ok("put", "app/bin", "-", stdin=bytes(range(256)))
    nodes[0].ok("put", "app/flags", "x", "--flags", "7")
    nodes[0].ok("put", "other", "old")
    t.converged(nodes)
    nodes[1].ok("snapshot", "now", "--to", target)
    before = nodes[0].values()
    check_equal(nodes[0].cli("snapshot", "diff", target).returncode, 0)
    nodes[0].ok("put", "app/1", "new")
    nodes[0].ok("put", "app/new", "new")
    nodes[0].ok("del", "app/2")
    nodes[0].ok("put", "app/flags", "x", "--flags", "8")
    nodes[0].ok("put", "other", "new")
    for verb in (["snapshot", "diff", target], ["restore", target]):
        result = nodes[0].cli(*verb, "--prefix", "app/")
        check_equal(result.returncode, 1, result.stderr)
        check_equal(sorted(result.stdout.decode().splitlines()),
                    ["+ app/2", "- app/new", "~ app/1", "~ app/flags"])
    check_equal(nodes[0].get("app/1"), b"new", "it was only shown")
    nodes[0].ok("restore", target, "--mode", "reassert", "--prefix", "app/",
                "--yes")
    before["other"] = b"new"
    t.converged(nodes)
    check_equal(nodes[1].values(), before)
    check_equal(nodes[1].request("GET", "/v1/kv/app/flags").json()[0]["Flags"],
                7)


if __name__ == "__main__":
    harness.main(globals())
