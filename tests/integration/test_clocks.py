#!/usr/bin/env python3
# parallel-safe
"""A node whose clock is years ahead, in a real process: it writes alone, meets
the others, and its clock is set right. Nobody else stops; whose clock it is is
told; and the node is none the worse for it."""
import json

import harness
from faked_clock import faked_clock
from harness import check, check_equal, check_in, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]
DAY_MS = 24 * 3600 * 1000


def findings(node, about="clocks"):
    told = json.loads(node.cli("doctor", "--json").stdout)["findings"]
    return [f for f in told if f["about"] == about]


def judged(alpha, beta, gamma):
    """All three know one another's clocks; gamma's is the bad one."""
    refusal = wait_until(lambda: [r for r in [gamma.cli("put", "late", "2")]
                                  if r.returncode != 0],
                         "gamma refuses local writes", 60)[0]
    check_equal(refusal.returncode, 2)
    check_in(b"clock", refusal.stderr)
    check(gamma.live()["clocks"]["ahead"], "gamma knows")
    own = wait_until(lambda: findings(gamma), "gamma's doctor tells")
    check_in("refuses local writes", own[0]["found"])
    check_in("ntp", own[0]["remedy"])
    for node in (alpha, beta):
        found = wait_until(lambda n=node: [
            f for f in findings(n) if "the clock of gamma" in f["found"]
            and "ahead of the median of 3" in f["found"]],
            "doctor of %s names gamma" % node.name, 60)
        check_in("ntp", found[0]["remedy"])
        off = [m for m in node.members() if m["name"] == "gamma"]
        check(off[0]["clock_offset_ms"] > 300 * DAY_MS, off)


def held_at(node, key):
    story = json.loads(node.ok("explain", key, "--json"))
    return [h for h in story["held"] if h["node"] == "gamma"]


def years(t, days):
    first = t.init()
    first.flags = FLAGS
    nodes = [first.start()]
    for name in ("beta", "gamma"):
        node = t.node(name)
        node.flags = FLAGS
        nodes.append(node.start("--name", name, "--join", first.token()))
    alpha, beta, gamma = nodes
    for node in nodes:
        node.wait_alive(3)
    alpha.ok("put", "before", "1")
    t.same(nodes, 1)
    for node in nodes:
        node.stop()
    gamma.env = faked_clock("+%dd" % days)
    gamma.start()
    gamma.ok("put", "alone", "years ahead")
    dated = gamma.siblings("alone")[0]["time_ms"]
    alpha.start()
    beta.start()
    check(dated > alpha.live()["clocks"]["wall_ms"] + (days - 1) * DAY_MS,
          "its clock is ahead")
    return alpha, beta, gamma


def goes_on(t, alpha, beta, value):
    """Two of three write as ever, and date by their own clocks."""
    alpha.ok("put", "of/alpha", value)
    beta.ok("put", "of/beta", value)
    beta.wait_value("of/alpha", value.encode())
    alpha.wait_value("of/beta", value.encode())
    for node in (alpha, beta):
        written = node.siblings("of/" + node.name)[0]["time_ms"]
        check(abs(written - node.live()["clocks"]["wall_ms"]) < 60000,
              "dated %d" % written)


def repaired(t, alpha, beta, gamma):
    """Its clock is right again: it writes, what it wrote is in the mesh or in
    its list, and the floor moves with all three."""
    gamma.stop()
    gamma.env = None
    gamma.start()

    def writes():
        return gamma.cli("put", "of/gamma", "now").returncode == 0
    wait_until(writes, "gamma takes writes again", 60)
    for node in (alpha, beta):
        node.wait_value("of/gamma", b"now", 60)

    def quiet():
        s = gamma.live()
        return s["unsent"]["waiting"] == 0 and not s["returning"]["reason"]
    wait_until(quiet, "gamma has returned", 60)
    t.converged([alpha, beta, gamma], 60)
    parked = json.loads(gamma.ok("unsent", "--json"))["unsent"]
    check(gamma.get("alone") == b"years ahead" or
          [u for u in parked for o in u["operations"]
           if o["key"] == "alone"], "what it wrote is lost")
    now = alpha.live()["clocks"]["wall_ms"]
    for node in (alpha, beta, gamma):
        for sibling in node.siblings("of/gamma"):
            check(sibling["time_ms"] < now + 60000, sibling)
        wait_until(lambda n=node: held_at(n, "alone") == [],
                   "nothing is held at " + node.name)
    alpha.ok("put", "goes", "1")
    beta.wait_value("goes", b"1")
    beta.ok("del", "goes")
    for node in (alpha, beta, gamma):
        wait_until(lambda n=node: not json.loads(
            n.ok("explain", "goes", "--json"))["siblings"],
            "the floor passes at " + node.name, 60)
    wait_until(lambda: findings(alpha) == [], "alpha's doctor is content")


def test_a_year(t):
    alpha, beta, gamma = years(t, 400)
    judged(alpha, beta, gamma)
    goes_on(t, alpha, beta, "1")
    for node in (alpha, beta):
        wait_until(lambda n=node: held_at(n, "alone"), "held at " + node.name)
        check_equal(node.get("alone"), None)
    repaired(t, alpha, beta, gamma)


def test_ten_years(t):
    """Beyond the validity of every certificate that the node knows, too."""
    alpha, beta, gamma = years(t, 3700)
    goes_on(t, alpha, beta, "1")
    check_equal(alpha.get("alone"), None)
    goes_on(t, alpha, beta, "2")
    repaired(t, alpha, beta, gamma)


if __name__ == "__main__":
    harness.main(globals())
