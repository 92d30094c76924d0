"""Members that may write under some prefixes only: a token says which, nothing
else of theirs is taken, and everything is told. Real processes."""
# parallel-safe
import json

import harness
from harness import check, check_equal, check_in

EDGE = ("--writes", "sites/17/", "--writes", "health/")


def join(t, sponsor, name, *flags):
    node = t.node(name)
    node.start("--name", name, "--join", sponsor.token(*flags))
    return node


def mesh(t):
    alpha = t.init("alpha")
    alpha.start()
    edge = join(t, alpha, "edge", *EDGE)
    for node in (alpha, edge):
        node.wait_alive(2)
    return alpha, edge


def refused(node, *words):
    result = node.cli(*words)
    check(result.returncode != 0, "%s is refused" % (words,))
    check_in(b"does not permit writing key", result.stderr)


def test_what_it_may(t):
    alpha, edge = mesh(t)
    edge.ok("put", "sites/17/name", "a")
    edge.ok("set", "add", "health/up", "edge")
    edge.ok("txn", stdin=b"put sites/17/x 1\nput health/y 2\n")
    alpha.wait_value("sites/17/name", b"a")
    alpha.wait_value("health/y", b"2")
    # And it has what others write.
    alpha.ok("put", "sites/18/name", "b")
    edge.wait_value("sites/18/name", b"b")


def test_what_it_may_not(t):
    alpha, edge = mesh(t)
    alpha.ok("put", "sites/18/name", "b")
    alpha.ok("set", "add", "blocked", "x")
    edge.wait_value("sites/18/name", b"b")
    refused(edge, "put", "sites/1", "x")
    refused(edge, "put", "sites/18/name", "x")
    refused(edge, "del", "sites/18/name")
    refused(edge, "revoke", "sites/18/name")
    refused(edge, "set", "add", "blocked", "y")
    result = edge.cli("txn", stdin=b"put health/z 1\nput elsewhere 2\n")
    check(result.returncode != 0, "a transaction that goes beyond is refused")
    check_equal(edge.cli("get", "health/z").returncode, 1)
    answer = edge.request("PUT", "/v1/kv/elsewhere", b"3")
    check_equal(answer.status, 403)
    check_equal(alpha.cli("get", "elsewhere").returncode, 1)
    edge.ok("put", "health/after", "1")
    alpha.wait_value("health/after", b"1")


def test_rights_are_shown_and_stay(t):
    alpha, edge = mesh(t)
    members = json.loads(alpha.ok("roster", "--json"))["members"]
    of = {m["name"]: m.get("writes") for m in members}
    check_equal(of, {"alpha": None, "edge": ["sites/17/", "health/"]})
    check_in("writes sites/17/ health/",
             alpha.ok("roster").decode())
    edge.restart()
    edge.wait_alive(2)
    refused(edge, "put", "elsewhere", "x")


def test_token_outlives_its_issuers_restart(t):
    alpha = t.init("alpha")
    alpha.start()
    token = alpha.token("--writes", "only/")
    alpha.restart()
    late = t.node("late")
    late.start("--name", "late", "--join", token)
    late.wait_alive(2)
    late.ok("put", "only/k", "1")
    alpha.wait_value("only/k", b"1")
    refused(late, "put", "other", "x")


def test_bad_rights(t):
    alpha = t.init("alpha")
    alpha.start()
    for flags, what in (
            (("--reader", "--writes", "a/"), b"a reader writes nothing"),
            (("--writes", "x" * 481), b"480 bytes"),
            (tuple(f for i in range(17) for f in ("--writes", "p%d/" % i)),
             b"16 prefixes"),
            (tuple(f for i in range(3) for f in ("--writes", "y" * 400)),
             b"1024 bytes")):
        result = alpha.cli("token", "create", *flags)
        check(result.returncode != 0, "%s is refused" % (flags[:2],))
        check_in(what, result.stderr)
    for body in (b'{"writes":"a/"}', b'{"writes":[1]}', b'{"writes":[[]]}'):
        answer = alpha.request("POST", "/v1/mesh/token", body)
        check_equal(answer.status, 400)


if __name__ == "__main__":
    harness.main(globals())
