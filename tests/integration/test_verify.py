#!/usr/bin/env python3
# parallel-safe
"""What is told of a snapshot without restoring it, and the drill that restores
it for practice: counts are one truth everywhere, damage is found and named."""
import json
import os

import harness
from harness import check, check_equal, check_in, cli, wait_until
from test_merge import files, restore


def good(*arguments, code=0):
    result = cli(*arguments, "--json")
    check_equal(result.returncode, code, result.stderr)
    return json.loads(result.stdout)


def written(t, *flags):
    """A mesh of two with a snapshot; entries are more than keys, because the
    roster is of the state."""
    alpha, beta = t.mesh(2)
    if flags:
        alpha.stop()
        alpha.start(*flags)
    alpha.ok("put", "big", "-", stdin=os.urandom(200000))
    alpha.ok("put", "gone", "x")
    alpha.ok("del", "gone")
    for i in range(8):
        alpha.ok("put", "k%d" % i, "v")
    alpha.ok("set", "add", "s", "a", "b")
    t.converged([alpha, beta])
    alpha.ok("snapshot", "now", "--to", t.path("s"))
    return alpha, beta


def test_one_truth(t):
    """list, inspect, verify, drill and restore count the same."""
    written(t)
    target = t.path("s")
    listed = good("snapshot", "list", target)
    inspected = good("snapshot", "inspect", target)
    verified = good("snapshot", "verify", target)
    drilled = good("snapshot", "drill", target, "--scratch", t.directory)
    restored = json.loads(restore(
        target, "--data", t.path("new"), "--authority", t.authority,
        "--no-passphrase", "--json").stdout)
    for each in (inspected, verified, drilled, restored):
        check_equal(each["entries"], listed["entries"])
    for each in (drilled, restored):
        check_equal(each["keys"], verified["keys"])
    check(verified["keys"] < verified["entries"], "the roster is no key")
    check_equal(inspected["root"], drilled["root"])
    check_equal(inspected["packs"], verified["packs"])
    check_equal(inspected["packs_bytes"], sum(
        os.path.getsize(p) for p in files(target) if "/p/" in p))
    check_equal(inspected["manifest_bytes"], sum(
        os.path.getsize(p) for p in files(target) if "/m/" in p))
    check_equal([inspected["signer"], inspected["deltas"],
                 inspected["encrypted"]], ["alpha", 0, False])
    # As text, and by name.
    for verb in ("list", "inspect", "verify", "drill"):
        name = [listed["name"]] if verb != "list" else []
        result = cli("snapshot", verb, target, *name)
        check_equal(result.returncode, 0, result.stderr)
        check_in(listed["name"].encode(), result.stdout)
    check_equal([n for n in os.listdir(t.directory) if "drill" in n], [])


def test_a_part_of_the_data(t):
    """--read-data=N% reads some packs, and misses none that is gone."""
    written(t)
    target = t.path("s")
    check_equal(good("snapshot", "verify", target)["packs_read"], 1)
    check_equal(good("snapshot", "verify", target,
                     "--read-data")["packs_read"], 1)
    check_equal(good("snapshot", "verify", target,
                     "--read-data=0%")["packs_read"], 0)
    for wrong in ("101%", "x", "-1", "5%%", ""):
        check_equal(cli("snapshot", "verify", target,
                        "--read-data=" + wrong).returncode, 64, wrong)
    pack = [p for p in files(target) if "/p/" in p][0]
    os.rename(pack, t.path("aside"))
    for verb in (["verify"], ["verify", "--read-data=0%"], ["inspect"],
                 ["drill"]):
        result = cli("snapshot", verb[0], target, *verb[1:])
        check_equal(result.returncode, 3, verb)
        check_in(os.path.basename(pack).encode(), result.stderr)
        check_equal(result.stdout, b"")
        result = cli("snapshot", verb[0], target, *verb[1:], "--json")
        told = json.loads(result.stdout)
        check_equal([told["exit"], result.returncode], [3, 3], verb)
        check_in(os.path.basename(pack), told["error"])


def test_drill_of_deltas(t):
    """The drill applies what came after the snapshot, and says what of it is
    lost."""
    node = t.init()
    target = t.path("s")
    node.start("--snapshot-to", target, "--snapshot-interval", "1h",
               "--snapshot-delta", "100ms")
    node.ok("put", "a", "1")
    # The first one may be under way by itself.
    wait_until(lambda: node.cli("snapshot", "now").returncode == 0,
               "a snapshot")
    for i in range(3):
        node.ok("put", "late%d" % i, "x")
        wait_until(lambda n=i: good("snapshot", "inspect",
                                    target)["deltas"] > n, "a delta")
    # A heartbeat behind the last one tells how many there are.
    wait_until(lambda: good("snapshot", "inspect", target).get(
        "heartbeat_delta", 0) >= 3, "a heartbeat behind the last delta")
    node.stop()
    drilled = good("snapshot", "drill", target)
    check_equal(drilled["lost"], 0)
    check(drilled["deltas"] >= 3 and drilled["events"] >= 3, repr(drilled))
    inspected = good("snapshot", "inspect", target)
    check_equal(inspected["deltas"], drilled["deltas"])
    check_equal(inspected["heartbeat_delta"], drilled["deltas"])
    last = [p for p in files(target) if "/d/" in p][-1]
    os.unlink(last)
    result = cli("snapshot", "drill", target)
    check_equal(result.returncode, 6)
    check_in(b"later deltas than there are", result.stderr)


def test_drill_finds_damage(t):
    """A flipped byte anywhere in a pack, a wrong or missing target, a snapshot
    that is encrypted: no drill is good that could not have restored."""
    written(t)
    target = t.path("s")
    pack = [p for p in files(target) if "/p/" in p][0]
    with open(pack, "rb") as file:
        content = file.read()
    for at in range(0, len(content), max(1, len(content) // 12)):
        with open(pack, "r+b") as file:
            file.seek(at)
            file.write(bytes([content[at] ^ 0x10]))
        result = cli("snapshot", "drill", target)
        check_equal(result.returncode, 3, "byte %d" % at)
        check_in(b"not restorable", result.stderr)
        with open(pack, "r+b") as file:
            file.seek(at)
            file.write(content[at:at + 1])
    check_equal(cli("snapshot", "drill", target).returncode, 0)
    os.mkdir(t.path("nothing"))
    for arguments, code in (([t.path("nothing")], 5), ([t.path("absent")], 5),
                            ([], 64), ([target, "v1/none"], 5),
                            ([target, "--scratch", t.path("absent")], 5)):
        check_equal(cli("snapshot", "drill", *arguments).returncode, code,
                    arguments)


def test_encrypted(t):
    key = t.path("recovery.key")
    public = cli("recovery-key", "new", key,
                 "--no-passphrase").stdout.split()[-1].decode()
    written(t, "--snapshot-recipient", public)
    target = t.path("s")
    inspected = good("snapshot", "inspect", target)
    check_equal([inspected["encrypted"], inspected["recipients"]],
                [True, public])
    # Packs against their names, without the key; whole with it.
    check("keys" not in good("snapshot", "verify", target), "looked inside")
    opened = good("snapshot", "verify", target, "--recovery-key", key,
                  "--no-passphrase")
    check(opened["keys"] >= 11, repr(opened))
    result = cli("snapshot", "drill", target)
    check_equal(result.returncode, 4)
    check_in(b"recovery-key", result.stderr)
    drilled = good("snapshot", "drill", target, "--recovery-key", key,
                   "--no-passphrase")
    check_equal(drilled["root"], inspected["root"])


def test_drills_by_themselves(t):
    """A node that uploads restores its newest snapshot for practice; status and
    metrics tell of it, and doctor complains once it fails or was too long
    ago."""
    node = t.init()
    target = t.path("s")
    node.start("--snapshot-to", target, "--snapshot-interval", "1s",
               "--snapshot-drill", "2s")
    node.ok("put", "a", "1")

    def drill():
        return node.live()["drills"]["targets"][0]
    wait_until(lambda: drill()["count"] >= 1, "a drill")
    first = drill()
    check_equal([first["failures"], first["error"]], [0, ""])
    check(first["verified_ms"] > 0 and first["entries"] > 0, repr(first))
    check_equal(node.live()["drills"]["interval_ms"], 2000)
    node.ok("put", "b", "2")
    wait_until(lambda: drill()["verified_ms"] > first["verified_ms"]
               and drill()["count"] > first["count"], "another one")
    metrics = node.request("GET", "/metrics").body
    for name in (b"snapshot_verified_age_seconds", b"snapshot_drills_total",
                 b"snapshot_drill_failures_total 0"):
        check_in(name, metrics)
    check("drill" not in node.cli("doctor").stdout.decode(), "a finding")
    check_equal([n for n in os.listdir(node.data) if "drill" in n], [])
    # Damage: every pack loses a bit. No new one hides it: nothing is written.
    for path in files(target):
        if "/p/" in path:
            with open(path, "r+b") as file:
                file.seek(60)
                byte = file.read(1)
                file.seek(60)
                file.write(bytes([byte[0] ^ 4]))
    wait_until(lambda: drill()["failures"] > 0, "a failed drill")
    check(drill()["error"], "it says why")
    result = node.cli("doctor")
    check_in(b"drill", result.stdout)
    wait_until(lambda: drill()["verified_age_ms"] > 6000, "three intervals")
    check_in(b"three intervals", node.cli("doctor").stdout)
    check(b"snapshot_drill_failures_total 0"
          not in node.request("GET", "/metrics").body, "counted")
    node.stop()
    for flags, code in ((["--snapshot-drill", "10ms"], 64),
                        (["--snapshot-drill", "x"], 64)):
        check_equal(cli("node", "--data", node.data, "--snapshot-to", target,
                        *flags).returncode, code)
    check_equal(cli("node", "--data", node.data, "--snapshot-drill",
                    "1h").returncode, 64)
    node.start("--snapshot-to", target, "--snapshot-drill", "never")
    check_equal(node.live()["drills"]["interval_ms"], 0)


if __name__ == "__main__":
    harness.main(globals())
