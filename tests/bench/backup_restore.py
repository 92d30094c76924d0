#!/usr/bin/env python3
"""From a snapshot of a million keys back to a node that serves.

    tests/bench/backup_restore.py [KEYS]     default: 1000000, of 250 bytes each

A node is filled and its snapshot goes to a directory and, where Debian's Swift
is installed, to a bucket on loopback. Then confmesh-restore brings it back,
several times, everything verified; and once a node is brought from nothing to
serving with one command. One line of JSON on standard output.
"""
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
import cut  # noqa: E402
import harness  # noqa: E402

ROUNDS = 3
LIMIT_S = 900


def say(text):
    print("backup_restore: " + text, file=sys.stderr, flush=True)


def median(values):
    return sorted(values)[len(values) // 2]


def tree_bytes(directory):
    return sum(os.path.getsize(os.path.join(d, n))
               for d, _, names in os.walk(directory) for n in names)


def command(t, target, data):
    return [harness.RESTORE, target, "--data", data, "--name", "phoenix",
            "--authority", t.authority, "--no-passphrase", "--json"]


def restore(t, target, env=None):
    """(seconds, processor seconds, report) of one restore; what it made is
    removed."""
    data = t.path("phoenix")
    before = os.times()
    begun = time.monotonic()
    result = subprocess.run(command(t, target, data), stdout=subprocess.PIPE,
                            check=False, timeout=LIMIT_S,
                            env=dict(os.environ, **(env or {})))
    took = time.monotonic() - begun
    after = os.times()
    harness.check_equal(result.returncode, 0, "restore")
    shutil.rmtree(data)
    cpu = (after.children_user + after.children_system
           - before.children_user - before.children_system)
    return took, cpu, json.loads(result.stdout)


def serving(t, target):
    """One command line on a host that has nothing: until /readyz says yes."""
    node = t.node("phoenix")
    line = "%s >/dev/null && exec %s node --data %s --bind %s" % (
        " ".join(command(t, target, node.data)), harness.CONFMESH, node.data,
        node.address)
    begun = time.monotonic()
    node.process = harness.Process(["/bin/sh", "-c", line], t.directory,
                                   "phoenix")
    while True:
        harness.check(node.process.running(), node.process.stderr()[-500:])
        harness.check(time.monotonic() - begun < LIMIT_S, "not serving")
        try:
            if harness.request(node.socket, "GET", "/readyz").status == 200:
                break
        except (OSError, harness.http.client.HTTPException):
            pass
        time.sleep(0.01)
    took = time.monotonic() - begun
    harness.check_equal(len(node.ok("get", "bench/0000001")), cut.VALUE)
    node.kill()
    return took


def rounds(t, target, env=None):
    done = [restore(t, target, env) for _ in range(ROUNDS)]
    return {"seconds": median([d[0] for d in done]),
            "cpu_seconds": median([d[1] for d in done]),
            "entries": done[0][2]["entries"]}


def in_bucket(t, node):
    """The same from an S3 server on loopback, or None: it is not here."""
    import swift_server
    import test_s3
    if not swift_server.installed():
        return None
    target = test_s3.url("bench")
    say("to a bucket")
    node.ok("snapshot", "now", "--to", target, timeout=LIMIT_S)
    say("from a bucket")
    return rounds(t, target, test_s3.keys())


def main():
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    scratch = os.path.join(harness.BUILD, "bench-data")
    os.makedirs(scratch, exist_ok=True)
    os.environ["TMPDIR"] = scratch
    import atexit
    import tempfile
    tempfile.tempdir = scratch
    atexit.register(harness._cleanup)  # pylint: disable=protected-access
    t = harness.Test()
    node = t.init()
    try:
        import test_s3
        node.env = test_s3.keys()
    except ImportError:
        pass
    node.start()
    say("%d keys are written" % keys)
    cut.fill(node, keys)
    target = t.path("snap")
    say("to a directory")
    begun = time.monotonic()
    node.ok("snapshot", "now", "--to", target, timeout=LIMIT_S)
    took = time.monotonic() - begun
    result = {"keys": keys, "snapshot_seconds": took,
              "target_bytes": tree_bytes(target)}
    say("from a directory")
    result["file"] = rounds(t, target)
    result["bytes"] = json.loads(harness.cli(
        "snapshot", "inspect", target, "--json").stdout)["bytes"]
    result["s3"] = in_bucket(t, node)
    node.kill()
    say("from nothing to serving")
    result["serving_seconds"] = serving(t, target)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
