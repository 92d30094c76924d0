#!/usr/bin/env python3
# parallel-safe
"""What all verbs about replication promise alike: one JSON value (or one a
line) with --json, a clear refusal of what they cannot mean, limits on the
byte, and words that say what to do."""
import json

import harness
from harness import check, check_equal, check_in, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]
EVENT_SIZE_MAX = 1 << 20


def three(t):
    first = t.init()
    first.flags = FLAGS
    first.start()
    others = []
    for name in ("beta", "gamma"):
        node = t.node(name)
        node.flags = FLAGS
        others.append(node.start("--name", name, "--join", first.token()))
    for node in [first] + others:
        node.wait_alive(3)
    return [first] + others


def told(node, *words, code=0, **options):
    """Standard output as one JSON value."""
    result = node.cli(*words, "--json", **options)
    check_equal(result.returncode, code, "%s: %r" % (words, result.stderr))
    check_equal(result.stdout.count(b"\n"), 1, "%s: %r" % (words,
                                                          result.stdout))
    return json.loads(result.stdout)


def test_json(t):
    alpha, beta, gamma = three(t)
    t.converged([alpha, beta, gamma])
    check_equal(told(alpha, "put", "k", "1")["wrote"], True)
    check_equal(told(alpha, "get", "k")["value"], "1")
    check_in("token", told(alpha, "set", "add", "s", "e"))
    check_in("token", told(alpha, "txn", stdin="put a 1\nget k\n"))
    check_in("errors", told(alpha, "txn", stdin="get none\n", code=1))
    check_in("siblings", told(alpha, "explain", "k"))
    check_in("siblings", told(alpha, "explain", "s", "e"))
    version = told(alpha, "explain", "k")["siblings"][0]["version"]
    check_in("token", told(alpha, "resolve", "k", "--keep", version))
    check_equal(alpha.ok("conflicts", "--json"), b"")
    check_in("floor", told(alpha, "status"))
    check_equal(len(told(alpha, "members")["members"]), 3)
    check_equal(len(told(alpha, "roster")["members"]), 3)
    check_equal(told(alpha, "retire"), {"retired": 0})
    check_equal(told(alpha, "unsent"), {"unsent": []})
    check_equal(told(alpha, "unsent", "drop", "--all"), {"count": 0})
    alpha.wait_well()
    check_in("findings", told(alpha, "doctor"))
    check_in("token", told(alpha, "revoke", "k"))
    check_in("token", told(alpha, "del", "a"))
    name = [m["incarnation"] for m in told(alpha, "roster")["members"]
            if m["name"] == "gamma"]
    check_equal(told(alpha, "evict", "gamma", "--authority", t.authority),
                {"epoch": 1, "incarnations": name, "stay": 2})
    # Out, and it says what helps.
    wait_until(lambda: any(a.startswith("returning (evicted)")
                           for a in gamma.live()["alarms"]), "gamma is told")
    found = [f for f in told(gamma, "doctor", code=1)["findings"]
             if "returning (evicted)" in f["found"]]
    check_in("fresh token", found[0]["remedy"])


def test_floor_in_words(t):
    """status tells a person who holds the floor back, and since when."""
    alpha, beta, gamma = three(t)
    alpha.ok("put", "k", "v")
    t.same([alpha, beta, gamma], 1)
    gamma.kill()
    alpha.ok("del", "k")
    wait_until(lambda: alpha.live()["floor"]["held_back_by"], "it is held")
    text = alpha.ok("status").decode().split("floor:")[1].split("evictions")[0]
    for part in ("held_back_by:", "name", "gamma", "lacks", "acknowledgement",
                 "since_ms"):
        check_in(part, text)
    since = [line for line in text.splitlines() if "since_ms" in line][0]
    check(since.endswith("Z)") and "(20" in since, since)


def body_of(size):
    """A transaction of three puts; size of the values together."""
    part = size // 3
    return json.dumps({"ops": [
        {"op": "put", "key": "k%d" % i,
         "value": "v" * (part if i else size - 2 * part)} for i in range(3)]})


def test_limits_of_a_transaction(t):
    node = t.mesh()
    for count, status in ((4096, 200), (4097, 400)):
        answer = node.request("POST", "/v1/txn", json.dumps({"ops": [
            {"op": "put", "key": "n/%d" % i, "value": str(count)}
            for i in range(count)]}))
        check_equal(answer.status, status, answer.body[:300])
    check_in(b"4096", answer.body)
    check_equal(node.get("n/0"), b"4096", "nothing of the second was done")
    text = "".join("put n/%d x\n" % i for i in range(4097))
    result = node.cli("txn", stdin=text)
    check_equal(result.returncode, 64)
    check_in(b"line 4097", result.stderr)
    # The greatest that fits, found by halving, and one byte more.
    fits, over = EVENT_SIZE_MAX // 2, EVENT_SIZE_MAX
    while over - fits > 1:
        middle = (fits + over) // 2
        answer = node.request("POST", "/v1/txn", body_of(middle))
        check(answer.status in (200, 413), answer.body[:300])
        if answer.status == 200:
            fits = middle
        else:
            over = middle
            check_in(b"1048576", answer.body)
    check(EVENT_SIZE_MAX - fits < 4096, "%d bytes are the most" % fits)
    check_equal(node.request("POST", "/v1/txn", body_of(fits)).status, 200)
    before = node.get("k0")
    check_equal(node.request("POST", "/v1/txn", body_of(fits + 1)).status, 413)
    check_equal(node.get("k0"), before, "nothing was lost")
    result = node.cli("txn", stdin="".join(
        'put big/%d "%s"\n' % (i, "v" * 500000) for i in range(3)))
    check_equal(result.returncode, 2)
    check_in(b"split it", result.stderr)
    check_equal(node.cli("list", "big/").stdout, b"")


def test_bad_requests(t):
    """Field, limit and remedy; nothing done."""
    node = t.mesh()
    token = told(node, "put", "k", "v")["token"]
    long = "k" * 481
    for method, path, body, status, part in (
            ("GET", "/v1/mesh/explain/" + long, None, 400, b"480"),
            ("GET", "/v1/mesh/explain/k?element=" + long, None, 400, b"480"),
            ("GET", "/v1/mesh/explain/k?element=%ff", None, 400, b"UTF-8"),
            ("GET", "/v1/mesh/explain/%ff", None, 400, b"UTF-8"),
            ("GET", "/v1/mesh/explain/k?ask=soon", None, 400, b"ask"),
            ("GET", "/v1/mesh/explain/k?ask=11m", None, 400, b"10m"),
            ("GET", "/v1/mesh/conflicts?limit=10001", None, 400, b"10000"),
            ("GET", "/v1/mesh/conflicts?prefix=%ff", None, 400, b"UTF-8"),
            ("GET", "/v1/mesh/conflicts?from=0102", None, 400, b"from"),
            ("POST", "/v1/mesh/resolve/k?keep=" + long, b"", 400, b"keep"),
            ("POST", "/v1/mesh/resolve/k?keep=%s&if-siblings=" % token, b"",
             400, b"if-siblings"),
            ("POST", "/v1/mesh/resolve/k?keep=%s0" % token, b"", 409,
             b"no sibling"),
            ("GET", "/v1/mesh/unsent?limit=0", None, 400, b"limit"),
            ("GET", "/v1/mesh/unsent?from=x", None, 400, b"from"),
            ("POST", "/v1/mesh/unsent/drop", b"", 400, b"all"),
            ("POST", "/v1/mesh/unsent/drop?id=18446744073709551616", b"", 400,
             b"id"),
            ("POST", "/v1/mesh/unsent/apply?id=1", b"", 404, b"no unsent"),
            ("POST", "/v1/mesh/adopt", b'{"yes":1}', 400, b"yes"),
            ("POST", "/v1/mesh/adopt", b"{", 400, b"JSON"),
            ("POST", "/v1/mesh/orders", b"\xff" * 100000, 413, b"limit"),
            ("PUT", "/v1/kv/k?after=zz", b"x", 400, b"after"),
            ("PUT", "/v1/kv/k?wait-for=x", b"x", 400, b"wait-for"),
            ("PUT", "/v1/kv/k?wait-for=2", b"x", 400, b"roster has 1"),
            ("PUT", "/v1/kv/k?wait-for=1&timeout=11m", b"x", 400, b"10 min"),
            ("PUT", "/v1/kv/k?ttl=", b"x", 400, b"ttl"),
            ("PUT", "/v1/kv/k?ttl=99999999999999999999", b"x", 400, b"ttl"),
            ("PUT", "/v1/kv/k?expires=253402300800", b"x", 400, b"6400"),
            ("POST", "/v1/revoke/k?reason=" + "r" * 257, b"", 400, b"256"),
            ("PUT", "/v1/set/%s/e" % long, b"", 400, b"480"),
            ("PUT", "/v1/set/s/%ff", b"", 400, b"UTF-8"),
            ("POST", "/v1/mesh/token", b'{"uses":10001}', 400, b"uses")):
        answer = node.request(method, path, body)
        check_equal(answer.status, status, "%s %.60s: %r" % (
            method, path, answer.body[:300]))
        check(part in answer.body, "%s %.60s: %r" % (method, path,
                                                     answer.body[:300]))
    check_equal(node.values(), {"k": b"v"})
    check_equal(told(node, "explain", "k")["siblings"][0]["version"], token)


def test_orders_take_no_parameters(t):
    """What was meant by one would be passed over, and the order done."""
    node = t.mesh()
    before = node.live()["incarnation"]
    for path in ("retire", "orders", "adopt", "token", "issuer", "merge",
                 "snapshot"):
        answer = node.request("POST", "/v1/mesh/%s?dry-run" % path, b"{}")
        check_equal(answer.status, 400, "%s: %r" % (path, answer.body[:200]))
        check_in(b'"dry-run\\"', answer.body, path)
    check_equal(node.live()["incarnation"], before)


if __name__ == "__main__":
    harness.main(globals())
