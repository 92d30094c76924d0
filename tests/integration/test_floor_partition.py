#!/usr/bin/env python3
"""A partition in which neither side may compact: each proposes, each lacks
the other's word, and nothing goes until it is healed. Hosts of their own, see
namespaces.py."""
import namespaces
from harness import check, check_equal, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]


def siblings(node, key):
    answer = node.request("GET", "/v1/mesh/explain/" + key)
    check(answer.status in (200, 404), "explain: %d" % answer.status)
    return answer.json().get("siblings", []) if answer.status == 200 else []


def lacking(node):
    return sorted({h["name"] for h in node.live()["floor"]["held_back_by"]})


def test_neither_side_compacts(t):
    lab = namespaces.Lab(t)
    nodes = lab.mesh(["alpha", "beta", "gamma", "delta"], FLAGS)
    for key in ("left", "right", "both"):
        nodes[0].ok("put", key, "v")
    t.same(nodes, 3)
    left, right = nodes[:2], nodes[2:]
    lab.partition(left, right)
    left[0].ok("del", "left")
    left[0].ok("del", "both")
    right[0].ok("del", "right")
    right[0].ok("put", "both", "concurrent")
    wait_until(lambda: lacking(left[1]) == ["delta", "gamma"],
               "the left side lacks the right one")
    wait_until(lambda: lacking(right[1]) == ["alpha", "beta"],
               "the right side lacks the left one")
    t.rounds(nodes)
    for node in left:
        check_equal(len(siblings(node, "left")), 1, "not collected")
    for node in right:
        check_equal(len(siblings(node, "right")), 1, "not collected")
    lab.heal(nodes)
    t.converged(nodes, 60)
    for node in nodes:
        for key in ("left", "right"):
            wait_until(lambda n=node, k=key: not siblings(n, k),
                       "%s is gone from %s" % (key, node.name), 60)
        wait_until(lambda n=node: len(siblings(n, "both")) == 1,
                   "one is left of both", 60)
    # The later of the two stands, and stands alone.
    check_equal(t.same(nodes, 1), {"both": b"concurrent"})
    for node in nodes:
        check_equal(node.live()["alarms"], [], "alarms of " + node.name)


if __name__ == "__main__":
    namespaces.main(globals())
