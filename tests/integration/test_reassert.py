#!/usr/bin/env python3
# parallel-safe
"""Old values as new writes, in a living mesh: sets, revokes, ends; and keys of
another mesh."""
import json
import os
import time

import harness
import snapshot_reader as reader
from harness import check, check_equal, check_in, cli, wait_until


def lines(result):
    return sorted(result.stdout.decode().splitlines())


def test_sets_and_revokes(t):
    """Shown first, key by key and element by element; then everything under
    the prefix is as it was, on every node, and what was revoked since stays
    revoked until somebody says otherwise."""
    nodes = t.mesh(2)
    node = nodes[0]
    target = t.path("snap")
    node.ok("set", "add", "app/s", "a", "b", "c")
    node.ok("set", "add", "app/gone", "only")
    node.ok("set", "add", "app/s", "out")
    node.ok("set", "revoke", "app/s", "out")
    node.ok("put", "app/user", "x")
    node.ok("revoke", "app/user")
    node.ok("put", "app/later", "v")
    node.ok("set", "add", "app/s", "late")
    node.ok("set", "add", "other", "o")
    t.converged(nodes)
    nodes[1].ok("snapshot", "now", "--to", target)
    check_equal(node.cli("snapshot", "diff", target).returncode, 0)
    node.ok("set", "remove", "app/s", "b")
    node.ok("set", "add", "app/s", "new")
    node.ok("set", "remove", "app/gone", "only")
    node.ok("set", "add", "app/fresh", "f")
    node.ok("set", "add", "app/s", "out", "--unrevoke")
    node.ok("put", "app/user", "back", "--unrevoke")
    node.ok("revoke", "app/later")
    node.ok("set", "revoke", "app/s", "late")
    node.ok("set", "remove", "other", "o")
    shown = ["! app/s\tout", "! app/user", "+ app/gone\tonly", "+ app/s\tb",
             "- app/fresh\tf", "- app/s\tnew", "x app/later", "x app/s\tlate"]
    for verb in (["snapshot", "diff", target], ["restore", target]):
        result = node.cli(*verb, "--prefix", "app/")
        check_equal(result.returncode, 1, result.stderr)
        check_equal(lines(result), shown)
        check_in(b"--unrevoke", result.stderr)
    found = [json.loads(line) for line in node.cli(
        "snapshot", "diff", target, "--prefix", "app/",
        "--json").stdout.splitlines()]
    check_in({"key": "app/s", "element": "b", "difference": "absent"}, found)
    check_in({"key": "app/user", "difference": "unrevoked"}, found)
    check_equal(node.set_members("app/s"), ["a", "c", "new", "out"])
    node.ok("restore", target, "--prefix", "app/", "--yes")
    t.converged(nodes)
    for each in nodes:
        check_equal(each.set_members("app/s"), ["a", "b", "c"])
        check_equal(each.set_members("app/gone"), ["only"])
        check_equal(each.cli("set", "members", "app/fresh").returncode, 1)
        check_equal(each.cli("set", "members", "other").returncode, 1)
        check_equal(each.get("app/user"), None)
        check_equal(each.cli("put", "app/user", "x").returncode, 2)
        check_equal(each.cli("set", "add", "app/s", "out").returncode, 2)
        check_equal(each.get("app/later"), None)
    node.ok("restore", target, "--prefix", "app/", "--yes", "--unrevoke")
    check_equal(node.get("app/later"), b"v")
    check_equal(node.set_members("app/s"), ["a", "b", "c", "late"])
    check_equal(lines(node.cli("snapshot", "diff", target, "--prefix",
                               "app/")), [])


def test_as_of_a_time(t):
    """--at: between two snapshots, by the deltas; --seq: which snapshot."""
    target = t.path("snap")
    node = t.mesh()
    node.ok("put", "app/a", "1")  # before it uploads: it is in the first one
    node.stop()
    node.start("--snapshot-to", target, "--snapshot-interval", "1h",
               "--snapshot-delta", "200ms")
    wait_until(lambda: node.live()["snapshot"]["sequence"] > 0, "a snapshot")
    node.ok("put", "app/a", "2")
    node.ok("put", "app/b", "2")
    node.ok("set", "add", "app/s", "x")
    node.wait_uploaded()
    then = int(time.time()) + 1
    wait_until(lambda: time.time() >= then + 1, "a second between two states")
    node.ok("put", "app/a", "3")
    node.ok("del", "app/b")
    node.ok("set", "add", "app/s", "y")
    node.wait_uploaded()
    bounds = ["--at", str(then), "--prefix", "app/"]
    shown = ["+ app/b", "- app/s\ty", "~ app/a"]
    for verb in (["snapshot", "diff", target, "--live"], ["restore", target]):
        result = node.cli(*verb, *bounds)
        check_equal(result.returncode, 1, result.stderr)
        check_equal(lines(result), shown)
    check_equal(node.snapshot_now().returncode, 0)
    check_equal(lines(node.cli("snapshot", "diff", target, *bounds)), shown,
                "a later snapshot changes nothing of that")
    check_equal(lines(node.cli("snapshot", "diff", target, "--seq", "1")),
                ["- app/s\tx", "- app/s\ty", "~ app/a"])
    node.ok("restore", target, *bounds, "--yes")
    check_equal(node.values(), {"app/a": b"2", "app/b": b"2"})
    check_equal(node.set_members("app/s"), ["x"])
    # A delta that is gone: nothing is written on a guess.
    node.wait_uploaded()
    first = sorted(n for n in reader.Store(target).names("v1")
                   if "/d/" in n)[0]
    os.unlink(os.path.join(target, first))
    result = node.cli("restore", target, *bounds, "--yes")
    check_equal(result.returncode, 3, result.stderr)
    check_in(b"deltas behind it", result.stderr)
    for arguments, code in ((["--at", "1000"], 5), (["--seq", "0"], 64),
                            (["--at", "soon"], 64)):
        result = node.cli("restore", target, "--prefix", "", *arguments)
        check_equal(result.returncode, code, result.stderr)
    result = node.cli("restore", "--merge", target, "--at", str(then))
    check_equal(result.returncode, 64, result.stderr)


def test_two_snapshots(t):
    """Two snapshots are compared without a node."""
    target = t.path("snap")
    node = t.init().start()
    node.ok("put", "app/a", "1")
    node.ok("put", "app/b", "1")
    node.ok("put", "app/same", "-", stdin=bytes(range(256)))
    node.ok("put", "app/flags", "x", "--flags", "1")
    node.ok("put", "app/user", "x")
    node.ok("set", "add", "app/s", "a", "b")
    node.ok("put", "other", "1")
    node.ok("snapshot", "now", "--to", target)
    node.ok("put", "app/a", "2")
    node.ok("put", "app/flags", "x", "--flags", "2")
    node.ok("del", "app/b")
    node.ok("put", "app/c", "1")
    node.ok("revoke", "app/user")
    node.ok("set", "remove", "app/s", "b")
    node.ok("set", "add", "app/s", "c")
    node.ok("put", "other", "2")
    node.ok("snapshot", "now", "--to", target)
    first, second = sorted(reader.Store(target).manifests())
    live = lines(node.cli("snapshot", "diff", target, first, "--prefix",
                          "app/"))
    node.kill()
    result = cli("snapshot", "diff", target, first, second, "--prefix", "app/")
    check_equal(result.returncode, 1, result.stderr)
    check_equal(lines(result), ["+ app/b", "+ app/s\tb", "- app/c",
                                "- app/s\tc", "x app/user", "~ app/a",
                                "~ app/flags"])
    check_equal(lines(result), live, "the node says the same")
    back = cli("snapshot", "diff", target, second, first, "--json")
    check_equal(back.returncode, 1)
    check_in({"key": "app/user", "difference": "unrevoked"},
             [json.loads(line) for line in back.stdout.splitlines()])
    check_equal(cli("snapshot", "diff", target, first, first).returncode, 0)
    for arguments, code in (([first, second, "--live"], 64),
                            ([first, second, "--at", "5"], 64),
                            ([first, second[:-1] + "9"], 5)):
        result = cli("snapshot", "diff", target, *arguments)
        check_equal(result.returncode, code, result.stderr)


def test_ends_are_kept(t):
    """What was to end, ends, also after it was written again."""
    node = t.mesh()
    end = int(time.time()) + 3600
    node.ok("put", "k", "v", "--expires-at", str(end))
    node.ok("set", "add", "s", "e", "--expires-at", str(end))
    node.ok("snapshot", "now", "--to", t.path("snap"))
    node.ok("del", "k")
    node.ok("set", "remove", "s", "e")
    node.ok("restore", t.path("snap"), "--prefix", "", "--yes")
    check_equal(node.get("k"), b"v")
    check_equal(node.set_members("s"), ["e"])
    shown = json.loads(node.ok("get", "k", "--siblings"))
    ends = [s["expires_ms"] for s in shown["siblings"] if s["winner"]]
    check_equal(ends, [end * 1000])


def test_another_mesh(t):
    """Refused, whatever is tried; with --adopt its keys and values are new
    writes here, and nothing of this mesh goes."""
    node = t.mesh()
    node.ok("put", "mine", "1")
    node.ok("put", "both", "mine")
    node.ok("set", "add", "s", "mine")
    node.ok("put", "out", "x")
    node.ok("revoke", "out")
    other = harness.Test()
    try:
        stranger = other.mesh()
        stranger.ok("put", "theirs", "2", "--flags", "5")
        stranger.ok("put", "both", "theirs")
        stranger.ok("put", "out", "theirs")
        stranger.ok("put", "gone", "x")
        stranger.ok("revoke", "gone")
        stranger.ok("set", "add", "s", "theirs")
        stranger.ok("snapshot", "now", "--to", t.path("snap"))
    finally:
        other.cleanup()
    before = node.live()["revision"]
    for arguments in (["snapshot", "diff", t.path("snap")],
                      ["restore", t.path("snap"), "--prefix", "", "--yes"],
                      ["restore", "--merge", t.path("snap")]):
        result = node.cli(*arguments)
        check_equal(result.returncode, 4, "%r was taken" % arguments)
        check_in(b"--adopt", result.stderr)
    check_equal(node.cli("restore", "--merge", "--adopt",
                         t.path("snap")).returncode, 64)
    check_equal(node.live()["revision"], before)
    result = node.cli("restore", t.path("snap"), "--adopt", "--prefix", "")
    check_equal(lines(result), ["+ s\ttheirs", "+ theirs", "x out", "~ both"])
    node.ok("restore", t.path("snap"), "--adopt", "--prefix", "", "--yes")
    check_equal(node.values(),
                {"mine": b"1", "both": b"theirs", "theirs": b"2"})
    check_equal(node.set_members("s"), ["mine", "theirs"])
    check_equal(node.get("out"), None)
    check_equal(node.request("GET", "/v1/kv/theirs").json()[0]["Flags"], 5)
    # They are this mesh's own from now on.
    second = t.join(node, "second")
    check_equal(second.values(), node.values())


if __name__ == "__main__":
    harness.main(globals())
