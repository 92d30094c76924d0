#!/usr/bin/env python3
# parallel-safe
"""Old values as new writes, in a living mesh: sets, revokes, ends; and keys of
another mesh."""
import json
import time

import harness
from harness import check, check_equal, check_in


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
