#!/usr/bin/env python3
# parallel-safe
# timeout: 900 s
"""SIGKILL at every step of a merge into a living node: before the n-th call
that changes a file or a directory, for many n. After another start the state is
the one before or the one after, never half of it; nothing of the node's own is
lost; the same merge again completes it; nothing is left lying about."""
import json
import mmap
import os
import shutil
import struct
import subprocess

import harness
from harness import check, check_equal, wait_until
from test_merge import lose, merge, restored

# Counts, while it is told to, calls that change files; kills its process in
# the one that it is told. The file CONTROL: armed, which one (0: none), count.
SHIM = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
static volatile int *control;
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CONTROL");
    int fd = path != NULL ? open(path, O_RDWR) : -1;
    void *at = fd >= 0 ? mmap(NULL, 12, PROT_READ | PROT_WRITE, MAP_SHARED,
                              fd, 0) : MAP_FAILED;
    if (at != MAP_FAILED)
        control = at;
}
static void step(void)
{
    if (control != NULL && control[0] &&
        __sync_add_and_fetch(&control[2], 1) == control[1])
        kill(getpid(), SIGKILL);
}
static void step_of(int fd)
{
    struct stat st;
    if (control != NULL && control[0] && fstat(fd, &st) == 0 &&
        (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        step();
}
#define REAL(type, name, ...)                                                  \
    static type (*real)(__VA_ARGS__);                                          \
    if (real == NULL)                                                          \
        real = dlsym(RTLD_NEXT, name)
#define WRITE(name, off)                                                       \
    ssize_t name(int fd, const void *b, size_t n, off o)                       \
    {                                                                          \
        REAL(ssize_t, #name, int, const void *, size_t, off);                  \
        step_of(fd);                                                           \
        return real(fd, b, n, o);                                              \
    }
#define WRITEV(name, off)                                                      \
    ssize_t name(int fd, const struct iovec *v, int n, off o)                  \
    {                                                                          \
        REAL(ssize_t, #name, int, const struct iovec *, int, off);             \
        step_of(fd);                                                           \
        return real(fd, v, n, o);                                              \
    }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)
WRITEV(pwritev, off_t)
WRITEV(pwritev64, off64_t)
ssize_t write(int fd, const void *b, size_t n)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    step_of(fd);
    return real(fd, b, n);
}
#define SYNC(name)                                                             \
    int name(int fd)                                                           \
    {                                                                          \
        REAL(int, #name, int);                                                 \
        step_of(fd);                                                           \
        return real(fd);                                                       \
    }
SYNC(fsync)
SYNC(fdatasync)
#define PATH(name)                                                             \
    int name(const char *path)                                                 \
    {                                                                          \
        REAL(int, #name, const char *);                                        \
        step();                                                                \
        return real(path);                                                     \
    }
PATH(unlink)
PATH(rmdir)
int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    step();
    return real(path, mode);
}
int rename(const char *a, const char *b)
{
    REAL(int, "rename", const char *, const char *);
    step();
    return real(a, b);
}
#define OPEN(name)                                                             \
    int name(const char *path, int flags, ...)                                 \
    {                                                                          \
        REAL(int, #name, const char *, int, mode_t);                           \
        mode_t mode = 0;                                                       \
        va_list args;                                                          \
        if (flags & (O_CREAT | O_TMPFILE)) {                                   \
            va_start(args, flags);                                             \
            mode = va_arg(args, mode_t);                                       \
            va_end(args);                                                      \
            step();                                                            \
        }                                                                      \
        return real(path, flags, mode);                                        \
    }
OPEN(open)
OPEN(open64)
'''

TRIES = 26  # kills that are tried, over all steps that there are


class Steps:
    """What the library in the node is told, and counts."""

    def __init__(self, t):
        with open(t.path("shim.c"), "w", encoding="ascii") as file:
            file.write(SHIM)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", "-o",
                        t.path("shim.so"), t.path("shim.c"), "-ldl"],
                       check=True)
        with open(t.path("control"), "wb") as file:
            file.write(b"\0" * 12)
        with open(t.path("control"), "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), 12)
        asan = os.environ.get("ASAN_OPTIONS", "").split(":")
        self.env = {"LD_PRELOAD": t.path("shim.so"),
                    "CONTROL": t.path("control"), "ASAN_OPTIONS": ":".join(
                        filter(None, asan + ["verify_asan_link_order=0"]))}

    def arm(self, step):
        self.shared[:] = struct.pack("iii", 1, step, 0)

    def disarm(self):
        count = struct.unpack("iii", self.shared[:])[2]
        self.shared[:4] = struct.pack("i", 0)
        return count


def sample(total, count):
    """Each step as often as the others, or as many as there is time for."""
    if total > count:
        return sorted({1 + i * (total - 1) // (count - 1)
                       for i in range(count)})
    return [1 + i % total for i in range(count)]


def shown(node):
    return node.values(), node.set_members("s")


def left_over(node):
    return [n for n in os.listdir(node.data) if "merge" in n or "spool" in n
            or "stage" in n or "tmp" in n]


def write(beta, i, only_new):
    """The i-th change of the one who is cut off: new, replaced, removed."""
    connection = beta.connect()
    for k in range(12):
        connection.put("theirs/%d/%d" % (i, k), os.urandom(3000))
    if not only_new:
        connection.put("again", b"%d" % i)
    connection.close()
    beta.ok("set", "add", "s", "e%d" % i)
    if i > 0 and not only_new:
        beta.ok("del", "theirs/%d/3" % (i - 1))
        beta.ok("set", "remove", "s", "e%d" % (i - 1))


def copied(source, target):
    """Files come and go at a target that is in use."""
    try:
        shutil.copytree(source, target)
        return True
    except (shutil.Error, FileNotFoundError):
        shutil.rmtree(target, ignore_errors=True)
        return False


class Merging:
    """One merge after the other into a node, each with something new."""

    def __init__(self, t, steps, node, before):
        self.t, self.steps, self.node = t, steps, node
        self.own = {}  # values of its own
        self.base = before
        self.halves = 0
        self.killed = 0

    def expected(self, theirs):
        return dict(self.base, **theirs[0], **self.own), theirs[1]

    def counted(self, target, theirs):
        """One that is not killed: its steps."""
        self.steps.arm(0)
        merge(self.node, target)
        total = self.steps.disarm()
        check_equal(shown(self.node), self.expected(theirs))
        check(total > 4, "only %d steps were seen" % total)
        return total

    def one(self, target, theirs, step, atomic):
        node, key = self.node, "mine/%d" % len(self.own)
        values, members = shown(node)
        node.ok("put", key, "%d" % step)
        self.own[key] = b"%d" % step
        before = dict(values, **{key: self.own[key]}), members
        self.steps.arm(step)
        result = node.cli("restore", "--merge", target)
        self.steps.disarm()
        if result.returncode == 0:
            check_equal(shown(node), self.expected(theirs))
            return
        wait_until(lambda: not node.process.running(), "step %d: the kill"
                   % step)
        check_equal(node.process.popen.returncode, -9)
        self.killed += 1
        node.start()
        now = shown(node)
        if atomic:
            check(now in (before, self.expected(theirs)),
                  "step %d: a half" % step)
        check_equal({k: now[0].get(k) for k in self.own}, self.own,
                    "step %d: own writes" % step)
        merge(node, target)
        check_equal(shown(node), self.expected(theirs), "step %d" % step)
        # A file of its own may be written at this very moment.
        wait_until(lambda: left_over(node) == [], "step %d: nothing is left: %r"
                   % (step, left_over(node)))

    def end(self, total):
        harness.note("killed at %d of %d steps" % (self.killed, total))
        check(self.killed >= 12, "it was killed %d times" % self.killed)
        self.node.ok("put", "after", "all")
        other = self.t.join(self.node, "gamma")
        self.t.converged([self.node, other])
        check_equal(shown(other), shown(self.node))


def prepared(t, count, target_of, only_new=False):
    """alpha, dead, and what beta had put each time where target_of says."""
    alpha, beta = t.mesh(2)
    alpha.ok("put", "before", "1")
    alpha.ok("put", "again", "first")
    t.converged([alpha, beta])
    before = alpha.values()
    alpha.kill()
    states = []
    for i in range(count):
        write(beta, i, only_new)
        target_of(beta, i)
        states.append((beta.values(), beta.set_members("s")))
    lose(beta)
    return alpha, before, states


def test_of_snapshots(t):
    """The same generation: one transaction each."""
    count = TRIES + 2
    steps = Steps(t)
    alpha, before, states = prepared(
        t, count, lambda beta, i: beta.ok("snapshot", "now", "--to",
                                          t.path("b%d" % i)))
    alpha.env = steps.env
    alpha.start()
    run = Merging(t, steps, alpha, before)
    total = run.counted(t.path("b0"), states[0])
    for i, step in enumerate(sample(total, TRIES), 1):
        run.one(t.path("b%d" % i), states[i], step, True)
    run.end(total)


def test_with_deltas(t):
    """Deltas are applied to a scratch replica first."""
    count = TRIES + 2
    steps = Steps(t)
    flags = ["--snapshot-to", t.path("live"), "--snapshot-interval", "1h",
             "--snapshot-delta", "100ms", "--snapshot-drill", "never"]

    def put(beta, i):
        if i == 0:
            beta.stop()
            beta.start(*flags)
            wait_until(lambda: beta.live()["snapshot"]["targets"][0][
                "sequence"] > 0, "a snapshot")
        beta.wait_uploaded()
        wait_until(lambda: copied(t.path("live"), t.path("b%d" % i)),
                   "a copy between two puts")
    alpha, before, states = prepared(t, count, put)
    alpha.env = steps.env
    alpha.start()
    run = Merging(t, steps, alpha, before)
    total = run.counted(t.path("b0"), states[0])
    run.counted(t.path("b1"), states[1])
    for i, step in enumerate(sample(total, TRIES), 2):
        run.one(t.path("b%d" % i), states[i], step, True)
    run.end(total)


def test_of_another_generation(t):
    """What an earlier generation knew is kept in one transaction and written
    anew in those that follow: a kill between the two loses and doubles
    nothing. (New keys only: what is written anew is later than what the
    earlier generation did to it afterwards.)"""
    count = TRIES + 2
    steps = Steps(t)
    alpha, before, states = prepared(
        t, count, lambda beta, i: beta.ok("snapshot", "now", "--to",
                                          t.path("b%d" % i)), True)
    alpha.start()
    alpha.ok("snapshot", "now", "--to", t.path("old"))
    lose(alpha)
    node = restored(t, "phoenix", t.path("old"))
    node.env = steps.env
    node.start()
    run = Merging(t, steps, node, before)
    total = run.counted(t.path("b0"), states[0])
    for i, step in enumerate(sample(total, TRIES), 1):
        run.one(t.path("b%d" % i), states[i], step, False)
        check_equal(len(node.siblings("theirs/%d/5" % i)), 1)
    report = merge(node, t.path("b%d" % i))
    check_equal(report["new_writes"] - report["parked"], 0, repr(report))
    check_equal(json.loads(node.ok("unsent", "--json")).get("waiting", 0), 0)
    run.end(total)


if __name__ == "__main__":
    harness.main(globals())
