#!/usr/bin/env python3
"""Three and more nodes on loopback: every write reaches every node, and what
was written concurrently ends up the same everywhere."""
import os
import statistics
import time

import harness
from harness import Thread, check, check_equal, check_in, note, wait_until

WRITES = 1000  # on each of three nodes
WRITERS = 4  # connections to each
NODES_MANY = 20


def test_write_here_read_there(t):
    """Each node writes; each other one has the very bytes."""
    nodes = t.mesh(3)
    values = {}
    for number, node in enumerate(nodes):
        for size in (0, 1, 1000, 100000, 1000000):
            key = "k/%d/%d" % (number, size)
            values[key] = os.urandom(size)
            node.ok("put", key, "-", stdin=values[key])
    check_equal(t.same(nodes), values, "values")
    nodes[2].ok("del", "k/0/1")
    for node in nodes:
        node.wait_value("k/0/1", None)
    # The flags travel too.
    nodes[1].ok("put", "flagged", "x", "--flags", "123456789012")
    t.converged(nodes)
    for node in nodes:
        check_equal(node.request("GET", "/v1/kv/flagged").json()[0]["Flags"],
                    123456789012)


def test_concurrent_writes_converge(t):
    """1,000 writes on each of three nodes at once; a third of them to keys
    that all three write."""
    nodes = t.mesh(3)

    def write(node, number, writer):
        connection = node.connect()
        for i in range(writer, WRITES, WRITERS):
            shared = i % 3 == 0
            key = "shared/%d" % i if shared else "own/%d/%d" % (number, i)
            connection.put(key, b"%d:%d" % (number, i))
        connection.close()

    started = time.monotonic()
    threads = [Thread(write, node, number, writer)
               for number, node in enumerate(nodes)
               for writer in range(WRITERS)]
    for thread in threads:
        thread.finish(60 * harness.SLOW)
    written = time.monotonic()
    shared = len(range(0, WRITES, 3))
    values = t.same(nodes, shared + 3 * (WRITES - shared))
    note("3 x %d writes acknowledged in %.2f s, equal %.2f s later" % (
        WRITES, written - started, time.monotonic() - written))
    for number in range(3):
        for i in range(WRITES):
            if i % 3 != 0:
                check_equal(values["own/%d/%d" % (number, i)],
                            b"%d:%d" % (number, i))
    for i in range(0, WRITES, 3):
        check(values["shared/%d" % i] in [b"%d:%d" % (n, i)
                                          for n in range(3)], "a winner")
    for node in nodes:
        live = node.live()
        check_equal(live["alarms"], [])
        check_equal(live["pending"]["events"], 0, "pending events")


def test_concurrent_sets(t):
    """Adds all stay; what was removed while nobody added it is gone."""
    nodes = t.mesh(3)
    nodes[0].ok("set", "add", "s", "kept", "removed", "revoked")
    t.converged(nodes)
    threads = []
    for number, node in enumerate(nodes):
        threads.append(Thread(node.ok, "set", "add", "s",
                              *("%d-%d" % (number, i) for i in range(50))))
    threads.append(Thread(nodes[1].ok, "set", "remove", "s", "removed"))
    threads.append(Thread(nodes[2].ok, "set", "revoke", "s", "revoked"))
    for thread in threads:
        thread.finish()
    t.converged(nodes)
    wanted = sorted(["kept"] + ["%d-%d" % (n, i) for n in range(3)
                                for i in range(50)])
    for node in nodes:
        check_equal(node.set_members("s"), wanted, node.name)


def test_transactions_arrive_whole(t):
    """A reader elsewhere sees all keys of a transaction or none."""
    nodes = t.mesh(3)
    rounds = 60

    def write():
        for i in range(rounds):
            nodes[0].ok("txn", stdin="".join("put t/%d %d\n" % (k, i)
                                             for k in range(5)))

    writer = Thread(write)
    seen = set()
    while writer.is_alive() or len(seen) == 0:
        for node in nodes[1:]:
            values = [v for k, v in node.values().items()
                      if k.startswith("t/")]
            check(len(values) in (0, 5), "a part of a transaction")
            check(len(set(values)) <= 1, "two transactions mixed")
            seen.update(values)
    writer.finish()
    t.same(nodes, 5)
    check(len(seen) > 0, "the readers saw something")


def test_catches_up_after_absence(t):
    """A node that was down, by order or by SIGKILL, gets what it missed."""
    nodes = t.mesh(3)
    for number, end in enumerate((nodes[2].stop, nodes[2].kill)):
        end()
        connection = nodes[0].connect()
        for i in range(300):
            connection.put("missed/%d/%d" % (number, i), b"x" * 500)
        connection.close()
        started = time.monotonic()
        nodes[2].start(bare=True)
        t.same(nodes, 300 * (number + 1))
        note("300 missed writes fetched %.2f s after the start" % (
            time.monotonic() - started))


def test_members_tell_life_and_death(t):
    nodes = t.mesh(3)

    def state(of, at):
        found = [m["state"] for m in at.members() if m["name"] == of.name]
        return found[0] if found else None

    for node in nodes:
        node.wait_alive(3)
    # Of one host's clocks none is bad, and each node gets to know them all.
    wait_until(lambda: nodes[0].status()["clocks"]["count"] == 3, "clocks")
    check_in(b"all looks well", nodes[0].wait_well())
    nodes[1].stop()
    wait_until(lambda: state(nodes[1], nodes[0]) == "left", "beta has left")
    nodes[2].kill()
    started = time.monotonic()
    wait_until(lambda: state(nodes[2], nodes[0]) in ("dead", "suspect"),
               "gamma is missed")
    wait_until(lambda: state(nodes[2], nodes[0]) == "dead", "gamma is dead",
               60)
    note("a killed node was declared dead after %.1f s" % (
        time.monotonic() - started))
    said = nodes[0].cli("doctor")
    check_equal(said.returncode, 1)
    check_in(b"members: gamma at ", said.stdout)
    for node in nodes[1:]:
        node.start(bare=True)
    for node in nodes:
        node.wait_alive(3)


def test_twenty_nodes(t):
    """A write on one node is visible on the last of twenty."""
    nodes = [t.init("n0").start()]
    token = nodes[0].token("--uses", str(NODES_MANY))
    for number in range(1, NODES_MANY):
        nodes.append(t.node("n%d" % number))
        nodes[-1].spawn("--name", nodes[-1].name, "--join", token)
    for node in nodes[1:]:
        node.wait_ready(60 * harness.SLOW)
    for node in nodes:
        node.wait_alive(NODES_MANY, 60 * harness.SLOW)
    t.converged(nodes, 60 * harness.SLOW)
    connections = [node.connect() for node in nodes]
    times = []
    for number in range(15):
        origin = number % NODES_MANY
        key, value = "spread/%d" % number, b"v%d" % number
        waiting = set(range(NODES_MANY)) - {origin}
        connections[origin].put(key, value)
        started = time.monotonic()

        def everywhere(key=key, value=value, waiting=waiting):
            for n in list(waiting):
                answer = connections[n].request("GET",
                                                "/v1/kv/" + key + "?raw")
                if answer.status == 200:
                    check_equal(answer.body, value)
                    waiting.discard(n)
            return not waiting
        wait_until(everywhere, "%s on all nodes" % key)
        times.append(time.monotonic() - started)
    note("20 nodes: write to visible on the last: median %.1f ms, most "
         "%.1f ms" % (statistics.median(times) * 1e3, max(times) * 1e3))
    # Every node writes at once.
    threads = [Thread(connection.put, "all/%d" % number, b"x")
               for number, connection in enumerate(connections)]
    for thread in threads:
        thread.finish()
    t.same(nodes, 15 + NODES_MANY)
    for connection in connections:
        connection.close()


if __name__ == "__main__":
    harness.main(globals())
