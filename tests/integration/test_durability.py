#!/usr/bin/env python3
"""What was acknowledged is never lost: SIGKILL in the middle of storms of
writes, on one node, on one of three and on all three at once."""
import http.client
import json
import threading

import harness
from harness import Failure, Thread, check, check_equal, note, wait_until

WRITERS = 4
ACKNOWLEDGED_MIN = 150  # before each kill


class Storm:
    """Writers that go on until the node is gone; what they were told."""

    def __init__(self, node, label):
        self.acknowledged = {}
        self.attempted = {}
        self.lock = threading.Lock()
        self.threads = [Thread(self._write, node, "%s/%d" % (label, n))
                        for n in range(WRITERS)]

    def _write(self, node, prefix):
        connection = node.connect()
        number = 0
        while True:
            # New keys, and one that changes all the time.
            key = "%s/%s" % (prefix, number if number % 3 else "same")
            value = b"%d" % number
            with self.lock:
                self.attempted.setdefault(key, []).append(value)
            try:
                connection.put(key, value)
            except (OSError, http.client.HTTPException):
                return  # the node is gone
            with self.lock:
                self.acknowledged[key] = value
            number += 1

    def wait(self):
        wait_until(lambda: len(self.acknowledged) >= ACKNOWLEDGED_MIN
                   or any(thread.error for thread in self.threads),
                   "%d acknowledged writes" % ACKNOWLEDGED_MIN,
                   progress=lambda: len(self.acknowledged))

    def finish(self):
        for thread in self.threads:
            thread.finish()

    def check_present(self, values):
        """Each key has the acknowledged value or one sent later, unanswered."""
        for key, value in self.acknowledged.items():
            allowed = self.attempted[key]
            allowed = allowed[allowed.index(value):]
            if values.get(key) not in allowed:
                raise Failure("acknowledged %s = %r, found %r" % (
                    key, value, values.get(key)))


def test_sigkill_in_a_write_storm(t):
    node = t.mesh()
    storms = []
    for number in range(4):
        storm = Storm(node, "storm%d" % number)
        storm.wait()
        node.kill()
        storm.finish()
        storms.append(storm)
        node.start(bare=True)
        values = node.values()
        for earlier in storms:
            earlier.check_present(values)
    note("%d acknowledged keys survived 4 SIGKILLs" % sum(
        len(s.acknowledged) for s in storms))
    check_equal(node.live()["alarms"], [])


def test_transactions_are_atomic_over_sigkill(t):
    """A transaction is there whole or not at all; an acknowledged one is."""
    node = t.mesh()
    acknowledged = []

    def write():
        connection = node.connect()
        number = 0
        while True:
            ops = [{"op": "put", "key": "t/%d/%d" % (k, number),
                    "value": "v%d" % number} for k in range(8)]
            ops.append({"op": "set-add", "key": "t", "element": str(number)})
            try:
                answer = connection.request("POST", "/v1/txn",
                                            json.dumps({"ops": ops}))
            except (OSError, http.client.HTTPException):
                return
            check_equal(answer.status, 200, answer.body)
            acknowledged.append(number)
            number += 1

    for _ in range(3):
        acknowledged.clear()
        node.ok("put", "epoch", "x")
        writer = Thread(write)
        wait_until(lambda: len(acknowledged) >= 60 or not writer.is_alive(),
                   "transactions", progress=lambda: len(acknowledged))
        node.kill()
        writer.finish()
        node.start(bare=True)
        values = node.values()
        members = set(node.set_members("t"))
        for number in range(len(acknowledged) + 2):
            there = [("t/%d/%d" % (k, number)) in values for k in range(8)]
            there.append(str(number) in members)
            check(all(there) or not any(there), "part of transaction %d"
                  % number)
            check(all(there) or number not in acknowledged,
                  "acknowledged transaction %d is lost" % number)


def test_sigkill_of_one_of_three(t):
    """The others have nothing that the killed one lost, and it comes back
    under the same incarnation."""
    nodes = t.mesh(3)
    for number in range(3):
        victim = nodes[number]
        before = victim.live()["incarnation"]
        storm = Storm(victim, "kill%d" % number)
        storm.wait()
        victim.kill()
        storm.finish()
        others = [n for n in nodes if n is not victim]
        t.converged(others)
        victim.start(bare=True)
        storm.check_present(victim.values())
        storm.check_present(t.same(nodes))
        check_equal(victim.live()["incarnation"], before, "incarnation")
        for node in nodes:
            check_equal(node.live()["alarms"], [], "alarms of " + node.name)


def test_sigkill_of_all_at_once(t):
    nodes = t.mesh(3)
    storms = [Storm(node, node.name) for node in nodes]
    for storm in storms:
        storm.wait()
    for node in nodes:
        node.process.signal(9)
    for node in nodes:
        node.kill()
    for storm in storms:
        storm.finish()
    for node in nodes:
        node.spawn(bare=True)
    for node in nodes:
        node.wait_ready()
    values = t.same(nodes)
    for storm in storms:
        storm.check_present(values)
    for node in nodes:
        check_equal(node.live()["alarms"], [], "alarms of " + node.name)


def test_orderly_end_in_a_storm(t):
    """SIGTERM: what is answered is kept, and the exit code is 0."""
    node = t.mesh()
    storm = Storm(node, "term")
    storm.wait()
    check_equal(node.stop(), 0, "exit code")
    for thread in storm.threads:
        try:
            thread.finish()
        except Failure as failure:  # 503 while it stops is an answer
            check("503" in str(failure), str(failure))
    node.start(bare=True)
    storm.check_present(node.values())


if __name__ == "__main__":
    harness.main(globals())
