#!/usr/bin/env python3
# parallel-safe
"""What a target keeps; and uploads, restores and prunes that are killed."""
import json
import os
import random
import shutil
import subprocess
import time

import harness
import snapshot_reader as reader
from harness import RESTORE, check, check_equal, check_in, cli


def prune(target, *flags):
    result = cli("snapshot", "prune", target, "--json", *flags)
    check_equal(result.returncode, 0, result.stderr)
    return json.loads(result.stdout)


def names(target):
    return set(reader.Store(target).names("v1"))


def verify_all(target):
    listed = cli("snapshot", "list", target, "--json").stdout.splitlines()
    for line in listed:
        name = json.loads(line)["name"]
        result = cli("snapshot", "verify", target, name)
        check_equal(result.returncode, 0, result.stderr)
    return len(listed)


LAST = ["--keep-last", "2", "--keep-hourly", "0", "--keep-daily", "0",
        "--keep-weekly", "0"]


def restored(t, target, code):
    fresh = t.node("phoenix")
    result = subprocess.run(
        [RESTORE, target, "--data", fresh.data, "--name", "phoenix",
         "--authority", t.authority, "--no-passphrase"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    check_equal(result.returncode, code, result.stderr)
    return fresh


def test_two_phases(t):
    """First marked, and deleted only by a prune after the grace period; what
    stays is whole."""
    node = t.mesh()
    target = t.path("snap")
    for i in range(6):
        node.ok("put", "a", str(i))
        node.ok("put", "big/%d" % i, "-", stdin=os.urandom(20000))
        node.ok("snapshot", "now", "--to", target)
    before = names(target)
    report = prune(target, "--dry-run", *LAST)
    check_equal(report["kept"], 2)
    check(report["marked"] >= 4, repr(report))
    check_equal(names(target), before, "a dry run changed something")
    marked = prune(target, *LAST)
    check_equal(marked["deleted"], 0)
    check(before <= names(target), "deleted at once")
    again = prune(target, *LAST)
    check_equal((again["marked"], again["deleted"]), (0, 0))
    gone = prune(target, "--grace", "0s", *LAST)
    check_equal(gone["deleted"], marked["marked"])
    check_equal(verify_all(target), 2)
    check(not [n for n in names(target) if "/t/" in n], "marks are left")
    # The chain goes on, and what was pruned is not missed.
    node.ok("put", "after", "1")
    node.ok("snapshot", "now", "--to", target)
    check_equal(verify_all(target), 3)
    check_equal(reader.Snapshot(reader.Store(target), max(
        n for n in names(target) if "/m/" in n)).values(), node.values())
    # The hours and days: all of these are of one.
    check_equal(prune(target, "--dry-run", "--keep-last", "1")["kept"], 1)


def test_nobody_evicts_another(t):
    """A signer with many snapshots makes none of another's go; the newest
    that verifies stays though newer ones are damaged."""
    nodes = t.mesh(2)
    target = t.path("snap")
    nodes[0].ok("put", "a", "1")
    t.converged(nodes)
    nodes[1].ok("snapshot", "now", "--to", target)
    other = [n for n in names(target) if "/m/" in n][0]
    for i in range(5):
        nodes[0].ok("put", "a", "x" * (i + 1))
        nodes[0].ok("snapshot", "now", "--to", target)
    prune(target, *LAST)
    prune(target, "--grace", "0s", *LAST)
    left = {n for n in names(target) if "/m/" in n}
    check(other in left, "another's only snapshot went")
    check_equal(len(left), 3)
    # Damage the packs of the two newest: only then an older one counts.
    whole = verify_all(target)
    check_equal(whole, 3)
    for name in [n for n in names(target) if "/p/" in n]:
        os.unlink(os.path.join(target, name))
    before = names(target)
    result = cli("snapshot", "prune", target, "--grace", "0s", *LAST)
    check_equal(result.returncode, 3)
    check_in(b"verifies whole", result.stderr)
    check_equal(names(target), before, "something was deleted")


def test_newest_whole_is_kept(t):
    """Newer ones that are damaged do not count: the newest that verifies is
    neither marked nor deleted, though the policy alone would let it go."""
    node = t.mesh()
    target = t.path("snap")
    states = []
    for i in range(4):
        before = names(target) if states else set()
        node.ok("put", "a", str(i))
        node.ok("snapshot", "now", "--to", target)
        states.append((names(target) - before, node.values()))
    for new, _ in states[2:]:
        (pack,) = [n for n in new if "/p/" in n]
        with open(os.path.join(target, pack), "r+b") as file:
            file.seek(50)
            file.write(b"\xff\x00\xff")
    only = ["--keep-last", "1"] + LAST[2:]
    (whole,) = [n for n in states[1][0] if "/m/" in n]
    marked = prune(target, *only)
    check_equal((marked["kept"], marked["deleted"]), (2, 0))
    prune(target, "--grace", "0s", *only)
    left = sorted(n for n in names(target) if "/m/" in n)
    check_equal(len(left), 2)
    check_in(whole, left)
    check_equal(cli("snapshot", "verify", target, whole).returncode, 0)
    node.kill()
    fresh = restored(t, target, 6)
    check_equal(fresh.start().values(), states[1][1])


def test_killed_uploads(t):
    """SIGKILL at any moment: every manifest that is there is whole, the chain
    goes on, and what was covered comes back."""
    target = t.path("snap")
    node = t.init()
    chance = random.Random(5)
    for i in range(8):
        node.start("--snapshot-to", target, "--snapshot-interval", "1s",
                   "--snapshot-delta", "100ms")
        connection = node.connect()
        for k in range(40):
            connection.put("%d/%d" % (i, k), os.urandom(600))
        connection.close()
        time.sleep(chance.uniform(0.0, 1.2))
        node.process.signal(9)
        node.kill()
    node.start("--snapshot-to", target, "--snapshot-delta", "never")
    verify_all(target)
    values = node.values()
    node.ok("snapshot", "now")
    sequences = sorted(int(n[-20:]) for n in names(target) if "/m/" in n)
    check_equal(sequences, list(range(1, len(sequences) + 1)))
    node.kill()
    fresh = restored(t, target, 0)
    check_equal(fresh.start().values(), values)


def test_killed_restores(t):
    """SIGKILL during a restore: nothing under the wanted name, or all."""
    node = t.mesh()
    connection = node.connect()
    for i in range(1500):
        connection.put("k/%d" % i, os.urandom(300))
    connection.close()
    values = node.values()
    target = t.path("snap")
    node.ok("snapshot", "now", "--to", target)
    node.kill()
    shutil.rmtree(node.data)
    done = 0
    for i in range(12):
        fresh = t.node("r%d" % i)
        process = subprocess.Popen(
            [RESTORE, target, "--data", fresh.data, "--name", "x",
             "--authority", t.authority, "--no-passphrase"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.02 * i)
        process.kill()
        process.wait()
        if os.path.exists(fresh.data):
            check_equal(fresh.start().values(), values)
            fresh.stop()
            done += 1
    harness.note("%d of 12 restores were done before the kill" % done)


if __name__ == "__main__":
    harness.main(globals())
