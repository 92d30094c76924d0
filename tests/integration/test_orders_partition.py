#!/usr/bin/env python3
"""Two eviction orders of one epoch, one on each side of a partition (M13): both
sides evict each other, the authority's next order names the one that stands,
and whom the other one had evicted is back. Hosts of their own, see
namespaces.py."""
import json

import namespaces
from harness import check_equal, check_in, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]


def roster(node):
    return json.loads(node.ok("roster", "--json"))


def staying(node):
    return sorted(m["name"] for m in roster(node)["members"] if m["stays"])


def evict(lab, node, *names):
    return node.ok("evict", *names, "--authority",
                   lab.disk("authority.key")).decode()


def carry_authority(lab, source, target):
    """As it was before any order: a copy that was made for safety."""
    with open(source.root + lab.disk("authority.key"), "rb") as file:
        key = file.read()
    with open(target.root + lab.disk("authority.key"), "wb") as file:
        file.write(key)


def split(t):
    lab = namespaces.Lab(t)
    nodes = lab.mesh(["alpha", "beta", "gamma", "delta"], FLAGS)
    nodes[0].ok("put", "before", "v")
    t.same(nodes, 1)
    carry_authority(lab, nodes[0], nodes[2])
    lab.partition(nodes[:2], nodes[2:])
    return lab, nodes


def test_one_of_two_orders_is_dropped(t):
    lab, nodes = split(t)
    alpha, beta, gamma, delta = nodes
    evict(lab, alpha, "gamma")
    evict(lab, gamma, "alpha")
    for node, gone in ((alpha, "gamma"), (beta, "gamma"), (gamma, "alpha"),
                       (delta, "alpha")):
        wait_until(lambda n=node, g=gone: g not in staying(n),
                   "%s knows that %s is to go" % (node.name, gone))
    # Neither is sealed: each lacks the word of one on the other side.
    for node in nodes:
        check_equal(roster(node)["sealed"], [], node.name)
    alpha.ok("put", "left", "1")
    delta.ok("put", "right", "2")
    beta.wait_value("left", b"1")
    gamma.wait_value("right", b"2")
    # As long as alpha has not met the other order, whoever asks it must know.
    refused = alpha.cli("evict", "--none", "--authority",
                        lab.disk("authority.key"))
    check_equal(refused.returncode, 2)
    check_in(b"add --yes", refused.stderr)
    lab.heal(nodes)
    # Whoever meets the other order keeps to its own, and says so.
    wait_until(lambda: any("two eviction orders" in a
                           for n in (beta, delta)
                           for a in n.live()["alarms"]), "the alarm", 60)
    told = "".join(f["remedy"] for n in (beta, delta) for f in
                   json.loads(n.cli("doctor", "--json").stdout)["findings"]
                   if "two eviction orders" in f["found"])
    check_in("the authority's next order", told)
    check_in("gamma", staying(delta), "delta keeps to the order it heard")
    check_in("alpha", staying(beta), "and so does beta")
    # The authority's next order names the one that alpha acted on: not by
    # leaving names out.
    refused = alpha.cli("evict", "--authority", lab.disk("authority.key"))
    check_equal(refused.returncode, 64)
    check_in(b"--none", refused.stderr)
    evict(lab, alpha, "--none", "--yes")
    for node in (alpha, beta, delta):
        wait_until(lambda n=node: staying(n) == ["alpha", "beta", "delta"],
                   "alpha, beta and delta stay at " + node.name, 60)
        wait_until(lambda n=node: n.get("right") == b"2" and
                   n.get("left") == b"1", "both sides' writes at "
                   + node.name, 60)
    t.converged([alpha, beta, delta], 60)
    check_equal(delta.get("before"), b"v")
    check_equal(roster(delta)["epoch"], 2)
    # alpha, whom the dropped order had evicted, writes as before.
    alpha.ok("put", "after", "3")
    delta.wait_value("after", b"3")
    delta.ok("put", "after", "4")
    alpha.wait_value("after", b"4")
    wait_until(lambda: any("evicted" in a for a in gamma.live()["alarms"]),
               "gamma knows that it is out", 60)
    check_equal(gamma.get("after"), None)


if __name__ == "__main__":
    namespaces.main(globals())
