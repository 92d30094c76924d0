"""Eviction orders that contradict one another, overlap, arrive amid a cut or
hit a sponsor; what doctor and metrics say of bad ones. Real processes."""
import json
import os
import re
import shutil

import harness
from harness import check, check_equal, check_in, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]


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
    text = node.request("GET", "/metrics").body.decode()
    found = re.search(r'^confmesh_bad_input_total\{what="%s",reason="%s"\} '
                      r"(\d+)$" % (what, reason), text, re.M)
    check(found, "the metric of %s %s" % (what, reason))
    return int(found.group(1))


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
    wait_until(lambda: metric(beta, "repeated") == before + 1, "repeated")
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


if __name__ == "__main__":
    harness.main(globals())
