#!/usr/bin/env python3
"""Watches: nothing missed, nothing told twice, over restarts of the node,
and over nodes that write at once; and what a vanished watcher costs."""
import base64
import socket
import time

import harness
from harness import (Events, Failure, Thread, check, check_equal, note,
                     wait_until)


def flat(event):
    """The changes of one event as short tuples."""
    kind, ident, data = event
    check_equal(kind, "change", "event")
    check(ident, "an id")
    return [(c["kind"], c["key"], base64.b64decode(c.get("value") or "")
             if c["kind"] == "put" else c.get("element"))
            for c in data["changes"]]


def test_one_event_per_commit(t):
    """A transaction is one event; hello tells where it starts."""
    node = t.mesh()
    events = node.events("w/", "&sets=1")
    node.ok("txn", stdin="put w/a 1\nput w/b 2\nset-add w/s e\nput x 3\n")
    check_equal(sorted(flat(events.next()), key=str), sorted([
        ("put", "w/a", b"1"), ("put", "w/b", b"2"), ("add", "w/s", "e")],
        key=str))
    node.ok("put", "other", "1")
    node.ok("del", "w/a")
    check_equal(flat(events.next()), [("delete", "w/a", None)])
    events.close()


def test_resume_over_restarts(t):
    """A reader of a node that is ended and killed again and again, resuming
    by Last-Event-ID, while others write: each change exactly once, in
    order."""
    nodes = t.mesh(2)
    rounds, each = 6, 25
    seen = []
    target = "/v1/watch?prefix=w%2F"
    done = []

    def read():
        last = None
        while True:
            try:
                events = Events(nodes[1].socket, target, last)
            except (OSError, Failure, EOFError):
                if done:
                    return
                time.sleep(0.01)  # between tries, of a node that is away
                continue
            except Exception as error:  # pylint: disable=broad-except
                if "RemoteDisconnected" in repr(error):
                    continue
                raise
            while True:
                event = events.next()
                if event is None:
                    break
                check(event[0] != "reset", "a reset: %r" % (event,))
                last = event[1] or last
                if event[0] == "change":
                    seen.extend(flat(event))
            events.close()

    reader = Thread(read)
    # It is connected, and has an id to resume from, once it told this one.
    number = 0
    while not seen:
        check(not reader.error, repr(reader.error))
        nodes[0].ok("put", "w/first", str(number))
        number += 1
    nodes[1].wait_value("w/first", str(number - 1).encode())
    wanted = []
    for outer in range(rounds):
        writers = [nodes[0]] if outer % 2 else nodes
        for inner in range(each):
            node = writers[inner % len(writers)]
            key = "w/%d/%d" % (outer, inner)
            node.ok("put", key, "x")
            wanted.append(key)
            if inner == each // 2:
                writers = [nodes[0]]
                (nodes[1].stop if outer % 2 else nodes[1].kill)()
                nodes[1].spawn(bare=True)
        nodes[1].wait_ready()
    t.converged(nodes)
    wait_until(lambda: {w for w in wanted} <= {s[1] for s in seen}
               or reader.error, "every change is told")
    done.append(True)
    nodes[1].kill()
    reader.finish()
    told = [s[1] for s in seen if s[1] != "w/first"]
    check_equal(sorted(told), sorted(wanted), "changes")
    firsts = [int(s[2]) for s in seen if s[1] == "w/first"]
    check_equal(firsts, sorted(set(firsts)), "each once, in order")
    note("%d changes told once each over %d restarts" % (len(told), rounds))


def test_command_over_restarts(t):
    """`confmesh watch` on a joined node, changes coming from the mesh."""
    nodes = t.mesh(2)
    nodes[0].ok("put", "w/0", "0")
    nodes[1].wait_value("w/0", b"0")
    watch = nodes[1].watch("w/", "--from",
                           str(nodes[1].live()["revision"]))
    wanted = []
    for number in range(4):
        for inner in range(5):
            key = "w/%d-%d" % (number, inner)
            nodes[inner % 2].ok("put", key, "v")
            wanted.append(b"put %s v" % key.encode())
        nodes[0].ok("set", "add", "w/s", str(number))
        wanted.append(b"add w/s %d" % number)
        t.converged(nodes)
        (nodes[1].kill if number % 2 else nodes[1].stop)()
        nodes[0].ok("put", "w/away-%d" % number, "v")
        wanted.append(b"put w/away-%d v" % number)
        nodes[1].start(bare=True)
        t.converged(nodes)
    wait_until(lambda: len(watch.lines()) >= len(wanted), "all changes")
    check_equal(sorted(watch.lines()), sorted(wanted))
    check_equal(watch.stop(), 0)


def test_a_foreign_id_resets(t):
    """An id of another node's life cannot be resumed from, and says so."""
    nodes = t.mesh(2)
    nodes[0].ok("put", "a", "1")
    t.converged(nodes)
    events = nodes[0].events()
    nodes[0].ok("put", "a", "2")
    ident = events.next()[1]
    events.close()
    nodes[1].wait_value("a", b"2")
    events = Events(nodes[1].socket, "/v1/watch?prefix=", ident)
    kinds = []
    while "reset" not in kinds and len(kinds) < 3:
        event = events.next()
        check(event is not None, "no reset: %r" % kinds)
        kinds.append(event[0])
    check("reset" in kinds, "no reset: %r" % kinds)
    check("change" not in kinds, "changes before the reset")
    events.close()


def test_blocking_query(t):
    """Consul's dialect: waits for the index to change, here by a write
    elsewhere."""
    nodes = t.mesh(2)
    nodes[0].ok("put", "k", "1")
    t.converged(nodes)
    index = nodes[1].request("GET", "/v1/kv/k").headers["X-Consul-Index"]
    waiting = Thread(nodes[1].request, "GET",
                     "/v1/kv/k?raw&wait=15s&index=" + index)
    nodes[0].ok("put", "k", "2")
    answer = waiting.finish()
    check_equal((answer.status, answer.body), (200, b"2"))
    check(answer.headers["X-Consul-Index"] != index, "the index moved")


def test_vanished_watchers(t):
    """Watchers that come and go in many ways cost nothing that stays, and
    the ones that remain are told everything."""
    node = t.mesh()
    node.api_port = harness.free_port()
    node.stop()
    node.start()
    stays = node.events()
    for number in range(60):
        raw = socket.create_connection(("127.0.0.1", node.api_port))
        raw.sendall(b"GET /v1/watch?prefix= HTTP/1.1\r\nHost: localhost\r\n"
                    b"\r\n")
        if number % 3 == 0:  # reset
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                           b"\1\0\0\0\0\0\0\0")
        elif number % 3 == 1:  # half closed
            raw.shutdown(socket.SHUT_WR)
        raw.close()
    slow = [Events("127.0.0.1:%d" % node.api_port) for _ in range(5)]
    connection = node.connect()
    for number in range(50):
        connection.put("k/%d" % number, b"x" * 10000)
    connection.close()
    for number in range(50):
        check_equal(flat(stays.next())[0][1], "k/%d" % number)
    for events in slow:  # never read from
        events.close()
    node.ok("put", "last", "1")
    check_equal(flat(stays.next()), [("put", "last", b"1")])
    stays.close()
    descriptors = "/proc/%d/fd" % node.pid
    wait_until(lambda: len(harness.os.listdir(descriptors)) < 40,
               "their descriptors are closed")


def test_many_changes_at_once(t):
    """A watcher behind by thousands of changes gets them all, in order."""
    node = t.mesh()
    events = node.events("n/")
    revision = node.live()["revision"]
    connections = [node.connect() for _ in range(4)]

    def write(number):
        for i in range(500):
            connections[number].put("n/%d/%d" % (number, i), b"v")

    for thread in [Thread(write, number) for number in range(4)]:
        thread.finish(60)

    def take(stream):
        told = []
        last = 0
        while len(told) < 2000:
            event = stream.next()
            check(event is not None and event[0] == "change", repr(event))
            check(event[2]["revision"] > last, "revisions grow")
            last = event[2]["revision"]
            told.extend(change[1] for change in flat(event))
        check_equal(len(set(told)), 2000)
        return told

    told = take(events)
    for number in range(4):
        own = [k for k in told if k.startswith("n/%d/" % number)]
        check_equal(own, ["n/%d/%d" % (number, i) for i in range(500)])
    late = node.events("n/", "&revision=%d" % revision)
    check_equal(take(late), told, "a late reader's changes")
    late.close()
    events.close()


if __name__ == "__main__":
    harness.main(globals())
