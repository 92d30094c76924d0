"""Hosts that share nothing but packets, for the integration tests.

A lab is a switch, a network namespace with bridges in it, and hosts, each a
network and a mount namespace of its own with one interface on a bridge and
an empty file system of its own where data directories go. A namespace lives
as long as its holder process, which ends by pid with the test: nothing has a
name on this machine and nothing is left over. Moving a host's interface to
another bridge is a partition, moving it back heals it; packets in flight are
lost, no connection is told.

As root this always works; other users need unprivileged user namespaces.
"""
import os
import subprocess
import sys

import harness
from harness import Failure, Process, wait_until

BRIDGES = 3
SUBNET = "10.77.0."


def _run(command):
    result = subprocess.run(command, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, check=False,
                            timeout=harness.DEADLINE_S)
    if result.returncode != 0:
        raise Failure("%s: %s" % (" ".join(command), result.stdout.decode(
            "utf-8", "replace")))


def possible():
    """Whether namespaces can be made here. root must be able to."""
    if os.geteuid() == 0:
        return True
    return subprocess.run(["unshare", "-Urnm", "true"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0


def main(namespace):
    """harness.main where namespaces can be made; else says aloud that these
    tests were skipped."""
    if possible():
        harness.main(namespace)
    skipped = sum(1 for name in namespace if name.startswith("test_"))
    print("SKIPPED: network namespaces need root, or a kernel that gives "
          "them to users")
    print("0 passed, 0 failed, %d skipped" % skipped)
    sys.exit(0)


class Lab:
    def __init__(self, test):
        self.test = test
        self.hosts = 0
        user = [] if os.geteuid() == 0 else ["-U", "-r"]
        self.enter_user = [] if not user else ["-U",
                                               "--preserve-credentials"]
        self.switch = self._holder(["unshare"] + user + ["-n"], "switch")
        for number in range(BRIDGES):
            self._switch("ip", "link", "add", "br%d" % number, "type",
                         "bridge")
            self._switch("ip", "link", "set", "br%d" % number, "up")

    def _holder(self, command, name):
        """A process that does nothing but keep namespaces alive."""
        before = os.readlink("/proc/self/ns/net")
        holder = Process(command + ["sleep", "1000000"], self.test.directory,
                         name)

        def moved():
            harness.check(holder.running(), holder.stderr())
            try:
                with open("/proc/%d/comm" % holder.pid,
                          encoding="utf-8") as file:
                    return file.read() == "sleep\n" and os.readlink(
                        "/proc/%d/ns/net" % holder.pid) != before
            except OSError:
                return False
        wait_until(moved, "namespaces of " + name)
        return holder

    def _enter(self, holder, *flags):
        return ["nsenter", "-t", str(holder.pid)] + self.enter_user + list(
            flags)

    def _switch(self, *command):
        _run(self._enter(self.switch, "-n") + list(command))

    def disk(self, *parts):
        """A path on a host's own disk, the same on every host."""
        return self.test.path("disk", *parts)

    def place(self, node):
        """Gives a node that was not started a host of its own."""
        self.hosts += 1
        number = self.hosts
        enter = ["nsenter", "-t", str(self.switch.pid)] + self.enter_user
        unshare = ["unshare", "-n", "-m", "--propagation", "private"]
        holder = self._holder((enter if self.enter_user else []) + unshare,
                              "host%d" % number)
        node.prefix = self._enter(holder, "-n", "-m")
        node.root = "/proc/%d/root" % holder.pid
        node.host = SUBNET + str(number)
        node.port = 7946
        node.interface = "v%d" % number
        self._switch("ip", "link", "add", node.interface, "type", "veth",
                     "peer", "name", "eth0", "netns", str(holder.pid))
        self._switch("ip", "link", "set", node.interface, "up", "master",
                     "br0")
        for command in (["ip", "link", "set", "lo", "up"],
                        ["ip", "address", "add", node.host + "/24", "dev",
                         "eth0"],
                        ["ip", "link", "set", "eth0", "up"]):
            _run(node.prefix + command)
        # Its own disk: the same path on every host, with nothing behind it.
        disk = self.disk()
        os.makedirs(disk, mode=0o700, exist_ok=True)
        _run(node.prefix + ["mount", "-t", "tmpfs", "-o", "size=600m",
                            "tmpfs", disk])
        node.data = os.path.join(disk, "data")
        return node

    def mesh(self, names, flags=()):
        """Started nodes, each on its own host; tokens are carried by hand."""
        first = self.place(self.test.node(names[0]))
        first.flags = list(flags)
        result = first.cli("init", first.data, "--name", first.name,
                           "--authority", self.disk("authority.key"),
                           "--no-passphrase", data=False)
        harness.check_equal(result.returncode, 0, result.stderr)
        first.start()
        nodes = [first]
        for name in names[1:]:
            node = self.place(self.test.node(name))
            node.flags = list(flags)
            node.start("--name", name, "--join", first.token())
            nodes.append(node)
        for node in nodes:
            node.wait_alive(len(nodes))
        return nodes

    def partition(self, *groups):
        """Each group on a bridge of its own."""
        for number, group in enumerate(groups):
            for node in group:
                self._switch("ip", "link", "set", node.interface, "master",
                             "br%d" % number)

    def heal(self, nodes):
        self.partition(nodes)
