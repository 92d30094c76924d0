#!/usr/bin/env python3
# parallel-safe
"""Snapshots through a command of the operator's: the documented example, and
commands that die, hang, lie and talk nonsense."""
import json
import os
import shlex
import subprocess
import sys

import exec_shelf
import harness
from harness import check, check_equal, check_in, cli

EXAMPLE = os.path.join(harness.ROOT, "docs", "examples", "target-folder.sh")

# Keeps objects in a folder; MODE says what it does wrong, and how often it has
# been started is written beside.
UNSOUND = r'''
import os, sys, time
root, mode = sys.argv[1:3]
os.makedirs(root, exist_ok=True)
with open(root + ".starts", "a") as f:
    f.write("x")
source, sink = sys.stdin.buffer, sys.stdout.buffer
def say(line, body=b""):
    sink.write(line.encode() + b"\n" + body)
    sink.flush()
def once(name):
    try:
        os.close(os.open(root + "." + name, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False
for line in source:
    verb, *words = line.decode().split()
    path = os.path.join(root, words[0]) if words else None
    body = source.read(int(words[1])) if verb == "put" else b""
    if mode == "dies" and verb == "put" and once("died"):
        sys.exit(3)
    if mode == "again" and once("again" + verb):
        say("again a moment please")
    elif mode == "full" and verb == "put":
        say("full the shelf \x1b[31mis full")
    elif mode == "nonsense" and verb != "hello":
        say("ok many")
    elif mode == "endless" and verb != "hello":
        sink.write(b"x" * 100000)
        sink.flush()
    elif mode == "huge" and verb == "get":
        say("ok 99999999999")
    elif mode == "half" and verb == "get" and os.path.exists(path) \
            and once("half"):
        say("ok %d" % os.path.getsize(path), b"not so much")
        sys.exit(0)
    elif verb == "hello":
        say("ok 0")
    elif verb == "put":
        if mode == "forgets" and "/p/" in path and once("forgot"):
            say("ok 0")
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(body)
        say("ok 0")
''' + exec_shelf.READS


def node_of(t, target):
    node = t.init()
    node.start("--snapshot-to", target, "--snapshot-delta", "never")
    connection = node.connect()
    for i in range(60):
        connection.put("k/%d" % i, os.urandom(1000))
    connection.close()
    return node


def example(t):
    return "exec:sh %s %s" % (shlex.quote(EXAMPLE), t.path("kept"))


def children(pid):
    return subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE,
                          check=False).stdout.split()


def test_example(t):
    """The documented example takes snapshots, lists, verifies, restores."""
    target = example(t)
    node = node_of(t, target)
    first = json.loads(node.ok("snapshot", "now", "--json"))
    node.ok("put", "k/7", "changed")
    second = json.loads(node.ok("snapshot", "now", "--json"))
    check(second["chunks_new"] <= 4 <= first["chunks_new"], repr(second))
    lines = cli("snapshot", "list", target, "--json").stdout.splitlines()
    check_equal([json.loads(line)["good"] for line in lines], [True, True])
    result = cli("snapshot", "verify", target)
    check_equal(result.returncode, 0, result.stderr)
    # It is a directory's layout: either reads what the other wrote.
    check_equal(cli("snapshot", "verify", t.path("kept")).returncode, 0)
    check_equal(children(node.pid), [], "a command is left running")
    values = node.values()
    node.kill()
    result = subprocess.run(
        [harness.RESTORE, target, "--data", t.path("phoenix"), "--name",
         "phoenix", "--authority", t.authority, "--no-passphrase"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        timeout=harness.CLI_TIMEOUT_S)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(t.node("phoenix").start().values(), values)


def test_only_the_operator(t):
    """No client of the API runs commands, however it writes them."""
    node = t.mesh()
    marker = t.path("marker")
    for target in ("exec:touch " + marker, "exec:", "exec:/bin/sh",
                   "EXEC:touch " + marker):
        result = node.cli("snapshot", "now", "--to", target)
        check(result.returncode != 0, target)
    result = node.cli("snapshot", "now", "--to", "exec:touch " + marker)
    check_in(b"--snapshot-to", result.stderr)
    answer = node.request("POST", "/v1/mesh/snapshot", json.dumps(
        {"to": "exec:touch " + marker}), {"Content-Type": "application/json"})
    check(answer.status >= 400, repr(answer.body))
    check_in(b"--snapshot-to", answer.body)
    check(not os.path.exists(marker), "a client ran a command")


def test_faults(t):
    """What passes is survived, what lasts is told; nothing counts as kept that
    is not."""
    script = t.path("unsound.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(UNSOUND)

    def target(mode):
        return "exec:%s %s %s %s" % (sys.executable, script,
                                     t.path("kept-" + mode), mode)

    def told(mode, wanted, where=None):
        """By who only reads: no node is needed to meet these."""
        result = cli("snapshot", "list", where or target(mode))
        check(result.returncode != 0, mode)
        check_in(wanted, result.stderr + result.stdout, mode)

    readers = [harness.Thread(told, *each) for each in (
        ("nonsense", b"something else than the protocol says"),
        ("endless", b"something else than the protocol says"),
        ("none", b"it ended", "exec:/nonexistent/command"))]
    node = node_of(t, target("dies"))
    result = node.cli("snapshot", "now")
    check_equal(result.returncode, 0, result.stderr)
    for mode, wanted in (("half", b""), ("huge", b"the limit is")):
        os.symlink(t.path("kept-dies"), t.path("kept-" + mode))
        result = cli("snapshot", "verify", target(mode))
        if mode == "half":
            check_equal(result.returncode, 0, result.stderr)
        else:
            told(mode, wanted)
    for mode, wanted in (("again", None),
                         ("full", b"the shelf ?[31mis full"),
                         ("forgets", b"does not read back")):
        node.stop()
        node.start("--snapshot-to", target(mode), "--snapshot-delta",
                   "never")
        node.ok("put", "turn", mode)
        result = node.cli("snapshot", "now")
        if wanted is None:
            check_equal(result.returncode, 0, result.stderr)
            check_equal(cli("snapshot", "verify",
                            t.path("kept-" + mode)).returncode, 0, mode)
            continue
        check(result.returncode != 0, mode)
        check_in(wanted, result.stderr, mode)
        harness.wait_until(lambda: not children(node.pid),
                           "no command left running: " + mode)
    for reader in readers:
        reader.finish()
    for mode in ("nonsense", "endless"):
        starts = os.path.getsize(t.path("kept-%s.starts" % mode))
        check(1 < starts <= 6, "%s: started %d times" % (mode, starts))


def test_silent(t):
    """A command that hangs, and what it started, ends with the node."""
    pids = t.path("pids")
    node = t.init()
    node.start("--snapshot-to", "exec:echo $$ >> %s; sleep 1000 & echo $! >> "
               "%s; trap '' TERM; wait; sleep 1000" % (pids, pids),
               "--snapshot-interval", "1s", "--snapshot-delta", "never")
    harness.wait_until(lambda: os.path.exists(pids) and len(
        open(pids, encoding="utf-8").read().split()) >= 2, "it runs")
    check_equal(node.stop(), 0)
    with open(pids, encoding="utf-8") as file:
        for pid in file.read().split():
            harness.wait_until(lambda p=pid: not alive(p),
                               "process %s has ended" % pid)


def alive(pid):
    try:
        with open("/proc/%s/stat" % pid, encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    harness.main(globals())
