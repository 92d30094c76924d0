#!/usr/bin/env python3
# parallel-safe
# timeout: 600 s
"""Uploads that end at any step, and prunes beside them: what a manifest names
is there, the next upload completes, and nothing is sent twice."""
import json
import os
import shlex
import shutil
import subprocess
import sys
import time

import exec_shelf
import harness
import snapshot_reader as reader
from harness import RESTORE, check, check_equal, cli, wait_until

STEPS_MAX = 80  # of one snapshot; the loop ends long before

# Keeps objects in a folder. "kill" holds WHEN N: the process whose id stands in
# "pid" is killed before or after the N-th request. "halt" holds a word: a put
# of a name with it in it waits until the file is gone, or for a file "go", which
# lets one through. Every put is written to "puts".
TARGET = r'''
import os, signal, sys, time
root, side = sys.argv[1:3]
os.makedirs(root, exist_ok=True)
source, sink = sys.stdin.buffer, sys.stdout.buffer
count = 0
parent = os.getppid()
def said(name):
    try:
        with open(os.path.join(side, name), encoding="ascii") as f:
            return f.read().split()
    except FileNotFoundError:
        return []
def kill(now):
    order = said("kill")
    if len(order) == 2 and order[0] == now and count == int(order[1]):
        os.unlink(os.path.join(side, "kill"))
        os.kill(int(said("pid")[0]), signal.SIGKILL)
        sys.exit(0)
def say(line, body=b""):
    sink.write(line.encode() + b"\n" + body)
    sink.flush()
for line in source:
    verb, *words = line.decode().split()
    path = os.path.join(root, words[0]) if words else None
    body = source.read(int(words[1])) if verb == "put" else b""
    if verb == "hello":
        say("ok 0")
        continue
    count += 1
    kill("before")
    if verb == "put":
        while said("halt") and said("halt")[0] in words[0]:
            with open(os.path.join(side, "halted"), "w") as f:
                pass
            if os.path.exists(os.path.join(side, "go")):
                os.unlink(os.path.join(side, "halted"))
                os.unlink(os.path.join(side, "go"))
                break
            time.sleep(0.02)
            if os.getppid() != parent:
                sys.exit(0)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + "+", "wb") as f:
            f.write(body)
        os.rename(path + "+", path)
        with open(os.path.join(side, "puts"), "a", encoding="ascii") as f:
            f.write("%s %d\n" % (words[0], len(body)))
        kill("after")
        say("ok 0")
    elif verb == "delete":
        if os.path.exists(path):
            os.unlink(path)
        say("ok 0")
''' + exec_shelf.READS

# Kills its process in the N-th write to a file that has no name (the spool) or
# is the upload's log.
SHIM = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static int count;
static void step(int fd)
{
    char link[64], path[4096];
    ssize_t size;
    const char *at = getenv("KILL_AT");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (at == NULL || size < 0)
        return;
    path[size] = 0;
    if ((strstr(path, " (deleted)") || strstr(path, "/upload-")) &&
        __sync_add_and_fetch(&count, 1) == atoi(at))
        kill(getpid(), SIGKILL);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t o)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "pwrite");
    step(fd);
    return real(fd, b, n, o);
}
ssize_t write(int fd, const void *b, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "write");
    step(fd);
    return real(fd, b, n);
}
'''

ONLY_NOW = ["--snapshot-interval", "1000h", "--snapshot-delta", "never"]


class Scene:
    """A node whose target does as it is told."""

    def __init__(self, t):
        self.t = t
        self.root, self.side = t.path("kept"), t.path("side")
        os.makedirs(self.side)
        with open(t.path("target.py"), "w", encoding="utf-8") as file:
            file.write(TARGET)
        self.url = "exec:exec %s %s %s %s" % (
            sys.executable, shlex.quote(t.path("target.py")), self.root,
            self.side)
        self.node = t.init()

    def start(self, *flags):
        self.node.start("--snapshot-to", self.url, *(flags or ONLY_NOW))
        self.tell("pid", str(self.node.pid))
        return self.node

    def tell(self, name, text=None):
        path = os.path.join(self.side, name)
        if text is None:
            if os.path.exists(path):
                os.unlink(path)
            return
        with open(path + "+", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(path + "+", path)

    def puts(self, kind=""):
        path = os.path.join(self.side, "puts")
        if not os.path.exists(path):
            return []
        with open(path, encoding="ascii") as file:
            lines = [line.split() for line in file]
        return [(n, int(s)) for n, s in lines if kind in n]

    def names(self, kind):
        return [n for n in reader.Store(self.root).names("v1")
                if "/%s/" % kind in n]

    def verify(self):
        """Every manifest that is there is whole."""
        for name in self.names("m"):
            result = cli("snapshot", "verify", self.root, name)
            check_equal(result.returncode, 0, result.stderr)
        return len(self.names("m"))

    def fill(self, prefix, count, size):
        connection = self.node.connect()
        for i in range(count):
            connection.put("%s/%d" % (prefix, i), os.urandom(size))
        connection.close()

    def restored(self, name):
        fresh = self.t.node(name)
        result = subprocess.run(
            [RESTORE, self.root, "--data", fresh.data, "--name", name,
             "--authority", self.t.authority, "--no-passphrase"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
            timeout=harness.CLI_TIMEOUT_S)
        check_equal(result.returncode, 0, result.stderr)
        values = fresh.start().values()
        fresh.stop()
        return values


def test_killed_at_every_request(t):
    """SIGKILL before and after every request that a snapshot makes of its
    target: the target verifies, the next snapshot completes, all is there."""
    scene = Scene(t)
    scene.start()
    scene.fill("first", 60, 20000)
    scene.node.ok("snapshot", "now")
    killed = 0
    for when in ("before", "after"):
        for step in range(1, STEPS_MAX):
            scene.node.ok("put", "turn", "%s %d" % (when, step))
            scene.tell("kill", "%s %d" % (when, step))
            result = scene.node.cli("snapshot", "now")
            if result.returncode == 0:
                scene.tell("kill")
                break
            wait_until(lambda: not scene.node.process.running(), "the kill")
            killed += 1
            scene.verify()
            scene.start()
            if step % 5 == 0:
                scene.node.ok("snapshot", "now")
                scene.verify()
        else:
            check(False, "a snapshot of more than %d requests" % STEPS_MAX)
    harness.note("killed at %d requests" % killed)
    check(killed > 12, "only %d requests were reached" % killed)
    scene.node.ok("snapshot", "now")
    scene.verify()
    values = scene.node.values()
    scene.node.kill()
    check_equal(scene.restored("phoenix"), values)


def test_killed_at_every_small_request(t):
    """The same while it uploads by itself: announcing, looking, going on with
    the chain, deltas, heartbeats."""
    scene = Scene(t)
    flags = ["--snapshot-interval", "1000h", "--snapshot-delta", "200ms"]
    for step in range(1, 9):
        scene.tell("kill", "%s %d" % ("after" if step % 2 else "before", step))
        scene.start(*flags)
        try:
            for i in range(20):
                scene.node.ok("put", "k/%d" % i, "%d" % step)
        except harness.Failure:
            pass
        before = len(scene.puts("/d/"))
        wait_until(lambda c=before: not scene.node.process.running() or
                   scene.node.cli("put", "more", "x").returncode == 0 and
                   len(scene.puts("/d/")) > c + 1, "a kill, or two deltas")
        scene.node.kill()
        scene.tell("kill")
        scene.verify()
    scene.start(*flags)
    scene.node.ok("put", "last", "1")
    count = len(scene.puts("/d/"))
    wait_until(lambda: len(scene.puts("/d/")) > count or
               scene.node.status()["snapshot"]["covered_wall_ms"] > 0,
               "it goes on")
    scene.node.ok("put", "last", "2")
    values = scene.node.values()
    mark = time.time() * 1000
    wait_until(lambda: scene.node.status()["snapshot"]["covered_wall_ms"] >
               mark, "all is there")
    scene.node.kill()
    check_equal(scene.restored("phoenix"), values)


def test_killed_at_every_write(t):
    """SIGKILL in writes to the spool and to the log: nothing at the target is
    hurt, nothing is left on the disk, the next snapshot completes."""
    with open(t.path("shim.c"), "w", encoding="ascii") as file:
        file.write(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", t.path("shim.so"),
                    t.path("shim.c"), "-ldl"], check=True)
    scene = Scene(t)
    scene.start()
    scene.fill("first", 200, 20000)
    scene.node.ok("snapshot", "now")
    scene.node.stop()
    killed = 0
    for step in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233]:
        scene.node.env = {"KILL_AT": str(step),
                          "LD_PRELOAD": t.path("shim.so")}
        process = subprocess.Popen(
            [harness.CONFMESH, "node", "--data", scene.node.data,
             "--snapshot-to", scene.url, *ONLY_NOW],
            env=dict(os.environ, **scene.node.env), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: process.poll() is not None or
                       scene.node.cli("status").returncode == 0, "it is up")
            if process.poll() is None:
                scene.node.cli("put", "turn", str(step))
                for i in range(10):
                    scene.node.cli("put", "first/%d" % (i * 7), str(step))
                result = scene.node.cli("snapshot", "now")
                if result.returncode == 0:
                    break
            process.wait(20)
            killed += 1
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        scene.verify()
    harness.note("killed at %d writes" % killed)
    check(killed >= 5, "only %d writes were reached" % killed)
    left = [n for n in os.listdir(scene.node.data) if "spool" in n]
    check_equal(left, [], "spools are left")
    scene.start()
    scene.node.ok("snapshot", "now")
    scene.verify()
    values = scene.node.values()
    scene.node.kill()
    check_equal(scene.restored("phoenix"), values)


def test_goes_on(t):
    """An upload that is killed after some of its packs sends the others only,
    also if the state has changed meanwhile."""
    scene = Scene(t)
    scene.start()
    scene.fill("big", 60, 500000)
    halves = []
    for step in range(1, STEPS_MAX):
        scene.tell("kill", "before %d" % (3 * step))
        scene.node.cli("snapshot", "now")
        check(not scene.names("m"), "it was not killed in time")
        halves = scene.puts("/p/")
        wait_until(lambda: not scene.node.process.running(), "the kill")
        if len(halves) >= 3:
            break
        scene.start()
    check(len(halves) >= 3, "three packs")
    scene.start()
    scene.node.ok("put", "big/0", "changed")
    scene.node.ok("put", "aaa", "in front of all")
    before = sum(size for _, size in halves)
    scene.node.ok("snapshot", "now")
    scene.verify()
    total = sum(size for _, size in scene.puts("/p/"))
    packs = sum(os.path.getsize(os.path.join(scene.root, n))
                for n in scene.names("p"))
    sizes = [os.path.getsize(os.path.join(scene.root, n))
             for n in scene.names("p")]
    check(len(sizes) >= 4 and max(sizes) <= 8 << 20, "packs of %r" % sizes)
    check(before > 12 << 20, "%d bytes before" % before)
    check(total <= packs + (1 << 20), "%d bytes were put for %d" % (total,
                                                                    packs))
    # The pack that was on its way is not in the log yet.
    check(total <= (31 << 20) + (8 << 20), "%d bytes were put for 30 MB"
          % total)
    values = scene.node.values()
    scene.node.kill()
    check_equal(scene.restored("phoenix"), values)


def prune(scene, *flags):
    result = cli("snapshot", "prune", scene.root, "--json", "--keep-last", "1",
                 "--keep-hourly", "0", "--keep-daily", "0", "--keep-weekly",
                 "0", *flags)
    check_equal(result.returncode, 0, result.stderr)
    return json.loads(result.stdout)


def test_prune_beside_reuse(t):
    """Packs that no manifest names are marked by a prune; an upload that could
    use them again is halted before its manifest; the next prune deletes what
    was marked, and what the upload put is whole all the same."""
    scene = Scene(t)
    scene.start()
    scene.fill("k", 100, 20000)
    scene.node.ok("snapshot", "now")
    # Orphans: an upload that ended before its manifest.
    scene.fill("new", 60, 20000)
    scene.tell("halt", "/m/")
    orphaned = harness.Thread(scene.node.cli, "snapshot", "now")
    wait_until(lambda: os.path.exists(os.path.join(scene.side, "halted")),
               "the manifest's turn")
    scene.node.kill()
    orphaned.finish()
    scene.tell("halt")
    scene.tell("halted")
    for log in os.listdir(scene.node.data):
        if log.startswith("upload-"):
            shutil.copy(os.path.join(scene.node.data, log), t.path("log"))
    marked = prune(scene)
    check(marked["marked"] >= 2, "orphans: %r" % marked)
    # The same state again: its packs would bear the same names.
    scene.start()
    scene.tell("halt", "/m/")
    upload = harness.Thread(scene.node.cli, "snapshot", "now")
    wait_until(lambda: os.path.exists(os.path.join(scene.side, "halted")),
               "the manifest's turn")
    gone = prune(scene, "--grace", "0s")
    check_equal(gone["deleted"], marked["marked"])
    scene.tell("halt")
    result = upload.finish()
    check_equal(scene.verify(), 2)
    # What was marked while it went on is needed now, and stays.
    prune(scene, "--grace", "0s")
    prune(scene, "--grace", "0s")
    check(scene.verify() >= 1, repr(result))
    values = scene.node.values()
    scene.node.kill()
    check_equal(scene.restored("phoenix"), values)


def halt_snapshot(scene, word):
    """A snapshot that stands still before it puts a name with word in it."""
    scene.tell("halted")
    scene.tell("halt", word)
    upload = harness.Thread(scene.node.cli, "snapshot", "now")
    wait_until(lambda: os.path.exists(os.path.join(scene.side, "halted")),
               "the turn of " + word)
    return upload


def test_slower_than_the_grace_period(t):
    """Two prunes find the packs of an upload that goes on: the first one marks
    them, since nothing leads to them yet, the second one deletes them. The
    upload finds that out before its manifest, and puts them again."""
    scene = Scene(t)
    scene.start()
    scene.fill("k", 100, 20000)
    scene.node.ok("snapshot", "now")
    scene.fill("new", 60, 20000)
    upload = halt_snapshot(scene, "/i/")  # its packs are there
    packs = set(scene.names("p"))
    marked = prune(scene)
    check(marked["marked"] >= 1, "its packs are marked: %r" % marked)
    gone = prune(scene, "--grace", "0s")
    check_equal(gone["deleted"], marked["marked"])
    check(set(scene.names("p")) < packs, "its packs are deleted")
    scene.tell("halt")
    result = upload.finish()
    check_equal(result.returncode, 0, result.stderr)
    check_equal(scene.verify(), 2)
    values = scene.node.values()
    scene.node.kill()
    check_equal(scene.restored("phoenix"), values)


def test_marked_while_it_goes_on(t):
    """A prune marks the packs of an upload that goes on, and another one
    deletes them right before the manifest comes: by then the upload relies on
    others."""
    scene = Scene(t)
    scene.start()
    scene.fill("k", 100, 20000)
    scene.node.ok("snapshot", "now")
    scene.fill("new", 60, 20000)
    upload = halt_snapshot(scene, "/i/")
    marked = prune(scene)
    check(marked["marked"] >= 1, "its packs are marked: %r" % marked)
    scene.tell("halted")
    scene.tell("halt", "/m/")
    wait_until(lambda: os.path.exists(os.path.join(scene.side, "halted")),
               "the manifest's turn")
    gone = prune(scene, "--grace", "0s")
    check_equal(gone["deleted"], marked["marked"])
    scene.tell("halt")
    result = upload.finish()
    check_equal(result.returncode, 0, result.stderr)
    check_equal(scene.verify(), 2)
    # That prune has marked what the manifest was about to name; the next one
    # takes such marks away, and the next upload finds all that it can use.
    check(prune(scene, "--grace", "0s")["deleted"] <= marked["marked"])
    check_equal(scene.verify(), 2)
    scene.node.ok("put", "one", "more")
    told = json.loads(scene.node.ok("snapshot", "now", "--json"))
    check(told["chunks_new"] <= 4, "sent again: %r" % told)
    values = scene.node.values()
    scene.node.kill()
    check_equal(scene.restored("phoenix"), values)


def test_prunes_without_end(t):
    """Whatever an upload puts is deleted at once, again and again: it says so
    after a while, and puts no manifest."""
    scene = Scene(t)
    scene.start()
    scene.fill("k", 100, 20000)
    scene.node.ok("snapshot", "now")
    scene.fill("new", 60, 20000)
    upload = halt_snapshot(scene, "/i/")
    before = scene.names("m")
    halted = os.path.join(scene.side, "halted")
    rounds = 0
    while upload.is_alive():
        prune(scene)
        rounds += 1
        scene.tell("go", "on")
        wait_until(lambda: not os.path.exists(os.path.join(scene.side, "go")),
                   "it goes on")
        wait_until(lambda: os.path.exists(halted) or not upload.is_alive(),
                   "the next segment")
    harness.note("%d rounds" % rounds)
    result = upload.finish()
    check(result.returncode != 0, "it went on")
    check(b"prune less often" in result.stderr, result.stderr)
    check_equal(scene.names("m"), before)
    scene.tell("halt")
    scene.node.ok("snapshot", "now")
    scene.verify()


if __name__ == "__main__":
    harness.main(globals())
