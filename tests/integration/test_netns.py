#!/usr/bin/env python3
"""Three nodes, each in a network and a mount namespace of its own with
nothing shared but packets, behave as three on loopback do."""
import os
import time

import namespaces
from harness import (CONFMESH, RESTORE, Process, Thread, check, check_equal,
                     check_in, note, wait_until)

NAMES = ["alpha", "beta", "gamma"]


def test_the_main_job(t):
    """Join, write, read, watch, sets, restart, move, revoke."""
    lab = namespaces.Lab(t)
    nodes = lab.mesh(NAMES)
    # They share no file: what one has at a path, the others have not.
    with open(nodes[0].root + lab.disk("mine"), "w",
              encoding="utf-8") as file:
        file.write("x")
    for node in nodes[1:]:
        check(not os.path.exists(node.root + lab.disk("mine")), "shared disk")
    check(not os.path.exists(lab.disk("data")), "nothing is outside")
    namespaces_seen = {os.readlink("/proc/%d/ns/%s" % (n.pid, kind))
                       for n in nodes for kind in ("net", "mnt")}
    check_equal(len(namespaces_seen), 6, "namespaces")
    watch = nodes[2].watch("k/", "--from", str(nodes[2].live()["revision"]))
    values = {}
    for number, node in enumerate(nodes):
        for size in (0, 1000, 1000000):
            key = "k/%d/%d" % (number, size)
            values[key] = os.urandom(size)
            node.ok("put", key, "-", stdin=values[key])
    check_equal(t.same(nodes), values)
    wait_until(lambda: len(watch.lines()) == len(values), "the watch tells")
    check_equal({line.split(b" ")[1].decode() for line in watch.lines()},
                set(values))
    watch.stop()
    for thread in [Thread(node.ok, "set", "add", "s", node.name)
                   for node in nodes]:
        thread.finish()
    t.converged(nodes)
    for node in nodes:
        check_equal(node.set_members("s"), NAMES)
    nodes[1].ok("revoke", "k/0/0")
    nodes[0].wait_value("k/0/0", None)
    result = nodes[0].cli("put", "k/0/0", "stale")
    check_equal(result.returncode, 2)
    check_in(b"revoked by beta", result.stderr)
    # Restart without any flag.
    for end in (nodes[2].stop, nodes[2].kill):
        end()
        nodes[0].ok("put", "missed", str(nodes[2].starts))
        started = time.monotonic()
        nodes[2].start(bare=True)
        nodes[2].wait_value("missed", str(nodes[2].starts - 1).encode())
        note("restarted and in step after %.0f ms" % (
            1e3 * (time.monotonic() - started)))
    t.converged(nodes)


def test_concurrent_writes(t):
    lab = namespaces.Lab(t)
    nodes = lab.mesh(NAMES)

    def write(node, number):
        connection = node.connect()
        for i in range(1000):
            connection.put("%d/%d" % (number, i) if i % 3 else "all/%d" % i,
                           b"%d" % number)
        connection.close()

    for thread in [Thread(write, node, number)
                   for number, node in enumerate(nodes)]:
        thread.finish(60)
    t.same(nodes, 3 * 666 + 334)


def test_lost_and_restored(t):
    """The snapshot is carried to a host that never was in the mesh, and
    restored there; a second new host joins it."""
    lab = namespaces.Lab(t)
    nodes = lab.mesh(NAMES)
    for number, node in enumerate(nodes):
        for i in range(50):
            node.ok("txn", stdin="".join(
                "put %d/%d/%d v%d\n" % (number, i, k, i) for k in range(4)))
            if i >= 4:
                break
        node.ok("set", "add", "s", node.name)
    values = t.same(nodes)
    nodes[1].ok("snapshot", "now", "--to", lab.disk("snapshots"))
    # What is kept elsewhere: the folder and the authority's file.
    kept = t.path("kept")
    os.mkdir(kept)
    for host, path in ((nodes[1], "snapshots"), (nodes[0], "authority.key")):
        check_equal(os.system("cp -a '%s' '%s'" % (
            host.root + lab.disk(path), kept)), 0)
    for node in nodes:
        node.kill()
    lab.partition([], [], nodes)  # those hosts are gone
    fresh = lab.place(t.node("phoenix"))
    check_equal(os.system("cp -a '%s'/. '%s'" % (
        kept, fresh.root + lab.disk())), 0)
    result = Process(fresh.prefix + [
        RESTORE, lab.disk("snapshots"), "--data", fresh.data, "--name",
        fresh.name, "--authority", lab.disk("authority.key"),
        "--no-passphrase"], t.directory, "restore")
    check_equal(result.wait(), 0, result.stderr())
    fresh.start()
    second = lab.place(t.node("second"))
    second.start("--name", "second", "--join", fresh.token())
    check_equal(t.same([fresh, second]), values)
    for node in (fresh, second):
        check_equal(node.set_members("s"), NAMES)
    check(os.path.exists(CONFMESH), "the program itself is shared")


if __name__ == "__main__":
    namespaces.main(globals())
