#!/usr/bin/env python3
# parallel-safe
"""Several targets at once: each has its own state, and one that fails or hangs
never keeps another waiting."""
import http.server
import json
import os
import subprocess
import sys
import threading
import time

import harness
import snapshot_reader as reader
from harness import RESTORE, check, check_equal, check_in, cli, wait_until

FAST = ["--snapshot-interval", "1h", "--snapshot-delta", "300ms"]


def names(target, kind):
    return [n for n in reader.Store(target).names("v1")
            if "/%s/" % kind in n]


def told(node, url):
    return [t for t in node.status()["snapshot"]["targets"]
            if t["url"] == url][0]


def flags(*targets):
    return [word for url in targets for word in ("--snapshot-to", url)] + FAST


def restored(t, target, name):
    fresh = t.node(name)
    result = subprocess.run(
        [RESTORE, target, "--data", fresh.data, "--name", name,
         "--authority", t.authority, "--no-passphrase"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        timeout=harness.CLI_TIMEOUT_S)
    check_equal(result.returncode, 0, result.stderr)
    return fresh.start().values()


def test_one_hangs_one_fails(t):
    """Of four targets one never answers and one always fails; the two others
    get snapshot and deltas as if they were alone."""
    good = [t.path("one"), t.path("two")]
    hangs = "exec:%s -c 'import time; time.sleep(1000)'" % sys.executable
    with open(t.path("file"), "w", encoding="ascii"):
        pass
    fails = t.path("file", "below")
    node = t.init()
    node.start(*flags(hangs, good[0], fails, good[1]))
    node.ok("put", "a", "1")
    for target in good:
        wait_until(lambda d=target: names(d, "m"), "a snapshot at " + target)
    node.ok("put", "b", "2")
    for target in good:
        wait_until(lambda d=target: names(d, "d") and names(d, "h"),
                   "a delta at " + target)
    wait_until(lambda: told(node, fails)["failures"] > 0,
               "a failure is counted")
    check(told(node, fails)["error"] != "", "its reason is told")
    for target in good:
        check_equal(told(node, target)["failures"], 0)
        check_equal(told(node, target)["error"], "")
        check_equal(node.metric(
            'snapshot_target_failures_total{target="%s"}' % target), 0)
    check(node.metric('snapshot_target_failures_total{target="%s"}' % fails)
          > 0, "a failure is counted")
    doctor = json.loads(node.cli("doctor", "--json").stdout)
    check_in(fails, json.dumps(doctor))
    # No number is given twice, though each target has a chain of its own.
    numbers = [n[-20:] for target in good for n in names(target, "m")]
    check_equal(len(set(numbers)), len(numbers))
    # A command that hangs does not keep the node from stopping.
    check_equal(node.stop(), 0)
    for target in good:
        check_equal(cli("snapshot", "verify", target).returncode, 0)


def test_each_has_everything(t):
    """Each target alone brings everything back, also when one was away for a
    while; on demand all are served by one command."""
    targets = [t.path("one"), t.path("two")]
    node = t.init()
    node.start(*flags(*targets))
    node.ok("put", "a", "1")
    for target in targets:
        wait_until(lambda d=target: names(d, "m"), "a snapshot at " + target)
    os.rename(targets[1], t.path("away"))
    with open(targets[1], "w", encoding="ascii"):
        pass
    node.ok("put", "b", "2")
    wait_until(lambda: names(targets[0], "d"), "a delta")
    wait_until(lambda: told(node, targets[1])["failures"] > 0, "it is told")
    result = node.snapshot_now()
    check(result.returncode != 0, "one target failed and nothing was said")
    os.unlink(targets[1])
    os.rename(t.path("away"), targets[1])
    node.ok("put", "c", "3")
    wait_until(lambda: not told(node, targets[1])["error"], "it is well again",
               60)
    result = node.snapshot_now("--json")
    check_equal(result.returncode, 0, result.stderr)
    check(json.loads(result.stdout)["entries"] >= 3, result.stdout)
    node.ok("put", "d", "4")
    node.wait_uploaded()
    values = node.values()
    node.kill()
    for number, target in enumerate(targets):
        check_equal(restored(t, target, "phoenix%d" % number), values)


def test_bandwidth_and_progress(t):
    """Uploads keep to the bound; meanwhile status and a terminal tell how far
    they are, and deltas of another chain go on."""
    rate, size = 400000, 2000000
    slow = t.path("slow")
    node = t.init()
    node.start("--snapshot-to", slow, "--snapshot-bandwidth", str(rate), *FAST)
    node.ok("put", "a", "1")
    wait_until(lambda: names(slow, "m"), "a first snapshot")
    for i in range(5):
        node.ok("put", "big/%d" % i, "-", stdin=os.urandom(size // 5))
    begun = time.monotonic()
    master, terminal = os.openpty()
    process = subprocess.Popen(
        [harness.CONFMESH, "snapshot", "now", "--data", node.data, "--to",
         t.path("other")], stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    seen = wait_until(lambda: node.status()["snapshot"].get("elsewhere"),
                      "its progress")
    # Also within the one pack that all of it is in.
    told = []

    def moves():
        one = node.status()["snapshot"].get("elsewhere", {})
        if 0 < one.get("bytes_done", 0) < one.get("bytes_total", 0) and \
                one.get("left_ms", 0) > 0:
            told.append(one["bytes_done"])
        return len({done >> 17 for done in told}) >= 3
    wait_until(moves, "how far it is, and an estimate",
               progress=lambda: list(told))
    check_equal(told, sorted(told))
    check_equal(process.wait(60), 0)
    took = time.monotonic() - begun
    said = os.read(master, 100000)
    os.close(master)
    check_in(b"uploading", said)
    shown = {int(word.split()[0]) for word in said.decode().split("uploading: ")
             if " bytes (" in word}
    check(len(shown) >= 3, "the terminal: %r" % said)
    check(seen["phase"] in ("looking", "uploading"), repr(seen))
    check(took >= 0.9 * size / rate, "%d bytes in %.1f s" % (size, took))
    check_equal(cli("snapshot", "verify", t.path("other")).returncode, 0)
    for wrong in ("100", "x", "-1", ""):
        result = node.cli("node", "--data", node.data, "--snapshot-to", slow,
                          "--snapshot-bandwidth", wrong, data=False)
        check_equal(result.returncode, 64, wrong)


class Listener(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.count += 1
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_hook(t):
    """After good uploads a command is run and a URL fetched; not while a
    target fails; one that hangs is ended, and doctor tells."""
    calls = t.path("calls")
    node = t.init()
    good = t.path("good")
    node.start("--snapshot-hook", "echo x >> " + calls, *flags(good))
    node.ok("put", "a", "1")
    wait_until(lambda: os.path.exists(calls), "the command")
    count = os.path.getsize(calls)
    wait_until(lambda: os.path.getsize(calls) > count, "it again, idle")
    node.stop()
    server = http.server.HTTPServer(("127.0.0.1", 0), Listener)
    server.count, server.answer = 0, 204
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = "http://127.0.0.1:%d/alive" % server.server_port
    node.start("--snapshot-hook", url, *flags(good))
    wait_until(lambda: server.count > 0, "the URL")
    check_equal(node.status()["snapshot"]["hook_error"], "")
    server.answer = 500
    wait_until(lambda: "500" in node.status()["snapshot"]["hook_error"],
               "its failure")
    check_in(b"hook", node.cli("doctor").stdout)
    check(node.metric("snapshot_hook_failures_total") > 0, "no metric")
    node.stop()
    server.shutdown()
    # Silent while a target fails.
    with open(t.path("file"), "w", encoding="ascii"):
        pass
    node.start("--snapshot-hook", "echo x >> " + calls,
               *flags(good, t.path("file", "below")))
    wait_until(lambda: told(node, t.path("file", "below"))["failures"] > 0,
               "a failure")
    before = node.status()["snapshot"]["hook_calls"]
    for i in range(3):
        node.ok("put", "b", str(i))
        wait_until(lambda n=i: told(node, good)["deltas"] > n, "a delta")
    check(node.status()["snapshot"]["hook_calls"] <= before + 1,
          "it was called while a target failed")
    check_equal(node.stop(), 0)
    pid = t.path("pid")
    node.start("--snapshot-hook", "echo $$ > %s; sleep 1000" % pid,
               *flags(good))
    wait_until(lambda: os.path.exists(pid) and os.path.getsize(pid) > 1,
               "it hangs")
    check_equal(node.stop(), 0)
    with open(pid, encoding="ascii") as file:
        number = int(file.read())
    wait_until(lambda: not os.path.exists("/proc/%d" % number) or
               open("/proc/%d/stat" % number).read().split()[2] == "Z",
               "it has ended")


def test_too_many(t):
    """Four at most, none twice."""
    node = t.init()
    urls = [t.path("t%d" % i) for i in range(5)]
    for words, wanted in ((flags(*urls), b"more than 4 times"),
                          (flags(urls[0], urls[0]), b"given twice")):
        result = node.cli("node", "--data", node.data, *words, data=False)
        check_equal(result.returncode, 64)
        check_in(wanted, result.stderr)


if __name__ == "__main__":
    harness.main(globals())
