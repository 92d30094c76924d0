#!/usr/bin/env python3
"""Partitions, made and healed while writes go on: both sides work, and
afterwards all nodes hold the same. The nodes are on hosts of their own (see
namespaces.py), so that what is cut off hears nothing at all."""
import time

import namespaces
from harness import Thread, check_equal, check_in, note

BOB = "users/bob"


def heal(t, lab, nodes, keys=None):
    """Heals, waits until all agree; the values."""
    started = time.monotonic()
    lab.heal(nodes)
    t.converged(nodes, 60)
    healed = time.monotonic() - started
    values = t.same(nodes, keys)
    note("equal %.2f s after the partition was healed" % healed)
    for node in nodes:
        check_equal(node.live()["alarms"], [], "alarms of " + node.name)
    return values


def write(node, prefix, count):
    connection = node.connect()
    for i in range(count):
        connection.put("%s/%d" % (prefix, i), b"%d" % i)
    connection.close()


def test_both_sides_write(t):
    """Two and three of five nodes, long enough for the others to be taken
    for dead; a node restarts on its side without any flag."""
    lab = namespaces.Lab(t)
    nodes = lab.mesh(["alpha", "beta", "gamma", "delta", "epsilon"])
    nodes[0].ok("put", "both", "before")
    t.converged(nodes)
    left, right = nodes[:2], nodes[2:]
    lab.partition(left, right)
    threads = [Thread(write, node, node.name, 200) for node in nodes]
    for thread in threads:
        thread.finish()
    nodes[0].ok("put", "both", "left")
    nodes[4].ok("put", "both", "right")
    nodes[0].ok("set", "add", "s", "left")
    nodes[4].ok("set", "add", "s", "right")
    # Each side is a mesh that works, and has nothing of the other.
    check_equal(len(t.same(left)), 401)
    check_equal(len(t.same(right)), 601)
    check_equal(left[0].get("both"), b"left")
    check_equal(right[0].get("both"), b"right")
    for node in left:
        node.wait_alive(2, 60)
    for node in right:
        node.wait_alive(3, 60)
    nodes[3].kill()
    nodes[3].start(bare=True)
    t.converged(right)
    values = heal(t, lab, nodes, 1001)
    for node in nodes:
        node.wait_alive(5, 60)
        check_equal(node.set_members("s"), ["left", "right"])
    # The later of the two won, and the other is not lost silently.
    check_equal(values["both"], b"right")
    check_equal(len(nodes[1].siblings("both")), 2, "siblings")
    nodes[2].ok("put", "both", "after")
    for node in nodes:
        node.wait_value("both", b"after")
    t.converged(nodes)
    check_equal(len(nodes[1].siblings("both")), 1, "siblings")


def test_stale_writer(t):
    """Across a partition: B revokes on one side, A writes its stale copy
    back on the other, earlier or later. Bob stays revoked everywhere."""
    lab = namespaces.Lab(t)
    nodes = lab.mesh(["alpha", "beta", "gamma"])
    for number, later in enumerate(("revoke", "write")):
        key = "%s-%d" % (BOB, number)
        nodes[0].ok("put", key, "admin")
        t.converged(nodes)
        lab.partition(nodes[:1], nodes[1:])
        if later == "write":
            nodes[1].ok("revoke", key)
        nodes[0].ok("put", key, "admin again")
        if later == "revoke":
            nodes[1].ok("revoke", key)
        check_equal(nodes[0].get(key), b"admin again")
        nodes[2].wait_value(key, None)
        heal(t, lab, nodes)
        for node in nodes:
            check_equal(node.get(key), None, "%s on %s" % (key, node.name))
            result = node.cli("put", key, "admin again")
            check_equal(result.returncode, 2, result.stderr)
            check_in(b"revoked by beta", result.stderr)


def test_flapping(t):
    """Partitions that come and go faster than anybody is declared dead, with
    other sides each time, under constant writes."""
    lab = namespaces.Lab(t)
    nodes = lab.mesh(["alpha", "beta", "gamma", "delta"])
    stop = []

    def storm(node):
        connection = node.connect()
        count = 0
        while not stop:
            connection.put("%s/%d" % (node.name, count), b"x" * 100)
            count += 1
            # Some rest for the machine: this is no benchmark.
            time.sleep(0.002)
        connection.close()
        return count

    threads = [Thread(storm, node) for node in nodes]
    for number in range(6):
        a, b, c, d = (nodes[(number + k) % 4] for k in range(4))
        if number % 3 == 0:
            lab.partition([a], [b, c, d])
        elif number % 3 == 1:
            lab.partition([a, b], [c, d])
        else:
            lab.partition([a], [b], [c, d])
        # As long as it takes the side to see a write of its own.
        d.ok("put", "side/%d" % number, "x")
        c.wait_value("side/%d" % number, b"x", 30)
    stop.append(True)
    counts = [thread.finish() for thread in threads]
    heal(t, lab, nodes, sum(counts) + 6)
    for node in nodes:
        node.wait_alive(4, 60)


def test_join_during_partition(t):
    """A node joins one side; after healing, the other side knows it and
    takes its writes."""
    lab = namespaces.Lab(t)
    nodes = lab.mesh(["alpha", "beta", "gamma"])
    nodes[2].ok("put", "old", "1")
    t.converged(nodes)
    lab.partition(nodes[:2], nodes[2:])
    joiner = lab.place(t.node("delta"))
    joiner.start("--name", "delta", "--join", nodes[0].token())
    joiner.ok("put", "new", "from delta")
    nodes[2].ok("put", "other", "from gamma")
    nodes[1].wait_value("new", b"from delta")
    check_equal(nodes[2].get("new"), None)
    nodes.append(joiner)
    values = heal(t, lab, nodes, 3)
    check_equal(values["new"], b"from delta")
    for node in nodes:
        node.wait_alive(4)


if __name__ == "__main__":
    namespaces.main(globals())
