#!/usr/bin/env python3
"""Expiry, transactions, causal tokens, waiting, conflicts: by the command line
and over HTTP, against real processes."""
import json
import time

import harness
from harness import check, check_equal, check_in


def refused(result, code, *parts):
    check_equal(result.returncode, code, "exit code of %r: %r"
                % (result.args[1:], result.stderr[:500]))
    for part in parts:
        check_in(part.encode(), result.stderr, "message")


# ---- expiry ----

def test_expiry(t):
    node = t.mesh()
    watch = node.events("s/", "&sets=1")
    check_equal(node.cli("put", "s/a", "1", "--ttl", "1500ms").returncode, 0)
    check_equal(node.cli("set", "add", "s/b", "x", "--ttl", "1500ms")
                .returncode, 0)
    check_equal(node.cli("put", "s/c", "1").returncode, 0)
    shown = json.loads(node.cli("get", "s/a", "--json").stdout)
    check(abs(shown["expires_ms"] / 1000 - time.time()) < 5, shown)
    events = []
    while len(events) < 5:
        event, _, data = watch.next()
        if event == "change":
            events += [(c["kind"], c["key"], c.get("expired", False))
                       for c in data["changes"]]
    check_equal(events[:3], [("put", "s/a", False), ("add", "s/b", False),
                             ("put", "s/c", False)])
    check_equal(sorted(events[3:]), [("delete", "s/a", True),
                                     ("remove", "s/b", True)])
    check_equal(node.cli("get", "s/a").returncode, 1)
    check_equal(node.cli("set", "members", "s/b").returncode, 1)
    check_equal(node.cli("list", "s/").stdout, b"s/c\n")
    watch.close()


def test_expiry_while_stopped(t):
    """An end that comes due while the node is down is told after its start,
    once, to a watch that resumes."""
    node = t.mesh()
    check_equal(node.cli("put", "k", "1", "--ttl", "1s").returncode, 0)
    watch = node.events(query="&revision=0")
    ident = watch.next()[1]
    watch.close()
    node.stop()
    time.sleep(1.1)
    node.start()
    for _ in range(2):
        watch = node.events(last_event_id=ident)
        event, _, data = watch.next()
        check_equal((event, [(c["kind"], c.get("expired"))
                             for c in data["changes"]]),
                    ("change", [("delete", True)]))
        watch.close()


def test_expiry_refusals(t):
    node = t.mesh()
    refused(node.cli("put", "a", "b", "--ttl", "soon"), 64, "--ttl")
    refused(node.cli("put", "a", "b", "--ttl", "0"), 2, "expired already")
    refused(node.cli("put", "a", "b", "--expires-at", "2001-01-01T00:00:00Z"),
            2, "expired already")
    refused(node.cli("put", "a", "b", "--expires-at", "9999-01-01T00:00:00Z"),
            2, "6400")
    refused(node.cli("put", "a", "b", "--expires-at", "tomorrow"), 64,
            "--expires-at", "2026-")
    refused(node.cli("put", "a", "b", "--ttl", "1h", "--expires-at", "1"), 64,
            "exclude")
    answer = node.request("PUT", "/v1/kv/a?ttl=1h&expires=9", b"x")
    check_equal(answer.status, 400)
    answer = node.request("PUT", "/v1/kv/a?expires=4102444800", b"x")
    check_equal(answer.status, 200, answer.body)
    shown = json.loads(node.cli("get", "a", "--json").stdout)
    check_equal(shown["expires_ms"], 4102444800000)
    check_equal(node.cli("txn", stdin="put b 1 --ttl 1h\n"
                         "set-add s e --expires-at 2100-01-01T00:00:00+01:00\n"
                         ).returncode, 0)
    check_equal(node.cli("get", "b").stdout, b"1")


if __name__ == "__main__":
    harness.main(globals())
