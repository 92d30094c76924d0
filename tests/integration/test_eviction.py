# parallel-safe
"""The floor, what goes below it, and evictions, with real processes."""
import json
import os
import shutil
import subprocess

import harness
import snapshot_reader
from harness import check, check_equal, check_in, wait_until

FLAGS = ["--floor-interval", "150ms", "--floor-keep", "200ms"]


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


def join(t, sponsor, name):
    node = t.node(name)
    node.flags = FLAGS
    node.start("--name", name, "--join", sponsor.token())
    return node


def siblings(node, key):
    answer = node.request("GET", "/v1/mesh/explain/" + key)
    check(answer.status in (200, 404), "explain: %d" % answer.status)
    return answer.json().get("siblings", []) if answer.status == 200 else []


def wait_gone(nodes, keys):
    for node in nodes:
        for key in keys:
            wait_until(lambda n=node, k=key: not siblings(n, k),
                       "%s is gone from %s" % (key, node.name))


def roster(node):
    return json.loads(node.ok("roster", "--json"))


def evict(t, node, *names):
    return node.ok("evict", *names, "--authority", t.authority).decode()


def wait_sealed(nodes, count):
    for node in nodes:
        wait_until(lambda n=node: len(roster(n)["sealed"]) == count,
                   "%d sealed at %s" % (count, node.name))


def test_tombstones_vanish(t):
    nodes = mesh(t, 3)
    keys = ["k%d" % i for i in range(20)]
    for i, key in enumerate(keys):
        nodes[i % 3].ok("put", key, "v")
    t.same(nodes, len(keys))
    nodes[0].ok("put", "kept", "v")
    nodes[1].ok("revoke", "gone-for-good")
    for i, key in enumerate(keys):
        nodes[(i + 1) % 3].ok("del", key)
    wait_gone(nodes, keys)
    check_equal(t.same(nodes, 1), {"kept": b"v"})
    for node in nodes:
        check_equal(len(siblings(node, "gone-for-good")), 1)
        check(node.live()["floor"]["moves"] > 0, "the floor moved")
    # Nothing idle writes: revisions and digests stand still.
    def quiet():
        before = [n.live()["revision"] for n in nodes]
        t.rounds(nodes)
        return before == [n.live()["revision"] for n in nodes]
    wait_until(quiet, "an idle mesh writes nothing")
    for node in nodes:
        check_equal(node.live()["floor"]["held_back_by"], [])
    # What was collected is still collected after a restart, and a new member
    # is brought up with it.
    nodes[2].restart()
    nodes.append(join(t, nodes[0], "delta"))
    t.same(nodes, 1)
    nodes[3].ok("del", "kept")
    wait_gone(nodes, ["kept"])
    t.same(nodes, 0)


def test_absent_member_holds_back(t):
    nodes = mesh(t, 3)
    nodes[0].ok("put", "k", "v")
    t.same(nodes, 1)
    nodes[2].kill()
    nodes[0].ok("del", "k")
    def held():
        # Beta, too, until its acknowledgement is here.
        by = nodes[0].live()["floor"]["held_back_by"]
        return by if [h["name"] for h in by] == ["gamma"] else None
    holder = wait_until(held, "gamma alone holds the floor back")
    check_equal(holder[0]["lacks"], "acknowledgement")
    check(len(siblings(nodes[0], "k")) == 1, "nothing goes without gamma")
    found = json.loads(nodes[0].cli("doctor", "--json").stdout)["findings"]
    check_in("gamma", "".join(f["found"] for f in found
                              if f["about"] == "floor"))
    # A writer is added while the proposal is open: it has to count too.
    nodes.append(join(t, nodes[0], "delta"))
    nodes[3].ok("put", "from-delta", "v")
    check(len(siblings(nodes[0], "k")) == 1, "still nothing goes")
    nodes[2].start()
    wait_gone(nodes, ["k"])
    check_equal(t.same(nodes, 1), {"from-delta": b"v"})


def test_stolen_node(t):
    alpha, beta, gamma = mesh(t, 3)
    gamma.ok("put", "before", "gamma")
    t.same([alpha, beta, gamma], 1)
    check_in("order of epoch 1", evict(t, alpha, "gamma"))
    wait_sealed([alpha, beta], 1)
    gamma.ok("put", "after", "thief")
    wait_until(lambda: any("evicted" in a for a in gamma.live()["alarms"]),
               "gamma knows")
    alpha.ok("put", "mine", "1")
    beta.wait_value("mine", b"1")
    alpha.ok("del", "before")
    wait_gone([alpha, beta], ["before"])
    for node in (alpha, beta):
        check_equal(node.get("after"), None)
        check_equal([m["name"] for m in roster(node)["members"]],
                    ["alpha", "beta"] if roster(node)["members"][0]["name"]
                    == "alpha" else ["beta", "alpha"])
    check_equal(t.same([alpha, beta], 1), {"mine": b"1"})
    check_equal(gamma.get("mine"), None)  # it hears nothing any more
    for node in (alpha, beta):
        node.restart()
    check_equal(alpha.get("after"), None)
    beta.ok("put", "mine", "2")
    alpha.wait_value("mine", b"2")


def test_stolen_node_and_late_joiners(t):
    """Who joins after the eviction, and has never seen gamma's name, is told
    with the cut whose keys count no more, and tells those whom it lets in:
    gamma hears nothing from either, though all others are gone."""
    alpha, beta, gamma = mesh(t, 3)
    gamma.ok("put", "before", "gamma")
    t.same([alpha, beta, gamma], 1)
    gamma.stop()
    evict(t, alpha, "gamma")
    wait_sealed([alpha, beta], 1)
    delta = join(t, alpha, "delta")
    delta.ok("issuer", "--authority", t.authority)
    used = delta.token()
    epsilon = t.node("epsilon")
    epsilon.start("--name", "epsilon", "--join", used, *FLAGS)
    t.same([alpha, beta, delta, epsilon], 1)
    for node in (alpha, beta, delta):
        node.stop()
    epsilon.restart()
    delta.start()
    epsilon.ok("put", "after", "secret")
    delta.wait_value("after", b"secret")
    # The thief knows where delta lives; the token brings nobody in any more.
    gamma.start("--join", used)
    gamma.ok("put", "thief", "was here")
    wait_until(lambda: any("evicted" in a for a in gamma.live()["alarms"]),
               "gamma is told")
    epsilon.ok("put", "after", "another")
    delta.wait_value("after", b"another")
    t.rounds([delta, epsilon])
    check_equal(gamma.get("after"), None)
    for node in (delta, epsilon):
        check_equal(node.get("thief"), None)


def test_stolen_node_after_total_loss(t):
    """An eviction outlives the mesh: what is restored from a snapshot lets
    beta, who was a member, come back with what it wrote meanwhile, but not
    gamma, unless a person gives it a fresh token."""
    alpha, beta, gamma = mesh(t, 3)
    target = t.path("snap")
    alpha.ok("put", "k", "1")
    t.same([alpha, beta, gamma], 1)
    alpha.stop()
    alpha.start("--snapshot-to", target, "--snapshot-interval", "1h",
                "--snapshot-delta", "300ms")
    alpha.wait_uploaded()
    gamma.stop()
    evict(t, alpha, "gamma")
    wait_sealed([alpha, beta], 1)

    store = snapshot_reader.Store(target)
    wait_until(lambda: any(
        snapshot_reader.Manifest(store.get(name)).evicted
        for name in store.manifests()), "a snapshot tells of it", 30)
    alpha.kill()
    shutil.rmtree(alpha.data)
    beta.ok("put", "alone", "2")
    beta.stop()
    phoenix = t.node("phoenix")
    result = subprocess.run(
        [harness.RESTORE, target, "--data", phoenix.data, "--name", "phoenix",
         "--authority", t.authority, "--no-passphrase"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    check_equal(result.returncode, 0, result.stderr)
    phoenix.start()
    used = phoenix.token()
    delta = t.node("delta")
    delta.start("--name", "delta", "--join", used, *FLAGS)
    beta.start("--join", used)
    phoenix.wait_value("alone", b"2", 60)
    gamma.start("--join", used)
    wait_until(lambda: b"newer than its certificate"
               in gamma.process.stderr(), "gamma is refused", 60)
    phoenix.ok("put", "after", "secret")
    delta.wait_value("after", b"secret")
    t.rounds([phoenix, delta])
    check_equal(gamma.get("after"), None)
    gamma.stop()
    gamma.start("--join", phoenix.token())
    gamma.wait_value("after", b"secret", 60)


def test_overlapping_evictions(t):
    alpha, beta, gamma, delta = mesh(t, 4)
    gamma.ok("put", "g", "1")
    delta.ok("put", "d", "1")
    t.same([alpha, beta, gamma, delta], 2)
    evict(t, alpha, "gamma")
    evict(t, beta, "delta")
    wait_sealed([alpha, beta], 2)
    check_equal(roster(alpha)["epoch"], 2)
    alpha.ok("del", "g")
    wait_gone([alpha, beta], ["g"])
    check_equal(t.same([alpha, beta], 1), {"d": b"1"})


def test_orders_refused(t):
    alpha, beta, gamma = mesh(t, 3)
    # The tool: unknown names, the asked node itself, nobody left.
    for words, reason in ((["omega"], b"no member"),
                          (["alpha"], b"would go itself"),
                          (["alpha", "beta", "gamma"], b"nobody would stay"),
                          (["beta", "gamma"], b"--yes"),
                          ([], b"--none"), (["gamma", "--none"], b"--none"),
                          (["--none"], b"nothing to decide")):
        result = alpha.cli("evict", *words, "--authority", t.authority)
        check(result.returncode != 0, "evict %s" % words)
        check_in(reason, result.stderr)
    check(not os.path.exists(t.authority + ".epoch"), "an order was signed")
    evict(t, alpha, "gamma")
    with open(t.authority + ".epoch", "rb") as file:
        order = bytes.fromhex(file.read().split()[-1].decode())
    wait_sealed([alpha, beta], 1)
    # The node: the same again is no news; forged and foreign ones are refused.
    answer = beta.request("POST", "/v1/mesh/orders", order)
    check_equal(answer.status, 200)
    check_equal(answer.json()["news"], False)
    forged = order[:-1] + bytes([order[-1] ^ 1])
    answer = beta.request("POST", "/v1/mesh/orders", forged)
    check(answer.status >= 400, "a forged order: %d" % answer.status)
    answer = beta.request("POST", "/v1/mesh/orders", b"nonsense")
    check(answer.status >= 400, "nonsense: %d" % answer.status)
    # A file that says another order was signed for this epoch.
    shutil.copy(t.authority, t.path("copy"))
    with open(t.authority + ".epoch", "rb") as file:
        words = file.read().split()
    words[3] = b"7"
    with open(t.path("copy.epoch"), "wb") as file:
        file.write(b" ".join(words) + b"\n")
    result = alpha.cli("evict", "beta", "--yes", "--authority",
                       t.path("copy"))
    check(result.returncode != 0, "an epoch ahead of the mesh")
    check_in(b"not acted upon", result.stderr)
    # An order that names nobody, if somebody means it: there is nothing to
    # act upon in it, and the next order follows it.
    evict(t, alpha, "--none", "--yes")
    again = alpha.cli("evict", "--none", "--yes", "--authority", t.authority)
    check(again.returncode != 0, "two in a row")
    check_in(b"names nobody already", again.stderr)
    check_equal(len(json.loads(beta.ok("roster", "--json"))["members"]), 2)
    delta = join(t, alpha, "delta")
    evict(t, alpha, "beta")
    wait_sealed([alpha, delta], 2)
    for node in (alpha, delta):
        check_equal(json.loads(node.ok("roster", "--json"))["epoch"], 3)
    check_equal(delta.cli("retire").returncode, 0)


if __name__ == "__main__":
    harness.main(globals())
