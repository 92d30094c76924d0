#!/usr/bin/env python3
"""What the static programs promise beyond what every build does: they are
small, need nothing of the system they run on, and hold little memory.

The hosts are empty directories that become the root of a process: no library,
no /etc, no /dev, no /proc. Run by `make test-static`."""
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "integration"))

import harness
import swift_server
from harness import CONFMESH, RESTORE, Process, check, check_equal, check_in

SIZE_MAX = 3000000
RESIDENT_KIB_MAX = 6 * 1024  # without the map of data.mdb
ANONYMOUS_KIB_MAX = 2 * 1024
KEYS = 300
NAME_SERVER = "127.77.0.1"  # all of 127/8 is this machine
S3_NAME = "objects.confmesh.test"
PT_DYNAMIC, PT_INTERP = 2, 3


def program_headers(path):
    """Types of an ELF file's program headers (System V ABI, chapter 5)."""
    with open(path, "rb") as file:
        header = file.read(64)
        check_equal(header[:5], b"\x7fELF\x02", "a 64-bit ELF file")
        offset, = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    return {struct.unpack_from("<I", table, size * i)[0]
            for i in range(count)}


def test_files(t):
    for path in (CONFMESH, RESTORE):
        types = program_headers(path)
        check(PT_INTERP not in types and PT_DYNAMIC not in types,
              "%s needs a loader" % path)
        size = os.path.getsize(path)
        harness.note("%s: %d bytes" % (os.path.basename(path), size))
        check(size <= SIZE_MAX, "%s has %d bytes" % (path, size))


class Bare:
    """An empty file system with one program in it."""

    def __init__(self, t, name, program):
        self.t = t
        self.name = name
        self.root = t.path(name)
        os.mkdir(self.root)
        shutil.copy(program, os.path.join(self.root, "program"))
        enter = [] if os.geteuid() == 0 else ["unshare", "-U", "-r"]
        self.enter = enter + [shutil.which("chroot", path="/usr/sbin:/sbin"),
                              self.root, "/program"]

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def run(self, *arguments, stdin=b"", env=None):
        return subprocess.run(
            self.enter + list(arguments), input=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=env or {}, check=False,
            timeout=harness.CLI_TIMEOUT_S)

    def ok(self, *arguments, **keywords):
        result = self.run(*arguments, **keywords)
        check_equal(result.returncode, 0, "%s: %s" % (
            " ".join(arguments), result.stderr.decode("utf-8", "replace")))
        return result.stdout

    def start(self, *arguments, env=None):
        process = Process(self.enter + list(arguments), self.t.directory,
                          self.name, env=env)
        harness.wait_until(lambda: process.lines() or not process.running(),
                           "the node is ready")
        check(process.running(), process.stderr().decode()[-2000:])
        return process


def founded(t, name="host"):
    """A bare host with a mesh of its own, filled; (host, values)."""
    host = Bare(t, name, CONFMESH)
    host.ok("init", "/data", "--name", name, "--authority", "/authority.key",
            "--no-passphrase")
    return host


def fill(host):
    ops = [{"op": "put", "key": "k/%d" % i, "value": "v" * 100 + str(i)}
           for i in range(KEYS)]
    host.ok("txn", "-", "--data", "/data",
            stdin=json.dumps({"ops": ops}).encode())
    host.ok("set", "add", "s", "element", "--data", "/data")


def content(host):
    """All keys and values that the node answers."""
    return host.ok("list", "--data", "/data", "--values", "--json")


def recovered(t, url, authority, *flags, env=None):
    """A new bare host: the restore tool, then a node on what it made."""
    host = Bare(t, "phoenix", RESTORE)
    shutil.copy(authority, host.path("authority.key"))
    return host, host.run(url, "--data", "/data", "--name", "phoenix",
                          "--authority", "/authority.key", "--no-passphrase",
                          *flags, env=env)


def test_empty_root(t):
    """A node, its command line, a snapshot in a directory and its restore:
    with nothing around them."""
    host = founded(t)
    node = host.start("node", "--data", "/data")
    fill(host)
    values = content(host)
    check_in(b"k/299", values)
    host.ok("snapshot", "now", "--to", "file:/backup", "--data", "/data")
    check_equal(node.stop(), 0, "exit code")
    bare, result = recovered(t, "file:/backup", host.path("authority.key"))
    check_equal(result.returncode, 5, "nothing there: %s" % result.stderr)
    shutil.copytree(host.path("backup"), bare.path("backup"))
    bare.ok("file:/backup", "--data", "/data", "--name", "phoenix",
            "--authority", "/authority.key", "--no-passphrase")
    shutil.copy(CONFMESH, bare.path("program"))
    node = bare.start("node", "--data", "/data")
    check_equal(content(bare), values, "what was restored")
    check_equal(node.stop(), 0, "exit code")


# ---- S3 over HTTPS, its host found by resolv.conf alone --------------------

def authority_and_certificate(t):
    """A certificate for S3_NAME and the file of who signed it."""
    def openssl(*arguments):
        subprocess.run(("openssl",) + arguments, cwd=t.directory, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2")
    openssl("req", "-x509", "-subj", "/CN=a test's authority", "-keyout",
            "ca.key", "-out", "ca.pem", *curve)
    openssl("req", "-subj", "/CN=" + S3_NAME, "-keyout", "tls.key", "-out",
            "tls.csr", *curve)
    with open(t.path("names"), "w") as file:
        file.write("subjectAltName=DNS:%s\n" % S3_NAME)
    openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.pem", "-CAkey",
            "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names",
            "-out", "tls.pem")
    return t.path("ca.pem")


def pump(source, target):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            target.sendall(data)
    except OSError:
        pass  # the other side is gone: so is this one
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Tls:
    """HTTPS in front of a plain server; ends with the program."""

    def __init__(self, t, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(t.path("tls.pem"), t.path("tls.key"))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = ("127.0.0.1", port)
        self.context = context
        self.served = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            plain, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(plain,),
                             daemon=True).start()

    def _serve(self, plain):
        try:
            client = self.context.wrap_socket(plain, server_side=True)
        except OSError:
            plain.close()  # a client that does not trust this certificate
            return
        self.served += 1
        server = socket.create_connection(self.target)
        threading.Thread(target=pump, args=(server, client),
                         daemon=True).start()
        pump(client, server)


class NameServer:
    """Answers A queries for S3_NAME, the rest with an empty answer
    (RFC 1035, section 4)."""

    def __init__(self):
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((NAME_SERVER, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            query, client = self.socket.recvfrom(512)
            self.socket.sendto(self._answer(query), client)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12:at + 5]
        kind, = struct.unpack(">H", query[at + 1:at + 3])
        found = ".".join(labels).lower() == S3_NAME and kind == 1
        self.asked += found
        answer = (b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4)
                  + socket.inet_aton("127.0.0.1")) if found else b""
        return (query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(found), 0, 0)
                + question + answer)


def s3_server(t):
    ports = [harness.free_port() for _ in range(4)]
    swift_server.prepare(t.directory, ports)
    process = Process([swift_server.PYTHON, swift_server.__file__,
                       t.directory] + ports, t.directory, "swift")
    harness.wait_until(lambda: process.lines() or not process.running(),
                       "the S3 server is up", 60)
    check(process.running(), process.stderr().decode()[-2000:])
    check_equal(swift_server.Swift(ports[3]).call("PUT", "bucket")[0], 200)
    return ports[3]


def test_s3_over_https(t):
    """In an empty root with /etc/resolv.conf: the certificate is checked,
    the name is found, a snapshot goes there and comes back."""
    if os.geteuid() != 0:
        harness.note("skipped: a name server's port needs root")
        return
    ca = authority_and_certificate(t)
    tls = Tls(t, s3_server(t))
    names = NameServer()
    url = "s3://bucket/p?endpoint=https://%s:%d&region=%s" % (
        S3_NAME, tls.port, swift_server.REGION)
    env = {"AWS_ACCESS_KEY_ID": swift_server.ACCESS_KEY,
           "AWS_SECRET_ACCESS_KEY": swift_server.SECRET_KEY}

    def equip(host):
        os.makedirs(host.path("etc"), exist_ok=True)
        with open(host.path("etc", "resolv.conf"), "w") as file:
            file.write("nameserver %s\n" % NAME_SERVER)
        shutil.copy(ca, host.path("ca.pem"))

    host = founded(t)
    equip(host)
    node = host.start("node", "--data", "/data", "--ca-file", "/ca.pem",
                      env=env)
    fill(host)
    values = content(host)
    host.ok("snapshot", "now", "--to", url, "--data", "/data", env=env)
    check(names.asked > 0 and tls.served > 0, "it went by name and TLS")
    # Nobody vouches for the server: refused, and what to do is said.
    result = host.run("snapshot", "list", url, env=env)
    check(result.returncode != 0, "an unknown authority was trusted")
    check_in(b"--ca-file", result.stderr)
    check_equal(node.stop(), 0, "exit code")
    bare = Bare(t, "phoenix", RESTORE)
    equip(bare)
    shutil.copy(host.path("authority.key"), bare.path("authority.key"))
    bare.ok(url, "--data", "/data", "--name", "phoenix", "--authority",
            "/authority.key", "--no-passphrase", "--ca-file", "/ca.pem",
            env=env)
    shutil.copy(CONFMESH, bare.path("program"))
    node = bare.start("node", "--data", "/data")
    check_equal(content(bare), values, "what was restored")
    check_equal(node.stop(), 0, "exit code")


# ---- memory ----------------------------------------------------------------

def status_kib(pid, name):
    with open("/proc/%d/status" % pid) as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    raise harness.Failure("no %s" % name)


def mapped_kib(pid):
    """Resident pages of data.mdb."""
    total, inside = 0, False
    with open("/proc/%d/smaps" % pid) as file:
        for line in file:
            if "-" in line.split(" ", 1)[0]:
                inside = line.rstrip().endswith("/data.mdb")
            elif inside and line.startswith("Rss:"):
                total += int(line.split()[1])
    return total


def test_idle_memory(t):
    nodes = t.mesh(3)
    connection = nodes[0].connect()
    for i in range(KEYS):
        connection.put("k/%d" % i, b"v" * 100)
    connection.close()
    t.same(nodes, KEYS)
    for node in nodes:  # as an idle node is: started, in step
        node.stop()
        node.start(bare=True)
    t.converged(nodes)
    resident = max(status_kib(n.process.pid, "VmRSS")
                   - mapped_kib(n.process.pid) for n in nodes)
    anonymous = max(status_kib(n.process.pid, "RssAnon") for n in nodes)
    harness.note("idle: %d KiB without data.mdb, %d KiB anonymous" % (
        resident, anonymous))
    check(resident <= RESIDENT_KIB_MAX, "%d KiB resident" % resident)
    check(anonymous <= ANONYMOUS_KIB_MAX, "%d KiB anonymous" % anonymous)


if __name__ == "__main__":
    harness.main(globals())
