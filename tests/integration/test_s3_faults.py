#!/usr/bin/env python3
# parallel-safe
# timeout: 600 s
"""An S3 server that misbehaves in every way that one can: what may pass is
tried again, what cannot is told, and nothing counts as kept that is not.

The server here keeps objects in memory and checks no signature (test_s3.py has
one that does); what it does wrong is said by the test."""
import email.utils
import http.server
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse

import harness
from harness import check, check_equal, check_in, cli, wait_until

SECRET = "stubSecret/Key+1"
SESSION = "stubSessionToken=="
PAGE = 7  # keys of one listing page
PIECE = 65536


def xml_error(code, message="as told", more=""):
    return ("<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>%s"
            "</Message>%s</Error>" % (code, message, more)).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(time.time() + self.server.stub.ahead_s,
                                      usegmt=True)

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def reset(self):
        """The connection ends with a RST in the middle of things."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   b"\x01\0\0\0\0\0\0\0")
        self.close_connection = True
        self.connection.close()

    def read_body(self, left):
        """In pieces, as they come, or slower."""
        stub, body = self.server.stub, b""
        while left > 0:
            asked = time.monotonic()
            piece = self.rfile.read1(min(left, PIECE))
            if not piece:
                break
            body += piece
            left -= len(piece)
            with stub.lock:
                stub.arrived.append((time.monotonic(), len(piece), asked))
            time.sleep(stub.pause_s)
        return body

    def trickle(self, body):
        """A good answer of which little comes at a time."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body), len(body) // 8 + 1):
            time.sleep(self.server.stub.pause_s)
            self.wfile.write(body[at:at + len(body) // 8 + 1])
        return True

    def serve(self):
        stub = self.server.stub
        parts = urllib.parse.urlsplit(self.path)
        key = urllib.parse.unquote(parts.path).partition("/")[2]
        key = key.partition("/")[2]  # the bucket stands first
        body = self.read_body(int(self.headers.get("Content-Length") or 0))
        with stub.lock:
            stub.count += 1
            stub.seen.append((self.command, self.path, dict(
                (n.lower(), v) for n, v in self.headers.items())))
        if stub.fault and stub.fault(self, self.command, key, body):
            return
        self.do_right(key, body, urllib.parse.parse_qs(
            parts.query, keep_blank_values=True))

    def do_right(self, key, body, query):
        objects = self.server.stub.objects
        if self.command == "PUT":
            objects[key] = body
            self.answer(200)
        elif self.command == "DELETE":
            objects.pop(key, None)
            self.answer(204)
        elif "list-type" in query:
            self.answer(200, self.page(query))
        elif key in objects:
            self.answer(200, objects[key])
        else:
            self.answer(404, xml_error("NoSuchKey"))

    def page(self, query):
        """At most PAGE names; the token is the last one of the page."""
        prefix = query["prefix"][0]
        after = query.get("continuation-token", [""])[0]
        found = set()
        stub = self.server.stub
        for key in list(stub.objects if stub.listed is None else stub.listed):
            if key.startswith(prefix):
                head, slash, _ = key[len(prefix):].partition("/")
                found.add(prefix + head + slash)
        rest = sorted(name for name in found if name > after)
        text = "<ListBucketResult><IsTruncated>%s</IsTruncated>" % (
            "true" if len(rest) > PAGE else "false")
        for name in rest[:PAGE]:
            text += ("<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>"
                     if name.endswith("/")
                     else "<Contents><Key>%s</Key></Contents>") % name
        if len(rest) > PAGE:
            text += ("<NextContinuationToken>%s</NextContinuationToken>"
                     % rest[PAGE - 1])
        return (text + "</ListBucketResult>").encode()

    do_GET = do_PUT = do_DELETE = serve


class Stub:
    def __init__(self, certificate=None):
        self.objects = {}
        self.listed = None  # the names in listings, if they are old ones
        self.fault = None
        self.ahead_s = 0  # of its clock
        self.pause_s = 0  # after each piece of a body
        self.arrived = []  # (when, bytes, when asked for) of bodies
        self.seen = []
        self.count = 0
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                                      Handler)
        self.server.daemon_threads = True
        self.server.stub = self
        self.server.handle_error = lambda *_: None
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket,
                                                     server_side=True)
            self.scheme = "https"
        threading.Thread(target=self.server.serve_forever, daemon=True,
                         kwargs={"poll_interval": 0.05}).start()

    @property
    def port(self):
        return self.server.server_address[1]

    def url(self, **options):
        options = dict({"endpoint": "%s://localhost:%d" % (
            self.scheme, self.port), "region": "us-east-1"}, **options)
        return "s3://bucket/pre?" + "&".join("%s=%s" % o
                                             for o in options.items())

    def close(self):
        self.server.shutdown()
        self.server.server_close()


ENV = {"AWS_ACCESS_KEY_ID": "stub", "AWS_SECRET_ACCESS_KEY": SECRET,
       "AWS_SESSION_TOKEN": SESSION, "AWS_CA_BUNDLE": "", "no_proxy": "*"}


def node_of(t, *flags, keys=60):
    node = t.init()
    node.env = ENV
    node.start(*flags)
    connection = node.connect()
    for i in range(keys):
        connection.put("k/%d" % i, os.urandom(1000))
    connection.close()
    return node


def verify(target, **env):
    return cli("snapshot", "verify", target, env=dict(ENV, **env))


def snapshot(node, target):
    return node.cli("snapshot", "now", "--to", target, "--json")


def no_secret(node):
    told = node.process.stderr() + node.process.stdout()
    for secret in (SECRET, SESSION):
        check(secret.encode() not in told, "a secret in the log")
    with open("/proc/%d/cmdline" % node.pid, "rb") as file:
        check(SECRET.encode() not in file.read(), "a secret in arguments")


FAULTS = {
    "slow down": lambda h, *_: h.answer(503, xml_error("SlowDown")) or True,
    "500": lambda h, *_: h.answer(500, b"not even XML <") or True,
    "429": lambda h, *_: h.answer(429, b"", {"Retry-After": "0"}) or True,
    "reset": lambda h, *_: h.reset() or True,
    "timeout": lambda h, *_: h.answer(
        400, xml_error("RequestTimeout")) or True,
    "bad digest": lambda h, *_: h.answer(400, xml_error("BadDigest")) or True,
}


def truncated(handler, _method, key, _body):
    body = handler.server.stub.objects.get(key, b"0123456789")
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:len(body) // 2])
    handler.close_connection = True
    return True


def after_effect(handler, method, key, body):
    """It takes effect, and the answer is lost."""
    if method == "PUT":
        handler.server.stub.objects[key] = body
    handler.reset()
    return True


def test_passing_faults(t):
    """Whatever passes does not fail a snapshot: every third request meets the
    next of the faults."""
    stub = Stub()
    node = node_of(t)
    faults = list(FAULTS.values()) + [
        after_effect,
        lambda h, m, k, b: m == "GET" and truncated(h, m, k, b)]

    happened = set()

    def fault(handler, method, key, body):
        turn, hit = divmod(stub.count, 3)
        turn %= len(faults)
        if hit == 0 and faults[turn](handler, method, key, body):
            happened.add(turn)
            return True
        return False

    stub.fault = fault
    for number in range(20):
        node.ok("put", "turn", str(number))
        result = snapshot(node, stub.url())
        check_equal(result.returncode, 0, result.stderr)
        if len(happened) == len(faults):
            break
    check_equal(len(happened), len(faults), "faults that happened")
    result = verify(stub.url())
    check_equal(result.returncode, 0, result.stderr)
    stub.fault = None
    check_equal(verify(stub.url()).returncode, 0)
    for method, path, headers in stub.seen:
        check_equal(headers.get("x-amz-security-token"), SESSION)
        check_in("SignedHeaders=host;x-amz-content-sha256;x-amz-date;"
                 "x-amz-security-token", headers["authorization"])
        check(not any(n.startswith("if-") for n in headers),
              "a condition: %s %s" % (method, path))
        check("uploads" not in path and "partNumber" not in path, path)
        if method == "PUT":
            check("content-length" in headers
                  and "transfer-encoding" not in headers, repr(headers))
    no_secret(node)
    stub.close()


def test_lasting_faults(t):
    """What lasts fails the snapshot with its cause, in bounded time, and the
    node lives; the next snapshot goes on where the last one stopped."""
    stub = Stub()
    node = node_of(t)
    for name, fault, wanted in (
            ("503", FAULTS["slow down"], b"503 SlowDown: as told (6 attempts)"),
            ("403", lambda h, *_: h.answer(403, xml_error("AccessDenied"))
             or True, b"check the credentials"),
            ("501", lambda h, *_: h.answer(501, xml_error("NotImplemented"))
             or True, b"501 NotImplemented"),
            ("507", lambda h, m, k, b: m == "PUT" and (h.answer(507) or True),
             b"507"),
            ("no bucket", lambda h, *_: h.answer(
                404, xml_error("NoSuchBucket")) or True,
             b"make the bucket first")):
        stub.fault, before = fault, stub.count
        result = snapshot(node, stub.url())
        check(result.returncode != 0, name)
        check_in(wanted, result.stderr, name)
        check(stub.count - before <= 12, "bounded attempts: " + name)
    check_equal(node.live()["snapshot"]["failures"], 5)
    # The pack that came through is not sent again.
    puts = []

    def half(handler, method, key, _body):
        if method == "PUT":
            puts.append(key)
        return (method == "PUT" and len(puts) > 1
                and (handler.answer(403, xml_error("AccessDenied")) or True))

    stub.fault = half
    check(snapshot(node, stub.url()).returncode != 0)
    kept = set(stub.objects)
    check_equal(len(kept), 1)
    stub.fault, stub.seen = None, []
    result = snapshot(node, stub.url())
    check_equal(result.returncode, 0, result.stderr)
    sent = {p.split("?")[0].partition("/bucket/")[2]
            for m, p, _ in stub.seen if m == "PUT"}
    check(sent and not sent & kept, "sent again: %r" % (sent & kept))
    no_secret(node)
    stub.close()


def wait_told(node, target, condition, what):
    return wait_until(lambda: condition(told(node, target)), what, 60,
                      progress=lambda: told(node, target))


def told(node, target):
    return [x for x in node.live()["snapshot"]["targets"]
            if x["url"] == target][0]


def restored(t, name, *targets, code=0, env=None):
    fresh = t.node(name)
    result = subprocess.run(
        [harness.RESTORE, *targets, "--data", fresh.data, "--name", name,
         "--authority", t.authority, "--no-passphrase"],
        env=dict(os.environ, **(env or ENV)), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, check=False, timeout=harness.CLI_TIMEOUT_S)
    check_equal(result.returncode, code, result.stderr)
    values = fresh.start().values()
    fresh.kill()
    return values


OFTEN_S = 0.2
OFTEN = ["--snapshot-interval", "1h", "--snapshot-delta", "200ms"]


def test_slow_throughout(t):
    """Each request takes a while, each body comes in trickles, always:
    snapshots, deltas and heartbeats arrive all the same, status tells what
    goes on, nothing counts as failed, writes and the other target wait for
    nothing, the node stops at once in the midst of it, and a restore gets
    everything."""
    stub = Stub()
    target, good = stub.url(timeout=5), t.path("good")
    stub.pause_s = 0.06
    manifests = []  # when

    def slow(handler, method, key, _body):
        time.sleep(0.15)
        if method == "PUT" and "/m/" in key:
            manifests.append(time.time())
        return (method == "GET" and key in stub.objects
                and handler.trickle(stub.objects[key]))

    stub.fault = slow
    node = node_of(t, "--snapshot-to", target, "--snapshot-to", good, *OFTEN,
                   keys=100)
    wait_told(node, target, lambda x: x.get("phase"), "a phase")
    wait_told(node, good, lambda x: x["sequence"] > 0, "the quick one's")
    quick = [os.path.join(d, n) for d, _, names in os.walk(good) for n in names
             if "/m/" in d]
    quick_s = min(os.stat(path).st_mtime for path in quick)
    wait_told(node, target, lambda x: x["sequence"] > 0, "a snapshot")
    check(quick_s < manifests[0], "the slow one was first")
    for i in range(3):
        before = told(node, target)["deltas"]
        node.ok("put", "late/%d" % i, "x")
        wait_told(node, target, lambda x, b=before: x["deltas"] > b,
                  "a delta")
    check_equal(node.snapshot_now().returncode, 0)
    node.wait_uploaded()
    for url in (target, good):
        check_equal([told(node, url)["failures"], told(node, url)["error"]],
                    [0, ""])
    doctor = json.loads(node.cli("doctor", "--json").stdout)
    check(not [f for f in doctor["findings"] if "target" in f["found"]],
          repr(doctor))
    check_equal(verify(target).returncode, 0)
    # In the midst of a request.
    node.ok("put", "last", "1")
    node.wait_uploaded()
    values = node.values()
    count = stub.count
    upload = harness.Thread(node.cli, "snapshot", "now")
    wait_until(lambda: stub.count > count, "a request")
    check_equal(node.stop(), 0)
    upload.finish()
    check_equal(restored(t, "phoenix", target), values)
    stub.close()


def test_trickles_for_ever(t):
    """A byte now and then is no progress that one waits for without end."""
    stub = Stub()
    node = node_of(t, keys=3)
    check_equal(snapshot(node, stub.url()).returncode, 0)
    end = threading.Event()

    def trickle(handler, method, key, _body):
        if method != "GET" or key not in stub.objects:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(stub.objects[key])))
        handler.end_headers()
        for byte in stub.objects[key]:
            if end.wait(0.4):
                break
            handler.wfile.write(bytes([byte]))
        handler.close_connection = True
        return True

    stub.fault = trickle
    begun = time.monotonic()
    result = verify(stub.url(timeout=1))
    took = time.monotonic() - begun
    check(result.returncode != 0, "it was waited for")
    check_in(b"imed out", result.stderr)
    check(took < 60 * harness.SLOW, "it took %.0f s" % took)
    end.set()
    stub.close()


def test_read_only_throughout(t):
    """Whoever may only read: uploads fail with the reason, in status, doctor
    and metrics, again and again and without haste; the other target goes on;
    list, verify and restore work; once it may write, everything is there."""
    stub = Stub()
    target, good = stub.url(timeout=5), t.path("good")
    node = node_of(t, "--snapshot-to", target, "--snapshot-to", good, *OFTEN)
    wait_told(node, target, lambda x: x["sequence"] > 0, "a snapshot")
    node.wait_uploaded()
    before = node.values()
    writes = []

    def read_only(handler, method, key, _body):
        if method == "GET":
            return False
        writes.append(key)
        handler.answer(403, xml_error("AccessDenied"))
        return True

    stub.fault = read_only
    node.ok("put", "during", "1")
    wait_told(node, target, lambda x: x["failures"] > 0, "a failure")
    check_in("check the credentials", told(node, target)["error"])
    wait_told(node, good, lambda x: x["covered_wall_ms"] > 0, "the good one")
    doctor = json.loads(node.cli("doctor", "--json").stdout)
    found = [f for f in doctor["findings"] if "AccessDenied" in f["found"]]
    check(found and found[0]["remedy"] and target in found[0]["found"],
          repr(doctor))
    check(node.metric('snapshot_target_failures_total{target="%s"}' % target)
          > 0, "no metric")
    result = node.snapshot_now("--to", target)
    check(result.returncode != 0)
    check_in(b"check the credentials", result.stderr)
    # One write for each delta that is due, no more; the least pause between
    # two is half of their interval.
    before_s = time.monotonic()
    tries = told(node, target)["failures"]
    count = len(writes)
    for i in range(10):
        node.ok("put", "during", str(i))
        wait_told(node, good, lambda x, n=told(node, good)["deltas"]:
                  x["deltas"] > n, "a delta")
    count = len(writes) - count
    tries = told(node, target)["failures"] - tries
    check(count <= tries + 5, "%d writes in %d tries" % (count, tries))
    due = (time.monotonic() - before_s) / (OFTEN_S / 2)
    check(tries <= due + 2, "%d tries, when %.1f were due" % (tries, due))
    check_equal(cli("snapshot", "list", target, env=ENV).returncode, 0)
    check_equal(verify(target).returncode, 0)
    check_equal(restored(t, "early", target), before)
    check_equal(node.stop(), 0)
    node.start("--snapshot-to", target, "--snapshot-to", good, *OFTEN)
    wait_told(node, target, lambda x: x["failures"] > 0, "a failure")
    stub.fault = None
    check_equal(node.snapshot_now().returncode, 0)
    wait_told(node, target, lambda x: x["error"] == "", "it is well again")
    node.wait_uploaded()
    values = node.values()
    node.kill()
    check_equal(restored(t, "phoenix", target), values)
    check_equal(restored(t, "other", good), values)
    stub.close()


def test_full_throughout(t):
    """A store without room: told as such; what was there before it was full
    is restored, and nothing half is left behind by which a restore fails."""
    stub = Stub()
    target = stub.url()
    node = node_of(t, "--snapshot-to", target, *OFTEN)
    wait_told(node, target, lambda x: x["sequence"] > 0, "a snapshot")
    node.wait_uploaded()
    values = node.values()
    for answer in (lambda h: h.answer(507), lambda h: h.answer(
            403, xml_error("QuotaExceeded"))):
        stub.fault = lambda h, m, k, b, a=answer: m == "PUT" and (a(h) or True)
        before = told(node, target)["failures"]
        node.ok("put", "during", "-", stdin=os.urandom(50000))
        result = node.snapshot_now()
        check(result.returncode != 0)
        check_in(b"room", result.stderr)
        wait_told(node, target, lambda x, b=before: x["failures"] > b,
                  "a failure")
    check_equal(restored(t, "early", target), values)
    stub.fault = None
    check_equal(node.snapshot_now().returncode, 0)
    node.wait_uploaded()
    values = node.values()
    node.kill()
    check_equal(restored(t, "phoenix", target), values)
    stub.close()


def all_taken(stubs, at):
    """A time, before that of an arrival, at which nothing was on its way: each
    reader had to wait for more. What a test that stood still takes afterwards
    at once was sent since then."""
    ret = at
    for stub in stubs:
        asked = [a for when, _, a in stub.arrived if when <= at]
        waited = [a for when, _, a in stub.arrived
                  if when <= at and when - a > 0.002]
        if asked:
            ret = min(ret, max(waited) if waited else min(asked))
    return ret


def test_bandwidth(t):
    """One bound for all that a node sends, over the network too and to two
    targets at once: neither waits for the other to be done."""
    rate, size = 500000, 1500000
    stubs = [Stub(), Stub()]
    targets = [stub.url() for stub in stubs]
    node = node_of(t, *(w for u in targets for w in ("--snapshot-to", u)),
                   "--snapshot-bandwidth", str(rate), "--snapshot-interval",
                   "1h", "--snapshot-delta", "never", keys=1)
    check_equal(node.snapshot_now().returncode, 0)
    for i in range(5):
        node.ok("put", "big/%d" % i, "-", stdin=os.urandom(size // 5))
    for stub in stubs:
        stub.arrived = []
    begun = time.monotonic()
    check_equal(node.snapshot_now().returncode, 0)
    took = time.monotonic() - begun
    arrived = sorted(a for stub in stubs for a in stub.arrived)
    total = sum(n for _, n, _ in arrived)
    check(total >= 2 * size, "%d bytes came" % total)
    check(took >= 0.9 * total / rate, "%d bytes in %.1f s" % (total, took))
    # In no stretch of two seconds either; what is on its way may come late.
    for i, (since, _, _) in enumerate(arrived):
        came = sum(n for when, n, _ in arrived[i:] if when < since + 2)
        span = since + 2 - all_taken(stubs, since)
        check(came <= span * rate + 8 * PIECE, "%d bytes in %.2f s" % (
            came, span))
    first, second = ([when for when, _, _ in stub.arrived] for stub in stubs)
    check(min(second) < max(first) and min(first) < max(second),
          "one after the other")
    harness.note("%d bytes in %.1f s: %d bytes/s of %d" % (
        total, took, total / took, rate))
    for target in targets:
        check_equal(verify(target).returncode, 0)
    for stub in stubs:
        stub.close()


def test_silence(t):
    """A server that says nothing costs the time that was allowed."""
    stub = Stub()
    node = node_of(t, keys=3)
    end = threading.Event()
    stub.fault = lambda *_: end.wait()  # it never answers
    result = snapshot(node, stub.url(timeout=1))
    check(result.returncode != 0)
    check_in(b"imeout", result.stderr + b" timeout")
    end.set()
    stub.close()
    result = snapshot(node, stub.url(timeout=1))  # nobody listens now
    check(result.returncode != 0)
    check_in(b"localhost:%d" % stub.port, result.stderr)


def test_stopped_while_it_waits(t):
    """A node that stops does not wait for its upload."""
    stub = Stub()
    end = threading.Event()
    stub.fault = lambda *_: end.wait()
    node = node_of(t, "--snapshot-to", stub.url(), "--snapshot-interval",
                   "1s", "--snapshot-delta", "never", keys=3)
    harness.wait_until(lambda: stub.count > 0, "an upload")
    check_equal(node.stop(), 0)
    end.set()
    stub.close()


def test_acknowledged_but_not_kept(t):
    """No manifest names what did not come back."""
    stub = Stub()
    node = node_of(t)
    puts = []

    def forget(handler, method, key, _body):
        if method != "PUT":
            return False
        puts.append(key)
        if len(puts) != 3:
            return False
        handler.answer(200)
        return True

    stub.fault = forget
    result = snapshot(node, stub.url())
    check(result.returncode != 0)
    check_in(b"does not read back", result.stderr)
    check(not [k for k in stub.objects if "/m/" in k], "no manifest")
    # An answer that is old for a while is not a loss.
    late = {}

    def eventually(handler, method, key, _body):
        if method == "PUT":
            late[key] = 2
        elif late.get(key, 0) > 0:
            late[key] -= 1
            handler.answer(404, xml_error("NoSuchKey"))
            return True
        return False

    stub.fault = eventually
    result = snapshot(node, stub.url())
    check_equal(result.returncode, 0, result.stderr)
    check_equal(verify(stub.url()).returncode, 0)
    # Changed on its way, or bigger than anything of ours: neither is taken.
    name = sorted(k for k in stub.objects if "/p/" in k)[0]
    stub.fault, good = None, stub.objects[name]
    for bad in (good[:-1], good + b"x", b"", bytes([good[0] ^ 1]) + good[1:],
                b"x" * (40 << 20)):
        stub.objects[name] = bad
        check_equal(verify(stub.url()).returncode, 3)
    stub.close()


def test_clock_and_region(t):
    """The refusal's Date and region are used, once each."""
    stub = Stub()
    node = node_of(t, keys=3)
    stub.ahead_s = 10 * 365 * 86400

    def fault(handler, *_):
        date = handler.headers["x-amz-date"]
        year = int(time.strftime("%Y", time.gmtime(time.time()
                                                   + stub.ahead_s)))
        if abs(int(date[:4]) - year) > 1:
            handler.answer(403, xml_error("RequestTimeTooSkewed"))
        elif "/mars-1/s3/" in handler.headers["authorization"]:
            return False
        elif stub.count % 2:
            handler.answer(301, b"", {
                "x-amz-bucket-region": "mars-1",
                "Location": "http://127.0.0.1:%d/stolen" % other.port})
        else:
            handler.answer(400, xml_error("AuthorizationHeaderMalformed",
                                          more="<Region>mars-1</Region>"))
        return True

    other = Stub()
    stub.fault = fault
    result = snapshot(node, stub.url())
    check_equal(result.returncode, 0, result.stderr)
    check_equal(verify(stub.url()).returncode, 0)
    check_equal(other.count, 0, "a redirect was followed")
    # A server whose word changes every time is not believed for ever.
    stub.ahead_s = 0
    stub.fault = lambda h, *_: h.answer(
        301, b"", {"x-amz-bucket-region": "r%d" % stub.count}) or True
    before = stub.count
    result = verify(stub.url())
    check_in(b"check endpoint= and region=", result.stderr)
    check(stub.count - before <= 3, "bounded")
    stub.close()
    other.close()


def test_listings(t):
    """Many pages are one listing; what is no listing is told."""
    stub = Stub()
    node = node_of(t, keys=1)
    for i in range(PAGE + 3):
        node.ok("put", "n", str(i))
        check_equal(snapshot(node, stub.url()).returncode, 0)
    lines = cli("snapshot", "list", stub.url(), "--json",
                env=ENV).stdout.splitlines()
    check_equal(len(lines), PAGE + 3)
    check(all(json.loads(line)["good"] for line in lines), repr(lines))
    for bad in (b"", b"<html>hello</html>", b"<ListBucketResult><Contents>",
                b"<ListBucketResult><IsTruncated>true</IsTruncated>"
                b"</ListBucketResult>", b"\0" * 1000, b"<" * (9 << 20)):
        stub.fault = lambda h, *_, body=bad: h.answer(200, body) or True
        result = cli("snapshot", "list", stub.url(), env=ENV)
        check_equal(result.returncode, 5)
        check(re.search(b"no whole listing|the limit", result.stderr),
              repr(result.stderr))
    stub.close()


def test_idle(t):
    """While nothing is written, whatever the intervals: only heartbeats and
    announcements are put, each of at most 1 KiB. (A drill reads, daily by
    default.)"""
    stub = Stub()
    target = stub.url()
    node = node_of(t, "--snapshot-to", target, "--snapshot-interval", "1s",
                   "--snapshot-delta", "200ms")
    check_equal(node.live()["drills"]["interval_ms"], 86400000)
    # The first one by itself may have been without the last keys.
    wait_told(node, target, lambda x: x["sequence"] > 0, "a snapshot")
    check_equal(node.snapshot_now().returncode, 0)
    node.wait_uploaded(times=2)
    puts = []

    def note(_handler, method, key, body):
        if method == "PUT":
            puts.append((key.split("/")[-2], len(body)))
        return False

    stub.fault = note
    wait_until(lambda: len([p for p in puts if p[0] == "h"]) >= 4,
               "four heartbeats", progress=lambda: list(puts))
    check_equal({kind for kind, _ in puts} - {"u"}, {"h"}, repr(puts))
    check(max(size for _, size in puts) <= 1024, repr(puts))
    stub.close()


def reader_slots(node):
    """The transactions of LMDB's reader table, in slots of 64 bytes
    (lock.mdb: transaction, process, thread); None: not reading now."""
    with open(os.path.join(node.data, "lock.mdb"), "rb") as file:
        table = file.read()
    ret = []
    for at in range(0, len(table) - 63, 64):
        txn, pid = struct.unpack_from("<Qi", table, at)
        if pid == node.pid:
            ret.append(None if txn == (1 << 64) - 1 else txn)
    return ret


def test_no_reader_is_kept(t):
    """While an upload waits for the network, no read transaction keeps the
    store's pages: everything was spooled before."""
    stub = Stub()
    node = node_of(t)
    end = threading.Event()
    held = []

    def hang(_handler, method, *_):
        if method == "PUT":
            held.append(method)
            end.wait()
        return False

    stub.fault = hang
    upload = harness.Thread(node.cli, "snapshot", "now", "--to", stub.url())
    wait_until(lambda: held, "the upload waits")
    for i in range(5):
        node.ok("put", "meanwhile", str(i))
    check(reader_slots(node), "no slot of the node's was found")
    wait_until(lambda: set(reader_slots(node)) == {None}, "no reader",
               progress=lambda: reader_slots(node))
    end.set()
    result = upload.finish()
    check_equal(result.returncode, 0, result.stderr)
    stub.close()


def test_old_listings(t):
    """Listings that show nothing of what was put since: a restore has all of
    it, and a process that starts goes on behind the newest of its manifests
    and deltas, putting nothing under a name that is taken."""
    stub = Stub()
    target, other = stub.url(), t.path("other")
    flags = ["--snapshot-to", target, "--snapshot-interval", "1h",
             "--snapshot-delta", "200ms"]
    node = node_of(t, *flags)
    wait_told(node, target, lambda x: x["sequence"] > 0, "a snapshot")
    node.ok("put", "listed", "1")
    wait_told(node, target, lambda x: x["deltas"] > 0, "a delta")
    stub.listed = set(stub.objects)
    taken = []

    def note(_handler, method, key, body):
        if method == "PUT" and ("/d/" in key or "/m/" in key) and \
                stub.objects.get(key, body) != body:
            taken.append(key)
        return False

    stub.fault = note

    def write(name):
        for i in range(3):
            before = told(node, target)["deltas"]
            node.ok("put", "%s/%d" % (name, i), str(i))
            wait_told(node, target, lambda x, b=before: x["deltas"] > b,
                      "a delta")

    def unlisted(kind):
        return [k for k in stub.objects
                if "/%s/" % kind in k and k not in stub.listed]

    def check_restored(name):
        node.wait_uploaded()
        check_equal(restored(t, name, target), node.values())

    write("deltas")
    check(len(unlisted("d")) >= 3 and not unlisted("m"))
    check_restored("deltas")
    node.ok("snapshot", "now", "--to", other)  # a gap in the numbers
    check_equal(node.snapshot_now().returncode, 0)
    write("behind")
    check_equal(len(unlisted("m")), 1)
    check_restored("manifest")
    check_equal(node.snapshot_now().returncode, 0)
    check_equal(len(unlisted("m")), 2)
    check_restored("manifests")
    newest = max(unlisted("m"))[-20:]
    write("before")
    for number in range(2):
        check_equal(node.stop(), 0)
        node.start(*flags)
        write("after%d" % number)
        check_restored("restart%d" % number)
    check_equal(len(unlisted("m")), 2, "a snapshot instead of going on")
    check(len([k for k in unlisted("d") if newest + "-" in k]) >= 9)
    check_equal(taken, [], "a name that was taken")
    check_equal(len(cli("snapshot", "list", target, "--json",
                        env=ENV).stdout.splitlines()), 3)
    stub.close()


def test_tls(t):
    """Nobody is trusted unless --ca-file says so, and nobody by a wrong
    name."""
    pem = t.path("both.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                    "-keyout", t.path("key.pem"), "-out", t.path("cert.pem"),
                    "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost"], check=True,
                   stderr=subprocess.DEVNULL)
    with open(pem, "wb") as out:
        for part in ("key.pem", "cert.pem"):
            with open(t.path(part), "rb") as file:
                out.write(file.read())
    stub = Stub(pem)
    node = node_of(t, "--ca-file", t.path("cert.pem"), keys=3)
    result = snapshot(node, stub.url())
    check_equal(result.returncode, 0, result.stderr)
    before = stub.count
    result = verify(stub.url())
    check_equal(result.returncode, 5)
    check_in(b"check --ca-file", result.stderr)
    check_equal(stub.count, before, "a request without trust")
    result = cli("snapshot", "verify", stub.url(), "--ca-file",
                 t.path("cert.pem"), env=ENV)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(verify(stub.url(), AWS_CA_BUNDLE=t.path("cert.pem"))
                .returncode, 0)
    other = stub.url(endpoint="https://127.0.0.1:%d" % stub.port)
    result = verify(other, AWS_CA_BUNDLE=t.path("cert.pem"))
    check_equal(result.returncode, 5, "another name")
    values = node.values()
    node.kill()
    result = subprocess.run(
        [harness.RESTORE, stub.url(), "--data", t.path("phoenix"), "--name",
         "phoenix", "--authority", t.authority, "--no-passphrase", "--ca-file",
         t.path("cert.pem")], env=dict(os.environ, **ENV),
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(t.node("phoenix").start().values(), values)
    stub.close()


if __name__ == "__main__":
    harness.main(globals())
