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
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

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


def wait_until(condition, what, deadline_s=None):
    """Polls until condition() is true (its value is returned)."""
    deadline = time.monotonic() + (deadline_s or DEADLINE_S)
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure("waited too long: %s" % what)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def free_port():
    """A loopback port that is free for TCP and UDP now."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                try:
                    udp.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
    raise Failure("no free port")


def _environment(extra=None):
    environment = {k: v for k, v in os.environ.items()
                   if k not in ("CONFMESH_API", "XDG_RUNTIME_DIR")}
    environment.update(extra or {})
    return environment


def cli(*arguments, stdin=b"", env=None, cwd=None, timeout=CLI_TIMEOUT_S):
    """Runs confmesh to its end; stdout and stderr are bytes."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run([CONFMESH] + [_text(a) for a in arguments],
                          input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=_environment(env),
                          cwd=cwd, timeout=timeout, check=False)


def _text(argument):
    return argument if isinstance(argument, bytes) else str(argument)


class Process:
    """A child whose output goes to files, so that no pipe ever fills."""

    def __init__(self, arguments, directory, name, env=None, cwd=None,
                 stdin=None):
        self.out_path = os.path.join(directory, name + ".out")
        self.err_path = os.path.join(directory, name + ".err")
        with open(self.out_path, "ab") as out, open(self.err_path,
                                                    "ab") as err:
            self.popen = subprocess.Popen(
                [_text(a) for a in arguments], stdout=out, stderr=err,
                stdin=stdin or subprocess.DEVNULL, env=_environment(env),
                cwd=cwd)
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


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)


def request(api, method, target, body=None, headers=None, timeout=DEADLINE_S):
    """One HTTP request to "unix:PATH" or "HOST:PORT"; an Answer."""
    if api.startswith("unix:"):
        connection = _UnixConnection(api[5:], timeout)
    else:
        host, port = api.rsplit(":", 1)
        connection = http.client.HTTPConnection(host.strip("[]"), int(port),
                                                timeout=timeout)
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
        self.port = free_port()
        self.api_port = None
        self.process = None
        self.flags = []
        self.starts = 0

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    @property
    def socket(self):
        return "unix:" + os.path.join(self.data, "api.sock")

    @property
    def pid(self):
        return self.process.pid

    def spawn(self, *flags):
        """Starts the process without waiting for anything."""
        arguments = [CONFMESH, "node", "--data", self.data, "--bind",
                     self.address]
        if self.api_port:
            arguments += ["--api", "127.0.0.1:%d" % self.api_port]
        self.starts += 1
        self.process = Process(arguments + self.flags + list(flags),
                               self.test.directory,
                               "%s-%d" % (self.name, self.starts))
        return self

    def start(self, *flags, deadline_s=None):
        """Starts it and waits until it is ready."""
        self.spawn(*flags)
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

    def cli(self, *arguments, **options):
        return cli("--data", self.data, *arguments, **options)

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

    def status(self):
        return json.loads(self.ok("status", "--json"))

    def members(self):
        return json.loads(self.ok("members", "--json"))["members"]

    def token(self, *flags):
        return self.ok("token", "create", *flags).decode().splitlines()[-1]

    def watch(self, *arguments, name="watch"):
        """A `confmesh watch` in the background; connected already only when
        it has printed something."""
        self.test.watches += 1
        return Process([CONFMESH, "watch", "--data", self.data]
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
        def equal():
            digests = {n.status()["digest"] for n in nodes}
            return digests.pop() if len(digests) == 1 else None
        return wait_until(equal, "equal digests", deadline_s)

    def cleanup(self):
        for process in list(_processes):
            if process.running():
                process.kill()
        _processes.clear()
        shutil.rmtree(self.directory, ignore_errors=True)


def _cleanup():
    for process in _processes:
        if process.running():
            process.popen.kill()
            process.popen.wait()
    for directory in _directories:
        shutil.rmtree(directory, ignore_errors=True)


def _logs(test):
    text = []
    for process in _processes:
        tail = process.stderr()[-1500:].decode("utf-8", "replace")
        if tail:
            text.append("--- %s\n%s" % (os.path.basename(process.err_path),
                                        tail))
    del test
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
            print("FAIL %s: line %d: %s\n%s" % (name, where.lineno, failure,
                                                _logs(test)), flush=True)
        except Exception:  # a bug of the test counts as a failure
            failed += 1
            print("FAIL %s: %s\n%s" % (name, traceback.format_exc(),
                                       _logs(test)), flush=True)
        finally:
            test.cleanup()
    print("%d passed, %d failed" % (passed, failed), flush=True)
    sys.exit(1 if failed or not passed else 0)
