#!/usr/bin/env python3
# parallel-safe
"""Damage: bytes of data.mdb that rot while the node runs, and files that cannot
be opened any more. The node serves what it can, says what it cannot, mends
itself from the others, or joins anew; alone it refuses with the remedy."""
import glob
import json
import os
import struct

import harness
from harness import check, check_equal, check_in, wait_until

MARK = b"this-value-rots-"


def rot(node, needle):
    """Flips one bit in every place of data.mdb that has needle. The running
    node sees it at once, for its map and the file are the same pages."""
    path = os.path.join(node.data, "data.mdb")
    with open(path, "r+b") as file:
        text = file.read()
        at, hits = text.find(needle), 0
        while at >= 0:
            file.seek(at)
            file.write(bytes([text[at] ^ 1]))
            hits += 1
            at = text.find(needle, at + 1)
    check(hits > 0, "the value is in no page")
    return hits


def rot_fact(node, name):
    """Flips one bit of the checksum behind the key of that named fact, in every
    page that has it."""
    needle = b"m" + name
    path = os.path.join(node.data, "data.mdb")
    with open(path, "r+b") as file:
        text = file.read()
        at = text.find(needle)
        check(at >= 0, "%s is in no page" % name.decode())
        while at >= 0:
            file.seek(at + len(needle))
            file.write(bytes([text[at + len(needle)] ^ 1]))
            at = text.find(needle, at + 1)


def heal(node):
    return node.status()["heal"]


def three(t):
    alpha = t.mesh()
    nodes = [alpha, t.join(alpha, "beta"), t.join(alpha, "gamma")]
    for i in range(40):
        alpha.ok("put", "app/%d" % i, "value-%d" % i)
    alpha.ok("put", "app/rotten", MARK + b"x" * 200)
    t.converged(nodes)
    return nodes


def wait_healed(node):
    def healed():
        h = heal(node)
        return h["scrubs"] > 0 and h["healed"] > 0 and \
            h["damaged_records"] == 0
    wait_until(healed, "%s is whole again" % node.name, 60)


def test_rot_is_told_and_healed(t):
    nodes = three(t)
    beta = nodes[1]
    rot(beta, MARK)
    result = beta.cli("get", "app/rotten")
    if result.returncode == 2:  # it may have been healed already
        check_in(b"damaged", result.stderr, "why")
        check_equal(result.stdout, b"", "no false value")
    else:
        check_equal(result.stdout.strip(), MARK + b"x" * 200)
    for i in range(40):
        check_equal(beta.ok("get", "app/%d" % i).strip(),
                    b"value-%d" % i, "all others are served")
    check_equal(beta.request("GET", "/readyz").status, 200, "ready")
    wait_healed(beta)
    check_equal(beta.ok("get", "app/rotten").strip(), MARK + b"x" * 200)
    t.converged(nodes)
    beta.ok("put", "app/rotten", "new")
    nodes[2].wait_value("app/rotten", b"new")


def test_rot_is_found_by_the_scrub(t):
    nodes = three(t)
    beta = nodes[1]
    beta.stop()
    rot(beta, MARK)
    beta.flags = ["--scrub-interval", "1s"]
    beta.start()
    wait_healed(beta)
    check_equal(beta.ok("get", "app/rotten").strip(), MARK + b"x" * 200)
    check_in(b"confmesh_healed_total", beta.request("GET", "/metrics").body)
    t.converged(nodes)


def test_rotten_facts_are_made_again(t):
    """Who it is, whom it trusts and knows: no peer has that. The running node
    writes it again; the next start finds it and goes on as the same one."""
    nodes = three(t)
    beta = nodes[1]
    beta.flags = ["--scrub-interval", "1s"]
    beta.restart()
    before = beta.status()["incarnation"]
    for name in (b"incarnation", b"certificate", b"authority", b"generation",
                 b"standing", b"peers", b"ready", b"host"):
        rot_fact(beta, name)
    check_equal(beta.ok("get", "app/7").strip(), b"value-7", "it serves")
    wait_until(lambda: heal(beta)["healed"] >= 8, "they are made again", 60)
    wait_healed(beta)
    check_in(b"records were made again", beta.process.stderr(), "it says so")
    beta.wait_well()
    beta.ok("put", "app/after", "a")
    beta.restart()
    check_equal(beta.status()["incarnation"], before, "the same life")
    check_equal(glob.glob(os.path.join(beta.data, "data.mdb.damaged-*")), [])
    nodes[2].wait_value("app/after", b"a")
    t.converged(nodes, 60)


def test_a_lost_key_is_said(t):
    """Without its secret key a node is nobody: it ends at once, and says what
    to do."""
    alpha = t.mesh()
    alpha.stop()
    os.rename(os.path.join(alpha.data, "node.key"), t.path("kept.key"))
    alpha.spawn()
    check(alpha.process.wait() > 0, "it starts")
    check_in(b"node.key", alpha.process.stderr(), "what is missing")
    check_in(b"put", alpha.process.stderr(), "the remedy")
    os.rename(t.path("kept.key"), os.path.join(alpha.data, "node.key"))
    alpha.start()


def test_a_rotten_key_that_others_write(t):
    """Events that change what cannot be read wait; those that do not depend on
    them go on, and the others come when it is whole."""
    nodes = three(t)
    alpha, beta = nodes[0], nodes[1]
    rot(beta, MARK)
    nodes[2].ok("put", "app/other", "goes on")
    alpha.ok("put", "app/rotten", "written elsewhere")
    beta.wait_value("app/other", b"goes on")
    wait_until(lambda: beta.cli("get", "app/rotten").stdout.strip() ==
               b"written elsewhere", "the event came", 60)
    t.converged(nodes, 60)


def test_alone_it_serves_the_rest(t):
    alpha = t.mesh()
    alpha.ok("put", "app/good", "good")
    alpha.ok("put", "app/rotten", MARK + b"y" * 200)
    rot(alpha, MARK)
    result = alpha.cli("get", "app/rotten")
    check_equal(result.returncode, 2, "the exit code")
    check_in(b"app/rotten", result.stderr, "it names the key")
    check_equal(alpha.ok("get", "app/good").strip(), b"good")
    wait_until(lambda: heal(alpha)["damaged_records"] > 0, "the scrub", 30)
    result = alpha.cli("doctor")
    check_equal(result.returncode, 1)
    check_in(b"app/rotten", result.stdout, "doctor names it")
    metrics = alpha.request("GET", "/metrics").body
    check(any(b"confmesh_damaged_records %d" % n in metrics for n in (1, 2)),
          "metrics count it")
    check_equal(alpha.request("GET", "/readyz").status, 200, "ready")


def spoil(node, how):
    path = os.path.join(node.data, "data.mdb")
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        if how == "truncated":
            file.truncate(size // 2 // 4096 * 4096)
        elif how == "short":
            file.truncate(5000)
        elif how == "meta":
            file.write(b"\xa5" * 8192)
        elif how == "zeroes":
            file.seek(8192)
            file.write(bytes(size - 8192))
        elif how == "empty":
            file.truncate(0)


def wait_facts(node, peers=2):
    facts = os.path.join(node.data, "facts")
    wait_until(lambda: os.path.exists(facts) and
               open(facts, "rb").read().count(b"\npeer ") == peers,
               "the copy of its facts")


def check_rejoins(t, how):
    nodes = three(t)
    beta = nodes[1]
    before = beta.status()["incarnation"]
    wait_facts(beta)
    beta.stop()
    spoil(beta, how)
    check_comes_back(t, nodes, before)


def check_comes_back(t, nodes, before):
    """beta, which is down, joins anew by itself."""
    beta = nodes[1]
    beta.start(deadline_s=60)
    t.converged(nodes, 60)
    check_equal(beta.ok("get", "app/7").strip(), b"value-7")
    check(beta.status()["incarnation"] != before, "a fresh incarnation")
    check_equal(len(glob.glob(os.path.join(beta.data,
                                           "data.mdb.damaged-*"))), 1,
                "the damaged file is kept")
    check_in(b"joins anew", beta.process.stderr(), "it says so")
    beta.ok("put", "app/after", "written by the new life")
    nodes[2].wait_value("app/after", b"written by the new life")
    nodes[0].ok("put", "app/back", "b")
    beta.wait_value("app/back", b"b")


def wait_barred(node, key_id):
    """That key is in its stored list of those that were evicted."""
    def listed():
        with open(os.path.join(node.data, "data.mdb"), "rb") as file:
            return any(key_id in after[:400] for after in
                       file.read().split(b"mbarred")[1:])
    wait_until(listed, "the list of evicted keys of " + node.name)


def test_a_rotten_list_of_evicted_keys(t):
    """Nothing else that it has tells of a thief, and without it he would be
    heard again: a start does without the store, and has the list of a cut."""
    nodes = three(t)
    alpha, beta, gamma = nodes
    thief = bytes.fromhex([m["key_id"] for m in gamma.members()
                           if m["self"]][0])
    wait_facts(beta)
    alpha.ok("evict", "gamma", "--authority", t.authority)
    for node in (alpha, beta):
        wait_until(lambda n=node: json.loads(n.ok("roster", "--json"))["sealed"],
                   "gamma is sealed at " + node.name)
        wait_barred(node, thief)
    before = beta.status()["incarnation"]
    beta.stop()
    rot_fact(beta, b"barred")
    beta.start(deadline_s=60)
    check_in(b"list of evicted keys", beta.process.stderr(), "it says why")
    check(beta.status()["incarnation"] != before, "a fresh incarnation")
    wait_barred(beta, thief)
    alpha.ok("put", "app/after", "a")
    beta.wait_value("app/after", b"a")
    t.rounds([alpha, beta])
    check("gamma" not in [m["name"] for m in beta.members()
                          if m["state"] == "alive"], beta.members())


def test_a_truncated_store_rejoins(t):
    check_rejoins(t, "truncated")


def test_a_short_store_rejoins(t):
    check_rejoins(t, "short")


def test_a_store_with_wrong_meta_rejoins(t):
    check_rejoins(t, "meta")


def test_a_store_of_zeroes_rejoins(t):
    check_rejoins(t, "zeroes")


def test_a_lost_store_rejoins(t):
    check_rejoins(t, "empty")


class Pages:
    """LMDB's pages of a node's data.mdb, as they are just now."""
    META_TREES = 40  # of a meta page: the free pages' tree, then the records'
    TREE = 48

    def __init__(self, node):
        self.path = os.path.join(node.data, "data.mdb")
        with open(self.path, "rb") as file:
            self.bytes = file.read()
        self.meta = max((0, 4096), key=lambda at: self.word(at + 144))

    def word(self, at):
        return struct.unpack_from("=Q", self.bytes, at)[0]

    @property
    def root(self):
        return 4096 * self.word(self.meta + self.META_TREES + self.TREE + 40)

    def write(self, at, value):
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(value)

    def kill_readers(self):
        """A branch with one way to go: LMDB asserts that there are two."""
        check_equal(struct.unpack_from("=H", self.bytes, self.root + 10)[0], 1,
                    "the root is a branch")
        self.write(self.root + 12, struct.pack("=H", 18))

    def miscount(self):
        """One leaf more than there is: nobody dies of it."""
        for meta in (0, 4096):
            at = meta + self.META_TREES + self.TREE + 16
            self.write(at, struct.pack("=Q", self.word(at) + 1))


def wait_death(node):
    wait_until(lambda: not node.process.running(), "%s ends" % node.name, 60)
    return node.process.wait()


def test_a_store_that_kills_its_process(t):
    """Whoever reads it dies of a signal; the next start does not."""
    nodes = three(t)
    beta = nodes[1]
    before = beta.status()["incarnation"]
    wait_facts(beta)
    Pages(beta).kill_readers()
    beta.cli("get", "app/1")
    check(wait_death(beta) < 0, "LMDB kills it")
    nodes[0].ok("put", "app/meanwhile", "m")
    check_comes_back(t, nodes, before)
    check_in(b"the last process died, and page", beta.process.stderr())
    check_equal(beta.ok("get", "app/meanwhile").strip(), b"m")
    beta.restart()
    t.converged(nodes, 60)
    check_equal(len(glob.glob(os.path.join(beta.data,
                                           "data.mdb.damaged-*"))), 1,
                "no other one")


def test_a_sound_store_survives_its_process(t):
    nodes = three(t)
    beta = nodes[1]
    before = beta.status()["incarnation"]
    wait_facts(beta)
    for _ in range(3):
        beta.kill()
        beta.start()
    check_equal(beta.status()["incarnation"], before, "the same life")
    check_equal(glob.glob(os.path.join(beta.data, "data.mdb.damaged-*")), [])
    t.converged(nodes, 60)
    beta.stop()
    check(not os.path.exists(os.path.join(beta.data, "running")),
          "an orderly end leaves no mark")


def test_pages_that_the_scrub_finds(t):
    """Nothing is mended through LMDB where its own pages are damaged: the node
    ends, and its next start sets the file aside."""
    nodes = three(t)
    beta = nodes[1]
    before = beta.status()["incarnation"]
    wait_facts(beta)
    beta.stop()
    Pages(beta).miscount()
    beta.flags = ["--scrub-interval", "1s"]
    beta.start()
    check(wait_death(beta) > 0, "it ends by itself")
    check_in(b"counts other pages than there are", beta.process.stderr())
    beta.flags = []
    check_comes_back(t, nodes, before)


def test_alone_with_damaged_pages(t):
    """It goes on while it can, says what is wrong, and once it is dead does not
    let LMDB near that file again."""
    alpha = t.mesh()
    for i in range(40):
        alpha.ok("put", "app/%d" % i, "value-%d" % i)
    alpha.stop()
    Pages(alpha).miscount()
    alpha.flags = ["--scrub-interval", "1s"]
    alpha.start()
    wait_until(lambda: heal(alpha)["damaged_records"] > 0, "the scrub", 30)
    result = alpha.cli("doctor")
    check_equal(result.returncode, 1)
    check_in(b"counts other pages than there are", result.stdout, "doctor")
    check_equal(alpha.ok("get", "app/7").strip(), b"value-7")
    alpha.kill()
    before = open(os.path.join(alpha.data, "data.mdb"), "rb").read()
    alpha.spawn()
    check(alpha.process.wait() > 0, "it starts")
    check_in(b"snapshot", alpha.process.stderr(), "the remedy")
    check_equal(open(os.path.join(alpha.data, "data.mdb"), "rb").read(),
                before, "nothing was touched")


def test_alone_it_refuses_with_the_remedy(t):
    alpha = t.mesh()
    alpha.ok("put", "a", "1")
    facts = os.path.join(alpha.data, "facts")
    wait_until(lambda: os.path.exists(facts), "the copy of the facts")
    alpha.stop()
    spoil(alpha, "meta")
    before = open(os.path.join(alpha.data, "data.mdb"), "rb").read()
    alpha.spawn()
    check(alpha.process.wait() != 0, "it starts")
    check_in(b"snapshot", alpha.process.stderr(), "the remedy")
    check_equal(open(os.path.join(alpha.data, "data.mdb"), "rb").read(),
                before, "nothing was touched")


def test_compare(t):
    nodes = three(t)
    result = nodes[0].cli("compare", "beta")
    check_equal((result.returncode, result.stdout), (0, b"equal\n"))
    check_equal(nodes[0].cli("compare", "nobody").returncode, 2)
    rot(nodes[1], MARK)
    result = nodes[0].cli("compare", "beta")
    check_equal(result.returncode, 1, "a difference")
    check_in(b"kv app/rotten: here there, there damaged", result.stdout)


if __name__ == "__main__":
    harness.main(globals())
