#!/usr/bin/env python3
# parallel-safe
"""A member that went bad: certified, with its own keys, in a real process
(hostile_node.c), it sends events and cuts that no honest one would. Each is
refused, counts for nothing or waits, under a reason that metrics count and
that doctor tells with a remedy; others' writes go on all the while."""
import json
import os
import signal

import harness
from harness import check, check_equal, check_in, wait_until

HOSTILE = os.path.join(harness.BUILD, "helpers", "hostile_node")


class Hostile:
    """Goes on with the directory and the address of a stopped node."""

    def __init__(self, t, node):
        self.errors = t.path("hostile-%s.err" % node.name)
        reading, writing = os.pipe()
        self.commands = os.fdopen(writing, "w", encoding="ascii")
        self.process = harness.Process(
            [HOSTILE, node.data, node.address], t.directory,
            "hostile-" + node.name, stdin=reading)
        os.close(reading)
        self.answered = 0
        self.answer()

    def answer(self):
        """The next line of its output."""
        def line():
            check(self.process.running(), "the hostile node ended: %r"
                  % self.process.stderr()[-2000:])
            lines = self.process.lines()
            return lines[self.answered:self.answered + 1]
        found = wait_until(line, "an answer of the hostile node")[0].decode()
        self.answered += 1
        check(found.startswith("ok"), found)
        return found[3:]

    def do(self, command):
        self.commands.write(command + "\n")
        self.commands.flush()
        return self.answer()

    def end(self):
        self.commands.close()
        self.process.kill()


def counted(node, reason):
    return node.bad_input("event", reason)


def findings(node):
    result = node.cli("doctor", "--json")
    check(result.returncode in (0, 1), result.stderr)
    return json.loads(result.stdout)["findings"]


class Scene:
    """Two honest nodes, and members that go bad one after the other."""

    def __init__(self, t):
        self.t = t
        self.honest = t.mesh(2)
        self.rounds = 0
        self.fine()

    def fine(self):
        """Who is honest hears of the others as before."""
        self.rounds += 1
        value = b"%d" % self.rounds
        for node, other in (self.honest, self.honest[::-1]):
            node.ok("put", "of/" + node.name, value)
            other.wait_value("of/" + node.name, value)

    def gone_bad(self, name):
        node = self.t.join(self.honest[0], name)
        node.ok("put", "was/" + name, "honest")
        for other in self.honest:
            other.wait_value("was/" + name, b"honest")
        self.t.converged(self.honest + [node])
        node.stop()
        return Hostile(self.t, node)

    def send(self, hostile, kind, reason, *words):
        """One event of that kind, until both have counted it and doctor of
        both tells of it."""
        before = [counted(n, reason) for n in self.honest]
        hostile.do("event " + kind)
        for node, number in zip(self.honest, before):
            wait_until(lambda n=node, b=number: counted(n, reason) > b,
                       "%s counts %s" % (node.name, reason))

            def told(n=node):
                return [f for f in findings(n)
                        if all(w in f["found"] for w in words)]
            found = wait_until(told, "doctor of %s says %r" % (node.name,
                                                               words))
            check(found[0]["remedy"], "a remedy: %r" % found)
        self.fine()

    def end(self, last):
        """last: the one that sent something; it is ended."""
        last.end()
        self.fine()
        for node in self.honest:
            check_equal(node.get("forged"), None)
            check(node.process.running(), "%s ended" % node.name)


def test_refused_events(t):
    """What is wrong in itself leaves nothing behind."""
    s = Scene(t)
    mallory = s.gone_bad("mallory")
    s.send(mallory, "signature", "signature",
           "the key of their incarnation did not sign them", "mallory")
    s.send(mallory, "mesh", "mesh", "they are of another mesh", "mallory")
    s.send(mallory, "generation", "generation", "of another generation")
    s.send(mallory, "malformed", "malformed", "bytes that no node")
    s.send(mallory, "too-long", "too-long", "longer than allowed")
    for node in s.honest:
        check_equal(node.live()["pending"]["events"], 0)
        check_equal(node.live()["alarms"], [])
    # Its seq was not used up: what it writes when it is honest again counts.
    mallory.end()
    node = t.nodes[-1]
    node.start()
    node.ok("put", "was/mallory", "again")
    for other in s.honest:
        other.wait_value("was/mallory", b"again")
    check_equal(s.honest[0].get("forged"), None)


def test_waiting_events(t):
    """What may become right waits, bounded, and its writer's later ones with
    it; explain tells of it for the key."""
    s = Scene(t)
    bad = s.gone_bad("gap")
    s.send(bad, "gap", "gap", "wait for earlier ones of the same writer")
    s.send(bad, "stranger", "stranger", "until their writer is known")
    s.end(bad)
    bad = s.gone_bad("dependency")
    s.send(bad, "dependency", "dependency", "others that they build on")
    for node in s.honest:
        story = json.loads(node.ok("explain", "forged", "--json"))
        check_equal([(p["op"], p["node"]) for p in story["pending"]
                     if "waits for event" in p["why"]
                     and p["node"] == "dependency"][:1],
                    [("put", "dependency")], story)
        check_in("waits for event", node.ok("explain", "forged").decode())
    s.end(bad)
    bad = s.gone_bad("operation")
    s.send(bad, "operation", "operation",
           "an operation that this program does not know")
    s.end(bad)


def test_held_event(t):
    """Dated ten years ahead: held, in nobody's clock."""
    s = Scene(t)
    bad = s.gone_bad("clock")
    s.send(bad, "clock", "clock", "dated ahead", "clock")
    for node in s.honest:
        story = json.loads(node.ok("explain", "forged", "--json"))
        check_equal([(h["op"], h["node"]) for h in story["held"]],
                    [("put", "clock")])
        check_in("ahead", story["held"][0]["why"])
        text = node.ok("explain", "forged").decode()
        check("held: nothing" not in text and "of node clock" in text, text)
        held = [f for f in findings(node) if "are held" in f["found"]]
        check_equal([f["about"] for f in held], ["clocks"])
        check_in("clock", held[0]["found"])
        # What is written now is dated now.
        node.ok("put", "now", node.name)
        shown = json.loads(node.ok("explain", "now", "--json"))
        wall = node.live()["clocks"]["wall_ms"]
        check(abs(shown["siblings"][0]["time_ms"] - wall) < 60000, shown)
    s.end(bad)


def test_void_event(t):
    """Well-formed, signed and against the rules: it takes its place in the
    order of its writer, and counts for nothing."""
    s = Scene(t)
    bad = s.gone_bad("rule")
    members = json.loads(s.honest[0].ok("roster", "--json"))["members"]
    s.send(bad, "rule", "rule", "count for nothing")
    s.end(bad)
    t.converged(s.honest)
    after = json.loads(s.honest[1].ok("roster", "--json"))["members"]
    known = {m["name"] for m in members}
    check({m["name"] for m in after} <= known, "nobody was let in")


def test_reused_seq(t):
    """Another event under a name that is taken: an alarm, and the first one
    stands."""
    s = Scene(t)
    bad = s.gone_bad("fork")
    s.send(bad, "fork", "fork", "another event bears their name")
    for node in s.honest:
        check(any(a.startswith("fork:") for a in node.live()["alarms"]),
              node.live()["alarms"])
        check_equal(node.get("was/fork"), b"honest")
    s.end(bad)


# ---- cuts ----

def joining(t, sponsor, name):
    node = t.node(name)
    node.spawn("--name", name, "--join", sponsor.do("token"))
    return node


def refused_cuts(node):
    """0 as long as it does not answer yet."""
    try:
        return node.metric("cuts_refused_damaged_total")
    except (OSError, harness.http.client.HTTPException):
        return 0


def hostile_founder(t, *names):
    """The only issuer is the one that went bad."""
    alpha = t.mesh()
    for i in range(50):
        alpha.ok("put", "k/%d" % i, "v" * 100)
    others = [t.join(alpha, name) for name in names]
    t.converged([alpha] + others)
    alpha.stop()
    return Hostile(t, alpha), others


def test_bad_cuts(t):
    """Altered, then truncated cuts: a newcomer refuses each, and asks again
    until it gets a sound one."""
    bad, _ = hostile_founder(t)
    bad.do("cut altered")
    node = joining(t, bad, "gamma")
    wait_until(lambda: refused_cuts(node) >= 1, "an altered cut is refused")
    told = [f for f in findings(node) if "truncated or altered" in f["found"]]
    check_equal([f["about"] for f in told], ["cuts"])
    check(told[0]["remedy"], told)
    check_equal(node.request("GET", "/readyz").status, 503)
    bad.do("cut truncated")
    before = refused_cuts(node)
    wait_until(lambda: refused_cuts(node) >= before + 1,
               "a truncated cut is refused", 60)
    check_equal(node.metric("cuts_adopted_total"), 0)
    check_equal(node.request("GET", "/v1/kv/k/1").status, 503)
    bad.do("cut honest")
    node.wait_ready(60)
    check_equal(len([k for k in node.values() if k.startswith("k/")]), 50)
    told = [f["found"] for f in findings(node) if f["about"] == "cuts"]
    check_equal(["truncated or altered" in f for f in told], [True],
                "of the last day; none of it is the last one")
    bad.end()


def spools_of(node):
    """Files without a name, from which it sends cuts: by inode, their path."""
    folder = "/proc/%d/fd" % node.pid
    found = {}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            if os.readlink(path).endswith("(deleted)"):
                found[os.stat(path).st_ino] = path
        except FileNotFoundError:
            pass
    return found


def amid_a_cut(t, alpha):
    """Somebody who stands still while alpha sends it a cut, and the spool."""
    connection = alpha.connect()
    for i in range(24):  # more than the kernel keeps for who does not read
        connection.put("big/%02d" % i, os.urandom(1000000))
    connection.close()
    for attempt in range(5):
        before = spools_of(alpha)
        scanned = alpha.process.stderr().count(b"ready to be sent")
        node = t.node("gamma%d" % attempt)
        node.spawn("--name", node.name, "--join", alpha.token())
        new = {}
        while not new:
            check(node.process.running(), node.process.stderr())
            new = {i: p for i, p in spools_of(alpha).items()
                   if i not in before}
        os.kill(node.pid, signal.SIGSTOP)
        wait_until(lambda s=scanned: alpha.process.stderr().count(
            b"ready to be sent") > s, "alpha has scanned")
        if alpha.live()["cuts"]["serving"] == 1:
            return node, list(new.values())[0]
        os.kill(node.pid, signal.SIGCONT)  # it was too fast for this machine
        node.wait_ready()
    raise harness.Failure("nobody could be stopped amid a cut")


def test_spool_that_rots(t):
    """A giver whose spool is damaged while it sends notices, and scans anew
    for whoever asks again, although nothing is written meanwhile."""
    alpha = t.mesh()
    node, path = amid_a_cut(t, alpha)
    size = os.stat(path).st_size
    check(size > 24000000, "the spool is %d bytes" % size)
    with open(path, "r+b") as file:
        for at in range(0, size, 100000):
            file.seek(at)
            file.write(b"rotten")
    os.kill(node.pid, signal.SIGCONT)
    node.wait_ready(30)
    t.converged([alpha, node])
    check_in(b"the disk fails", alpha.process.stderr())
    check_equal(refused_cuts(node), 0, "damaged cuts that left alpha")


def test_progress_of_a_cut(t):
    """Both sides tell how far it is."""
    alpha = t.mesh()
    node, _ = amid_a_cut(t, alpha)
    gives = alpha.live()["cuts"]
    check(0 < gives["sent_bytes"] < gives["sent_of_bytes"], gives)
    check(gives["sent_of_bytes"] > 24000000, gives)
    check_in("sent_of_bytes", alpha.ok("status").decode())
    os.kill(alpha.pid, signal.SIGSTOP)
    os.kill(node.pid, signal.SIGCONT)
    takes = wait_until(lambda: [c for c in [node.live()["cuts"]]
                                if c.get("bytes")], "its progress")[0]
    check(takes["phase"] and takes["bytes"] < takes["of_bytes"], takes)
    check(takes["messages"] < takes["of_messages"], takes)
    check_equal(takes["of_bytes"], gives["sent_of_bytes"])
    check_in("of_messages", node.ok("status").decode())
    os.kill(alpha.pid, signal.SIGCONT)
    node.wait_ready(60)
    t.converged([alpha, node])
    check("phase" not in node.live()["cuts"], node.live()["cuts"])
    check_equal(alpha.live()["cuts"]["serving"], 0)


def test_bad_cuts_beside_an_honest_member(t):
    """Who gives altered cuts keeps nobody out while another one can give."""
    bad, (beta,) = hostile_founder(t, "beta")
    bad.do("cut altered")
    node = joining(t, bad, "gamma")
    node.wait_ready(60)
    check(refused_cuts(node) >= 1, "the hostile one was asked first")
    t.converged([beta, node])
    check_equal(node.values(), beta.values())
    bad.end()


if __name__ == "__main__":
    harness.main(globals())
