#!/usr/bin/env python3
# parallel-safe
"""Snapshots, and the day when nothing else is left: total loss, and back
from a folder and the authority's file."""
import json
import os
import shutil
import subprocess

import harness
from harness import (RESTORE, check, check_equal, check_in, cli, wait_until)

BINARY = bytes(range(256)) * 3


def restore(*arguments, stdin=b""):
    return subprocess.run([RESTORE] + [str(a) for a in arguments],
                          input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False,
                          timeout=harness.CLI_TIMEOUT_S)


def restored(t, target, name="phoenix", *flags):
    """A node from the snapshots and the authority alone; not started."""
    node = t.node(name)
    result = restore(target, "--data", node.data, "--name", name,
                     "--authority", t.authority, "--no-passphrase", *flags)
    check_equal(result.returncode, 0, result.stderr)
    return node


def fill(t, nodes):
    """What a snapshot has to bring back: values of all kinds and sizes,
    flags, deleted and revoked keys, sets with removed and revoked
    elements."""
    first = nodes[0]
    for number, node in enumerate(nodes):
        connection = node.connect()
        for i in range(300):
            connection.put("n%d/%d" % (number, i), b"value %d " % i * (i % 9))
        connection.close()
    first.ok("put", "bin", "-", stdin=BINARY)
    first.ok("put", "big", "-", stdin=os.urandom(1000000))
    first.ok("put", "empty", "")
    first.ok("put", "k" * 480, "long key")
    first.ok("put", "odd \u00e9/%41 ?#", "odd")
    first.ok("put", "flagged", "x", "--flags", "77")
    first.ok("put", "gone", "x")
    first.ok("del", "gone")
    first.ok("put", "users/bob", "admin")
    first.ok("revoke", "users/bob")
    first.ok("set", "add", "s", "a", "b", "c", "mallory")
    first.ok("set", "remove", "s", "b")
    first.ok("set", "revoke", "s", "mallory")
    nodes[-1].ok("set", "add", "many", *("e%03d" % i for i in range(400)))
    t.converged(nodes)
    return first.values()


def same_as_before(node, values):
    check_equal(node.values(), values, "values of " + node.name)
    check_equal(node.set_members("s"), ["a", "c"])
    check_equal(node.set_members("many"), ["e%03d" % i for i in range(400)])
    check_equal(node.request("GET", "/v1/kv/flagged").json()[0]["Flags"], 77)
    check_equal(node.get("gone"), None)
    result = node.cli("put", "users/bob", "back")
    check_equal(result.returncode, 2)
    check_in(b"revoked by", result.stderr)
    check_equal(node.cli("set", "add", "s", "mallory").returncode, 2)


def lose(nodes):
    for node in nodes:
        node.process.signal(9)
    for node in nodes:
        node.kill()
        shutil.rmtree(node.data)


def test_total_loss(t):
    """Three nodes die at once with their disks. The restored one is ready
    alone, issues tokens, and others join; life goes on, and is lost and
    restored once more."""
    nodes = t.mesh(3)
    values = fill(t, nodes)
    before = nodes[0].live()
    target = t.path("snap")
    nodes[1].ok("snapshot", "now", "--to", target)
    lose(nodes)
    node = restored(t, target).start()
    live = node.live()
    check_equal(live["ready"], True)
    check_equal(live["mesh"], before["mesh"], "the mesh's id")
    check_equal(live["generation"]["number"],
                before["generation"]["number"] + 1, "generation")
    check(live["incarnation"] != before["incarnation"], "a new life")
    check_equal([m["name"] for m in node.members()], ["phoenix"])
    same_as_before(node, values)
    # Writable alone, before anybody joins.
    node.ok("put", "after", "1")
    node.ok("put", "n0/5", "changed")
    values.update({"after": b"1", "n0/5": b"changed"})
    second = t.join(node, "second")
    third = t.join(node, "third")
    mesh = [node, second, third]
    third.ok("put", "third", "here")
    values["third"] = b"here"
    check_equal(t.same(mesh), values)
    for each in mesh:
        same_as_before(each, values)
    # Bob comes back only if somebody means it.
    second.ok("put", "users/bob", "new", "--unrevoke")
    node.wait_value("users/bob", b"new")
    second.ok("revoke", "users/bob")
    t.converged(mesh)
    # Restarts like any other, and the second loss is no worse.
    node.stop()
    node.start(bare=True)
    t.converged(mesh)
    third.ok("snapshot", "now", "--to", target)
    lose(mesh)
    again = restored(t, target, "again").start()
    check_equal(again.values(), values)
    check_equal(again.live()["generation"]["number"],
                before["generation"]["number"] + 2, "generation")


def test_silent_members_stay_behind(t):
    """A member that never wrote is in no version vector; of the generation
    that the restore begins it is no member all the same, so that it holds
    nothing back."""
    alpha, _ = t.mesh(2)
    alpha.ok("put", "k", "v")
    alpha.ok("put", "gone", "v")
    alpha.ok("snapshot", "now", "--to", t.path("snaps"))
    for node in t.nodes:
        node.kill()
    node = restored(t, t.path("snaps"))
    node.flags = ["--floor-interval", "100ms", "--floor-keep", "100ms"]
    node.start()
    members = json.loads(node.ok("roster", "--json"))["members"]
    check_equal([m["name"] for m in members], ["phoenix"])
    node.ok("del", "gone")
    wait_until(lambda: node.live()["floor"]["moves"] > 0, "a floor passes")
    check_equal(node.live()["floor"]["held_back_by"], [])
    newcomer = t.join(node, "gamma")
    check_equal(t.same([node, newcomer]), {"k": b"v"})


def test_newest_of_many(t):
    """Several nodes' snapshots in one folder: the newest is taken."""
    nodes = t.mesh(2)
    target = t.path("snap")
    for number in range(3):
        node = nodes[number % 2]
        node.ok("put", "n", str(number))
        node.ok("put", "only/%d" % number, "x")
        t.converged(nodes)
        node.ok("snapshot", "now", "--to", target)
    listed = [json.loads(line) for line in cli(
        "snapshot", "list", target, "--json").stdout.splitlines()]
    check_equal(len(listed), 3)
    check(all(entry["good"] for entry in listed), repr(listed))
    for entry in listed:
        check_equal(cli("snapshot", "verify", target,
                        entry["name"]).returncode, 0)
    lose(nodes)
    node = restored(t, target).start()
    check_equal(node.get("n"), b"2")
    check_equal(len(node.values()), 4)


def test_interval(t):
    """--snapshot-to and --snapshot-interval: they come by themselves."""
    node = t.init()
    target = t.path("auto")
    node.start("--snapshot-to", target, "--snapshot-interval", "1s")
    node.ok("put", "a", "1")

    def covered():
        result = cli("snapshot", "verify", target, "--json")
        return (result.returncode == 0
                and json.loads(result.stdout)["entries"] == 1)
    wait_until(covered, "a snapshot by itself")
    wait_until(lambda: node.live()["snapshot"]["sequence"] > 0, "its number")
    check_equal(node.live()["snapshot"]["failures"], 0)
    # On demand, to the node's own target.
    node.ok("put", "b", "2")
    result = node.snapshot_now("--json")
    check_equal(result.returncode, 0, result.stderr)
    check_equal(json.loads(result.stdout)["entries"], 2)
    lose([node])
    check_equal(restored(t, target).start().values(),
                {"a": b"1", "b": b"2"})


def files_below(directory):
    return sorted(os.path.join(d, name) for d, _, names in os.walk(directory)
                  for name in names)


def test_damage_is_found_and_named(t):
    """Every object of a snapshot, with bytes of it flipped, cut short,
    lengthened or gone: verify fails and names it; restore does not pass it
    over."""
    node = t.mesh()
    node.ok("put", "a", "-", stdin=os.urandom(40000))
    node.ok("put", "b", "2")
    target = t.path("snap")
    node.ok("snapshot", "now", "--to", target)
    check_equal(cli("snapshot", "verify", target).returncode, 0)
    paths = files_below(target)
    check(len(paths) >= 3, "objects: %r" % paths)
    tries = 0

    def fails(path, content, what):
        with open(path, "wb") as file:
            file.write(content)
        result = cli("snapshot", "verify", target)
        check(result.returncode not in (0, 1, 64), "verify took %s of %s" % (
            what, path))
        check_equal(result.stdout, b"")
        name = os.path.basename(path).encode()
        check(name in result.stderr, "%s is not named: %r" % (
            path, result.stderr))

    for path in paths:
        with open(path, "rb") as file:
            good = file.read()
        step = max(1, len(good) // 25)
        for at in list(range(0, len(good), step)) + [len(good) - 1]:
            bad = bytearray(good)
            bad[at] ^= 1 << (at % 8)
            fails(path, bad, "a flipped bit at %d" % at)
            tries += 1
        fails(path, good[:-1], "the cut end")
        fails(path, good[:len(good) // 2], "a half")
        fails(path, b"", "nothing")
        fails(path, good + b"\0", "more")
        # Restoring says so too, and leaves nothing that could be started.
        data = t.path("bad")
        result = restore(target, "--data", data, "--authority", t.authority,
                         "--no-passphrase")
        check(result.returncode not in (0, 64), result.stderr)
        check_equal(cli("node", "--data", data).returncode, 2)
        shutil.rmtree(data, ignore_errors=True)
        os.unlink(path)
        result = cli("snapshot", "verify", target)
        check(result.returncode != 0, "verify missed that %s is gone" % path)
        with open(path, "wb") as file:
            file.write(good)
    check_equal(cli("snapshot", "verify", target).returncode, 0)
    harness.note("%d flipped bits in %d objects found" % (tries, len(paths)))


def test_an_older_one_when_the_newest_is_damaged(t):
    """The newest snapshot's own object is gone bad: the one before is used,
    and the exit code tells that something was lost."""
    node = t.mesh()
    target = t.path("snap")
    node.ok("put", "a", "1")
    node.ok("snapshot", "now", "--to", target)
    before = set(files_below(target))
    node.ok("put", "b", "-", stdin=os.urandom(50000))
    node.ok("snapshot", "now", "--to", target)
    new = sorted(set(files_below(target)) - before)
    check(new, "new objects")
    for path in new:
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
    lose([node])
    fresh = t.node("phoenix")
    result = restore(target, "--data", fresh.data, "--name", "phoenix",
                     "--authority", t.authority, "--no-passphrase")
    check_equal(result.returncode, 6, result.stderr)
    check(result.stderr, "it is told")
    fresh.start()
    check_equal(fresh.values(), {"a": b"1"})


def test_trust(t):
    """A snapshot of another authority is not taken for ours."""
    node = t.mesh()
    node.ok("put", "a", "1")
    target = t.path("snap")
    node.ok("snapshot", "now", "--to", target)
    listed = json.loads(cli("snapshot", "verify", target, "--json").stdout)
    other = harness.Test()
    try:
        stranger = other.mesh()
        stranger.ok("put", "evil", "1")
        stranger.ok("snapshot", "now", "--to", other.path("snap"))
        evil = other.path("snap")
        result = restore(evil, "--data", t.path("x"), "--authority",
                         t.authority, "--no-passphrase")
        check_equal(result.returncode, 4, result.stderr)
        check(not os.path.exists(t.path("x", "data.mdb")), "nothing made")
        result = restore(evil, "--data", t.path("x"), "--new-authority",
                         t.path("new.key"), "--no-passphrase", "--trust",
                         listed["authority"])
        check_equal(result.returncode, 4, result.stderr)
        check(not os.path.exists(t.path("new.key")), "no authority made")
        # Mixed into our folder, it is not what is restored.
        shutil.copytree(evil, target, dirs_exist_ok=True)
        fresh = t.node("phoenix")
        result = restore(target, "--data", fresh.data, "--name", "phoenix",
                         "--authority", t.authority, "--no-passphrase")
        check(result.returncode in (0, 6), result.stderr)
        check_equal(fresh.start().values(), {"a": b"1"})
        fresh.stop()
    finally:
        other.cleanup()


def test_trust_holds(t):
    node = t.mesh()
    node.ok("put", "a", "1")
    target = t.path("snap")
    node.ok("snapshot", "now", "--to", target)
    listed = json.loads(cli("snapshot", "verify", target, "--json").stdout)
    lose([node])
    node = restored(t, target, "phoenix", "--trust", listed["authority"])
    check_equal(node.start().values(), {"a": b"1"})


def test_new_authority(t):
    """The authority is lost as well: a new mesh with the same content."""
    nodes = t.mesh(2)
    values = fill(t, nodes)
    old = nodes[0].live()["mesh"]
    target = t.path("snap")
    nodes[0].ok("snapshot", "now", "--to", target)
    lose(nodes)
    os.unlink(t.authority)
    node = t.node("phoenix")
    result = restore(target, "--data", node.data, "--name", "phoenix",
                     "--new-authority", t.path("new.key"), "--no-passphrase")
    check_equal(result.returncode, 0, result.stderr)
    check_in(b"origin", result.stdout + result.stderr)
    check_equal(os.stat(t.path("new.key")).st_mode & 0o777, 0o600)
    node.start()
    check(node.live()["mesh"] != old, "another mesh")
    same_as_before(node, values)
    second = t.join(node, "second")
    same_as_before(second, values)
    # The file is never overwritten.
    result = restore(target, "--data", t.path("y"), "--new-authority",
                     t.path("new.key"), "--no-passphrase")
    check(result.returncode not in (0, 6), "an authority was overwritten")


def of_a_stranger(t, other, *flags):
    """A snapshot of another mesh in t's directory, with deltas behind it, and
    what its node shows."""
    stranger = other.init("stranger")
    stranger.start("--snapshot-to", t.path("theirs"), "--snapshot-delta",
                   "100ms", "--snapshot-drill", "never", *flags)
    stranger.ok("put", "theirs/a", "1", "--flags", "5")
    stranger.ok("put", "users/bob", "x")
    stranger.ok("revoke", "users/bob")
    stranger.ok("set", "add", "s", "one", "two")
    check_equal(stranger.snapshot_now().returncode, 0)
    stranger.ok("put", "late", "2")
    stranger.wait_uploaded()
    values = stranger.values()
    mesh = stranger.live()["mesh"]
    lose([stranger])
    return values, mesh


def adopt(t, target, name, *flags, code=0):
    result = restore(target, "--data", t.path(name), "--name", name,
                     "--authority", t.authority, "--no-passphrase", "--adopt",
                     *flags)
    check_equal(result.returncode, code, result.stderr)
    if code not in (0, 6):
        check(not os.path.exists(t.path(name)), "something was made")
    return result


def test_adopt(t):
    """Another mesh's snapshots under an authority that exists: refused, unless
    --adopt says that it is meant; then that authority's mesh begins with their
    content, deltas included, and none of their members."""
    own = t.init("alpha")  # its authority alone counts
    other = harness.Test()
    try:
        values, mesh = of_a_stranger(t, other)
    finally:
        other.cleanup()
    theirs = t.path("theirs")
    trust = json.loads(cli("snapshot", "inspect", theirs,
                           "--json").stdout)["authority"]
    result = restore(theirs, "--data", t.path("x"), "--authority",
                     t.authority, "--no-passphrase", "--json")
    check_equal(result.returncode, 4, result.stderr)
    for word in (b"--adopt", b"--new-authority", b"another mesh"):
        check_in(word, result.stderr)
    check_in("--adopt", json.loads(result.stdout)["error"])
    result = restore(theirs, "--data", t.path("x"), "--adopt",
                     "--new-authority", t.path("new"), "--no-passphrase")
    check_equal(result.returncode, 64, result.stderr)
    adopt(t, theirs, "x", "--trust", "ab" * 32, code=4)
    told = json.loads(adopt(t, theirs, "phoenix", "--json").stdout)
    check_equal([told["adopted_from"], told["generation"],
                 told["origin_checked"]], [mesh, 1, False])
    node = t.node("phoenix").start()
    check_equal(node.values(), values)
    check_equal(node.set_members("s"), ["one", "two"])
    check_equal(node.request("GET", "/v1/kv/theirs/a").json()[0]["Flags"], 5)
    check_equal(node.cli("put", "users/bob", "x").returncode, 2)
    live = node.live()
    check_equal(live["mesh"], told["mesh"])
    check(live["mesh"] != mesh, "another mesh")
    check_equal([m["name"] for m in json.loads(
        node.ok("roster", "--json"))["members"]], ["phoenix"])
    node.ok("put", "new", "life")
    second = t.join(node, "second")
    t.converged([node, second])
    check_equal(second.values(), dict(values, new=b"life"))
    # It is this mesh's own from now on: it is restored without --adopt.
    node.ok("snapshot", "now", "--to", t.path("mine"))
    lose([node, second])
    result = adopt(t, t.path("mine"), "again")
    check_in(b"nothing to adopt", result.stderr)
    check_equal(t.node("again").start().values(), dict(values, new=b"life"))
    told = json.loads(adopt(t, theirs, "some", "--prefix", "theirs/",
                            "--trust", trust, "--json").stdout)
    check_equal(told["origin_checked"], True)
    check_equal(t.node("some").start().values(), {"theirs/a": b"1"})
    # Both in one place: the own one first, the other one afterwards.
    shutil.copytree(t.path("mine"), theirs, dirs_exist_ok=True)
    result = adopt(t, theirs, "y", code=64)
    check_in(b"without --adopt", result.stderr)
    check(not os.path.exists(own.data + "/api.sock"), "it never ran")


def test_adopt_encrypted(t):
    """The other mesh's recovery key opens it; this mesh's authority does
    not."""
    t.init("alpha")
    key = t.path("recovery.key")
    public = cli("recovery-key", "new", key,
                 "--no-passphrase").stdout.split()[-1].decode()
    other = harness.Test()
    try:
        values, _ = of_a_stranger(t, other, "--snapshot-recipient", public)
    finally:
        other.cleanup()
    result = adopt(t, t.path("theirs"), "x", code=4)
    check_in(b"--recovery-key", result.stderr)
    adopt(t, t.path("theirs"), "phoenix", "--recovery-key", key)
    check_equal(t.node("phoenix").start().values(), values)


def test_refusals(t):
    """A clear error and nothing made."""
    node = t.mesh()
    node.ok("put", "a", "1")
    target = t.path("snap")
    node.ok("snapshot", "now", "--to", target)
    new = t.path("new")
    good = ["--authority", t.authority, "--no-passphrase"]
    os.mkdir(t.path("nothing"))
    with open(t.path("junk"), "wb") as file:
        file.write(os.urandom(200))
    for arguments, code in (
            ([], 64), ([target], 64), ([target, "--data", new], 64),
            ([target, "--data", new, "--frob"], 64),
            ([target, "--data", node.data] + good, None),
            ([t.path("absent"), "--data", new] + good, 5),
            ([t.path("nothing"), "--data", new] + good, 5),
            ([target, "--data", new, "--authority", t.path("absent"),
              "--no-passphrase"], None),
            ([target, "--data", new, "--authority", t.path("junk"),
              "--no-passphrase"], None),
            ([target, "--data", new, "--name", "a b"] + good, 64),
            (["s3://KEY:SECRET@bucket", "--data", new] + good, 64)):
        result = restore(*arguments)
        check(result.returncode != 0, "%r was taken" % arguments)
        if code is not None:
            check_equal(result.returncode, code, "%r: %r" % (arguments,
                                                             result.stderr))
        check(len(result.stderr) > 20, "no reason: %r" % arguments)
        check(not os.path.exists(os.path.join(new, "data.mdb")),
              "something was made: %r" % arguments)
    # The living node was not touched.
    check_equal(node.get("a"), b"1")
    # A snapshot to where none can be.
    result = node.cli("snapshot", "now", "--to", t.path("junk"))
    check_equal(result.returncode, 2)
    check(result.stderr, "no reason")
    check_equal(node.get("a"), b"1")


def test_no_server_inside(t):
    """The restore tool has the CRDT, the formats, LMDB and the clients of
    object stores, and nothing that listens or gossips."""
    del t
    told = subprocess.run(["nm", "--defined-only", RESTORE], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    names = {line.split()[-1].decode() for line in told.stdout.splitlines()}
    if not names:
        harness.note("it has no symbols: built statically")
        return
    check("writer_replace" in names and "snapshot_state_open" in names,
          "what it needs")
    servers = [n for n in names if n.startswith(
        ("gossip_", "MHD_", "uv_", "http_", "node_new", "daemon_"))]
    check_equal(servers, [])
    told = subprocess.run(["readelf", "-d", RESTORE], check=True,
                          stdout=subprocess.PIPE).stdout
    check(b"libmicrohttpd" not in told and b"libuv" not in told, told)


def test_passphrase(t):
    """An authority under a passphrase: the right one only."""
    for name, text in (("right", "correct horse\n"), ("wrong", "battery\n")):
        with open(t.path(name), "w", encoding="utf-8") as file:
            file.write(text)
    node = t.node("alpha")
    result = cli("init", node.data, "--name", "alpha", "--authority",
                 t.authority, "--passphrase-file", t.path("right"))
    check_equal(result.returncode, 0, result.stderr)
    node.start()
    node.ok("put", "a", "1")
    target = t.path("snap")
    node.ok("snapshot", "now", "--to", target)
    lose([node])
    fresh = t.node("phoenix")
    base = [target, "--data", fresh.data, "--name", "phoenix", "--authority",
            t.authority]
    for flags in (["--passphrase-file", t.path("wrong")],
                  ["--no-passphrase"]):
        result = restore(*base, *flags)
        check(result.returncode != 0, "a wrong passphrase was taken")
        check(not os.path.exists(os.path.join(fresh.data, "data.mdb")),
              "something was made")
    result = restore(*base, "--passphrase-file", t.path("right"))
    check_equal(result.returncode, 0, result.stderr)
    check_equal(fresh.start().get("a"), b"1")


if __name__ == "__main__":
    harness.main(globals())
