#!/usr/bin/env python3
# parallel-safe
"""What may go wrong when somebody restores, drills or prunes at night: each
mistake has its exit code, says what to do next, and answers a program by the
same in JSON; nothing is made and nothing hangs."""
import json
import os
import subprocess

import harness
from harness import CONFMESH, RESTORE, check, check_equal, check_in

NOBODY = "s3://bucket/p?endpoint=http://127.0.0.1:1&timeout=1"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_SESSION_TOKEN": "", "AWS_CA_BUNDLE": "", "HOME": "/nonexistent"}


def scene(t):
    """a: two snapshots of one mesh; b: one of another; their authorities."""
    for name, count in (("a", 2), ("b", 1)):
        other = harness.Test()
        try:
            node = other.mesh()
            for i in range(count):
                node.ok("put", "k%d" % i, "v")
                node.ok("snapshot", "now", "--to", t.path(name))
            os.rename(other.authority, t.path(name + ".key"))
        finally:
            other.cleanup()
    os.mkdir(t.path("empty"))
    os.mkdir(t.path("full"))
    for name in ("junk", "full/x"):
        with open(t.path(name), "wb") as file:
            file.write(b"x" * 200)


def tell(t, command, code, words, env=None):
    """As text and as JSON: the code, and every word in what is said."""
    before = sorted(os.listdir(t.directory))
    for more in ([], ["--json"]):
        result = subprocess.run(
            command + more, cwd=t.directory, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            env=dict(os.environ, **dict(KEYS, **(env or {}))),
            timeout=harness.CLI_TIMEOUT_S)
        what = "%s: %r" % (" ".join(command[1:] + more), result.stderr)
        check_equal(result.returncode, code, what)
        for word in words:
            check_in(word.encode(), result.stderr, what)
        if more:
            told = json.loads(result.stdout)
            check_equal(told["exit"], code, what)
            check(told["error"] and told["error"] in result.stderr.decode(),
                  "%s: %r" % (what, told))
        else:
            check_equal(result.stdout, b"", what)
    check_equal(sorted(os.listdir(t.directory)), before, "something was made")


def test_restore(t):
    scene(t)
    good = ["--authority", "a.key", "--no-passphrase"]
    new = ["--data", "new"] + good
    for arguments, code, words in (
            ([], 64, ["URL is missing", "--snapshot-to"]),
            (["gopher://x"] + new, 64, ["supported are"]),
            (["s3://bucket/p?endpont=x"] + new, 64, ["it knows endpoint"]),
            ([NOBODY] + new, 5, ["check endpoint="]),
            (["exec:false"] + new, 5, ["run it by hand"]),
            (["absent"] + new, 5, ["is it the right place"]),
            (["junk"] + new, 5, ["a file is in the way"]),
            (["empty"] + new, 5, ["is it the right place"]),
            (["a", "v1/none"] + new, 5, ["holds no snapshot v1/none"]),
            (["b"] + new, 4, ["another mesh", "--adopt", "the right file"]),
            (["a", "--data", "new", "--no-passphrase", "--authority", "junk"],
             4, ["is no authority file", "confmesh init"]),
            (["a", "--data", "new", "--no-passphrase", "--authority", "gone"],
             5, ["name the file", "confmesh init"]),
            (["a", "--data", "new"], 64, ["--authority", "--new-authority"]),
            (["a"] + new + ["--at", "yesterday"], 64, ["such as 20"]),
            (["a"] + new + ["--at", "1999-01-01T00:00:00Z"], 5,
             ["the oldest is number 1"]),
            (["a"] + new + ["--seq", "0"], 64, ["begin at 1"]),
            (["a"] + new + ["--min-seq", "99"], 7,
             ["number 2", "look at another"]),
            (["a"] + new + ["--trust", "abc"], 64, ["64 hex digits"]),
            (["a"] + new + ["--trust", "ab" * 32], 4, ["compare both"]),
            (["a"] + new + ["--mode", "x"], 64, ["new-mesh or merge"]),
            (["a"] + new + ["--prefix", "none/"], 5, ["no key lies under"]),
            (["a"] + new + ["--recovery-key", "gone"], 5,
             ["confmesh recovery-key"]),
            (["a", "--data", "full"] + good, 64, ["does not exist yet"]),
            (["a", "--data", "junk"] + good, 64, ["does not exist yet"]),
            (["a", "--data", "/nonexistent/x"] + good, 5,
             ["make that directory first"]),
            (["a", "--data", "new", "--new-authority", "a.key",
              "--no-passphrase"], 64, ["never overwritten", "another file"]),
            (["a", "--data", "new", "--new-authority", "/nonexistent/k",
              "--no-passphrase"], 5, ["make that directory first"])):
        tell(t, [RESTORE] + arguments, code, words)
    tell(t, [RESTORE, NOBODY] + new, 5, ["no S3 credentials", "give"],
         {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})


def test_verbs(t):
    scene(t)
    for arguments, code, words in (
            (["list", "gopher://x"], 64, ["supported are"]),
            (["list", "absent"], 5, ["is it the right place"]),
            (["list", NOBODY], 5, ["check endpoint="]),
            (["inspect", "empty"], 5, ["is it the right place"]),
            (["inspect", "a", "v1/none"], 5, ["confmesh snapshot list a"]),
            (["verify", "empty"], 5, ["is it the right place"]),
            (["verify", "a", "--trust", "abc"], 64, ["64 hex digits"]),
            (["verify", "a", "--trust", "ab" * 32], 4, ["compare both"]),
            (["verify", "a", "--read-data=200%"], 64, ["as in"]),
            (["drill", "empty"], 5, ["is it the right place"]),
            (["drill", "a", "--scratch", "/nonexistent"], 5,
             ["create its parent first"]),
            (["prune", "empty"], 5, ["is it the right place"]),
            (["prune", "absent"], 5, ["is it the right place"]),
            (["prune", "a", "--grace", "x"], 64, ["such as"]),
            (["prune", "a", "--keep-last", "0"], 64, ["at least 1"]),
            (["now", "--data", "gone"], 2, ["is it running"])):
        tell(t, [CONFMESH, "snapshot"] + arguments, code, words)
    pack = [os.path.join(d, n) for d, _, names in os.walk(t.path("a"))
            for n in names if "/p" in d]
    for path in pack:
        with open(path, "r+b") as file:
            file.seek(40)
            file.write(b"XXXX")
    for verb in ("verify", "drill"):
        tell(t, [CONFMESH, "snapshot", verb, "a"], 3, ["the snapshot before"])
    tell(t, [CONFMESH, "snapshot", "prune", "a"], 3, ["nothing is pruned"])
    tell(t, [RESTORE, "a", "--data", "new", "--authority", "a.key",
             "--no-passphrase"], 3, ["try another copy"])


def test_living_node(t):
    """Those that need a node, of a node that lives."""
    scene(t)
    node = t.mesh()
    node.ok("put", "mine", "1")
    with_data = ["--data", node.data]
    for arguments, code, words in (
            (["snapshot", "now"], 2, ["say --to URL"]),
            (["snapshot", "now", "--to", "gopher://x"], 2, ["supported are"]),
            (["snapshot", "now", "--to", "junk"], 2, ["a file is in the way"]),
            (["snapshot", "now", "--to", "exec:true"], 2, ["--snapshot-to"]),
            (["snapshot", "diff", "b"], 4, ["--adopt"]),
            (["snapshot", "diff", "absent"], 5, ["is it the right place"]),
            (["restore", "b"], 64, ["--prefix PREFIX is needed"]),
            (["restore", "b", "--prefix", "", "--yes"], 4, ["--adopt"]),
            (["restore", "empty", "--prefix", ""], 5,
             ["is it the right place"]),
            (["restore", "--mode", "x", "b"], 64, ["confmesh-restore"]),
            (["restore", "--merge", "b", "--prefix", "k"], 64,
             ["whole snapshots"]),
            (["restore", "--merge", "b"], 4, ["--adopt"]),
            (["restore", "--merge", "absent"], 5, ["is it the right place"])):
        tell(t, [CONFMESH] + arguments + with_data, code, words)
    check_equal(node.values(), {"mine": b"1"})


if __name__ == "__main__":
    harness.main(globals())
