#!/usr/bin/env python3
"""What uploads cost, and what is lost without them.

    tests/bench/backup_upload.py [KEYS]         default: 1000000, of 250 bytes

Processor time of a full snapshot against mdb_copy -c of the same store, in
turn; the latency of writes, one after the other, while snapshots are taken and
while none is, in turn; bytes of increments and deltas; and how much is lost
when everything is killed while somebody writes. One line of JSON on standard
output: a list of figures.
"""
import http.client
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
import cut  # noqa: E402
import harness  # noqa: E402
import snapshot_reader as reader  # noqa: E402

ROUNDS = 5
PHASE_S = 3
WINDOWS = 15
PACE_S = 0.003
COPIES_S = 0.5  # processor time below which a clock's grain would count
LIMIT_S = 900
TICK = os.sysconf("SC_CLK_TCK")
figures = []


def say(text):
    print("backup: " + text, file=sys.stderr, flush=True)


def figure(name, measured, target=None, met=None, value=None):
    say("%s: %s" % (name, measured))
    figures.append({"figure": name, "measured": measured, "target": target,
                    "met": met, "value": value})


def median(values):
    return sorted(values)[len(values) // 2]


def cpu_s(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICK


def copy_costs(node, directory):
    """Of one copy, and its time; so many that the clock can tell."""
    used, copies, begun = 0, 0, time.monotonic()
    while used < COPIES_S:
        os.mkdir(directory)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(["mdb_copy", "-c", node.data, directory], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        shutil.rmtree(directory)
        used += (after.ru_utime + after.ru_stime - before.ru_utime
                 - before.ru_stime)
        copies += 1
    return used / copies, (time.monotonic() - begun) / copies


def full(test, node):
    """Turn and turn about, so that both meet the same machine."""
    ratios, ours, theirs, times = [], [], [], []
    for number in range(ROUNDS + 1):
        target = test.path("full%d" % number)
        before, begun = cpu_s(node.pid), time.monotonic()
        node.ok("snapshot", "now", "--to", target, timeout=LIMIT_S)
        took = time.monotonic() - begun
        ours.append(cpu_s(node.pid) - before)
        copy, copy_took = copy_costs(node, test.path("copy"))
        theirs.append(copy)
        ratios.append(ours[-1] / theirs[-1])
        times.append(took / copy_took)
        shutil.rmtree(target)
    first = [kind.pop(0) for kind in (ratios, ours, theirs)]
    figure("full snapshot, read back: processor time to mdb_copy -c's",
           "%.1fx (%.2f s, %.2f s)" % (median(ratios), median(ours),
                                       median(theirs)),
           "<= 5x", median(ratios) <= 5, median(ratios))
    figure("... the first of a process, which adds the digest up",
           "%.1fx (%.2f s, %.2f s)" % tuple(first))
    figure("... time to time, in which both write and the copy does not sync",
           "%.1fx" % median(times[1:]))


class Writer(threading.Thread):
    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.phase, self.over = node, None, False
        self.times = {}

    def run(self):
        connection = self.node.connect()
        number = 0
        while not self.over:
            begun, phase = time.monotonic(), self.phase
            connection.put("latency/%d" % (number % 1000), b"x" * 100)
            if phase is not None and phase == self.phase:
                self.times.setdefault(phase, []).append(
                    time.monotonic() - begun)
            number += 1
            time.sleep(PACE_S)
        connection.close()


def p99(values):
    return sorted(values)[int(len(values) * 0.99)]


def latency(test, node):
    """Windows by turns, then one p99 of all of a kind: a window alone has
    three writes beyond its p99, which says more about the disk."""
    writer = Writer(node)
    writer.start()
    for number in range(WINDOWS):
        writer.phase = "idle"
        time.sleep(PHASE_S)
        writer.phase = "busy"
        end = time.monotonic() + PHASE_S
        while time.monotonic() < end:
            target = test.path("busy%d" % number)
            node.ok("snapshot", "now", "--to", target, timeout=LIMIT_S)
            shutil.rmtree(target)
        writer.phase = None
    writer.over = True
    writer.join()
    idle, busy = (p99(writer.times[kind]) for kind in ("idle", "busy"))
    times = busy / idle
    figure("write latency p99 while full snapshots are taken, to without",
           "%+.0f %% (%.2f ms, %.2f ms)" % (100 * (times - 1), busy * 1000,
                                            idle * 1000),
           "< +10 %", times < 1.1, times)


def increments(test, node, keys):
    target = test.path("increments")
    node.ok("snapshot", "now", "--to", target, timeout=LIMIT_S)
    worst = (0, 0)
    for count in (1, 10, 100):
        for _ in range(3):
            for key in random.sample(range(keys), count):
                node.ok("put", "bench/%07d" % key, os.urandom(90).hex()) \
                    if count <= 10 else None
            if count > 10:
                connection = node.connect()
                for key in random.sample(range(keys), count):
                    connection.put("bench/%07d" % key, os.urandom(180))
                connection.close()
            report = json.loads(node.ok("snapshot", "now", "--to", target,
                                        "--json"))
            worst = max(worst, (report["bytes_new"] / (count * 16384 + 20480),
                                count))
    figure("bytes of a snapshot with k changed keys, to k x 16 KiB + 20 KiB",
           "%.2fx at worst, k = %d of 1, 10, 100" % worst, "<= 1x",
           worst[0] <= 1, worst[0])


def deltas(test):
    """The events of each as their origins signed them."""
    target = test.path("deltas")
    node = test.node("delta-node")
    result = harness.cli("init", node.data, "--name", "delta", "--authority",
                         test.path("delta.key"), "--no-passphrase")
    harness.check_equal(result.returncode, 0, result.stderr)
    node.start("--snapshot-to", target, "--snapshot-interval", "1h",
               "--snapshot-delta", "200ms")
    node.ok("put", "a", "1")
    harness.wait_until(lambda: names(target, "m"), "a snapshot")
    for size in (10, 100, 1000, 10000, 100000):
        count = len(names(target, "d"))
        node.ok("put", "random", "-", stdin=os.urandom(size))
        harness.wait_until(lambda n=count: len(names(target, "d")) > n,
                           "a delta")
    snapshot = reader.Snapshot(reader.Store(target), names(target, "m")[0])
    worst = 0
    for name in names(target, "d"):
        delta = reader.Delta(reader.Store(target), name, snapshot)
        worst = max(worst, delta.size / (
            1.3 * sum(len(e) for e in delta.events) + 512))
    node.kill()
    figure("bytes of a delta, to 1.3 x its events + 512",
           "%.2fx at worst" % worst, "<= 1x", worst <= 1, worst)


def names(target, kind):
    return [n for n in reader.Store(target).names("v1") if "/%s/" % kind in n]


class Clockmaker(threading.Thread):
    """Writes what time it is, many times a second."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.over, self.last = node, False, 0

    def run(self):
        try:
            connection = self.node.connect()
            while not self.over:
                now = time.time()
                connection.put("now", b"%.3f" % now)
                self.last = now
                time.sleep(0.05)
        except (OSError, http.client.HTTPException):
            pass  # the node was killed: what it answered last counts


def lost_s(test, name, count, uploader_dies):
    """Everything is killed at a random moment; what of the last writes is
    missing in what comes back. With the defaults: a delta each 10 s."""
    target = test.path("loss-" + name)
    nodes = []
    first = test.node(name + "0")
    authority = test.path(name + ".key")
    result = harness.cli("init", first.data, "--name", name, "--authority",
                         authority, "--no-passphrase")
    harness.check_equal(result.returncode, 0, result.stderr)
    nodes.append(first.start("--snapshot-to", target))
    for number in range(1, count):
        node = test.node("%s%d" % (name, number))
        nodes.append(node.start("--name", "%s%d" % (name, number), "--join",
                                first.token(), "--snapshot-to", target))
    clock = Clockmaker(nodes[-1])
    clock.start()
    uploads = lambda: [n for n in nodes if n.process.running() and any(  # noqa
        t["uploads"] for t in n.status()["snapshot"]["targets"])]
    harness.wait_until(lambda: len(uploads()) >= min(count, 2) and
                       len(names(target, "d")) >= 2, "deltas", 90)
    if uploader_dies:
        victim = [n for n in uploads() if n is not nodes[-1]][0]
        victim.kill()
    time.sleep(random.uniform(5, 20))
    clock.over = True
    last = clock.last
    for node in nodes:
        node.kill()
    fresh = test.node(name + "-phoenix")
    result = subprocess.run(
        [harness.RESTORE, target, "--data", fresh.data, "--name", "phoenix",
         "--authority", authority, "--no-passphrase"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60,
        check=False)
    harness.check_equal(result.returncode, 0, result.stderr)
    fresh.start()
    back = float(fresh.get("now"))
    fresh.stop()
    return max(0, last - back)


def recovery_point(test):
    alone = max(lost_s(test, "one%d" % i, 1, False) for i in range(3))
    figure("lost when all is killed at a random moment", "%.1f s at worst of 3"
           % alone, "<= 10 s", alone <= 10, alone)
    dead = max(lost_s(test, "three%d" % i, 3, True) for i in range(2))
    figure("... with an uploader dead", "%.1f s at worst of 2" % dead,
           "<= 30 s", dead <= 30, dead)


def main():
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    tempfile.tempdir = harness.BUILD
    test = harness.Test()
    node = test.init()
    node.start()
    say("filling %d keys" % keys)
    cut.fill(node, keys)
    full(test, node)
    increments(test, node, keys)
    latency(test, node)
    node.kill()
    deltas(test)
    recovery_point(test)
    test.cleanup()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
