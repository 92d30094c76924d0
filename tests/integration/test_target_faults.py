#!/usr/bin/env python3
# parallel-safe
# timeout: 600 s
"""Directories and commands as targets that are full, read-only, slow, or out of
order throughout: told with the reason and what to do, the other target goes on,
what is there can be restored, and afterwards everything comes. (S3 stores:
test_s3_faults.py.) Real full and read-only file systems, in hosts of their own,
see namespaces.py."""
import json
import os
import shlex
import subprocess
import sys

import exec_shelf
import harness
import namespaces
from harness import RESTORE, check, check_equal, check_in, wait_until

OFTEN = ["--snapshot-interval", "1h", "--snapshot-delta", "200ms",
         "--snapshot-drill", "never"]

# Keeps objects in a folder. A file "fault" beside it says how it does that.
COMMAND = r'''
import os, sys, time
root, fault = sys.argv[1:3]
os.makedirs(root, exist_ok=True)
source, sink = sys.stdin.buffer, sys.stdout.buffer
def say(line, body=b""):
    sink.write(line.encode() + b"\n")
    sink.flush()
    pieces = 6 if mode == "slow" else 1
    size = len(body) // pieces + 1
    for at in range(0, len(body), size):
        if mode == "slow":
            time.sleep(0.05)
        sink.write(body[at:at + size])
        sink.flush()
for line in source:
    verb, *words = line.decode().split()
    with open(fault) as f:
        mode = f.read()
    path = os.path.join(root, words[0]) if words else None
    body = source.read(int(words[1])) if verb == "put" else b""
    if mode == "slow":
        time.sleep(0.3)
    if verb == "hello":
        say("ok 0")
    elif mode == "broken":
        say("error the shelf has fallen down; call the carpenter")
    elif mode == "busy":
        say("again the shelf is being painted")
    elif mode == "read-only" and verb in ("put", "delete"):
        say("error the shelf may be looked at only")
    elif mode == "full" and verb == "put":
        say("full no shelf is left")
    elif mode == "forgets" and verb == "put" and "/h/" not in path:
        say("ok 0")
    elif verb == "put":
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(body)
        say("ok 0")
''' + exec_shelf.READS


def told(node, url):
    return [x for x in node.live()["snapshot"]["targets"]
            if x["url"] == url][0]


def wait_told(node, url, condition, what):
    return wait_until(lambda: condition(told(node, url)), what, 60,
                      progress=lambda: told(node, url))


def restored(t, node, url, name, authority):
    """What a restore on the node's host gives, by a dry run and in earnest."""
    data = os.path.join(os.path.dirname(node.data), name)
    command = node.prefix + [
        RESTORE, url, "--data", data, "--name", name, "--authority", authority,
        "--no-passphrase"]
    for flags in (["--dry-run"], []):
        result = subprocess.run(
            command + flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            check=False, timeout=harness.CLI_TIMEOUT_S)
        check_equal(result.returncode, 0, result.stderr)
    fresh = t.node(name)
    fresh.data, fresh.prefix, fresh.root = data, node.prefix, node.root
    values = fresh.start().values()
    fresh.kill()
    return values


def deltas(node, url, count):
    """So many more come to a target."""
    for i in range(count):
        before = told(node, url)["deltas"]
        node.ok("put", "delta", "%d" % i)
        wait_told(node, url, lambda x, b=before: x["deltas"] > b, "a delta")


def fails(node, bad, good, wanted):
    """What a fault is told by, and that it keeps nobody else waiting."""
    before = told(node, bad)["failures"]
    node.ok("put", "during", "-", stdin=os.urandom(300000))
    result = node.snapshot_now(
        *(() if bad.startswith("exec:") else ("--to", bad)))
    check(result.returncode != 0, "nothing was said of " + wanted)
    check_in(wanted.encode(), result.stderr)
    wait_told(node, bad, lambda x: x["failures"] > before, "a failure")
    deltas(node, good, 2)
    check_equal([told(node, good)["failures"], told(node, good)["error"]],
                [0, ""])
    wait_told(node, bad, lambda x: wanted in x["error"], "the reason")
    doctor = json.loads(node.cli("doctor", "--json").stdout)
    found = [f for f in doctor["findings"] if wanted in f["found"]]
    check(found and found[0]["remedy"] and bad in found[0]["found"],
          "%s: %r" % (wanted, doctor))
    text = node.request("GET", "/metrics").body.decode()
    check([line for line in text.splitlines() if line.startswith(
        "confmesh_snapshot_target_failures_total") and line[-2:] != " 0"],
        "no metric tells")


def recovers(node, bad):
    result = node.snapshot_now()
    check_equal(result.returncode, 0, result.stderr)
    wait_told(node, bad, lambda x: x["error"] == "", "it is well again")
    node.wait_uploaded()
    return node.values()


def mount(node, *words):
    result = subprocess.run(node.prefix + ["mount", *words], check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check_equal(result.returncode, 0, result.stdout)


def test_directory(t):
    """A file system that is read-only, then full."""
    lab = namespaces.Lab(t)
    node = lab.place(t.node("alpha"))
    bad, good = lab.disk("bad"), lab.disk("good")
    authority = lab.disk("authority.key")
    result = node.cli("init", node.data, "--name", "alpha", "--authority",
                      authority, "--no-passphrase", data=False)
    check_equal(result.returncode, 0, result.stderr)
    for command in (["mkdir", bad], ["mount", "-t", "tmpfs", "-o", "size=2m",
                                     "tmpfs", bad]):
        subprocess.run(node.prefix + command, check=True)
    node.start("--snapshot-to", bad, "--snapshot-to", good, *OFTEN)
    node.ok("put", "early", "1")
    for url in (bad, good):
        wait_told(node, url, lambda x: x["sequence"] > 0, "a snapshot")
    node.wait_uploaded()
    values = node.values()
    mount(node, "-o", "remount,ro", bad)
    fails(node, bad, good, "Read-only file system; mount it for writing")
    check_equal(restored(t, node, bad, "of-read-only", authority), values)
    check_equal(node.stop(), 0)
    # It starts and serves with a target that it cannot write to.
    node.start("--snapshot-to", bad, "--snapshot-to", good, *OFTEN)
    wait_told(node, bad, lambda x: "Read-only" in x["error"], "it is told")
    mount(node, "-o", "remount,rw", bad)
    values = recovers(node, bad)
    check_equal(restored(t, node, bad, "writable", authority), values)
    for i in range(6):
        node.ok("put", "big/%d" % i, "-", stdin=os.urandom(400000))
    fails(node, bad, good, "No space left on device; make room")
    seen = restored(t, node, bad, "of-full", authority)
    check_equal({k: v for k, v in values.items() if seen.get(k) != v}, {},
                "what was there before it was full")
    mount(node, "-o", "remount,size=100m", bad)
    values = recovers(node, bad)
    left = subprocess.run(node.prefix + ["find", bad, "-name", ".tmp-*"],
                          stdout=subprocess.PIPE, check=True).stdout
    check_equal(left, b"", "halves are left")
    check_equal(restored(t, node, bad, "roomy", authority), values)
    check_equal(restored(t, node, good, "other", authority), values)


def test_command(t):
    """A command that is full, may not write, is out of order, asks to be tried
    again without end, or keeps nothing that it says it keeps."""
    with open(t.path("command.py"), "w", encoding="ascii") as file:
        file.write(COMMAND)

    def fault(mode):
        with open(t.path("fault+"), "w", encoding="ascii") as out:
            out.write(mode)
        os.rename(t.path("fault+"), t.path("fault"))

    fault("")
    bad, good = "exec:exec %s %s %s %s" % (
        sys.executable, shlex.quote(t.path("command.py")), t.path("kept"),
        t.path("fault")), t.path("good")
    node = t.init()
    node.start("--snapshot-to", bad, "--snapshot-to", good, *OFTEN)
    node.ok("put", "early", "1")
    for url in (bad, good):
        wait_told(node, url, lambda x: x["sequence"] > 0, "a snapshot")
    node.wait_uploaded()
    for number, (mode, wanted, readable) in enumerate((
            ("full", "no shelf is left", True),
            ("read-only", "looked at only", True),
            ("broken", "call the carpenter", False),
            ("busy", "is being painted", False),
            ("forgets", "does not read back", True))):
        values = node.values()
        fault(mode)
        fails(node, bad, good, wanted)
        if readable:
            check_equal(restored(t, node, bad, "during%d" % number,
                                 t.authority), values)
        else:
            result = subprocess.run(
                [RESTORE, bad, "--data", t.path("none"), "--authority",
                 t.authority, "--no-passphrase"], check=False,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            check_equal(result.returncode, 5, result.stderr)
            check_in(wanted.encode(), result.stderr)
        if mode == "busy":
            check_equal(node.stop(), 0)
            node.start("--snapshot-to", bad, "--snapshot-to", good, *OFTEN)
        fault("")
        recovers(node, bad)
    values = node.values()
    check_equal(restored(t, node, bad, "phoenix", t.authority), values)
    # Slow is not wrong: everything comes, and a stop does not wait for it.
    fault("slow")
    before = told(node, bad)["failures"]
    deltas(node, bad, 2)
    node.ok("put", "big", "-", stdin=os.urandom(300000))
    result = node.snapshot_now()
    check_equal(result.returncode, 0, result.stderr)
    deltas(node, bad, 1)
    check_equal([told(node, bad)["failures"] - before,
                 told(node, bad)["error"]], [0, ""])
    node.wait_uploaded()
    values = node.values()
    upload = harness.Thread(node.cli, "snapshot", "now")
    wait_told(node, bad, lambda x: x.get("phase"), "it is under way")
    check_equal(node.stop(), 0)
    upload.finish()
    check_equal(restored(t, node, bad, "slowly", t.authority), values)


if __name__ == "__main__":
    namespaces.main(globals())
