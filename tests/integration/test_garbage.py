#!/usr/bin/env python3
"""Garbage on every socket: datagrams, streams between nodes, HTTP over TCP
and over the Unix socket. Nothing ends a node, stops its service, or stays
behind; nothing of it is believed."""
import os
import random
import socket
import struct

import harness
from harness import Thread, check, check_equal, note, wait_until

SEED = int(os.environ.get("SEED", "20260101"))
FILES_GROWTH_MAX = 10  # descriptors more than before
MEMORY_GROWTH_KB_MAX = 200 * 1024


def memory_kb(node):
    with open("/proc/%d/status" % node.pid, encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def files(node):
    return len(os.listdir("/proc/%d/fd" % node.pid))


class Victims:
    """Two nodes that must not mind; alpha gets all the garbage."""

    def __init__(self, t):
        self.t = t
        first = t.init("alpha")
        first.api_port = harness.free_port()
        first.start()
        self.nodes = [first, t.join(first, "beta")]
        for node in self.nodes:
            node.wait_alive(2)
        self.alpha = first
        self.pid = first.pid
        self.rounds = 0
        self.memory = memory_kb(first)
        self.files = files(first)
        self.random = random.Random(SEED)

    def fine(self):
        """Still the same process, at work for clients and for peers."""
        alpha, beta = self.nodes
        check(alpha.process.running(), "alpha ended: %r"
              % alpha.process.stderr()[-2000:])
        check_equal(alpha.pid, self.pid)
        self.rounds += 1
        value = b"%d" % self.rounds
        harness.request("127.0.0.1:%d" % alpha.api_port, "PUT",
                        "/v1/kv/round", value)
        beta.wait_value("round", value)
        beta.ok("put", "back", value)
        alpha.wait_value("back", value)

    def end(self):
        self.fine()
        self.t.converged(self.nodes)
        alpha = self.alpha
        check_equal(len(alpha.members()), 2, "members")
        for node in self.nodes:
            check_equal(node.live()["alarms"], [])
        check_equal(set(alpha.values()), {"round", "back"}, "keys")
        wait_until(lambda: files(alpha) <= self.files + FILES_GROWTH_MAX,
                   "descriptors are given back")
        if not os.environ.get("SANITIZE"):
            check(memory_kb(alpha) < self.memory + MEMORY_GROWTH_KB_MAX,
                  "memory grew to %d KB" % memory_kb(alpha))
        check_equal(alpha.stop(), 0, "an orderly end")

    def noise(self, size):
        return self.random.randbytes(size)


def test_datagrams(t):
    v = Victims(t)
    target = ("127.0.0.1", v.alpha.port)
    count = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for size in list(range(0, 120)) + [200, 500, 1200, 1400, 1500, 9000,
                                           65000]:
            for fill in (v.noise(size), b"\0" * size, b"\xff" * size):
                udp.sendto(fill, target)
                count += 1
        v.fine()
        # Each first byte, then noise: every packet type there may be.
        for first in range(256):
            for size in (10, 60, 300, 1100):
                udp.sendto(bytes([first]) + v.noise(size), target)
                udp.sendto(bytes([first]) * size, target)
                count += 2
            if first % 64 == 63:
                v.fine()
    v.fine()
    note("%d datagrams" % count)
    # Real packets of a stranger, whole and altered: a node of another mesh
    # that was told that alpha is a peer.
    other = harness.Test()
    try:
        stranger = other.init("alpha")
        stranger.port = harness.free_port()
        stranger.start()
        captured = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tap:
            tap.bind(("127.0.0.1", 0))
            tap.settimeout(harness.DEADLINE_S)
            joiner = other.node("x")
            token = stranger.token()
            joiner.start("--name", "x", "--join", token)
            joiner.kill()
            # What stranger sends to x now arrives here.
            tap2 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            tap2.bind(("127.0.0.1", joiner.port))
            tap2.settimeout(harness.DEADLINE_S)
            for number in range(5):
                stranger.ok("put", "k", "v%d" % number)
                captured.append(tap2.recv(65536))
            tap2.close()
            for packet in captured:
                tap.sendto(packet, target)
                for at in range(0, len(packet), 3):
                    bad = bytearray(packet)
                    bad[at] ^= 1 << (at % 8)
                    tap.sendto(bad, target)
                for size in range(0, len(packet), 7):
                    tap.sendto(packet[:size], target)
            v.fine()
    finally:
        other.cleanup()
    check(v.alpha.live()["counters"]["packets_refused"] > 0,
          "refused packets are counted")
    v.end()


def pour(port, content, half_close=False):
    """Sends, and reads until the other side ends or enough has come."""
    with socket.create_connection(("127.0.0.1", port),
                                  harness.DEADLINE_S) as tcp:
        try:
            tcp.sendall(content)
            if half_close:
                tcp.shutdown(socket.SHUT_WR)
            tcp.settimeout(0.05)
            while tcp.recv(65536):
                pass
        except OSError:
            pass


def test_peer_streams(t):
    v = Victims(t)
    port = v.alpha.port
    contents = [b"", b"\0", b"\n", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 70000,
                b"\xff" * 70000, v.noise(3000000)]
    # Lengths that lie, in every width and order.
    for length in (0, 1, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff):
        for form in ("<I", ">I", "<H", ">H", "<Q", ">Q"):
            if length < 1 << (8 * struct.calcsize(form)):
                contents.append(struct.pack(form, length) + v.noise(300))
    contents += [v.noise(v.random.randrange(1, 4000)) for _ in range(40)]
    contents += [bytes([first]) + v.noise(200) for first in range(0, 256, 5)]
    threads = []
    for number, content in enumerate(contents):
        threads.append(Thread(pour, port, content, number % 2 == 0))
        if len(threads) == 16:
            for thread in threads:
                thread.finish()
            threads = []
            v.fine()
    for thread in threads:
        thread.finish()
    v.fine()
    # Many that say nothing at all: they are not let to sit there.
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    v.fine()
    for tcp in idle[:100]:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                       struct.pack("ii", 1, 0))
        tcp.close()
    idle[150].settimeout(30 * harness.SLOW)
    try:
        check_equal(idle[150].recv(1), b"", "an idle stream is closed")
    except ConnectionError:
        pass  # as good
    for tcp in idle[100:]:
        tcp.close()
    v.end()


BAD_REQUESTS = [
    b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n", b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    b"FROB /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/kv/a HTTP/1.1\r\n\r\n",
    b"GET /v1/kv/a HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n"
    b"Origin: http://evil.example\r\n\r\n",
    b"PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nab",
    b"PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n"
    b"\r\nx",
    b"PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 99999999999999999999\r\n\r\nx",
    b"PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
    b"PUT /v1/kv/bad%00key HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 1\r\n\r\nx",
    b"PUT /v1/kv/bad%ff HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 1\r\n\r\nx",
    b"PUT /v1/kv/bad%zz HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 1\r\n\r\nx",
    b"PUT /v1/kv/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
    b"PUT /v1/kv/" + b"k" * 481 + b" HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 1\r\n\r\nx",
    b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100000
    + b"\r\n\r\n",
    b"GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000
    + b"\r\n",
    b"POST /v1/txn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
    b"{{{{{",
    b"POST /v1/txn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
    b"\r\n" + b"[" * 100000,
    b"POST /v1/txn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
    b"\xff\xfe",
    b"POST /v1/mesh/token HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 1\r\n\r\n{",
    b"GET /v1/watch?revision=x&prefix=%ff HTTP/1.1\r\nHost: localhost\r\n"
    b"\r\n",
    b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n"
    b"Last-Event-ID: 99999999999999999999-zz\r\n\r\n",
    b"GET /v1/kv/a?index=999999999999999999999&wait=x HTTP/1.1\r\n"
    b"Host: localhost\r\n\r\n",
]


def answer_to(connect, content):
    """What comes back to content until the end, or for a while."""
    with connect() as stream:
        stream.settimeout(0.3)
        got = b""
        try:
            stream.sendall(content)
            while True:
                part = stream.recv(65536)
                if not part:
                    break
                got += part
        except OSError:
            pass
        return got


def http(t, over_unix):
    v = Victims(t)

    def connect():
        if over_unix:
            stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            stream.connect(v.alpha.socket[5:])
            return stream
        return socket.create_connection(("127.0.0.1", v.alpha.api_port))

    def refuse(content):
        got = answer_to(connect, content)
        check(not got.startswith((b"HTTP/1.1 2", b"HTTP/1.1 500"))
              or content.startswith(b"GET /v1/watch"),
              "%r: %r" % (content[:90], got[:300]))
        check(b"\r\n\r\ntrue" not in got and b'"wrote"' not in got,
              "%r was taken: %r" % (content[:90], got[:300]))

    def noise(content):
        answer_to(connect, content)

    threads = []
    for content in BAD_REQUESTS:
        threads.append(Thread(refuse, content))
    for number in range(60):
        head = [b"", b"GET ", b"PUT /v1/kv/", b"GET /v1/kv/a HTTP/1.1\r\n"]
        threads.append(Thread(noise, head[number % 4] + v.noise(
            v.random.randrange(1, 5000))))
    for thread in threads:
        thread.finish()
    v.fine()
    # A body that never ends, and one that stops half way.
    for size in (3, 999999):
        half = connect()
        half.sendall(b"PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Length: 1000000\r\n\r\n" + b"x" * size)
        half.shutdown(socket.SHUT_WR)
        v.fine()
        half.close()
    # A trickled header: one byte now and then does not keep it open.
    slow = connect()
    slow.sendall(b"GET /v1/kv/a HTTP/1.1\r\nX: ")

    def ended():
        try:
            slow.settimeout(0.1)
            slow.sendall(b"y")
            return slow.recv(1000) is not None
        except socket.timeout:
            return False
        except OSError:
            return True
    wait_until(ended, "a trickled header is ended", 30 * harness.SLOW)
    slow.close()
    v.end()


def test_http_over_tcp(t):
    http(t, False)


def test_http_over_the_socket(t):
    http(t, True)


def test_what_bad_requests_are_told(t):
    """Field, limit and remedy, by status."""
    v = Victims(t)
    alpha = v.alpha
    for method, path, body, status, word in (
            ("PUT", "/v1/kv/" + "k" * 481, b"x", 400, b"480"),
            ("PUT", "/v1/kv/a%00b", b"x", 400, b"%00"),
            ("PUT", "/v1/kv/a%ffb", b"x", 400, b"UTF-8"),
            ("PUT", "/v1/kv/a%zz", b"x", 400, b"%"),
            ("PUT", "/v1/kv/a", b"x" * 1000001, 413, b"1000000"),
            ("PUT", "/v1/kv/a?acquire=1", b"x", 400, b"acquire"),
            ("GET", "/v1/kv/a?consistent", None, 400, b"consistent"),
            ("PUT", "/v1/kv/a?flags=-1", b"x", 400, b"flags"),
            ("PUT", "/v1/kv/a?cas=x", b"x", 400, b"cas"),
            ("POST", "/v1/txn", b"{", 400, b"JSON"),
            ("POST", "/v1/txn", b'{"ops":[]}', 400, b"op"),
            ("GET", "/v1/nothing", None, 404, b"")):
        answer = alpha.request(method, path, body)
        check_equal(answer.status, status, "%s %.60s: %r" % (
            method, path, answer.body[:300]))
        check(word in answer.body, "%s %.60s: %r lacks %r" % (
            method, path, answer.body[:300], word))
    v.end()


if __name__ == "__main__":
    harness.main(globals())
