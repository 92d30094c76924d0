# parallel-safe
"""Eviction orders that contradict one another, overlap, arrive amid a cut or
hit a sponsor; what doctor and metrics say of bad ones. Real processes."""
import json
import os
import shutil
import signal

import harness
from harness import check, check_equal, check_in, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]
BIG = 24  # megabytes: a cut in whose midst one can be stopped


def join(t, sponsor, name):
    node = t.node(name)
    node.flags = FLAGS
    node.start("--name", name, "--join", sponsor.token())
    return node


def mesh(t, count):
    names = ["alpha", "beta", "gamma", "delta"]
    first = t.init(names[0])
    first.flags = FLAGS
    nodes = [first.start()]
    for name in names[1:count]:
        nodes.append(join(t, first, name))
    for node in nodes:
        node.wait_alive(count)
    return nodes


def roster(node):
    return json.loads(node.ok("roster", "--json"))


def names_of(node):
    return sorted(m["name"] for m in roster(node)["members"])


def evict(t, node, *names, authority=None):
    return node.ok("evict", *names, "--authority",
                   authority or t.authority).decode()


def order_of(authority):
    with open(authority + ".epoch", "rb") as file:
        return bytes.fromhex(file.read().split()[-1].decode())


def wait_sealed(nodes, count):
    for node in nodes:
        wait_until(lambda n=node: len(roster(n)["sealed"]) == count,
                   "%d sealed at %s" % (count, node.name))


def findings(node):
    return json.loads(node.cli("doctor", "--json").stdout)["findings"]


def metric(node, reason, what="order"):
    return node.bad_input(what, reason)


def test_bad_orders_are_counted(t):
    """Forged, foreign, malformed, repeated: refused, counted, explained."""
    alpha, beta, gamma = mesh(t, 3)
    check_equal([metric(beta, r) for r in ("signature", "malformed", "mesh",
                                           "conflict", "repeated")], [0] * 5)
    evict(t, alpha, "gamma")
    order = order_of(t.authority)
    wait_sealed([alpha, beta], 1)
    forged = order[:-1] + bytes([order[-1] ^ 1])
    for bytes_, reason in ((forged, "signature"), (order[:-9], "malformed"),
                           (b"nonsense", "malformed")):
        before = metric(beta, reason)
        answer = beta.request("POST", "/v1/mesh/orders", bytes_)
        check(answer.status >= 400, "%s: %d" % (reason, answer.status))
        wait_until(lambda r=reason, b=before: metric(beta, r) == b + 1,
                   "it is counted as " + reason)
    before = metric(beta, "repeated")
    check_equal(beta.request("POST", "/v1/mesh/orders", order).json()["news"],
                False)
    # Members tell one another too, and that counts alike.
    wait_until(lambda: metric(beta, "repeated") > before, "repeated")
    told = [f for f in findings(beta) if f["about"] == "refused"]
    text = " ".join(f["found"] for f in told)
    check_in("1 orders were refused as forged", text)
    check_in("2 orders were refused: bytes that are no order", text)
    check(all(f["remedy"] for f in told), "each says what to do: %s" % told)
    refused = beta.live()["refused"]
    check_equal(refused["order-signature"]["count"], 1)
    # Nothing of it held anybody up.
    beta.ok("put", "k", "v")
    alpha.wait_value("k", b"v")
    check_equal(names_of(alpha), ["alpha", "beta"])
    check(gamma.process.running(), "the evicted one still runs")


def test_conflicting_order_is_counted(t):
    """A second order of one epoch, signed with a copy of the key that knew of
    no first one: the one that was heard first stands, and doctor says why."""
    alpha, beta, gamma, delta = mesh(t, 4)
    copy = t.path("copy.key")
    shutil.copy(t.authority, copy)
    for node in (beta, gamma, delta):
        node.stop()
    evict(t, alpha, "gamma")
    first = order_of(t.authority)
    alpha.stop()
    beta.start()
    evict(t, beta, "delta", authority=copy)
    wait_until(lambda: [m for m in roster(beta)["members"]
                        if m["name"] == "delta" and m["evictee"]],
               "beta acts on the other one")
    answer = beta.request("POST", "/v1/mesh/orders", first)
    check(answer.status >= 400, "%d %s" % (answer.status, answer.body))
    check_in(b"order", answer.body)
    wait_until(lambda: metric(beta, "conflict") == 1, "it is counted")
    told = [f for f in findings(beta)
            if "contradict the one that this node heard first" in f["found"]]
    check_equal([f["about"] for f in told], ["refused"])
    check_in("evict --none", told[0]["remedy"])
    check([m for m in roster(beta)["members"]
           if m["name"] == "gamma" and m["stays"]], "gamma stays at beta")
    beta.ok("put", "k", "v")


def moved(t, node):
    """Its directory on another disk; nothing else of it is left."""
    copy = t.node(node.name)
    copy.data = node.data + "-moved"
    copy.port = node.port
    copy.flags = node.flags
    shutil.copytree(node.data, copy.data,
                    ignore=shutil.ignore_patterns("api.sock", "lock"))
    shutil.rmtree(node.data)
    return copy


def returned(node, before):
    def done():
        s = node.live()
        return s["incarnation"] != before and not s["returning"]["reason"]
    wait_until(done, "%s has returned" % node.name, 60)


def test_every_host_changes_at_once(t):
    """M14: the whole fleet is moved. Every incarnation ends, and somebody has
    to be left who adds the new ones."""
    nodes = mesh(t, 3)
    for node in nodes:
        node.ok("put", "of/" + node.name, "v")
    t.same(nodes, 3)
    before = [n.live()["incarnation"] for n in nodes]
    for node in nodes:
        node.stop()
    nodes = [moved(t, n) for n in nodes]
    for node in nodes:
        node.start()
    for node, old in zip(nodes, before):
        returned(node, old)
    for node in nodes:
        wait_until(lambda n=node: names_of(n) == ["alpha", "beta", "gamma"]
                   and not any(m["evictee"] for m in roster(n)["members"]),
                   "the old ones are out of the roster of " + node.name, 60)
        # A name that a sponsor gave which was leaving itself is given up, and
        # sealed as well: it has never written.
        seals = {s["incarnation"]: s["last_seq"]
                 for s in roster(node)["sealed"]}
        check(set(before) <= seals.keys(), "sealed at " + node.name)
        check_equal([seals[name] for name in seals if name not in before
                     and seals[name] != 0], [], "others were sealed")
    for node in nodes:
        node.ok("put", "moved/" + node.name, "w")
    check_equal(len(t.same(nodes, 6)), 6)
    for node in nodes:
        node.wait_no_alarms()


def test_retirement_overlaps_an_eviction(t):
    """M1: gamma is evicted while delta, moved to another disk, retires the
    incarnation that it had: whoever stays at the end seals both alike."""
    alpha, beta, gamma, delta = mesh(t, 4)
    gamma.ok("put", "g", "1")
    delta.ok("put", "d", "1")
    t.same([alpha, beta, gamma, delta], 2)
    old = delta.live()["incarnation"]
    gone = {old, gamma.live()["incarnation"]}
    delta.stop()
    gamma.ok("put", "g", "2")  # delta has not seen this one
    evict(t, alpha, "gamma")
    delta = moved(t, delta)
    delta.start()
    returned(delta, old)
    seals = [{}, {}, {}]
    # Where delta asked gamma first, the name that gamma was to add is given
    # up and sealed as well: it has never written.
    def sealed_alike():
        seals[:] = [{s["incarnation"]: s["last_seq"]
                     for s in roster(n)["sealed"]}
                    for n in (alpha, beta, delta)]
        return gone <= seals[0].keys() and seals[0] == seals[1] == seals[2]
    wait_until(sealed_alike, "gamma and delta's name sealed by all")
    check_equal([seals[0][name] for name in seals[0] if name not in gone
                 and seals[0][name] != 0], [], "others were sealed")
    alpha.ok("del", "g")
    delta.ok("put", "d", "2")
    check_equal(t.same([alpha, beta, delta], 1), {"d": b"2"})
    for node in (alpha, beta, delta):
        check_equal(names_of(node), ["alpha", "beta", "delta"])


def test_eviction_during_a_cut(t):
    """M2: a member is evicted while a newcomer is brought up by a cut."""
    alpha, beta, gamma = mesh(t, 3)
    connection = gamma.connect()
    for i in range(700):
        connection.put("k/%d" % i, b"v" * 200)
    connection.close()
    t.same([alpha, beta, gamma], 700)
    delta = t.node("delta")
    delta.flags = FLAGS
    delta.spawn("--name", "delta", "--join", alpha.token())
    wait_until(lambda: "delta" in names_of(alpha), "delta is let in")
    evict(t, alpha, "gamma")
    gamma.ok("put", "k/late", "x")
    delta.wait_ready(60)
    wait_sealed([alpha, beta, delta], 1)
    t.converged([alpha, beta, delta], 60)
    seals = [roster(n)["sealed"] for n in (alpha, beta, delta)]
    check_equal(seals[1], seals[0])
    check_equal(seals[2], seals[0])
    delta.ok("put", "k/new", "1")
    alpha.wait_value("k/new", b"1")
    check_equal(names_of(beta), ["alpha", "beta", "delta"])


def spooled(node):
    """How many bytes its directory takes; files come and go meanwhile."""
    size = 0
    for name in os.listdir(node.data) if os.path.isdir(node.data) else []:
        try:
            size += 512 * os.stat(os.path.join(node.data, name)).st_blocks
        except FileNotFoundError:
            pass
    return size


def joining_through_beta(t):
    """delta stands still amid the cut of beta, who has let it in, as all
    know; then beta is evicted."""
    alpha, beta, gamma = mesh(t, 3)
    beta.ok("issuer", "--authority", t.authority)
    connection = alpha.connect()
    for i in range(BIG):
        connection.put("big/%02d" % i, os.urandom(1000000))
    connection.close()
    t.same([alpha, beta, gamma], BIG)
    delta = t.node("delta")
    delta.flags = FLAGS
    delta.spawn("--name", "delta", "--join", beta.token())

    while spooled(delta) < 1500000:
        check(delta.process.running(), delta.process.stderr())
    os.kill(delta.pid, signal.SIGSTOP)
    check(b"ready:" not in delta.process.stderr(), "it is not up yet")
    for node in (alpha, gamma):
        wait_until(lambda n=node: "delta" in names_of(n),
                   "%s knows delta" % node.name)
    names = [m["incarnation"] for m in roster(alpha)["members"]
             if m["name"] == "delta"]
    check_equal(len(names), 1)
    beta.ok("put", "of/beta", "1")
    alpha.wait_value("of/beta", b"1")
    evict(t, alpha, "beta")
    return alpha, beta, gamma, delta, names[0]


def at_home(t, alpha, gamma, delta):
    delta.wait_ready(60)
    for node in (alpha, gamma, delta):
        wait_until(lambda n=node: names_of(n) == ["alpha", "delta", "gamma"],
                   "one delta, and no beta, at %s" % node.name, 60)
    delta.ok("put", "of/delta", "2")
    t.same([alpha, gamma, delta], BIG + 2)
    seals = [roster(n)["sealed"] for n in (alpha, gamma, delta)]
    check_equal(seals[1], seals[0])
    check_equal(seals[2], seals[0])
    alpha.ok("del", "of/beta")
    delta.wait_value("of/beta", None)
    return {s["incarnation"] for s in seals[0]}


def test_sponsor_evicted_while_it_lets_in(t):
    """M3: beta is evicted while delta takes its cut. What beta had fenced and
    acknowledged is delta's by its add, so it must write fences of its own and
    hold nothing that the others do not let in."""
    alpha, beta, gamma, delta, name = joining_through_beta(t)
    wait_until(lambda: any("evicted" in a for a in beta.live()["alarms"]),
               "beta knows that it is out")
    os.kill(delta.pid, signal.SIGCONT)
    sealed = at_home(t, alpha, gamma, delta)
    check(len(sealed) in (1, 2), "sealed: %s" % sealed)
    if delta.live()["incarnation"] == name:
        check(name not in sealed, "the name that delta bears is sealed")
    else:
        check(name in sealed, "the name that delta gave up is not sealed")


def test_sponsor_evicted_and_gone(t):
    """M3 and M4: the same, and beta is gone with the rest of its cut. delta
    is let in by another, under a further name; the first one is retired."""
    alpha, beta, gamma, delta, name = joining_through_beta(t)
    beta.kill()
    os.kill(delta.pid, signal.SIGCONT)
    sealed = at_home(t, alpha, gamma, delta)
    if delta.live()["incarnation"] == name:
        check(name not in sealed, "the name that delta bears is sealed")
    else:
        wait_until(lambda: name in {s["incarnation"]
                                    for s in roster(alpha)["sealed"]},
                   "the name that was given up is sealed")
    delta.wait_no_alarms()


def test_writer_added_while_a_proposal_is_open(t):
    """H3: a proposal waits for gamma, who is away; delta is added meanwhile and
    builds on what it got. Nothing is collected before everyone has it, nothing
    comes back, and delta holds nobody back."""
    alpha, beta, gamma = mesh(t, 3)
    for key in ("gone", "kept"):
        alpha.ok("put", key, "v")
    t.same([alpha, beta, gamma], 2)
    gamma.kill()
    alpha.ok("del", "gone")
    beta.wait_value("kept", b"v")
    wait_until(lambda: [h["name"] for h in
                        alpha.live()["floor"]["held_back_by"]] == ["gamma"],
               "the proposal waits for gamma")
    delta = join(t, alpha, "delta")
    delta.ok("put", "kept", "delta's")
    delta.ok("put", "new", "1")
    alpha.wait_value("new", b"1")
    answer = alpha.request("GET", "/v1/mesh/explain/gone").json()
    check_equal(len(answer["siblings"]), 1, "the tombstone is still there")
    wait_until(lambda: [h["name"] for h in
                        delta.live()["floor"]["held_back_by"]] == ["gamma"],
               "delta's add counts as what its sponsor had acknowledged")
    gamma.start()
    nodes = [alpha, beta, gamma, delta]
    check_equal(t.same(nodes, 2), {"kept": b"delta's", "new": b"1"})
    for node in nodes:
        wait_until(lambda n=node: n.request(
            "GET", "/v1/mesh/explain/gone").status == 404 or not n.request(
                "GET", "/v1/mesh/explain/gone").json()["siblings"],
                   "it is collected at " + node.name)


if __name__ == "__main__":
    harness.main(globals())
