#!/usr/bin/env python3
"""Several targets at once: each has its own state, and one that fails or hangs
never keeps another waiting."""
import json
import os
import subprocess
import sys
import time

import harness
import snapshot_reader as reader
from harness import RESTORE, check, check_equal, check_in, cli, wait_until

FAST = ["--snapshot-interval", "1h", "--snapshot-delta", "300ms"]


def names(target, kind):
    return [n for n in reader.Store(target).names("v1")
            if "/%s/" % kind in n]


def told(node, url):
    return [t for t in node.status()["snapshot"]["targets"]
            if t["url"] == url][0]


def flags(*targets):
    return [word for url in targets for word in ("--snapshot-to", url)] + FAST


def restored(t, target, name):
    fresh = t.node(name)
    result = subprocess.run(
        [RESTORE, target, "--data", fresh.data, "--name", name,
         "--authority", t.authority, "--no-passphrase"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        timeout=harness.CLI_TIMEOUT_S)
    check_equal(result.returncode, 0, result.stderr)
    return fresh.start().values()


def test_one_hangs_one_fails(t):
    """Of four targets one never answers and one always fails; the two others
    get snapshot and deltas as if they were alone."""
    good = [t.path("one"), t.path("two")]
    hangs = "exec:%s -c 'import time; time.sleep(1000)'" % sys.executable
    with open(t.path("file"), "w", encoding="ascii"):
        pass
    fails = t.path("file", "below")
    node = t.init()
    node.start(*flags(hangs, good[0], fails, good[1]))
    node.ok("put", "a", "1")
    for target in good:
        wait_until(lambda d=target: names(d, "m"), "a snapshot at " + target)
    node.ok("put", "b", "2")
    for target in good:
        wait_until(lambda d=target: names(d, "d") and names(d, "h"),
                   "a delta at " + target)
    check_equal(told(node, fails)["error"] != "", True)
    check(told(node, fails)["failures"] > 0, "a failure is counted")
    for target in good:
        check_equal(told(node, target)["failures"], 0)
        check_equal(told(node, target)["error"], "")
        check_equal(node.metric(
            'snapshot_target_failures_total{target="%s"}' % target), 0)
    check(node.metric('snapshot_target_failures_total{target="%s"}' % fails)
          > 0, "a failure is counted")
    doctor = json.loads(node.cli("doctor", "--json").stdout)
    check_in(fails, json.dumps(doctor))
    # No number is given twice, though each target has a chain of its own.
    numbers = [n[-20:] for target in good for n in names(target, "m")]
    check_equal(len(set(numbers)), len(numbers))
    # A command that hangs does not keep the node from stopping.
    check_equal(node.stop(), 0)
    for target in good:
        check_equal(cli("snapshot", "verify", target).returncode, 0)


def test_each_has_everything(t):
    """Each target alone brings everything back, also when one was away for a
    while; on demand all are served by one command."""
    targets = [t.path("one"), t.path("two")]
    node = t.init()
    node.start(*flags(*targets))
    node.ok("put", "a", "1")
    for target in targets:
        wait_until(lambda d=target: names(d, "m"), "a snapshot at " + target)
    os.rename(targets[1], t.path("away"))
    with open(targets[1], "w", encoding="ascii"):
        pass
    node.ok("put", "b", "2")
    wait_until(lambda: names(targets[0], "d"), "a delta")
    wait_until(lambda: told(node, targets[1])["failures"] > 0, "it is told")
    result = node.cli("snapshot", "now")
    check(result.returncode != 0, "one target failed and nothing was said")
    os.unlink(targets[1])
    os.rename(t.path("away"), targets[1])
    node.ok("put", "c", "3")
    wait_until(lambda: not told(node, targets[1])["error"], "it is well again",
               60)
    report = json.loads(node.ok("snapshot", "now", "--json"))
    check_equal(report["entries"] >= 3, True)
    node.ok("put", "d", "4")
    for target in targets:
        wait_until(lambda d=target: max(n[-31:-11] for n in names(d, "d"))
                   == max(n[-20:] for n in names(d, "m")), "the last delta")
    time.sleep(1)
    values = node.values()
    node.kill()
    for number, target in enumerate(targets):
        check_equal(restored(t, target, "phoenix%d" % number), values)


def test_too_many(t):
    """Four at most, none twice."""
    node = t.init()
    urls = [t.path("t%d" % i) for i in range(5)]
    for words, wanted in ((flags(*urls), b"more than 4 times"),
                          (flags(urls[0], urls[0]), b"given twice")):
        result = node.cli("node", "--data", node.data, *words, data=False)
        check_equal(result.returncode, 64)
        check_in(wanted, result.stderr)


if __name__ == "__main__":
    harness.main(globals())
