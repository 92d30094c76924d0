#!/usr/bin/env python3
# parallel-safe
"""At three in the morning: what status, doctor, log and metrics tell an operator
of a disk that is full, of one that nobody may write, and of a node that finds
nobody; and that everything goes on by itself once that is mended. Real file
systems, in hosts of their own, see namespaces.py."""
import json
import os
import subprocess

import harness
import namespaces
from harness import check, check_equal, check_in, wait_until

BIG = os.urandom(300000)  # more than the last free pages of a small store


def mount(node, *words):
    """On the node's own host."""
    subprocess.run(node.prefix + ["mount"] + list(words), check=True,
                   timeout=harness.DEADLINE_S)


def small_disk(t, lab):
    """A mesh of two, the first on a disk of 3 MB."""
    disk = lab.disk()
    first = lab.place(t.node("alpha"))
    mount(first, "-o", "remount,size=3m", disk)
    result = first.cli("init", first.data, "--name", "alpha", "--authority",
                       lab.disk("authority.key"), "--no-passphrase",
                       data=False)
    check_equal(result.returncode, 0, result.stderr)
    first.start()
    second = lab.place(t.node("beta"))
    second.start("--name", "beta", "--join", first.token())
    return first, second


def findings(node, about):
    result = node.cli("doctor", "--json")
    check(result.returncode in (0, 1), result.stderr)
    return [f for f in json.loads(result.stdout)["findings"]
            if f["about"] == about]


def full_alarms(node):
    return [f for f in findings(node, "alarms") if f["found"].startswith(
        "full: ")]


def test_full_disk(t):
    """Also when it is a peer's write that finds no room: nobody is there to
    whom a refusal could be told."""
    first, second = small_disk(t, namespaces.Lab(t))
    first.ok("put", "before", "1")
    for i in range(12):
        second.ok("put", "big/%d" % i, "-", stdin=BIG)
    alarm = wait_until(lambda: full_alarms(first), "the alarm", 30,
                       progress=first.live)
    check_in("free space", alarm[0]["remedy"])
    result = first.cli("put", "mine", "-", stdin=BIG)
    check_equal(result.returncode, 2)
    check_in(b"full: free space", result.stderr, "the writer is told")
    check_equal(first.get("before"), b"1", "reads go on")
    check_equal(first.request("GET", "/readyz").status, 200)
    check(first.metric("disk_full_total") > 0, "counted")
    check_equal(first.metric("alarm_full"), 1)
    # Small batches find room now and then, which says nothing.
    first.cli("put", "small", "1")
    check_equal(first.metric("alarm_full"), 1)
    log = first.process.stderr()
    check_equal(log.count(b" E full: "), 1, "told once, not at each try")
    # Space, and nothing else, is needed.
    mount(first, "-o", "remount,size=60m", os.path.dirname(first.data))
    t.converged([first, second], 60)
    check_equal(first.get("big/11"), BIG)
    first.ok("put", "mine", "-", stdin=BIG)
    # What was refused at once may have come in parts: see full_alarm.h.
    wait_until(lambda: first.cli("put", "small", "2").returncode == 0 and
               not full_alarms(first), "the end of the alarm", 30,
               progress=first.live)
    check_equal(first.metric("alarm_full"), 0)
    check_in(b"commits go through again", first.process.stderr())


def test_read_only_disk(t):
    lab = namespaces.Lab(t)
    node = lab.mesh(["alpha"])[0]
    node.ok("put", "before", "1")
    node.stop()
    mount(node, "-o", "remount,ro", lab.disk())
    node.spawn()
    check_equal(node.process.wait(), 2)
    check_in(b"Read-only file system; make it writable",
             node.process.stderr())
    mount(node, "-o", "remount,rw", lab.disk())
    node.start()
    check_equal(node.get("before"), b"1")


def test_nobody_to_join_anew(t):
    """Its store is gone, and so are the others: it says what is left to do."""
    alpha = t.mesh()
    beta = t.join(alpha, "beta")
    t.converged([alpha, beta])
    facts = os.path.join(beta.data, "facts")
    wait_until(lambda: os.path.exists(facts) and
               b"\npeer " in open(facts, "rb").read(), "beta's facts")
    alpha.stop()
    beta.kill()
    with open(os.path.join(beta.data, "data.mdb"), "r+b") as file:
        file.write(bytes(16384))
    beta.spawn()
    wait_until(lambda: beta.cli("doctor").returncode == 1, "doctor")
    found = findings(beta, "ready")
    check_in("confmesh-restore", found[0]["remedy"])
    check_in("UDP and TCP", found[0]["remedy"])
    check_in(b"data.mdb.damaged-", beta.process.stderr())
    alpha.start()
    beta.wait_ready(60)
    t.converged([alpha, beta])


def test_token_of_the_loopback(t):
    """Whoever makes a token that no other machine can use is told so."""
    node = t.mesh()
    check_in(b"only this machine reaches it",
             node.cli("token", "create").stderr)
    lab = namespaces.Lab(t)
    node = lab.mesh(["delta"])[0]
    result = node.cli("token", "create")
    check_equal(result.returncode, 0, result.stderr)
    check(b"only this machine" not in result.stderr, result.stderr)


if __name__ == "__main__":
    namespaces.main(globals())
