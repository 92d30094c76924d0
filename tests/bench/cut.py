#!/usr/bin/env python3
"""A whole cut between two nodes that both go on serving.

    tests/bench/cut.py [KEYS]          default: 1000000, of 250 bytes each

alpha is filled and brings up gamma (a cut into an empty node). Then alpha goes;
beta, a member that was away since before the filling, lacks what gamma has only
as state, and takes gamma's cut, joined with its own. While it does, both are
read and written; their latencies are those of one request after the other.
One line of JSON on standard output.
"""
import http.client
import json
import os
import socket
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
import harness  # noqa: E402

VALUE = 210  # with key, dots and stamps about 250 bytes
BATCH = 3000
PACE_S = 0.005
LIMIT_S = 300


def say(text):
    print("cut: " + text, file=sys.stderr, flush=True)


def fill(node, keys):
    """In transactions, so that one signature and one sync serve many."""
    import base64
    connection = node.connect()
    filler = os.urandom(VALUE)
    for first in range(0, keys, BATCH):
        operations = []
        for i in range(first, min(first + BATCH, keys)):
            value = ("%012d" % (i * 7919)).encode() + filler[:VALUE - 12]
            value = value[:24] + os.urandom(VALUE - 24)
            operations.append({"KV": {
                "Verb": "set", "Key": "bench/%07d" % i,
                "Value": base64.b64encode(value).decode()}})
        answer = connection.request("PUT", "/v1/txn",
                                    json.dumps(operations).encode())
        harness.check_equal(answer.status, 200, "a transaction: %r"
                            % answer.body[:300])
    connection.close()


class Load(threading.Thread):
    """Reads and writes one node until it is told to stop."""

    def __init__(self, node, name):
        super().__init__(daemon=True)
        self.node = node
        self.name = name
        self.reads = []
        self.writes = []
        self.failed = 0
        self.stopping = False

    def one(self, connection, method, target, body, samples, good):
        begun = time.monotonic()
        connection.request(method, target, body=body)
        response = connection.getresponse()
        response.read()
        samples.append(time.monotonic() - begun)
        self.failed += response.status not in good

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1",
                                                self.node.api_port,
                                                timeout=120)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = http.client.HTTPConnection("127.0.0.1", self.node.api_port,
                                            timeout=120)
        number = 0
        while not self.stopping:
            number += 1
            self.one(reader, "GET", "/v1/kv/first?raw", None, self.reads,
                     (200,))
            if number % 4 == 0:
                self.one(connection, "PUT",
                         "/v1/kv/load/%s/%d" % (self.name, number % 50),
                         b"value", self.writes, (200,))
            time.sleep(PACE_S)

    def result(self):
        self.stopping = True
        self.join(130)

        def figures(samples):
            samples.sort()
            return {"count": len(samples),
                    "p50_ms": round(1000 * samples[len(samples) // 2], 2),
                    "p99_ms": round(1000 * samples[len(samples) * 99 // 100],
                                    2),
                    "max_ms": round(1000 * samples[-1], 1)}
        return {"reads": figures(self.reads), "writes": figures(self.writes),
                "failed": self.failed}


def cuts(node):
    return node.live()["cuts"]


def rss_mib(node):
    with open("/proc/%d/status" % node.pid) as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return 0


def cpu_s(node):
    with open("/proc/%d/stat" % node.pid) as file:
        words = file.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_s():
    """Processor time that the whole machine has used."""
    with open("/proc/stat") as file:
        words = [int(w) for w in file.readline().split()[1:9]]
    return (sum(words) - words[3] - words[4]) / os.sysconf("SC_CLK_TCK")


def join(test, alpha, name):
    node = test.node(name)
    node.api_port = harness.free_port()
    begun = time.monotonic()
    node.start("--name", name, "--join", alpha.token(), deadline_s=LIMIT_S)
    return node, time.monotonic() - begun


def measure(keys):
    test = harness.Test()
    test.directory = tempfile.mkdtemp(
        prefix="b-", dir=os.path.join(harness.BUILD, "bench"))
    test.authority = test.path("authority.key")
    harness._directories.append(test.directory)
    alpha = test.init("alpha")
    alpha.api_port = harness.free_port()
    alpha.start()
    alpha.ok("put", "first", "1")
    beta, _ = join(test, alpha, "beta")
    test.converged([alpha, beta])
    beta.stop()
    token = alpha.token()
    begun = time.monotonic()
    fill(alpha, keys)
    say("filled in %.1f s" % (time.monotonic() - begun))
    gamma, joined_s = join(test, alpha, "gamma")
    size = cuts(alpha)["spool_bytes"]
    say("joined in %.1f s" % joined_s)
    alpha.stop()
    gamma.stop()
    gamma.port = alpha.port
    gamma.start(deadline_s=LIMIT_S)
    beta.start("--join", token)
    loads = [Load(gamma, "gamma"), Load(beta, "beta")]
    for load in loads:
        load.start()
    begun = time.monotonic()
    used = [cpu_s(gamma), cpu_s(beta)]
    machine = machine_cpu_s()
    profile = os.environ.get("CUT_PERF")
    if profile:
        import subprocess
        for node in (gamma, beta):
            subprocess.Popen(["perf", "record", "--call-graph", "dwarf,4096", "-q", "-e", "cpu-clock", "-F", "199", "-o",
                              profile + "." + node.name, "-p",
                              str(node.pid), "--", "sleep", "12"])
    phases = {}
    before = None
    while cuts(beta)["counters"]["adopted"] == 0:
        phase = cuts(beta).get("phase") or "repairing"
        if phase != before:
            phases[phase] = round(time.monotonic() - begun, 2)
            before = phase
        harness.check(time.monotonic() - begun < LIMIT_S, "it takes too long")
        time.sleep(0.02)
    took = time.monotonic() - begun
    used = [cpu_s(gamma) - used[0], cpu_s(beta) - used[1]]
    machine = machine_cpu_s() - machine
    results = {load.name: load.result() for load in loads}
    harness.check_equal(beta.request(
        "GET", "/v1/kv/bench/%07d?raw" % (keys - 1)).status, 200)
    test.converged([beta, gamma], 60)
    ret = {"keys": keys, "spool_bytes": size,
           "join_s": round(joined_s, 2), "catch_up_s": round(took, 2),
           "sender_cpu_s": round(used[0], 2),
           "receiver_cpu_s": round(used[1], 2),
           "load_others": round((machine - sum(used)) / took, 2),
           "cpus": os.cpu_count(), "phases_begin_s": phases, "sender": results["gamma"],
           "receiver": results["beta"], "sender_peak_mib": rss_mib(gamma),
           "receiver_peak_mib": rss_mib(beta)}
    test.cleanup()
    return ret


if __name__ == "__main__":
    os.makedirs(os.path.join(harness.BUILD, "bench"), exist_ok=True)
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1
                             else 1000000)))
