#!/usr/bin/env python3
"""Exit codes of confmesh-sim. parallel-safe

0 pass, 2 liveness, 4 crash, 5 inconclusive and 64 usage, by plans that end so
and signals to the child that runs one. Safety (1) and nondeterminism (3) take
a bug: `make zoo` expects 1 or 2 of those that are planted.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SIM = os.path.join(os.environ.get("BUILD_DIR", os.path.join(ROOT, "build")),
                   "confmesh-sim")
LIMIT_S = 60
HEADER = ("confmesh-plan 1 seed=9 nodes=2 joined=2 duration=%d core-within=%d "
          "heal-within=%d sync-min=200 sync-max=3000 latency=1000 jitter=0 "
          "loss=0 duplicate=0 reorder=0 reorder-by=20000 rate=0 slice=0 "
          "give-up=15000000 core=n0,n1\n")
CALM = HEADER % (3000, 120000, 300000)
# n1 hears of the write only after it was healed, and that takes longer.
LATE = (HEADER % (3000, 0, 0) + "1 1 isolate n1 for=2999\n"
        "2 100 put n0 key=1 size=10\n")
LONG = HEADER % (3600 * 1000 * 24 * 300, 120000, 300000)


def status_of(*arguments):
    return subprocess.run([SIM, *arguments], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False,
                          timeout=LIMIT_S).returncode


def replay(text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.plan")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return status_of("replay", path)


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid),
              encoding="ascii") as file:
        return [int(p) for p in file.read().split()]


def replay_and_signal(number):
    """What a run is called whose child gets a signal."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.plan")
        with open(path, "w", encoding="utf-8") as file:
            file.write(LONG)
        with subprocess.Popen([SIM, "replay", path],
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            end = time.monotonic() + LIMIT_S
            while not children_of(process.pid):
                assert time.monotonic() < end, "no child"
                time.sleep(0.05)
            time.sleep(0.3)  # it has begun
            os.kill(children_of(process.pid)[0], number)
            return process.wait(LIMIT_S)


def test_pass():
    assert replay(CALM) == 0


def test_liveness():
    assert replay(LATE) == 2


def test_crash():
    assert replay_and_signal(signal.SIGABRT) == 4


def test_inconclusive():
    assert replay_and_signal(signal.SIGXCPU) == 5


def test_usage():
    assert status_of() == 64
    assert status_of("frobnicate") == 64
    assert status_of("replay") == 64
    assert status_of("run", "--seeds", "many") == 64
    assert replay("confmesh-plan 1 nodes=x\n") == 64


def main():
    passed = failed = 0
    for test in (test_pass, test_liveness, test_crash, test_inconclusive,
                 test_usage):
        try:
            test()
            passed += 1
        except AssertionError as error:
            failed += 1
            print("%s: %s" % (test.__name__, error))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
