#!/usr/bin/env python3
"""Exit codes of confmesh-sim. parallel-safe

Each code by a run that ends so, of the program itself: 0 pass and 2 liveness by
plans; 1 safety, 3 nondeterminism and 4 crash by the programs in which the
canary, a look at the environment and a wrong CHECK are planted (sim/zoo/); 5
inconclusive by what stops a run; 64 by words that it does not know. replay
knows the code of one plan, run that of many seeds.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SIM = os.path.join(os.environ.get("BUILD_DIR", os.path.join(ROOT, "build")),
                   "confmesh-sim")
CANARY = SIM + "-canary"
ENVIRONMENT = SIM + "-environment-read"
CRASH = SIM + "-check-wrong"
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


# Thirty commits of n0 are more revisions than the canary allows for.
MANY = CALM + "".join("%d %d put n0 key=%d size=10\n" % (i, 20 * i, i)
                      for i in range(1, 31))
REVOKE = CALM + "1 100 revoke n0 key=1\n"


def run(arguments, program=SIM, environment=None):
    return subprocess.run(
        [program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ, **(environment or {})), check=False,
        timeout=LIMIT_S)


def status_of(*arguments):
    return run(arguments).returncode


def replay_of(text, *arguments, program=SIM, environment=None):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.plan")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return run(("replay", path) + arguments, program, environment)


def replay(text, *arguments, program=SIM):
    return replay_of(text, *arguments, program=program).returncode


def seed_of(program, *arguments):
    """(status, the line that reproduces it) of run with a seed."""
    process = run(("run", "--seeds", "1", "--jobs", "1", "--profile", "quiet",
                   "--nodes", "3") + arguments, program)
    line = re.search(r"^REPRO .*", process.stdout.decode(), re.M)
    return process.returncode, line.group(0) if line else ""


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid),
              encoding="ascii") as file:
        return [int(p) for p in file.read().split()]


def wait_for_child(process):
    """The child, once it has a world: then it has begun its run."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        for pid in children_of(process.pid):
            try:
                with open("/proc/%d/maps" % pid, encoding="ascii") as file:
                    if "data.mdb" in file.read():
                        return pid
            except OSError:
                pass  # it has just ended
        time.sleep(0.02)
    raise AssertionError("no child has begun a run")


def replay_and_signal(number):
    """What a run is called whose child gets a signal."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.plan")
        with open(path, "w", encoding="utf-8") as file:
            file.write(LONG)
        with subprocess.Popen([SIM, "replay", path],
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            os.kill(wait_for_child(process), number)
            return process.wait(LIMIT_S)


def test_pass():
    assert replay(CALM) == 0
    assert replay(MANY, "--twice") == 0
    assert replay(REVOKE) == 0
    assert seed_of(SIM, "--twice") == (0, "")


def test_safety():
    assert replay(MANY, program=CANARY) == 1
    status, line = seed_of(CANARY)
    assert status == 1, line
    assert line.startswith("REPRO %s replay 0x1 --profile quiet --nodes 3 "
                           "# safety: fold: " % CANARY), line
    # The line is a command that ends in the same way.
    assert run(line.split(" # ")[0].split()[2:], CANARY).returncode == 1


def test_liveness():
    assert replay(LATE) == 2


def test_nondeterminism():
    assert replay(CALM, program=ENVIRONMENT) == 0  # a single run cannot tell
    process = replay_of(CALM, "--twice", program=ENVIRONMENT)
    said = process.stdout.decode()
    assert process.returncode == 3, said
    assert "first event that differs: number " in said, said
    assert re.search(r"^  here: .*\n  elsewhere: ", said, re.M), said
    status, line = seed_of(ENVIRONMENT, "--twice")
    assert status == 3, line
    assert " --twice # nondeterminism: nondeterminism: " in line, line


def test_crash():
    assert replay_and_signal(signal.SIGABRT) == 4
    process = replay_of(REVOKE, program=CRASH)
    assert process.returncode == 4
    said = process.stdout.decode()
    assert re.search(r"^crash: crash: .*invariant violated", said, re.M), said
    assert "writer_local.c" in process.stderr.decode()  # where it was
    status, line = seed_of(CRASH)
    assert status == 4 and "# crash: crash: " in line, (status, line)


def test_inconclusive():
    assert replay_and_signal(signal.SIGXCPU) == 5  # it took too long
    assert replay_and_signal(signal.SIGKILL) == 5  # or too much memory
    process = run(("shrink", "1", "--profile", "quiet", "--nodes", "3"))
    assert process.returncode == 5  # there is nothing to be shrunk
    assert "does not fail" in process.stderr.decode()
    with subprocess.Popen([SIM, "run", "--seeds", "1000", "--jobs", "1"],
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        wait_for_child(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 5  # it was told to stop


def test_usage():
    assert status_of() == 64
    assert status_of("frobnicate") == 64
    assert status_of("replay") == 64
    assert status_of("run", "--seeds", "many") == 64
    assert replay("confmesh-plan 1 nodes=x\n") == 64


def test_help():
    for arguments in (("--help",), ("-h",), ("help",)):
        process = run(arguments)
        said = process.stdout.decode()
        assert process.returncode == 0
        for verb in ("run", "replay", "expand", "shrink", "trace", "bench"):
            assert "confmesh-sim %s " % verb in said, said
        assert "exit status: 0 pass, 1 safety, 2 liveness" in said, said
    process = run(("shrink", "--help"))
    said = process.stdout.decode()
    assert process.returncode == 0
    assert "confmesh-sim shrink PLAN|SEED" in said, said
    assert "confmesh-sim run" not in said, said


def main():
    passed = failed = 0
    for test in (test_pass, test_safety, test_liveness, test_nondeterminism,
                 test_crash, test_inconclusive, test_usage, test_help):
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
