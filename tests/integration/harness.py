"""Runs real confmesh processes for the integration tests.

Every process that is started here is ended here, by its pid, when the test
program ends; every directory is made below one temporary one. Nothing waits
for a fixed time: wait_until polls a condition until a deadline.

A test program looks like this:

    import harness
    from harness import check, check_equal

    def test_something(t):            # t: a fresh harness.Test
        node = t.mesh()               # init and start, ready
        check_equal(node.cli("get", "a").returncode, 1)

    if __name__ == "__main__":
        harness.main(globals())
"""
import atexit
import base64
import fcntl
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD_DIR",
                                       os.path.join(ROOT, "build")))
CONFMESH = os.path.join(BUILD, "confmesh")
RESTORE = os.path.join(BUILD, "confmesh-restore")
SLOW = 4 if os.environ.get("SANITIZE") else 1
DEADLINE_S = 20 * SLOW
CLI_TIMEOUT_S = 60 * SLOW

_processes = []
_directories = []


class Failure(Exception):
    """A check that did not hold."""


def check(condition, text="a check failed"):
    if not condition:
        raise Failure(text)


def check_equal(got, wanted, text=""):
    if got != wanted:
        raise Failure("%s: got %.2000r, wanted %.2000r"
                      % (text or "not equal", got, wanted))


def check_in(part, whole, text=""):
    if part not in whole:
        raise Failure("%s: %.500r is not in %.2000r"
                      % (text or "missing", part, whole))


def wait_until(condition, what, deadline_s=None, progress=None):
    """Polls until condition() is true (its value is returned).

    The deadline is for the nodes, not for the machine: a poll counts for no
    more than a second, and a pause for no more than was asked for, so that a
    machine that stands still uses up none of it. Where progress() is given, it
    counts from the last change of that value: what moves is only slow."""
    left = deadline_s or DEADLINE_S
    pause = 0.005
    seen = progress() if progress else None
    while True:
        started = time.monotonic()
        value = condition()
        if value:
            return value
        if left <= 0:
            raise Failure("waited too long: %s" % what)
        left -= min(time.monotonic() - started, 1) + pause
        if progress:
            moved, seen = seen, progress()
            if moved != seen:
                left = deadline_s or DEADLINE_S
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


class _Ports:
    """Below those that the system gives to whoever asks for any, or connects:
    else another process may have got one between its choice here and the start
    of its node, or while a node is down. Each test program has blocks of its
    own, held by a lock as long as it runs, and gives no port twice."""

    FIRST, LAST, BLOCK = 12000, 32000, 50

    def __init__(self):
        self.locks = []
        self.left = []

    def _take_block(self):
        directory = "/tmp/confmesh-test-ports-%d" % os.getuid()
        os.makedirs(directory, mode=0o700, exist_ok=True)
        count = (self.LAST - self.FIRST) // self.BLOCK
        begin = random.randrange(count)
        for number in range(count):
            block = (begin + number) % count
            lock = open(os.path.join(directory, str(block)), "ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            self.locks.append(lock)
            low = self.FIRST + block * self.BLOCK
            self.left = list(range(low, low + self.BLOCK))
            return
        raise Failure("no block of ports is free")

    def take(self):
        """One that is free for TCP and UDP."""
        while True:
            if not self.left:
                self._take_block()
            port = self.left.pop()
            try:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as one:
                        one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


_ports = _Ports()


def free_port():
    """A loopback port that is free for TCP and UDP, and nobody's but ours."""
    return _ports.take()


def _environment(extra=None):
    environment = {k: v for k, v in os.environ.items()
                   if k not in ("CONFMESH_API", "XDG_RUNTIME_DIR")}
    environment.update(extra or {})
    return environment


def cli(*arguments, stdin=b"", env=None, cwd=None, timeout=CLI_TIMEOUT_S,
        prefix=()):
    """Runs confmesh to its end; stdout and stderr are bytes. prefix is a
    command that runs it, nsenter for example."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run(list(prefix) + [CONFMESH]
                          + [_text(a) for a in arguments],
                          input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=_environment(env),
                          cwd=cwd, timeout=timeout, check=False)


def _text(argument):
    return argument if isinstance(argument, bytes) else str(argument)


class Process:
    """A child whose output goes to files, so that no pipe ever fills."""

    def __init__(self, arguments, directory, name, env=None, cwd=None,
                 stdin=None, session=False):
        self.directory = directory
        self.out_path = os.path.join(directory, name + ".out")
        self.err_path = os.path.join(directory, name + ".err")
        with open(self.out_path, "ab") as out, open(self.err_path,
                                                    "ab") as err:
            self.popen = subprocess.Popen(
                [_text(a) for a in arguments], stdout=out, stderr=err,
                stdin=stdin or subprocess.DEVNULL, env=_environment(env),
                cwd=cwd, start_new_session=session)
        _processes.append(self)

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def stdout(self):
        with open(self.out_path, "rb") as file:
            return file.read()

    def stderr(self):
        with open(self.err_path, "rb") as file:
            return file.read()

    def lines(self):
        """Whole lines of standard output so far."""
        text = self.stdout()
        return text[:text.rfind(b"\n") + 1].splitlines()

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def kill(self):
        """SIGKILL, and gone when this returns."""
        self.signal(signal.SIGKILL)
        self.signal(signal.SIGCONT)
        self.popen.wait(DEADLINE_S)

    def stop(self):
        """SIGTERM; the exit code. SIGKILL after the deadline."""
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure("pid %d did not end after SIGTERM: %s" % (
                self.pid, self.stderr()[-2000:].decode("utf-8", "replace")))

    def wait(self, deadline_s=None):
        try:
            return self.popen.wait(deadline_s or DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise Failure("pid %d did not end by itself" % self.pid)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Connection:
    """A connection that is kept and used for many requests; not shared by
    threads."""

    def __init__(self, api, timeout=DEADLINE_S):
        self.connection = _connection(api, timeout)

    def request(self, method, target, body=None, headers=None):
        self.connection.request(method, target, body=body,
                                headers=headers or {})
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def put(self, key, value):
        """Writes, and returns the token of the acknowledged write."""
        answer = self.request("PUT", "/v1/kv/" + quote(key), value)
        if answer.status != 200 or answer.body.strip() != b"true":
            raise Failure("put %s: %d %r" % (key, answer.status,
                                             answer.body[:300]))
        return answer.headers.get("X-Confmesh-Token")

    def close(self):
        self.connection.close()


class Events:
    """The server-sent events of one GET /v1/watch."""

    def __init__(self, api, target="/v1/watch?prefix=", last_event_id=None):
        headers = {"Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        self.connection = _connection(api, DEADLINE_S)
        self.connection.request("GET", target, headers=headers)
        # A response without length is read to its end: its socket stays
        # known for close().
        self.socket = self.connection.sock
        self.response = self.connection.getresponse()
        if self.response.status != 200:
            raise Failure("watch: %d %r" % (self.response.status,
                                            self.response.read()[:300]))

    def next(self):
        """(event, id, data as JSON), comments skipped; None at the end."""
        event, ident, data = "message", None, []
        while True:
            try:
                line = self.response.readline()
            except (ConnectionError, http.client.HTTPException):
                return None
            except (OSError, ValueError) as error:
                raise Failure("no event: %s" % error) from error
            if not line:
                return None
            line = line.rstrip(b"\r\n").decode()
            if not line and data:
                return event, ident, json.loads("\n".join(data))
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "event":
                event = value
            elif name == "id":
                ident = value
            elif name == "data":
                data.append(value)

    def close(self):
        self.response.close()
        self.connection.close()


class Thread(threading.Thread):
    """A thread whose exception comes back from finish()."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.call = (function, arguments)
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self.call[0](*self.call[1])
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error

    def finish(self, deadline_s=None):
        self.join(deadline_s or DEADLINE_S)
        check(not self.is_alive(), "a thread of the test hangs")
        if self.error:
            raise self.error
        return self.result


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)


def _connection(api, timeout):
    if api.startswith("unix:"):
        return _UnixConnection(api[5:], timeout)
    host, port = api.rsplit(":", 1)
    return http.client.HTTPConnection(host.strip("[]"), int(port),
                                      timeout=timeout)


def quote(text):
    """For a path: a key keeps its slashes."""
    return urllib.parse.quote(text, safe="/")


def request(api, method, target, body=None, headers=None, timeout=DEADLINE_S):
    """One HTTP request to "unix:PATH" or "HOST:PORT"; an Answer."""
    connection = _connection(api, timeout)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


class Node:
    """One `confmesh node` process and its data directory."""

    def __init__(self, test, name, data=None):
        self.test = test
        self.name = name
        self.data = data or os.path.join(test.directory, name)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.api_port = None
        self.process = None
        self.prefix = []  # a command that runs everything of this node
        self.root = ""  # where its file system is seen from here
        self.env = None
        self.flags = []
        self.starts = 0

    @property
    def address(self):
        return "%s:%d" % (self.host, self.port)

    @property
    def socket(self):
        return "unix:" + self.root + os.path.join(self.data, "api.sock")

    @property
    def pid(self):
        return self.process.pid

    def spawn(self, *flags, bare=False):
        """Starts the process without waiting for anything. bare: with no
        flag but --data."""
        arguments = self.prefix + [CONFMESH, "node", "--data", self.data]
        if not bare:
            arguments += ["--bind", self.address]
            if self.api_port:
                arguments += ["--api", "127.0.0.1:%d" % self.api_port]
            arguments += self.flags
        self.starts += 1
        self.process = Process(arguments + list(flags), self.test.directory,
                               "%s-%d" % (self.name, self.starts),
                               env=self.env, session=self.test.keep)
        return self

    def start(self, *flags, deadline_s=None, bare=False):
        """Starts it and waits until it is ready."""
        self.spawn(*flags, bare=bare)
        self.wait_ready(deadline_s)
        return self

    def wait_ready(self, deadline_s=None):
        def ready():
            if not self.process.running():
                raise Failure("node %s ended with %d: %s" % (
                    self.name, self.process.popen.returncode,
                    self.process.stderr()[-3000:].decode("utf-8",
                                                         "replace")))
            try:
                return request(self.socket, "GET", "/readyz").status == 200
            except (OSError, http.client.HTTPException):
                return False
        wait_until(ready, "node %s ready" % self.name, deadline_s)

    def kill(self):
        self.process.kill()

    def stop(self):
        return self.process.stop()

    def restart(self):
        self.stop()
        return self.start()

    # Talking to it.

    def cli(self, *arguments, data=True, **options):
        """data: with --data, as every verb but init has it."""
        return cli(*(("--data", self.data) if data else ()), *arguments,
                   prefix=self.prefix, **options)

    def ok(self, *arguments, **options):
        """The standard output of a command that must succeed."""
        result = self.cli(*arguments, **options)
        if result.returncode != 0:
            raise Failure("confmesh %s: exit code %d: %s" % (
                " ".join(str(a) for a in arguments), result.returncode,
                result.stderr.decode("utf-8", "replace")))
        return result.stdout

    def request(self, method, target, body=None, headers=None, **options):
        return request(self.socket, method, target, body, headers, **options)

    def connect(self):
        return Connection(self.socket)

    def events(self, prefix="", query="", last_event_id=None):
        """A watch; its "hello" has come when this returns."""
        events = Events(self.socket, "/v1/watch?prefix=%s%s" % (
            urllib.parse.quote(prefix, safe=""), query), last_event_id)
        hello = events.next()
        check(hello is not None, "a watch ended before its hello")
        check_equal(hello[0], "hello", "first event")
        return events

    def get(self, key):
        """The value's bytes, None if absent; by HTTP, so that polling is
        cheap."""
        answer = self.request("GET", "/v1/kv/%s?raw" % quote(key))
        if answer.status == 404:
            return None
        check_equal(answer.status, 200, "get %s" % key)
        return answer.body

    def set_members(self, key):
        answer = self.request("GET", "/v1/set/"
                              + urllib.parse.quote(key, safe=""))
        if answer.status == 404:
            return []
        check_equal(answer.status, 200, "members of %s" % key)
        return sorted(answer.json()["members"])

    def siblings(self, key):
        return json.loads(self.ok("get", key, "--siblings"))["siblings"]

    def wait_value(self, key, value, deadline_s=None):
        wait_until(lambda: self.get(key) == value, "%s is %.60r on %s" % (
            key, value, self.name), deadline_s)

    def wait_alive(self, count, deadline_s=None):
        """Until it sees that many members alive, itself included."""
        wait_until(lambda: self.live()["members"]["alive"] == count,
                   "%s sees %d members alive" % (self.name, count),
                   deadline_s)

    def live(self):
        """/v1/mesh/status, without the cost of a process."""
        answer = self.request("GET", "/v1/mesh/status")
        check_equal(answer.status, 200, "status")
        return answer.json()

    def wait_uploaded(self, times=1):
        """Until everything written so far is at every target that it uploads
        to, and of each target it knows whether it does. times: as often in a
        row; so that many ticks have passed."""
        unknown = "it is not known yet"
        for _ in range(times):
            since = time.time() * 1000
            wait_until(lambda s=since: all(
                target["covered_wall_ms"] > s if target["uploads"] else
                target["reason"] and not target["reason"].startswith(unknown)
                for target in self.live()["snapshot"]["targets"]),
                "all to be at the targets",
                progress=lambda: self.live()["snapshot"]["targets"])

    def snapshot_now(self, *flags):
        """As `confmesh snapshot now`, after the one that is under way by
        itself."""
        results = []

        def asked():
            results[:] = [self.cli("snapshot", "now", *flags)]
            return b"being taken already" not in results[0].stderr
        wait_until(asked, "the snapshot before")
        return results[0]

    def wait_well(self):
        """Until its doctor has nothing to say: on a slow machine one may be
        suspected for a moment, or its clock not be known yet."""
        last = []

        def well():
            last[:] = [self.cli("doctor")]
            return last[0].returncode == 0
        try:
            wait_until(well, "doctor of %s is content" % self.name)
        except Failure as failure:
            raise Failure("%s: %s" % (failure, last[0].stdout.decode(
                "utf-8", "replace"))) from failure
        return last[0].stdout

    def wait_no_alarms(self):
        wait_until(lambda: self.live()["alarms"] == [],
                   "no alarm at %s: %s" % (self.name, self.live()["alarms"]))

    def metric(self, name):
        for line in self.request("GET", "/metrics").body.splitlines():
            if line.startswith(b"confmesh_%s " % name.encode()):
                return float(line.split()[1])
        raise Failure("there is no metric %s" % name)

    def status(self):
        return json.loads(self.ok("status", "--json"))

    def members(self):
        return json.loads(self.ok("members", "--json"))["members"]

    def bad_input(self, what, reason):
        """How often that was refused, by the metrics."""
        text = self.request("GET", "/metrics").body.decode()
        found = re.search(r'^confmesh_bad_input_total\{what="%s",reason="%s"\} '
                          r"(\d+)$" % (what, reason), text, re.M)
        check(found, "the metric of " + reason)
        return int(found.group(1))

    def token(self, *flags):
        return self.ok("token", "create", *flags).decode().splitlines()[-1]

    def watch(self, *arguments, name="watch"):
        """A `confmesh watch` in the background; connected already only when
        it has printed something."""
        self.test.watches += 1
        return Process(self.prefix + [CONFMESH, "watch", "--data", self.data]
                       + list(arguments), self.test.directory,
                       "%s-%d" % (name, self.test.watches))

    def values(self):
        """Every key with its value, from one read."""
        answer = self.request("GET", "/v1/kv/?recurse")
        if answer.status == 404:
            return {}
        check_equal(answer.status, 200, "recurse")
        return {e["Key"]: base64.b64decode(e["Value"] or "")
                for e in answer.json()}


class Test:
    """What one test owns: a directory and its processes."""

    def __init__(self):
        # Short: a socket's path has at most 107 bytes.
        self.directory = tempfile.mkdtemp(prefix="cm-", dir="/tmp")
        _directories.append(self.directory)
        self.watches = 0
        self.keep = False  # nodes outlive the terminal
        self.nodes = []
        self.authority = os.path.join(self.directory, "authority.key")

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def node(self, name, data=None):
        node = Node(self, name, data)
        self.nodes.append(node)
        return node

    def init(self, name="alpha"):
        """Makes a mesh; its first node, not started."""
        node = self.node(name)
        result = cli("init", node.data, "--name", name, "--authority",
                     self.authority, "--no-passphrase")
        if result.returncode != 0:
            raise Failure("init: %s" % result.stderr.decode("utf-8",
                                                            "replace"))
        return node

    def mesh(self, count=1, names=None):
        """A started mesh: its first node, or all of them if count > 1."""
        names = names or ["alpha", "beta", "gamma", "delta", "epsilon"]
        first = self.init(names[0]).start()
        nodes = [first]
        for name in names[1:count]:
            nodes.append(self.join(first, name))
        return first if count == 1 else nodes

    def join(self, sponsor, name):
        node = self.node(name)
        node.start("--name", name, "--join", sponsor.token())
        return node

    def converged(self, nodes, deadline_s=None):
        """Waits until all digests are equal; the digest."""
        digests = []

        def equal():
            digests[:] = [n.live()["digest"] for n in nodes]
            return digests[0] if len(set(digests)) == 1 else None
        return wait_until(equal, "equal digests", deadline_s,
                          progress=lambda: list(digests))

    def same(self, nodes, keys=None):
        """Converged, and every value is the same everywhere; the values. keys
        is how many there must be."""
        self.converged(nodes)
        values = nodes[0].values()
        for node in nodes[1:]:
            check_equal(node.values(), values, "values of %s" % node.name)
        if keys is not None:
            check_equal(len(values), keys, "number of keys")
        return values

    def rounds(self, nodes, packets=6):
        """Until each of them has sent so many more datagrams: a few rounds of
        probes with digests, in which whoever has something to do does it."""
        before = {n: n.metric("gossip_packets_sent_total") for n in nodes}
        for node in nodes:
            wait_until(lambda n=node: n.metric("gossip_packets_sent_total")
                       >= before[n] + packets, "%s probes" % node.name)

    def cleanup(self):
        for process in list(_processes):
            if process.directory == self.directory:
                if process.running():
                    process.kill()
                _processes.remove(process)
        shutil.rmtree(self.directory, ignore_errors=True)


def _cleanup():
    for process in _processes:
        if process.running():
            process.popen.kill()
            process.popen.wait()
    for directory in _directories:
        shutil.rmtree(directory, ignore_errors=True)


def note(text):
    """A measurement, beside the results."""
    print("   " + text, flush=True)


def logs():
    """The end of what every process told."""
    text = []
    for process in _processes:
        tail = process.stderr()[-1500:].decode("utf-8", "replace")
        if tail:
            text.append("--- %s\n%s" % (os.path.basename(process.err_path),
                                        tail))
    return "\n".join(text)


def main(namespace):
    """Runs every test_* of the module, or those with a word of argv in their
    names; ends the process."""
    atexit.register(_cleanup)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tests = [(n, f) for n, f in namespace.items()
             if n.startswith("test_") and callable(f)]
    words = sys.argv[1:]
    passed = failed = 0
    reasons = []  # once more at the end, below what the processes told
    for name, function in tests:
        if words and not any(w in name for w in words):
            continue
        test = Test()
        started = time.monotonic()
        try:
            function(test)
            passed += 1
            print("ok %s (%.1f s)" % (name, time.monotonic() - started),
                  flush=True)
        except Failure as failure:
            failed += 1
            frame = traceback.extract_tb(failure.__traceback__)
            where = [f for f in frame if "harness" not in f.filename][-1]
            reasons.append("FAIL %s: line %d: %s" % (name, where.lineno,
                                                     failure))
            print("%s\n%s" % (reasons[-1], logs()), flush=True)
        except Exception as error:  # a bug of the test counts as a failure
            failed += 1
            reasons.append("FAIL %s: %r" % (name, error))
            print("FAIL %s: %s\n%s" % (name, traceback.format_exc(),
                                       logs()), flush=True)
        finally:
            test.cleanup()
    for reason in reasons:
        print(reason.splitlines()[0][:400])
    print("%d passed, %d failed" % (passed, failed), flush=True)
    sys.exit(1 if failed or not passed else 0)
