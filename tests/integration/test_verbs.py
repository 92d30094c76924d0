#!/usr/bin/env python3
"""Expiry, transactions, causal tokens, waiting, conflicts: by the command line
and over HTTP, against real processes."""
import base64
import http.client
import json
import signal
import time

import harness
from harness import check, check_equal, check_in, wait_until


def refused(result, code, *parts):
    check_equal(result.returncode, code, "exit code of %r: %r"
                % (result.args[1:], result.stderr[:500]))
    for part in parts:
        check_in(part.encode(), result.stderr, "message")


# ---- expiry ----

def test_expiry(t):
    node = t.mesh()
    watch = node.events("s/", "&sets=1")
    check_equal(node.cli("put", "s/c", "1").returncode, 0)
    before = time.time()
    check_equal(node.cli("put", "later", "1", "--ttl", "1h").returncode, 0)
    shown = json.loads(node.cli("get", "later", "--json").stdout)
    check(before - 1 <= shown["expires_ms"] / 1000 - 3600 <= time.time() + 1,
          shown)
    check_equal(node.cli("put", "s/a", "1", "--ttl", "1500ms").returncode, 0)
    check_equal(node.cli("set", "add", "s/b", "x", "--ttl", "1500ms")
                .returncode, 0)
    events = []
    while len(events) < 5:
        event, _, data = watch.next()
        if event == "change":
            events += [(c["kind"], c["key"], c.get("expired", False))
                       for c in data["changes"]]
    # On a slow machine the first may end before the second begins.
    check_equal([e for e in events if e[1] != "s/b"],
                [("put", "s/c", False), ("put", "s/a", False),
                 ("delete", "s/a", True)])
    check_equal([e for e in events if e[1] == "s/b"],
                [("add", "s/b", False), ("remove", "s/b", True)])
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
    ended = time.time() + 1
    wait_until(lambda: time.time() > ended, "the entry's end")
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


# ---- transactions ----

def consul(node, ops, status=200):
    answer = node.request("PUT", "/v1/txn", json.dumps(
        [{"KV": op} for op in ops]))
    check_equal(answer.status, status, answer.body[:500])
    return answer.json()


def test_txn_consul(t):
    node = t.mesh()
    b64 = lambda text: base64.b64encode(text).decode()
    got = consul(node, [
        {"Verb": "set", "Key": "a", "Value": b64(b"one"), "Flags": 7},
        {"Verb": "cas", "Key": "b", "Index": 0, "Value": b64(b"two")},
        {"Verb": "set", "Key": "e", "Value": None},
        {"Verb": "get", "Key": "a", "Index": 0, "Flags": 0, "Session": ""}])
    check_equal(got["Errors"], None)
    check_equal([(r["KV"]["Key"], r["KV"]["Value"], r["KV"]["Flags"])
                 for r in got["Results"]],
                [("a", None, 7), ("b", None, 0), ("e", None, 0),
                 ("a", b64(b"one"), 7)])
    index = got["Results"][3]["KV"]["ModifyIndex"]
    check_equal(index, node.request("GET", "/v1/kv/a").json()[0]["ModifyIndex"])
    failed = consul(node, [
        {"Verb": "set", "Key": "c", "Value": b64(b"x")},
        {"Verb": "check-index", "Key": "a", "Index": index},
        {"Verb": "check-index", "Key": "a", "Index": index + 4096},
        {"Verb": "check-index", "Key": "a", "Index": index ^ 1},
        {"Verb": "check-not-exists", "Key": "b"},
        {"Verb": "get", "Key": "none"},
        {"Verb": "delete-cas", "Key": "b", "Index": 4096}], 409)
    check_equal(failed["Results"], None)
    check_equal([e["OpIndex"] for e in failed["Errors"]], [2, 3, 4, 5, 6])
    check_in("doesn't exist", failed["Errors"][3]["What"])
    check_equal(node.get("c"), None)
    got = consul(node, [
        {"Verb": "check-index", "Key": "a", "Index": index},
        {"Verb": "check-not-exists", "Key": "c"},
        {"Verb": "delete-cas", "Key": "a", "Index": index},
        {"Verb": "set-add", "Key": "s", "Element": "x"},
        {"Verb": "revoke", "Key": "b"},
        {"Verb": "delete-tree", "Key": "e"},
        {"Verb": "set", "Key": "f", "Value": "", "TTL": "1h"},
        {"Verb": "get-tree", "Key": ""}])
    check_equal([r["KV"]["Key"] for r in got["Results"]], ["a", "f", "f"])
    check_equal(node.set_members("s"), ["x"])
    refused(node.cli("put", "b", "1"), 2, "revoked by alpha")
    for body, says in (
            ([{"KV": {"Verb": "lock", "Key": "a"}}], "locks"),
            ([{"Node": {"Verb": "get"}}], "nothing but keys"),
            ([{"KV": {"Verb": "cas", "Key": "a"}}], "Index"),
            ([{"KV": {"Verb": "set", "Key": "a", "Value": "*"}}], "base64"),
            ([{"KV": {"Verb": "set", "Key": ""}}], "missing"),
            ([], "at least one")):
        answer = node.request("PUT", "/v1/txn", json.dumps(body))
        check_equal(answer.status, 400, body)
        check_in(says, answer.body.decode())


def test_txn_cli(t):
    node = t.mesh()
    check_equal(node.ok("txn", stdin='put t/a "1 2"\nput t/b x\nget t/a\n'
                        'get-tree t/\n'), b"t/a\t1 2\nt/a\t1 2\nt/b\tx\n")
    entry = json.loads(node.ok("get", "t/a", "--json"))
    result = node.cli("txn", stdin="check-not-exists t/a\nget none\n"
                      "put t/c 1\n")
    refused(result, 1, "condition false", "operation 0", "operation 1")
    check_equal(node.get("t/c"), None)
    answer = json.loads(node.ok(
        "txn", "--json", stdin="cas t/a %d new\ncheck-version t/b %s\n"
        "delete-tree t/b\n" % (entry["modify_index"], json.loads(
            node.ok("get", "t/b", "--json"))["version"])))
    check(answer["wrote"] and answer["token"].count(":") == 1, answer)
    check_equal(node.values(), {"t/a": b"new"})
    refused(node.cli("txn", stdin="cas t/a 1 x y"), 64, "too many")
    refused(node.cli("txn", stdin="cas t/a"), 64, "KEY and INDEX and VALUE")
    refused(node.cli("txn", stdin="check-index t/a x"), 64, "index")


def test_txn_is_whole(t):
    """Watches see all of a transaction in one event, a killed node has all of
    it or nothing."""
    node = t.mesh()
    watch = node.events("w/")
    answer = node.request("POST", "/v1/txn", json.dumps({"ops": [
        {"op": "put", "key": "w/%d" % k, "value": "v"} for k in range(4096)]}))
    check_equal(answer.status, 200, answer.body[:300])
    check_equal(len(watch.next()[2]["changes"]), 4096)
    watch.close()
    for number in range(5):
        def write(text=str(number)):
            connection = node.connect()
            try:
                for i in range(100000):
                    value = "%s-%d" % (text, i)
                    connection.request("POST", "/v1/txn", json.dumps({"ops": [
                        {"op": "put", "key": "c/%d" % k, "value": value}
                        for k in range(50)]}))
            except (OSError, http.client.HTTPException):
                pass
        thread = harness.Thread(write)
        wait_until(lambda: (node.get("c/49") or b"").startswith(
            b"%d-" % number), "writes")
        node.kill()
        thread.finish()
        node.start()
        values = {v for k, v in node.values().items() if k.startswith("c/")}
        check_equal(len(values), 1, "a transaction in part")


# ---- causal tokens and waiting ----

def test_after(t):
    alpha, beta = t.mesh(2)
    for number in range(20):
        token = json.loads(alpha.ok("put", "k", str(number), "--json"))["token"]
        check_equal(beta.ok("get", "k", "--after", token),
                    str(number).encode())
    token = json.loads(alpha.ok("set", "add", "s", "x", "--json"))["token"]
    check_equal(beta.ok("set", "members", "s", "--after", token), b"x\n")
    token = json.loads(alpha.ok("txn", "--json", stdin="put l/1 a\n"
                                "put l/2 b\n"))["token"]
    check_equal(beta.ok("list", "l/", "--after", token), b"l/1\nl/2\n")
    check_equal(beta.ok("txn", "--after", token, stdin="get l/1"),
                b"l/1\ta\n")
    origin, seq = token.split(":")
    ahead = "%s:%d" % (origin, int(seq) + 1)
    refused(beta.cli("get", "k", "--after", ahead, "--timeout", "100ms"), 2,
            "504", "of alpha has not arrived", "up to %s" % seq)
    refused(beta.cli("get", "k", "--after", "0" * 31 + "1:1", "--timeout",
                     "100ms"), 2, "not known here")
    refused(beta.cli("get", "k", "--after", "zz"), 64, "--after")
    refused(beta.cli("get", "k", "--timeout", "1s"), 64, "--timeout needs")
    # It waits, and is woken by the event itself.
    thread = harness.Thread(lambda: beta.cli("get", "k", "--after", ahead))
    wait_until(lambda: metric(beta, "confmesh_awaits") == 1, "it waits")
    alpha.ok("put", "k", "last")
    check_equal(thread.finish().stdout, b"last")
    check_equal(metric(beta, "confmesh_awaits"), 0)


def metric(node, name):
    for line in node.request("GET", "/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise harness.Failure("no metric " + name)


def gamma_alone_misses(write, missing):
    """The result of a write that beta has confirmed in time: on a slow machine
    it may be missing too, and then the same is written again."""
    results = []

    def written():
        results[:] = [write()]
        return missing(json.loads(results[0].stdout)) == ["gamma"]
    wait_until(written, "beta confirms, and gamma does not")
    return results[0]


def test_wait_members(t):
    alpha, beta, gamma = t.mesh(3)
    alpha.wait_alive(3)
    written = json.loads(alpha.ok("put", "k", "1", "--wait", "all", "--json"))
    check_equal((written["confirmed"], written["missing"]),
                (sorted(["alpha", "beta", "gamma"],
                        key=written["confirmed"].index), []))
    check_equal(beta.get("k"), b"1")
    check_equal(gamma.get("k"), b"1")
    for _ in range(20):
        alpha.ok("put", "k", "2", "--wait", "all")
    answer = json.loads(alpha.ok("txn", "--wait", "majority", "--json",
                                 stdin="put k 3"))
    check_equal(answer["wait"]["wanted"], 2)
    alpha.ok("set", "add", "s", "e", "--wait", "3")
    alpha.ok("revoke", "r", "--wait", "2")
    alpha.ok("del", "k", "--wait", "1")
    refused(alpha.cli("put", "k", "v", "--wait", "4"), 2, "roster has 3",
            "nothing was written")
    refused(alpha.cli("put", "k", "v", "--wait", "some"), 64, "--wait")
    # One that does not answer is named, and the write stands.
    gamma.process.signal(signal.SIGSTOP)
    try:
        result = gamma_alone_misses(lambda: alpha.cli(
            "put", "k", "4", "--wait", "all", "--timeout", "300ms", "--json"),
            lambda told: told["missing"])
        refused(result, 2, "2 of the 3 members", "gamma", "not undone")
        check_equal(json.loads(result.stdout)["token"].count(":"), 1)
        check_equal(alpha.ok("put", "k", "5", "--wait", "majority"), b"")
        result = gamma_alone_misses(lambda: alpha.cli(
            "txn", "--wait", "all", "--timeout", "300ms", "--json",
            stdin="put k 6"),
            lambda told: [m["name"] for m in told["wait"]["missing"]])
        check_equal(result.returncode, 2)
        answer = json.loads(result.stdout)
        check_equal(beta.ok("get", "k", "--after", answer["token"]), b"6")
    finally:
        # It comes back while somebody waits for it.
        thread = harness.Thread(lambda: alpha.cli(
            "put", "k", "7", "--wait", "all", "--timeout", "60s"))
        wait_until(lambda: metric(alpha, "confmesh_awaits") == 1, "it waits")
        gamma.process.signal(signal.SIGCONT)
    result = thread.finish(90)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(gamma.get("k"), b"7")
    # Dead and started again while somebody waits.
    gamma.kill()
    thread = harness.Thread(lambda: alpha.cli(
        "put", "k", "8", "--wait", "all", "--timeout", "60s"))
    wait_until(lambda: metric(alpha, "confmesh_awaits") == 1, "it waits")
    gamma.start()
    result = thread.finish(90)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(gamma.get("k"), b"8")


# ---- conflicts ----

def test_conflicts(t):
    alpha, beta = t.mesh(2)
    alpha.ok("put", "calm", "1")
    beta.wait_value("calm", b"1")
    check_equal(alpha.ok("conflicts"), b"")
    # Without a network between them both write.
    beta.kill()
    alpha.ok("put", "users/bob", "of alpha", "--author", "ann")
    alpha.ok("put", "gone", "kept")
    alpha.ok("set", "add", "admins", "mallory")
    alpha.kill()
    beta.start()
    beta.ok("put", "users/bob", "of beta", "--author", "ben")
    beta.ok("put", "gone", "x")
    beta.ok("del", "gone")
    beta.ok("set", "revoke", "admins", "mallory")
    beta.ok("set", "add", "both", "e")
    alpha.start()
    t.converged([alpha, beta])
    for node in (alpha, beta):
        lines = [json.loads(line) for line in
                 node.ok("conflicts", "--json").splitlines()]
        check_equal([(e["key"], e.get("element"), e["present"])
                     for e in lines],
                    [("gone", None, False), ("users/bob", None, True),
                     ("admins", "mallory", False)])
        bob = {s["author"]: s for s in lines[1]["siblings"]}
        check_equal([bob["ann"]["node"], bob["ann"]["winner"],
                     bob["ben"]["node"], bob["ben"]["winner"]],
                    ["alpha", False, "beta", True])
        check_equal(base64.b64decode(bob["ann"]["value"]), b"of alpha")
        text = node.ok("conflicts", "users/").decode()
        for part in ("users/bob", "lost", "won", "node alpha author ann",
                     '"of alpha"', bob["ann"]["version"]):
            check_in(part, text)
    # In pages.
    seen, target = [], "/v1/mesh/conflicts?limit=1"
    while target:
        page = alpha.request("GET", target).json()
        seen += [e["key"] for e in page["conflicts"]]
        target = page.get("next") and (
            "/v1/mesh/conflicts?limit=1&from=" + page["next"])
    check_equal(seen, ["gone", "users/bob", "admins"])
    # The story of one.
    story = json.loads(alpha.ok("explain", "users/bob", "--json"))
    # They are asked for a second, and a slow one answers the next time.
    wait_until(lambda: {m["name"]: m["has"] for m in json.loads(alpha.ok(
        "explain", "users/bob", "--json"))["members"]} ==
        {"alpha": "yes", "beta": "yes"}, "both have it")
    check_in("greatest clock", story["why"])
    check_equal((story["pending"], story["held"], story["parked"]),
                ([], [], []))
    text = alpha.ok("explain", "users/bob").decode()
    for part in ("why: ", "members that have", "pending: nothing", "held:",
                 "parked:"):
        check_in(part, text)
    check_in("revoke decides",
             alpha.ok("explain", "admins", "mallory").decode())
    check_in("no write of it", alpha.ok("explain", "never").decode())
    # Deciding otherwise, only on what was seen.
    refused(alpha.cli("resolve", "users/bob"), 64, "--keep")
    refused(alpha.cli("resolve", "users/bob", "--keep", bob["ann"]["version"],
                      "--if-siblings", bob["ann"]["version"]), 1,
            "not those that were seen")
    refused(alpha.cli("resolve", "users/bob", "--keep", "0" * 31 + "1:1"), 1,
            "no sibling")
    answer = json.loads(alpha.ok("resolve", "users/bob", "--keep",
                                 bob["ann"]["version"], "--json", "--wait",
                                 "all"))
    check(answer["wrote"], answer)
    check_equal(beta.get("users/bob"), b"of alpha")
    check_equal(beta.ok("conflicts", "users/"), b"")
    add = [s for s in lines[2]["siblings"] if s["kind"] == "add"][0]["version"]
    refused(alpha.cli("resolve", "admins", "mallory", "--keep", add), 2,
            "revoked by beta")
    alpha.ok("resolve", "admins", "mallory", "--keep", add, "--unrevoke")
    check_equal(alpha.set_members("admins"), ["mallory"])
    loser = [s for s in lines[0]["siblings"] if s["kind"] == "put"][0]
    answer = alpha.request("POST", "/v1/mesh/resolve/gone?keep=%s&if-siblings="
                           "%s" % (loser["version"], ",".join(
                               s["version"] for s in lines[0]["siblings"])))
    check_equal(answer.status, 200, answer.body)
    check_equal(alpha.get("gone"), b"kept")
    check_equal(alpha.ok("conflicts"), b"")


def test_explain_bad_input(t):
    """Of explain, conflicts and resolve. (What is pending, held and parked is
    in test_bad_input.py and test_return.py.)"""
    alpha = t.mesh()
    answer = alpha.request("GET", "/v1/mesh/explain/k?element=")
    check_equal(answer.status, 400)
    check_equal(alpha.request("POST", "/v1/mesh/explain/k").status, 405)
    check_equal(alpha.request("GET", "/v1/mesh/explain/").status, 400)
    check_equal(alpha.request("GET", "/v1/mesh/explain/k?x=1").status, 400)
    check_equal(alpha.request("GET", "/v1/mesh/conflicts?limit=0").status, 400)
    check_equal(alpha.request("GET", "/v1/mesh/conflicts?from=zz").status, 400)
    check_equal(alpha.request("POST", "/v1/mesh/resolve/k").status, 400)
    check_equal(alpha.request("POST", "/v1/mesh/resolve/k?keep=1").status, 400)


def test_nothing_written_drives_a_terminal(t):
    """Names that clients give themselves may hold anything."""
    node = t.mesh()
    escape = "\u001b[31mred\n"
    check_equal(node.request("POST", "/v1/txn", json.dumps({
        "ops": [{"op": "put", "key": "k" + escape, "value": escape},
                {"op": "set-add", "key": "s", "element": escape}],
        "author": escape})).status, 200)
    for command in (("explain", "k" + escape), ("explain", "s", escape),
                    ("list", "--values"), ("set", "members", "s")):
        text = node.ok(*command)
        check(b"\x1b" not in text, "%s: %r" % (command[0], text))
        check_in(b"\\x1b[31mred\\n", text, command[0])


def test_revoke_deletes(t):
    node = t.init()
    node.flags = ["--revoke-deletes", "users/", "--revoke-deletes", "keys/"]
    node.start()
    check_equal(node.status()["revoke_deletes"], ["users/", "keys/"])
    for key in ("users/bob", "keys/1", "other"):
        node.ok("put", key, "1")
        node.ok("del", key)
    refused(node.cli("put", "users/bob", "2"), 2, "revoked by alpha")
    refused(node.cli("put", "keys/1", "2"), 2, "revoked by alpha")
    node.ok("put", "other", "2")
    node.ok("put", "users/bob", "2", "--unrevoke")
    node.ok("put", "users/al/x", "2")
    check_equal(node.request("DELETE", "/v1/kv/users/?recurse").status, 200)
    refused(node.cli("put", "users/al/x", "2"), 2, "revoked")
    node.ok("set", "add", "users/set", "e")
    node.ok("set", "remove", "users/set", "e")
    refused(node.cli("set", "add", "users/set", "e"), 2, "revoked")
    node.ok("put", "keys/2", "2")
    node.ok("txn", stdin="delete-tree keys/")
    refused(node.cli("put", "keys/2", "2"), 2, "revoked")
    # Nothing there: nothing is revoked.
    node.ok("del", "users/never")
    node.ok("put", "users/never", "1")
    node.flags = []
    node.restart()
    check_equal(node.status()["revoke_deletes"], [])
    node.ok("del", "users/never")
    node.ok("put", "users/never", "1")


if __name__ == "__main__":
    harness.main(globals())
