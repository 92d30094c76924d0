#!/usr/bin/env python3
# parallel-safe
"""README.md as a newcomer takes it: each command of "Five minutes of use" and
"When everything is gone", from the first to the last, as it stands there. Only
places are exchanged: directories, addresses, and the terminal that would ask for
a passphrase."""
import os
import re
import shutil
import subprocess

import harness
from harness import Failure, check, check_equal, wait_until

README = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))), "README.md")
BUILD = os.path.dirname(harness.CONFMESH)
ENDLESS = ("confmesh watch", "curl -N")
COMMANDS_MIN = 30  # fewer, and the README is not read as it is meant to be


def commands(heading):
    """The indented lines below a heading, those that are continued as one."""
    with open(README, encoding="utf-8") as file:
        text = file.read().split("\n## %s\n" % heading)[1].split("\n## ")[0]
    lines = [line[4:] for line in text.split("\n") if line.startswith("    ")]
    return [line for line in re.sub(r"\\\n", "", "\n".join(lines)).split("\n")
            if line]


class Newcomer:
    def __init__(self, t):
        self.t = t
        self.done = 0
        self.nodes = {}  # by place: processes
        self.token = None
        os.mkdir(t.path("run"), 0o700)
        self.env = dict(os.environ, XDG_RUNTIME_DIR=t.path("run"),
                        PATH=BUILD + ":" + os.environ["PATH"])
        self.env.pop("CONFMESH_API", None)
        self.places = [
            ("192.0.2.1:7946", "127.0.0.1:%d" % harness.free_port()),
            ("192.0.2.2:7946", "127.0.0.1:%d" % harness.free_port()),
            ("127.0.0.1:8500", "127.0.0.1:%d" % harness.free_port()),
            ("/backup/confmesh", t.path("backup")),
            ("/var/lib/confmesh", t.path("data")),
        ]

    def here(self, line):
        for place, ours in self.places:
            line = line.replace(place, ours)
        if "--name beta" in line:  # the second machine
            line = line.replace(self.t.path("data"), self.t.path("second"))
        if self.token is not None:
            line = line.replace("TOKEN", self.token)
        if re.match(r"confmesh(-restore)? ", line) and (
                "authority.key" in line or line.startswith("confmesh init")):
            line = re.sub(r"(\s+#.*)?$", " --no-passphrase", line, count=1)
        return line

    def start(self, line):
        arguments = line.split("#")[0].split()
        process = harness.Process(
            [harness.CONFMESH] + arguments[1:], self.t.directory,
            "node%d" % self.done, env=self.env)
        wait_until(lambda: b" I ready: " in process.stderr(), line)
        wait_until(lambda: b"API at" in process.stdout(), line)
        place = arguments[arguments.index("--data") + 1] \
            if "--data" in arguments else "--dev"
        self.nodes[place] = process

    def run(self, line):
        endless = any(word in line for word in ENDLESS)
        result = subprocess.run(
            ["timeout", "1" if endless else "60", "bash", "-c", line],
            cwd=self.t.directory, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            timeout=harness.CLI_TIMEOUT_S)
        if result.returncode not in ((0, 124) if endless else (0,)):
            raise Failure("%s: exit code %d: %s" % (
                line, result.returncode, result.stderr.decode()))
        if "token create" in line:
            self.token = result.stdout.decode().split("\n")[-2]
        return result.stdout

    def take(self, line):
        line = self.here(line)
        exported = re.match(r"export (\w+)=(\S+)", line)
        if exported:
            self.env[exported[1]] = exported[2]
        elif re.match(r"confmesh node\b", line):
            self.start(line)
        else:
            self.run(line)
        self.done += 1


def test_from_the_first_line_to_the_last(t):
    newcomer = Newcomer(t)
    for line in commands("Five minutes of use"):
        newcomer.take(line)
    check_equal(newcomer.nodes.pop("--dev").stop(), 0)  # Ctrl-C
    for process in newcomer.nodes.values():
        process.kill()
    shutil.rmtree(t.path("data"))
    for line in commands("When everything is gone"):
        newcomer.take(line)
    check(newcomer.done >= COMMANDS_MIN, "%d commands" % newcomer.done)
    check_equal(newcomer.run("confmesh get db/primary"), b"10.0.0.7")
    check_equal(newcomer.run("confmesh get db/port"), b"5432")
    check_equal(newcomer.run("confmesh set members blocked/ips"),
                b"198.51.100.9\n")


if __name__ == "__main__":
    harness.main(globals())
