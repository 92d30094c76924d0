# parallel-safe
"""Who certifies others: a second issuer, and what the first one's key is worth
once it was evicted. Real processes."""
import json

import harness
from harness import check, check_equal, check_in, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]
REMEDY = "redeem a fresh token of another issuer"


def join(t, sponsor, name, *flags, ready=True):
    node = t.node(name)
    node.flags = FLAGS
    token = sponsor if isinstance(sponsor, str) else sponsor.token(*flags)
    if ready:
        return node.start("--name", name, "--join", token)
    return node.spawn("--name", name, "--join", token)


def mesh(t, *names):
    first = t.init(names[0])
    first.flags = FLAGS
    nodes = [first.start()]
    for name in names[1:]:
        nodes.append(join(t, first, name))
    for node in nodes:
        node.wait_alive(len(names))
    return nodes


def roster(node):
    return json.loads(node.ok("roster", "--json"))


def staying(node):
    return sorted(m["name"] for m in roster(node)["members"] if m["stays"])


def refused(node, reason):
    return node.bad_input("entry", reason)


def make_issuer(t, node):
    return node.ok("issuer", "--authority", t.authority)


def evict_unaware(t, gone, nodes):
    """gone is down while the others evict it; then it is alone."""
    gone.kill()
    nodes[0].ok("evict", gone.name, "--authority", t.authority)
    for node in nodes:
        wait_until(lambda n=node: len(roster(n)["sealed"]) == 1,
                   "sealed at " + node.name)
    for node in nodes:
        node.stop()
    gone.start()


def test_a_second_issuer(t):
    alpha, beta = mesh(t, "alpha", "beta")
    result = beta.cli("token", "create")
    check_equal(result.returncode, 2)
    check_in(b"confmesh issuer --authority", result.stderr)
    check_in(b"beta may make join tokens", make_issuer(t, beta))
    told = json.loads(beta.ok("issuer", "--authority", t.authority, "--json"))
    check_equal(told, {"name": "beta", "issuer": True})
    gamma = join(t, beta, "gamma")
    beta.restart()
    alpha.stop()
    delta = join(t, beta, "delta")
    alpha.start()
    delta.ok("put", "k", "v")
    t.converged([alpha, beta, gamma, delta])
    # Its place in the roster is what it was.
    check_equal(staying(alpha), ["alpha", "beta", "delta", "gamma"])


def test_issuer_refused(t):
    alpha, beta = mesh(t, "alpha", "beta")
    result = beta.cli("issuer", "--authority", t.path("none"))
    check_equal(result.returncode, 2)
    check_in(b"none", result.stderr)
    check_equal(beta.cli("issuer", "word").returncode, 64)
    check_in(b"--authority", beta.cli("issuer", "--help").stdout)
    other = harness.Test()
    try:
        other.init("stranger")
        result = beta.cli("issuer", "--authority", other.authority)
        check_equal(result.returncode, 2)
        check_in(b"another mesh", result.stderr)
    finally:
        other.cleanup()
    # Bytes that give no such right: refused in words, nothing is changed.
    for body, reason in (
            (b"nonsense", b"no certificate"),
            (bytes.fromhex(alpha.request(
                "GET", "/v1/mesh/issuer").json()["certificate"]),
             b"another node's"),
            (bytes.fromhex(beta.request(
                "GET", "/v1/mesh/issuer").json()["certificate"]),
             b"lets nobody issue")):
        answer = beta.request("POST", "/v1/mesh/issuer", body)
        check(answer.status in (400, 403), "status %d" % answer.status)
        check_in(reason, answer.body)
    check_equal(beta.cli("token", "create").returncode, 2)


def test_newcomer_of_an_evicted_issuer(t):
    """Evicted without knowing it, alpha lets delta in (M6). Nobody can tell
    delta from one whom a thief with alpha's key lets in: refused, counted,
    told; and at home with a token of another issuer."""
    alpha, beta, gamma = mesh(t, "alpha", "beta", "gamma")
    beta.ok("put", "k", "1")
    t.converged([alpha, beta, gamma])
    early = alpha.token()
    evict_unaware(t, alpha, [beta, gamma])
    delta = join(t, early, "delta")
    delta.ok("put", "of/delta", "2")
    alpha.wait_value("of/delta", b"2")
    alpha.stop()
    beta.start()
    gamma.start()
    # Nobody in the mesh knows delta, nor delta where they live now: it is
    # introduced, with a token that cannot be redeemed any more.
    check_in(b"no issuer", beta.cli("token", "create").stderr)
    make_issuer(t, beta)
    used = beta.token()
    epsilon = join(t, used, "epsilon")
    delta.stop()
    delta.start("--join", used)
    wait_until(lambda: REMEDY.encode() in delta.process.stderr(),
               "delta is told what to do", 60)
    wait_until(lambda: "used up" in delta.live()["returning"]["waits"],
               "and what is wrong with this token", 60)
    check_equal(delta.live()["returning"]["reason"], "issuer")
    wait_until(lambda: refused(beta, "issuer") > 0, "it is counted")
    check_equal(staying(beta), ["beta", "epsilon", "gamma"])
    check_equal(beta.get("of/delta"), None)
    check_equal(delta.get("k"), b"1")
    found = [f for f in json.loads(
        beta.cli("doctor", "--json").stdout)["findings"]
        if "evicted issuer" in f["found"]]
    check(found and "token create" in found[0]["remedy"], "doctor: %s" % found)
    delta.stop()
    delta.start("--join", beta.token())
    # What it wrote is there, or parked: a floor may have passed meanwhile.
    wait_until(lambda: beta.get("of/delta") == b"2"
               or delta.live()["unsent"]["parked"] == 1, "delta is home", 60)
    t.converged([beta, gamma, delta, epsilon], 60)
    check_equal(staying(gamma), ["beta", "delta", "epsilon", "gamma"])
    delta.ok("put", "k", "3")
    gamma.wait_value("k", b"3")
    # What beta and gamma know outlives their restart: alpha hears nothing.
    beta.restart()
    gamma.restart()
    alpha.start()
    wait_until(lambda: any("evicted" in a for a in alpha.live()["alarms"]),
               "alpha is told", 60)
    gamma.ok("put", "k", "4")
    beta.wait_value("k", b"4")
    t.rounds([beta, gamma])
    check_equal(alpha.get("k"), b"1")
    check_equal(alpha.get("of/delta"), b"2")


def test_reader_of_an_evicted_issuer(t):
    """A reader is in no roster: certified by an evicted one it hears nothing
    more, and says what it needs."""
    alpha, beta, gamma = mesh(t, "alpha", "beta", "gamma")
    reader = join(t, alpha, "reader", "--reader")
    beta.ok("put", "k", "1")
    reader.wait_value("k", b"1")
    make_issuer(t, beta)
    alpha.kill()
    beta.ok("evict", "alpha", "--authority", t.authority)
    wait_until(lambda: REMEDY in reader.live()["returning"]["waits"],
               "the reader is told", 60)
    gamma.ok("put", "k", "2")
    beta.wait_value("k", b"2")
    t.rounds([beta, gamma])
    check_equal(reader.get("k"), b"1")
    reader.stop()
    reader.start("--join", beta.token("--reader"))
    reader.wait_value("k", b"2", 60)
    gamma.ok("put", "k", "3")
    reader.wait_value("k", b"3")
    check_equal(staying(beta), ["beta", "gamma"])


if __name__ == "__main__":
    harness.main(globals())
