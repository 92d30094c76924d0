#!/usr/bin/env python3
"""Joining: what a good token does whatever interrupts it, what a bad one
gets, and data directories and ports that are not what they should be."""
import json
import os
import shutil
import time

import harness
from harness import (CONFMESH, Process, Test, check, check_equal, check_in,
                     cli, note, wait_until)

RESTART_LIMIT_S = 5 * harness.SLOW  # liveness; the measured time is printed
BIG = 10  # megabytes: a state that takes a moment to be sent
MIDST = 30  # one in the midst of which a joiner can be killed


def fails(node, *parts, flags=(), code=2):
    """The process ends by itself, with a reason for an operator."""
    node.spawn(*flags)
    check_equal(node.process.wait(30 * harness.SLOW), code,
                "exit code of %s: %r" % (node.name, node.process.stderr()))
    for part in parts:
        check_in(part, node.process.stderr().decode(), "message")
    return node


def joins(node, token):
    return ("--name", node.name, "--join", token)


def refused_to_join(t, name, token, *parts, code=2):
    node = t.node(name)
    fails(node, *parts, flags=joins(node, token), code=code)
    return node


def never_ready(node):
    """It has ended with 2, or goes on trying and serves nothing; then it is
    ended. It may have told why before its API was there, or ends just now."""
    wait_until(lambda: b"API at" in node.process.stdout()
               or not node.process.running(), "it serves, or has ended")
    try:
        for path in ("/readyz", "/v1/kv/a"):
            check_equal(node.request("GET", path).status, 503)
        node.kill()
    except OSError:
        check_equal(node.process.wait(), 2)


# ---- tokens ----

def test_used_up(t):
    first = t.mesh()
    token = first.token("--uses", "2")
    for name in ("beta", "gamma"):
        node = t.node(name)
        node.start(*joins(node, token))
    node = refused_to_join(t, "delta", token, "used up", "token create")
    # The same directory joins with a new token.
    node.start(*joins(node, first.token()))
    wait_until(lambda: len(first.members()) == 4, "all are members")


def test_expired(t):
    first = t.mesh()
    made = time.monotonic()
    token = first.token("--ttl", "1s")
    wait_until(lambda: time.monotonic() > made + 1.5, "the token expires")
    refused_to_join(t, "beta", token, "expired", "token create")


def test_foreign(t):
    """A token of another mesh, at an address that now belongs to this one:
    the joiner does not trust who answers."""
    first = t.mesh()
    other = Test()
    try:
        stranger = other.init("stranger")
        stranger.port = first.port
        first.stop()
        stranger.start()
        token = stranger.token()
        stranger.stop()
        first.start()
        node = t.node("beta")
        node.spawn(*joins(node, token))
        # Trying again can help only if the address changes hands, so it may
        # go on trying; but it never is ready, and it says why.

        def told():
            text = node.process.stderr().decode()
            return "authority" in text or "mesh" in text.replace(
                "confmesh", "")
        wait_until(lambda: told() or not node.process.running(), "a reason")
        check(told(), node.process.stderr())
        never_ready(node)
        check_equal(len(first.members()), 1)
        # With a token of this mesh the same directory joins it.
        node.start(*joins(node, first.token()))
    finally:
        other.cleanup()


def test_of_another_node(t):
    """A token is redeemed by the issuer that made it; a node that is none
    says so."""
    nodes = t.mesh(2)
    result = nodes[1].cli("token", "create")
    check_equal(result.returncode, 2)
    check_in(b"issuer", result.stderr)
    check_equal(result.stdout, b"")


def test_garbage(t):
    first = t.mesh()
    good = first.token()
    middle = len(good) // 2
    flipped = good[:middle] + ("A" if good[middle] != "A" else "B") \
        + good[middle + 1:]
    for number, token in enumerate((
            "cm1-", "cm1-AAAA", "cm2-" + good[4:], good[:-1] + "!",
            good[:middle], good + "AAAA", "cm1-" + "A" * 5000)):
        node = t.node("bad%d" % number)
        node.spawn(*joins(node, token))
        code = node.process.wait(30 * harness.SLOW)
        check(code in (2, 64), "exit code %d for %.40s" % (code, token))
        check_in(b"oken", node.process.stderr())
        # Nothing was made that would be in the way of a good one.
        check(not os.path.exists(node.data),
              "a directory was made for a bad token")
    # One character changed: whatever it means now, it opens nothing.
    node = t.node("flipped")
    node.spawn(*joins(node, flipped))
    # It gives up, or keeps trying an address where nobody is: both say so.
    wait_until(lambda: not node.process.running()
               or b"trying again" in node.process.stderr(), "a reason")
    never_ready(node)
    check_equal(len(first.members()), 1)
    node = t.node("good")
    node.start(*joins(node, good))


def test_retry_by_the_same_key(t):
    """Whoever lost the answer asks again with the same key, and gets the
    same; the token is not counted twice."""
    first = t.mesh()
    token = first.token()
    node = t.node("beta")
    node.start(*joins(node, token))
    # All is lost but the key.
    node.kill()
    with open(os.path.join(node.data, "node.key"), "rb") as file:
        key = file.read()
    shutil.rmtree(node.data)
    os.mkdir(node.data, mode=0o700)
    path = os.path.join(node.data, "node.key")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(key)
    node.start(*joins(node, token))
    node.ok("put", "k", "v")
    first.wait_value("k", b"v")
    t.converged([first, node])
    # Another key does not profit.
    refused_to_join(t, "gamma", token, "used up")
    # The token again on a directory that has joined: nothing to do.
    node.stop()
    node.start(*joins(node, token))
    check_equal(node.get("k"), b"v")


def test_name_taken(t):
    first = t.mesh()
    token = first.token("--uses", "3")
    node = t.node("other")
    fails(node, "taken", "--name", flags=("--name", "alpha", "--join", token))
    node.start(*joins(node, token))
    again = t.node("again")
    fails(again, "taken", flags=("--name", "other", "--join", token))
    # Even while its holder is away.
    node.stop()
    fails(again, "taken", flags=("--name", "other", "--join", token))
    fails(again, "name", flags=("--name", "a b", "--join", token))
    again.start(*joins(again, token))


# ---- cut short ----

def size_of(directory):
    """Bytes on disk, unlinked spools left out."""
    try:
        return sum(512 * e.stat().st_blocks for e in os.scandir(directory)
                   if e.is_file())
    except OSError:
        return 0


def test_sigkill_while_joining(t):
    """Killed at every stage of joining; the same command, or none but
    --data once it is certified, completes it."""
    first = t.mesh()
    connection = first.connect()
    for i in range(BIG):
        connection.put("big/%02d" % i, os.urandom(1000000))
    connection.close()
    for number, stage in enumerate(("node.key", "data.mdb", "api.sock",
                                    "spool", "ready")):
        node = t.node("n%d" % number)
        token = first.token()
        node.spawn(*joins(node, token))

        def reached(node=node, stage=stage):
            check(node.process.running(), node.process.stderr())
            if stage == "ready":
                return b"ready" in node.process.stderr()
            if stage == "spool":  # a part of the snapshot is there
                return (size_of(node.data) > 2000000
                        or b"ready" in node.process.stderr())
            return os.path.exists(os.path.join(node.data, stage))
        while not reached():
            pass  # as tight as can be: the stages are short
        node.kill()
        killed = time.monotonic()
        node.start(*joins(node, token))
        note("killed at %s: ready %.2f s after the next start" % (
            stage, time.monotonic() - killed))
        check_equal(len(node.values()), BIG)
        node.ok("put", "from/%d" % number, "x")
        t.converged([first, node])
        first.ok("del", "from/%d" % number)
        node.wait_value("from/%d" % number, None)
        check_equal(node.live()["alarms"], [])
        node.stop()
    # And killed again and again, with the later starts without any flag.
    node = t.node("again")
    token = first.token()
    for number in range(8):
        node.spawn(*(joins(node, token) if number < 3 else ()),
                   bare=number >= 3 and os.path.exists(
                       os.path.join(node.data, "data.mdb")))
        end = time.monotonic() + 0.02 * (number + 1)
        wait_until(lambda end=end: time.monotonic() > end, "a moment")
        node.kill()
    node.start(*joins(node, token))
    check_equal(len(node.values()), BIG)
    t.converged([first, node])


def test_sponsor_killed(t):
    """The sponsor dies while the joiner is brought up; it returns, and the
    joiner completes without being touched."""
    first = t.mesh()
    connection = first.connect()
    for i in range(BIG):
        connection.put("big/%02d" % i, os.urandom(1000000))
    connection.close()
    node = t.node("beta")
    node.spawn(*joins(node, first.token()))
    wait_until(lambda: os.path.exists(os.path.join(node.data, "data.mdb")),
               "the joiner has begun")
    first.kill()
    first.start()
    node.wait_ready(30 * harness.SLOW)
    check_equal(len(node.values()), BIG)
    t.converged([first, node])


def test_issuer_away(t):
    """A joiner waits for its issuer, says so, and is never "empty"."""
    first = t.mesh()
    first.ok("put", "a", "1")
    token = first.token()
    first.stop()
    node = t.node("beta")
    node.spawn(*joins(node, token))
    wait_until(lambda: b"trying again" in node.process.stderr(), "a reason")
    # The line that it prints when its API is served.
    wait_until(lambda: b"API at" in node.process.stdout(), "it serves")
    answer = node.request("GET", "/readyz")
    check_equal(answer.status, 503)
    check_in(b"joining", answer.body)
    check_equal(node.request("GET", "/v1/kv/a").status, 503)
    check_equal(node.request("GET", "/healthz").status, 200)
    check_equal(node.cli("get", "a").returncode, 2)
    first.start()
    node.wait_ready(30 * harness.SLOW)
    check_equal(node.get("a"), b"1")


# ---- a certificate that is refused ----

def roster(node):
    return json.loads(node.ok("roster", "--json"))


def names_of(node):
    return sorted(m["name"] for m in roster(node)["members"])


def kill_while_joining(node, token, stage):
    """Certified, and never brought up."""
    node.spawn(*joins(node, token))
    while not stage():
        check(node.process.running(), node.process.stderr())
    node.kill()
    check(b"ready:" not in node.process.stderr(), "it was brought up already")


def comes_home(t, node, old, nodes, sealed):
    """The old token cannot help, and says what can; the fresh one does, with
    nothing removed by hand. Once more without any flag, it is a member."""
    fails(node, "redeem a fresh token", "--join", flags=joins(node, old))
    fails(node, "redeem a fresh token", flags=())
    with open(os.path.join(node.data, "node.key"), "rb") as file:
        key = file.read()
    node.start(*joins(node, nodes[0].token()))
    with open(os.path.join(node.data, "node.key"), "rb") as file:
        check_equal(file.read(), key, "the node's key")
    nodes = nodes + [node]
    for n in nodes:
        wait_until(lambda n=n: names_of(n) == sorted(m.name for m in nodes)
                   and sealed <= {s["incarnation"]
                                  for s in roster(n)["sealed"]},
                   "one incarnation of each at %s" % n.name, 30)
    node.ok("put", "home", "x")
    t.converged(nodes)
    node.restart()
    check_equal(node.live()["alarms"], [])
    t.converged(nodes)


def test_evicted_while_joining(t):
    """Rostered, named by an order, and killed before its cut was whole."""
    first, second = t.mesh(2)
    connection = first.connect()
    for i in range(MIDST):
        connection.put("big/%02d" % i, os.urandom(1000000))
    connection.close()
    node = t.node("gamma")
    token = first.token()
    kill_while_joining(node, token,
                       lambda: size_of(node.data) > 1500000)
    sealed = {m["incarnation"] for m in roster(first)["members"]
              if m["name"] == "gamma"}
    check_equal(len(sealed), 1, "it was rostered before its cut came")
    first.ok("evict", "gamma", "--authority", t.authority)
    comes_home(t, node, token, [first, second], sealed)
    check_equal(len([k for k in node.values() if k.startswith("big/")]), MIDST)


# ---- restarts ----

def test_restart_without_any_flag(t):
    """A joined node comes back with --data alone, at the same address, and
    reaches a known peer at once: though the node it joined by is gone."""
    nodes = t.mesh(3)
    for node in nodes:
        node.wait_alive(3)
    first, second, third = nodes
    address = third.live()["address"]
    times = []
    for end in (third.stop, third.kill):
        end()
        first.stop()
        second.ok("put", "k%d" % len(times), "while it was away")
        started = time.monotonic()
        third.spawn(bare=True)
        third.wait_ready()
        wait_until(lambda: third.live()["members"]["alive"] >= 2,
                   "a known peer", RESTART_LIMIT_S)
        times.append(time.monotonic() - started)
        third.wait_value("k%d" % len(times[1:]), b"while it was away",
                         RESTART_LIMIT_S)
        check_equal(third.live()["address"], address, "address")
        first.start(bare=True)
        for node in nodes:
            node.wait_alive(3)
    note("restart to first peer: %s" % ", ".join(
        "%.0f ms" % (1e3 * s) for s in times))
    t.converged(nodes)


def test_moved(t):
    """A node that comes back at another address is found again."""
    nodes = t.mesh(3)
    nodes[2].stop()
    nodes[2].port = harness.free_port()
    nodes[2].start()
    nodes[0].ok("put", "a", "1")
    nodes[2].wait_value("a", b"1")
    wait_until(lambda: nodes[2].address in [
        m["address"] for m in nodes[0].members()], "its new address")


# ---- directories and ports ----

def test_wrong_name(t):
    nodes = t.mesh(2)
    nodes[1].stop()
    fails(nodes[1], "beta", "--name", flags=("--name", "else"))
    nodes[1].start("--name", "beta")


def test_directory_of_another_mesh(t):
    first = t.mesh()
    other = Test()
    try:
        stranger = other.mesh()
        stranger.ok("put", "theirs", "1")
        stranger.stop()
        stranger.spawn("--join", first.token())
        wait_until(lambda: not stranger.process.running(), "it ends")
        check_equal(stranger.process.popen.returncode, 2)
        check_in(b"mesh", stranger.process.stderr().replace(b"confmesh",
                                                            b""))
        # Nothing happened to it.
        stranger.start(bare=True)
        check_equal(stranger.get("theirs"), b"1")
        check_equal(len(first.members()), 1)
    finally:
        other.cleanup()


def test_directory_in_use(t):
    first = t.mesh()
    second = t.node("alpha", data=first.data)
    fails(second, "in use", str(first.data))
    first.ok("put", "a", "1")


def test_port_in_use(t):
    first = t.mesh()
    second = t.node("beta")
    second.port = first.port
    fails(second, "in use", "--bind",
          flags=joins(second, first.token()))
    # The API's port.
    first.stop()
    first.api_port = harness.free_port()
    first.start()
    third = t.node("gamma")
    third.api_port = first.api_port
    fails(third, "in use", flags=joins(third, first.token()))
    first.ok("put", "a", "1")


def test_not_a_directory(t):
    with open(t.path("file"), "w", encoding="utf-8") as file:
        file.write("x")
    for data in (t.path("file"), t.path("empty"), t.path("no/such")):
        if data.endswith("empty"):
            os.mkdir(data)
        node = t.node("x", data=data)
        fails(node, "confmesh")
    check_equal(os.listdir(t.path("empty")) in ([], ["lock"]), True,
                "what is left in an empty directory")
    result = cli("node", "--data", t.path("y"), "--bind", "localhost:x",
                 "--join", "cm1-AAAA")
    check(result.returncode in (2, 64), result.stderr)


def test_damaged_directory(t):
    """What was altered on the disk is noticed, not served."""
    node = t.mesh()
    node.ok("put", "k", "v" * 2000)
    node.stop()
    with open(os.path.join(node.data, "node.key"), "r+b") as file:
        file.write(b"zz")
    fails(node, "node.key")


def test_dead_socket_is_replaced(t):
    node = t.mesh()
    node.kill()
    check(os.path.exists(os.path.join(node.data, "api.sock")), "left over")
    node.start(bare=True)
    process = Process([CONFMESH, "get", "a", "--data", node.data],
                      t.directory, "get")
    check_equal(process.wait(), 1)


if __name__ == "__main__":
    harness.main(globals())
