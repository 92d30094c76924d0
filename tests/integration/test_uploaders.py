#!/usr/bin/env python3
# parallel-safe
"""Who uploads: two of those who share a target, the next when one is gone;
two who do not see each other do no harm."""
import os
import shutil
import subprocess
import time

import harness
import namespaces
import snapshot_reader as reader
from harness import RESTORE, Thread, check, check_equal, check_in, wait_until

DELTA_S = 0.3
WINDOW_S = 30  # in which everything has to be at the target


def flags_of(target, *more):
    return ["--snapshot-to", target, "--snapshot-interval", "1h",
            "--snapshot-delta", "%dms" % (1000 * DELTA_S), *more]


def names(target, kind):
    return [n for n in reader.Store(target).names("v1")
            if "/%s/" % kind in n]


def told(node, number=0):
    return node.status()["snapshot"]["targets"][number]


def uploaders(nodes):
    return [n for n in nodes if told(n)["uploads"]]


def agreed(nodes, count=2):
    """The uploaders, if they are as many as should, and all nodes name
    them."""
    up = sorted(n.name for n in uploaders(nodes))
    return len(up) == min(count, len(nodes)) and all(
        sorted(told(n)["uploaders"]) == up for n in nodes) and up


def settled(nodes, count=2):
    return wait_until(lambda: agreed(nodes, count), "%d uploaders" % count, 60,
                      lambda: [
        (n.name, told(n)["reason"], told(n)["error"]) for n in nodes])


def restore(t, target, name="phoenix"):
    fresh = t.node(name)
    result = subprocess.run(
        [RESTORE, target, "--data", fresh.data, "--name", name,
         "--authority", t.authority, "--no-passphrase"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        timeout=harness.CLI_TIMEOUT_S)
    check_equal(result.returncode, 0, result.stderr)
    return fresh.start()


def mesh_with(t, target, count):
    nodes = t.mesh(count)
    for node in nodes:
        node.stop()
        node.start(*flags_of(target))
    return nodes


def lose(nodes):
    for node in nodes:
        node.kill()
        shutil.rmtree(node.data, ignore_errors=True)


def test_two_of_four(t):
    """Two upload, two wait and say for whom; when both are killed the others
    take over, and what was written meanwhile comes back."""
    target = t.path("snap")
    nodes = mesh_with(t, target, 4)
    first = settled(nodes)
    for node in nodes:
        check_in("uploads" if node.name in first else "others upload",
                 told(node)["reason"])
    nodes[0].ok("put", "a", "1")
    wait_until(lambda: len({n.split("/")[3] for n in names(target, "m")}) >= 2,
               "two signers")
    # A node that is configured otherwise is never chosen.
    for node in nodes:
        check_equal(node.metric('snapshot_target_uploads{target="%s"}'
                                % target), node.name in first)
    dead = [n for n in nodes if n.name in first]
    left = [n for n in nodes if n.name not in first]
    begun = time.monotonic()
    for node in dead:
        node.kill()
    left[0].ok("put", "b", "2")
    # A deadline for the nodes, of which a machine that stands still uses none.
    wait_until(lambda: agreed(left) and
               min(told(n)["covered_wall_ms"] for n in left) > 0,
               "the others take over, and cover", WINDOW_S)
    harness.note("%.1f s until others took over" % (time.monotonic() - begun))
    left[0].ok("put", "c", "3")
    wait_until(lambda: names(target, "d"), "deltas")
    for node in left:
        node.wait_uploaded()
    lose(nodes)
    check_equal(restore(t, target).values(),
                {"a": b"1", "b": b"2", "c": b"3"})


def test_only_the_configured(t):
    """Of three only one is configured with the target: it uploads, whatever
    its place. A second target of the same name on another host is another
    one; here: each has its own directory."""
    nodes = t.mesh(3)
    targets = [t.path("snap%d" % i) for i in range(3)]
    for node, target in zip(nodes, targets):
        node.stop()
        node.start(*flags_of(target))
    for node, target in zip(nodes, targets):
        wait_until(lambda n=node: told(n)["uploads"], "it uploads")
        wait_until(lambda d=target: names(d, "m"), "its snapshot")
        check_equal(told(node)["uploaders"], [node.name])


def test_goes_on_after_restart(t):
    """A process that starts takes no snapshot: it goes on with the chain that
    is at the target. A chain that is damaged is not gone on with."""
    target = t.path("snap")
    node = t.init()
    node.start(*flags_of(target))
    node.ok("put", "a", "1")
    wait_until(lambda: names(target, "m"), "a snapshot")
    for i in range(3):
        node.ok("put", "a", "x%d" % i)
        wait_until(lambda c=i: len(names(target, "d")) > c, "a delta")
        node.stop() if i % 2 else node.kill()
        node.start(*flags_of(target))
    node.ok("put", "b", "2")
    wait_until(lambda: len(names(target, "d")) >= 4, "the chain to go on")
    check_equal(len(names(target, "m")), 1, "a restart took a snapshot")
    node.stop()
    last = max(names(target, "d"))
    os.unlink(os.path.join(target, sorted(names(target, "d"))[1]))
    node.start(*flags_of(target))
    wait_until(lambda: len(names(target, "m")) == 2, "a new chain")
    node.ok("put", "c", "3")
    wait_until(lambda: max(names(target, "d")) > last, "its delta")
    node.wait_uploaded()
    values = node.values()
    lose([node])
    check_equal(restore(t, target).values(), values)


def test_silent_uploader(t):
    """An uploader that lives but does not reach the target any more is passed
    over by those who come next."""
    target = t.path("snap")
    nodes = t.mesh(3)
    # Each reaches the one directory by a path of its own.
    for node in nodes:
        node.stop()
        os.symlink(target, t.path("way-" + node.name))
    os.mkdir(target)
    for node in nodes:
        node.start(*flags_of(t.path("way-" + node.name)))
    first = settled(nodes)
    nodes[0].ok("put", "a", "1")
    wait_until(lambda: len(names(target, "h")) >= 2, "two heartbeats")
    os.unlink(t.path("way-" + first[0]))
    os.mkdir(t.path("elsewhere"))
    os.symlink(t.path("elsewhere"), t.path("way-" + first[0]))
    third = [n for n in nodes if n.name not in first][0]
    wait_until(lambda: told(third)["uploads"], "the third takes over", 60,
               lambda: told(third)["reason"])
    check(first[0] not in told(third)["uploaders"], repr(told(third)))


def lab_with(t, count):
    """Nodes on hosts of their own, and a directory that all of them reach."""
    lab = namespaces.Lab(t)
    target = t.path("snap")
    os.makedirs(target)
    nodes = lab.mesh(["alpha", "beta", "gamma", "delta"][:count])
    shutil.copy(nodes[0].root + lab.disk("authority.key"), t.authority)
    for node in nodes:
        node.stop()
        node.start(*flags_of(target))
    settled(nodes)
    return lab, target, nodes


def test_partition(t):
    """Both sides of a partition upload into one target; together they give
    the union. Healed, two upload again."""
    lab, target, nodes = lab_with(t, 4)
    nodes[0].ok("put", "both", "1")
    t.converged(nodes)
    sides = nodes[:2], nodes[2:]
    lab.partition(*sides)
    for number, side in enumerate(sides):
        for node in side:
            node.wait_alive(2, 60)
        wait_until(lambda s=side: len(uploaders(s)) == 2, "its side uploads",
                   60)
        for i in range(20):
            side[0].ok("put", "side/%d/%d" % (number, i), "x")
        side[1].ok("put", "both", str(number))
    wait_until(lambda: len({n.split("/")[3] for n in names(target, "m")}) == 4,
               "four signers")
    lab.heal(nodes)
    t.converged(nodes, 60)
    values = t.same(nodes, 41)
    settled(nodes)
    for node in nodes:
        node.kill()
    for name in names(target, "m"):
        result = harness.cli("snapshot", "verify", target, name)
        check_equal(result.returncode, 0, result.stderr)
    check_equal(restore(t, target).values(), values)


def test_partition_then_loss(t):
    """The mesh is lost while it is in two: each side's last writes come back
    from what that side had put."""
    lab, target, nodes = lab_with(t, 2)
    nodes[0].ok("put", "both", "1")
    t.converged(nodes)
    wait_until(lambda: len(names(target, "m")) >= 2, "two snapshots")
    lab.partition(nodes[:1], nodes[1:])
    writers = [Thread(node.ok, "put", "side/" + node.name, "x")
               for node in nodes]
    for writer in writers:
        writer.finish()
    since = time.time() * 1000
    wait_until(lambda: all(told(n)["covered_wall_ms"] > since for n in nodes),
               "both have put it")
    lose(nodes)
    check_equal(restore(t, target).values(),
                {"both": b"1", "side/alpha": b"x", "side/beta": b"x"})


if __name__ == "__main__":
    namespaces.main(globals())
