#!/usr/bin/env python3
# timeout: 900 s
"""Snapshots in a real S3 server, which checks every signature: Debian's Swift
(swift_server.py). Taken, listed, verified, lost in part, restored."""
import json
import os
import socket
import subprocess
import sys
import threading
import time

import harness
import swift_server
from faked_clock import faked_clock
from harness import RESTORE, Process, check, check_equal, check_in, cli

KEYS = 400
BUCKET = "backup"

_swift = []  # the one server of all tests


def swift():
    """Started by the first test that asks, stopped with the program."""
    if not _swift:
        test = harness.Test()
        ports = [harness.free_port() for _ in range(4)]
        swift_server.prepare(test.directory, ports)
        process = Process([swift_server.PYTHON, swift_server.__file__,
                           test.directory] + ports, test.directory, "swift")
        harness.wait_until(lambda: process.lines() or not process.running(),
                           "the S3 server is up", 60 * harness.SLOW)
        check(process.running(), process.stderr().decode()[-2000:])
        server = swift_server.Swift(ports[3])
        check_equal(server.call("PUT", BUCKET)[0], 200, "a bucket")
        _swift.append(server)
    return _swift[0]


def keys(**other):
    return dict({"AWS_ACCESS_KEY_ID": swift_server.ACCESS_KEY,
                 "AWS_SECRET_ACCESS_KEY": swift_server.SECRET_KEY,
                 "AWS_SESSION_TOKEN": "", "HOME": "/nonexistent",
                 "AWS_SHARED_CREDENTIALS_FILE": ""}, **other)


def url(prefix, bucket=BUCKET, **options):
    options = dict({"endpoint": swift().endpoint,
                    "region": swift_server.REGION}, **options)
    return "s3://%s/%s?%s" % (bucket, prefix, "&".join(
        "%s=%s" % item for item in options.items()))


def node_of(t, *flags):
    node = t.init()
    node.env = keys()
    node.start(*flags)
    connection = node.connect()
    for i in range(KEYS):
        connection.put("k/%d" % i, os.urandom(300))
    connection.close()
    return node


def snapshot(node, target):
    return json.loads(node.ok("snapshot", "now", "--to", target, "--json"))


def restore(t, target, name, env=None):
    return subprocess.run(
        [RESTORE, target, "--data", t.path(name), "--name", name,
         "--authority", t.authority, "--no-passphrase"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=dict(os.environ, **(env or keys())),
        timeout=harness.CLI_TIMEOUT_S, check=False)


def verify(target, env=None):
    return cli("snapshot", "verify", target, env=env or keys())


def test_life(t):
    """Taken, continued with what changed alone, verified, restored."""
    node = node_of(t)
    target = url("a/b")
    first = snapshot(node, target)
    node.ok("put", "k/7", "changed")
    second = snapshot(node, target)
    check_equal(second["sequence"], first["sequence"] + 1)
    check(second["chunks_new"] <= 4 < first["chunks_new"],
          "only what changed travels: %r after %r" % (second, first))
    names = swift().names(BUCKET)
    check(names and all(n.startswith("a/b/v1/") for n in names), "prefix")
    listed = [json.loads(line) for line in cli(
        "snapshot", "list", target, "--json",
        env=keys()).stdout.splitlines()]
    check_equal([entry["good"] for entry in listed], [True, True])
    result = verify(target)
    check_equal(result.returncode, 0, result.stderr)
    # In a host's name instead of the path: Swift knows none, and says so.
    check(verify(url("a/b", **{"path-style": "no"})).returncode != 0)
    values = node.values()
    node.kill()
    result = restore(t, target, "phoenix")
    check_equal(result.returncode, 0, result.stderr)
    back = t.node("phoenix").start()
    check_equal(back.values(), values)


def test_prune(t):
    """Marked, then deleted, at the server; what is kept verifies."""
    node = node_of(t)
    target = url("pruned")
    for i in range(3):
        node.ok("put", "k/7", "change %d" % i)
        snapshot(node, target)
    flags = ["--keep-last", "1", "--keep-hourly", "0", "--keep-daily", "0",
             "--keep-weekly", "0", "--json"]

    def prune(*more):
        result = cli("snapshot", "prune", target, *flags, *more, env=keys())
        check_equal(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def names():
        return {n for n in swift().names(BUCKET) if n.startswith("pruned/")}
    before = names()
    marked = prune()
    check(marked["marked"] >= 2 and marked["deleted"] == 0, repr(marked))
    check(before <= names(), "deleted at once")
    gone = prune("--grace", "0s")
    check_equal(gone["deleted"], marked["marked"])
    check_equal(len([n for n in names() if "/m/" in n]), 1)
    check(len(names()) < len(before), repr(names()))
    check_equal(verify(target).returncode, 0)


def test_interval(t):
    """The uploader's own snapshots, without anybody asking."""
    target = url("periodic", timeout="20")
    node = node_of(t, "--snapshot-to", target, "--snapshot-interval", "1s")
    harness.wait_until(lambda: node.live()["snapshot"]["sequence"] > 0,
                       "a periodic snapshot")
    check_equal(verify(target).returncode, 0)
    check_equal(node.live()["snapshot"]["failures"], 0)


def test_refused(t):
    """Who may not is told why, and no secret is told with it."""
    target = url("refused")
    secret = "notThisSecret/123"
    result = verify(target, keys(AWS_SECRET_ACCESS_KEY=secret))
    check_equal(result.returncode, 5)
    check_in(b"SignatureDoesNotMatch", result.stderr)
    check(secret.encode() not in result.stderr, "a secret in a message")
    result = verify(target, keys(AWS_ACCESS_KEY_ID="mesh:other"))
    check_in(b"403", result.stderr)
    result = verify(url("x", bucket="no-such-bucket"))
    check_in(b"make the bucket first", result.stderr)
    result = verify(target, keys(AWS_ACCESS_KEY_ID="",
                                 AWS_SECRET_ACCESS_KEY=""))
    check_in(b"no S3 credentials", result.stderr)
    t.init()
    result = restore(t, url("empty"), "phoenix")
    check_equal(result.returncode, 5, result.stderr)
    check_in(b"holds no snapshot", result.stderr)


def test_credentials_file(t):
    path = t.path("credentials")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[default]\naws_access_key_id = no\n"
                   "aws_secret_access_key = no\n\n# mine\n[backup]\n"
                   "aws_access_key_id = %s\naws_secret_access_key=%s\n"
                   % (swift_server.ACCESS_KEY, swift_server.SECRET_KEY))
    env = keys(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="",
               AWS_SHARED_CREDENTIALS_FILE=path, AWS_PROFILE="backup")
    result = cli("snapshot", "list", url("nothing-here"), env=env)
    check_equal(result.returncode, 1, result.stderr)
    result = cli("snapshot", "list", url("nothing-here"),
                 env=dict(env, AWS_PROFILE=""))
    check_equal(result.returncode, 5)


def test_wrong_region_and_clock(t):
    """The server's region and the server's date are taken from its refusal: a
    host without a clock can restore."""
    node = node_of(t)
    target = url("clock", region="mars-north-1")
    snapshot(node, target)
    check_equal(verify(target).returncode, 0)
    for shift in ("-3000d", "+400d"):
        result = verify(target, keys(**faked_clock(shift)))
        check_equal(result.returncode, 0, result.stderr)


def test_lost_and_damaged(t):
    """What the server loses or changes later is found; the next snapshot
    brings it back."""
    node = node_of(t)
    target = url("lossy")
    snapshot(node, target)
    server = swift()
    chunks = [n for n in server.names(BUCKET)
              if n.startswith("lossy/") and ("/p/" in n or "/i/" in n)]
    check(len(chunks) >= 2, "a pack and a segment")
    check_equal(server.call("DELETE", BUCKET + "/" + chunks[0])[0], 204)
    check_equal(server.call("PUT", BUCKET + "/" + chunks[1], b"junk")[0], 200)
    check_equal(verify(target).returncode, 3)
    result = restore(t, target, "broken")
    check_equal(result.returncode, 3, result.stderr)
    again = snapshot(node, target)
    check(again["chunks_new"] >= 2, repr(again))
    result = verify(target)
    check_equal(result.returncode, 0, result.stderr)
    result = restore(t, target, "whole")
    check_equal(result.returncode, 0, result.stderr)


def test_read_only(t):
    """Whoever may read and not write: uploads fail and say so, again and
    again; list, verify and restore work."""
    server = swift()
    bucket = "public"
    check_equal(server.call("PUT", bucket)[0], 200, "a bucket")
    status, body = server.call("PUT", bucket, query="acl=",
                               more={"x-amz-acl": "public-read"})
    check_equal(status, 200, body)
    target = url("mesh", bucket=bucket)
    node = node_of(t)
    snapshot(node, target)
    values = node.values()
    node.stop()
    reader = keys(AWS_ACCESS_KEY_ID=swift_server.READER[0],
                  AWS_SECRET_ACCESS_KEY=swift_server.READER[1])
    node.env = reader
    node.start("--snapshot-to", target, "--snapshot-interval", "1s")
    node.ok("put", "k/1", "changed")
    harness.wait_until(lambda: node.live()["snapshot"]["failures"] > 0,
                       "a failure")
    result = node.cli("snapshot", "now")
    check(result.returncode != 0, "it wrote")
    check_in(b"403", result.stderr)
    check_in(b"check the credentials", result.stderr)
    check_in(b"check the credentials", node.cli("doctor").stdout)
    check_equal(node.stop(), 0)
    result = cli("snapshot", "list", target, env=reader)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(verify(target, reader).returncode, 0)
    result = restore(t, target, "phoenix", reader)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(t.node("phoenix").start().values(), values)


class SlowLink:
    """A way to a server on which everything takes its time: a pause before
    each piece, and small pieces."""

    PIECE, PAUSE_S = 4096, 0.03

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.to = port
        self.port = self.listener.getsockname()[1]
        self.pieces = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(one, other),
                                 daemon=True).start()

    def carry(self, one, other):
        try:
            while True:
                piece = one.recv(self.PIECE)
                if not piece:
                    break
                time.sleep(self.PAUSE_S)
                self.pieces += 1
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


def test_slow_link(t):
    """Snapshots and deltas arrive over a link of 130 kB/s, and come back over
    it; a node stops in the midst of an upload."""
    link = SlowLink(swift().port)
    target = url("slow", endpoint="http://127.0.0.1:%d" % link.port,
                 timeout="5")
    node = node_of(t, "--snapshot-to", target, "--snapshot-interval", "1h",
                   "--snapshot-delta", "200ms", "--snapshot-drill", "never")
    node.wait_uploaded()
    node.ok("put", "late", "1")
    node.wait_uploaded()
    live = node.live()["snapshot"]
    check_equal(live["failures"], 0, live)
    values = node.values()
    node.ok("put", "big", "-", stdin=os.urandom(900000))
    count = link.pieces
    upload = harness.Thread(node.cli, "snapshot", "now")
    harness.wait_until(lambda: link.pieces > count + 20, "it is under way")
    check_equal(node.stop(), 0)
    upload.finish()
    result = restore(t, target, "phoenix")
    check_equal(result.returncode, 0, result.stderr)
    back = t.node("phoenix").start().values()
    check_equal({k: back.get(k) for k in values}, values)
    link.close()


def main():
    if not swift_server.installed():
        skipped = sum(1 for name in globals() if name.startswith("test_"))
        print("SKIPPED: Debian's Swift is not installed: apt-get install "
              "swift-proxy swift-account swift-container swift-object")
        print("0 passed, 0 failed, %d skipped" % skipped)
        sys.exit(0)
    harness.main(globals())


if __name__ == "__main__":
    main()
