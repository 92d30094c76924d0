#!/usr/bin/env python3
# parallel-safe
"""SIGKILL at every step of a restore: before the n-th system call that changes
a file or a directory, for every n (or, of many, for a sample that has all of
the first and the last ones). The data directory is absent or complete then, and
the same command again works."""
import ctypes
import json
import os
import platform
import shutil
import signal
import sys

import harness
from harness import RESTORE, check, check_equal
from test_merge import restore

TRACEME, SYSCALL, GETREGS, SETOPTIONS = 0, 24, 12, 0x4200
SYSGOOD, EXITKILL = 1, 0x100000
ORIG_RAX = 15 * 8
# Of x86-64: write, pwrite64, writev, msync, fsync, fdatasync, ftruncate,
# rename, mkdir, rmdir, unlink, link, mknod, unlinkat, renameat, renameat2,
# fallocate, pwritev, openat, munmap.
CHANGES = {1, 18, 20, 26, 74, 75, 77, 82, 83, 84, 87, 86, 133, 263, 264, 316,
           285, 296, 257, 11}
EDGE = 25  # steps at either end that are all tried
MIDDLE = 30  # and so many between them

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                        ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, data=0):
    check(libc.ptrace(request, pid, None, data) == 0,
          "ptrace %d: %s" % (request, os.strerror(ctypes.get_errno())))


def spawn(arguments, out):
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(out, 1)
            os.dup2(out, 2)
            libc.ptrace(TRACEME, 0, None, None)
            environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
            os.execve(arguments[0], arguments, environment)
        finally:
            os._exit(127)  # pylint: disable=protected-access
    return pid


def run_until(step, arguments, out):
    """Runs the command and kills it before step number `step` (None: never).
    (steps that were begun, its exit code or None)."""
    pid = spawn([str(a) for a in arguments], out)
    registers = ctypes.create_string_buffer(27 * 8)
    entering = False
    steps = 0
    os.waitpid(pid, 0)
    ptrace(SETOPTIONS, pid, SYSGOOD | EXITKILL)
    while True:
        ptrace(SYSCALL, pid)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            return steps, os.WEXITSTATUS(status)
        check(os.WIFSTOPPED(status), "it ended by a signal")
        if os.WSTOPSIG(status) != signal.SIGTRAP | 0x80:
            continue
        entering = not entering
        if not entering:
            continue
        ptrace(GETREGS, pid, ctypes.addressof(registers))
        if int.from_bytes(registers[ORIG_RAX:ORIG_RAX + 8],
                          "little") not in CHANGES:
            continue
        steps += 1
        if steps == step:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return steps, None


def sample(total):
    middle = range(EDGE + 1, total - EDGE + 1)
    return sorted(set(range(1, min(EDGE, total) + 1))
                  | set(range(max(1, total - EDGE + 1), total + 1))
                  | set(middle[::max(1, len(middle) // MIDDLE)]))


def complete(t, data, values):
    """It starts, and has everything."""
    node = t.node(os.path.basename(data))
    node.data = data
    node.start()
    check_equal(node.values(), values)
    node.kill()


def kill_all_over(t, values, *arguments):
    command = [RESTORE] + list(arguments) + ["--authority", t.authority,
                                             "--no-passphrase", "--data"]
    out = os.open(t.path("out"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    total, code = run_until(None, command + [t.path("whole")], out)
    check_equal(code, 0, "a run to its end")
    check(total > 20, "only %d steps were seen" % total)
    present = tried = 0
    for step in sample(total):
        data = t.path("d%d" % step)
        # Random names cost a step more or less: it may end before.
        _, code = run_until(step, command + [data], out)
        tried += code is None
        if os.path.exists(data):
            present += 1
            complete(t, data, values)
        else:
            check(code is None, "step %d: it ended without a result" % step)
            restore(*command[1:], data)
        check(os.path.exists(os.path.join(data, "data.mdb")), "it is whole")
        for name in os.listdir(t.directory):
            if (name.startswith("d%d" % step)
                    and os.path.isdir(t.path(name))):
                shutil.rmtree(t.path(name))
    os.close(out)
    check(tried >= 20, "it was killed %d times" % tried)
    check(present < tried, "it was never killed before the end")
    harness.note("killed before %d of %d steps; the directory was there after "
                 "%d of them" % (tried, total, present))


def written(t):
    node = t.init()
    target = t.path("s")
    node.start("--snapshot-to", target, "--snapshot-interval", "1h",
               "--snapshot-delta", "100ms")
    for i in range(40):
        node.ok("put", "k%d" % i, "value %d" % i)
    return node, target


def test_of_one_snapshot(t):
    node, _ = written(t)
    node.ok("put", "big", "-", stdin=os.urandom(300000))
    node.ok("snapshot", "now", "--to", t.path("one"))
    values = node.values()
    node.kill()
    kill_all_over(t, values, t.path("one"))


def test_with_deltas(t):
    """Scratch replicas are made and removed beside the directory, too."""
    node, target = written(t)
    for i in range(3):
        node.ok("put", "late%d" % i, "x")
    harness.wait_until(lambda: drilled(target) >= 43, "deltas")
    values = node.values()
    node.kill()
    kill_all_over(t, values, target)


def drilled(target):
    """Entries and events that a restore would have now."""
    result = harness.cli("snapshot", "drill", target, "--json")
    if result.returncode != 0:
        return 0
    told = json.loads(result.stdout)
    return told["entries"] + told["events"]


if __name__ == "__main__":
    if platform.machine() != "x86_64":
        print("ok test_of_one_snapshot (not on this machine)")
        print("1 passed, 0 failed")
        sys.exit(0)
    harness.main(globals())
