#!/usr/bin/env python3
# parallel-safe
# timeout: 600 s
"""Every class of object of a target, flipped at every kind of byte, cut short,
lengthened, emptied, deleted, exchanged with another of its class and of every
other class, replayed: found and named, and the next good state is used. What a
damage cannot take away is still there afterwards: the exit code is never 0 when
something is missing."""
import json
import os
import shutil
import subprocess

import harness
from harness import RESTORE, check, check_equal, check_in, wait_until
from test_merge import files



def dry_run(t, target):
    """(exit code, report, what was said) of a restore that writes nothing."""
    result = subprocess.run(
        [RESTORE, target, "--data", t.path("none"), "--authority",
         t.authority, "--no-passphrase", "--dry-run", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        timeout=harness.CLI_TIMEOUT_S)
    check(result.returncode >= 0, "it ended by a signal: %r" % result.stderr)
    return (result.returncode, json.loads(result.stdout),
            result.stderr.decode())


def kind(path):
    return path.split("/v1/")[1].split("/")[1]


def written(t):
    """Two snapshots, each with objects of its own and deltas behind it."""
    target = t.path("s")
    node = t.init()
    node.start("--snapshot-to", target, "--snapshot-interval", "1h",
               "--snapshot-delta", "100ms")

    def deltas(number):
        return [p for p in files(target) if kind(p) == "d" and
                ("%020d-" % number) in p]

    def put(key, number, more):
        before = len(deltas(number))
        node.ok("put", key, "-", stdin=os.urandom(3000))
        if more:
            wait_until(lambda: len(deltas(number)) > before, "a delta")
    wait_until(lambda: [p for p in files(target) if kind(p) == "h"],
               "the first heartbeat")
    first = max(int(p[-20:]) for p in files(target) if kind(p) == "m")
    put("one", first, True)
    put("two", first, True)
    wait_until(lambda: node.cli("snapshot", "now").returncode == 0, "snapshot")
    second = max(int(p[-20:]) for p in files(target) if kind(p) == "m")
    put("three", second, True)
    put("four", second, True)
    number = len(deltas(second))
    kept = t.path("early")
    heart = [p for p in files(target) if kind(p) == "h"][0]
    shutil.copyfile(heart, kept)

    def told():
        shown = json.loads(harness.cli("snapshot", "inspect", target,
                                       "--json").stdout)
        return shown["heartbeat_delta"] == number
    wait_until(told, "a heartbeat behind the deltas")
    node.kill()
    return target, first, second, number


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def put_back(path, content):
    with open(path, "wb") as file:
        file.write(content)


def bad_ones(good):
    """Of one object: what may have become of it."""
    step = max(1, len(good) // 9)
    for at in sorted(set(list(range(0, len(good), step))
                         + [1, 4, 8, 9, 16, len(good) - 64, len(good) - 1])):
        if 0 <= at < len(good):
            bad = bytearray(good)
            bad[at] ^= 1 << (at % 8)
            yield "flipped at %d of %d" % (at, len(good)), bytes(bad)
    yield "without its end", good[:-1]
    yield "half", good[:len(good) // 2]
    yield "empty", b""
    yield "longer", good + b"\0"
    yield "twice", good + good
    yield "gone", None


class Target:
    def __init__(self, t):
        self.t = t
        self.path, self.first, self.second, self.number = written(t)
        self.all = files(self.path)
        code, self.whole, said = dry_run(t, self.path)
        check_equal(code, 0, said)
        check_equal([self.whole["sequence"], self.whole["deltas"]],
                    [self.second, self.number])
        self.tries = 0
        # Which objects the first snapshot needs as well.
        newest = [p for p in self.all
                  if kind(p) == "m" and int(p[-20:]) == self.second][0]
        good = contents(newest)
        os.unlink(newest)
        code, self.before, said = dry_run(t, self.path)
        put_back(newest, good)
        check_equal([code, self.before["sequence"]], [6, self.first], said)
        check_in("later snapshot than there is", said)

        # The second one covers what only the first one needs.
        name = newest.split(self.path + "/")[1]
        self.needless = [p for p in self.all if kind(p) in "ip"
                         and not self.is_needed(p, name)]

    def is_needed(self, path, name):
        good = contents(path)
        os.unlink(path)
        result = harness.cli("snapshot", "verify", self.path, name)
        put_back(path, good)
        return result.returncode != 0

    def look(self, path, what, may_be_whole=False):
        """After a damage: never more than there is, nothing passed over in
        silence, no older state than need be."""
        self.tries += 1
        code, report, said = dry_run(self.t, self.path)
        text = "%s %s: exit %d, %r, %s" % (path, what, code, report, said)
        if code == 0:
            check(may_be_whole, text)
            check_equal([report["sequence"], report["deltas"],
                         report["events"]],
                        [self.whole["sequence"], self.whole["deltas"],
                         self.whole["events"]], text)
            return
        check(code in (3, 6), text)
        name = os.path.basename(path)
        check(name in said or "later" in said or "missing" in said, text)
        if code == 6 and kind(path) == "d" and ("%020d-" %
                                                self.first) in path:
            check_equal(report["sequence"], self.second, text)
        if code == 6 and kind(path) == "d" and ("%020d-" %
                                                self.second) in path:
            check_equal(report["sequence"], self.second, text)
            check_equal(report["deltas"], int(name[-10:]) - 1, text)
        if code == 6 and kind(path) == "h":
            check_equal([report["sequence"], report["deltas"]],
                        [self.second, self.number], text)
        if code == 6 and kind(path) == "m":
            check_equal(report["sequence"], self.first if int(
                name) == self.second else self.second, text)
        if code == 6 and kind(path) in "ip":
            check_equal(report["sequence"], self.first, text)

    def harmless(self, path, what):
        """What tells nothing any more, without which nothing is lost: a
        heartbeat, deltas and manifest of a snapshot that another covers."""
        if kind(path) == "h":
            return what == "gone"
        if kind(path) == "d":
            return ("%020d-" % self.first) in path
        if kind(path) == "m":
            return what == "gone" and int(path[-20:]) != self.second
        return path in self.needless or kind(path) == "u"


def try_all(t, classes):
    target = Target(t)
    for path in target.all:
        if kind(path) not in classes:
            continue
        good = contents(path)
        for what, bad in bad_ones(good):
            if bad is None:
                os.unlink(path)
            else:
                put_back(path, bad)
            target.look(path, what, target.harmless(path, what))
            put_back(path, good)
    check_equal(dry_run(t, target.path)[0], 0)
    harness.note("%d damages of %s" % (target.tries, classes))


def test_manifests_and_heartbeats(t):
    try_all(t, "mh")


def test_packs_and_segments(t):
    try_all(t, "ip")


def test_deltas(t):
    try_all(t, "d")


def test_swapped(t):
    """Each object under the name of another, of its class and of the others."""
    target = Target(t)
    for path in target.all:
        good = contents(path)
        for other in target.all:
            content = contents(other)
            if other == path or content == good:
                continue
            put_back(path, content)
            target.look(path, "exchanged with " + other,
                        target.harmless(path, "exchanged"))
            put_back(path, good)
    check_equal(dry_run(t, target.path)[0], 0)
    harness.note("%d exchanges" % target.tries)


def test_replayed(t):
    """What was true once: an early heartbeat, a delta under the next number,
    the manifest before under the newest one's name, the whole target of a
    while ago."""
    target = Target(t)
    heart = [p for p in target.all if kind(p) == "h"][0]
    good = contents(heart)
    put_back(heart, contents(t.path("early")))
    target.look(heart, "replayed", True)
    put_back(heart, good)
    own = sorted(p for p in target.all
                 if kind(p) == "d" and ("%020d-" % target.second) in p)
    good = contents(own[-1])
    put_back(own[-1], contents(own[0]))
    target.look(own[-1], "replayed")
    put_back(own[-1], good)
    # Everything of the second snapshot is withheld, the heartbeat too: this
    # cannot be told from a target that never had it, but by --min-seq.
    for path in target.all:
        if ((kind(path) == "m" and int(path[-20:]) == target.second)
                or path in own or path == heart):
            os.unlink(path)
    code, report, said = dry_run(t, target.path)
    check_equal([code, report["sequence"]], [0, target.first], said)
    result = subprocess.run(
        [RESTORE, target.path, "--data", t.path("none"), "--authority",
         t.authority, "--no-passphrase", "--min-seq", str(target.second)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        timeout=harness.CLI_TIMEOUT_S)
    check_equal(result.returncode, 7, result.stderr)


if __name__ == "__main__":
    harness.main(globals())
