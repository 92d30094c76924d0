#!/usr/bin/env python3
"""Exit codes of confmesh-sim. parallel-safe

Each code by a run that ends so, of the program itself: 0 pass and 2 liveness by
plans; 1 safety, 3 nondeterminism and 4 crash by the programs in which the
canary, a look at the environment and a wrong CHECK are planted (sim/zoo/); 5
inconclusive by what stops a run; 64 by words that it does not know. replay
knows the code of one plan, run that of many seeds.

And what else whoever types its words relies upon: nothing is left in the
machine's memory whatever ends it, what was wrong is named with its line, and
JSON is nothing but JSON.
"""
import json
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


def wait_for_world(process, may_be=children_of):
    """(process that has one, path of a store in it): it has begun its run."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        for pid in may_be(process.pid):
            try:
                with open("/proc/%d/maps" % pid, encoding="ascii") as file:
                    store = re.search(r"/\S*/data\.mdb", file.read())
            except OSError:
                continue  # it has just ended
            if store:
                return pid, store.group(0)
        time.sleep(0.02)
    raise AssertionError("no run has begun")


def wait_for_child(process):
    return wait_for_world(process)[0]


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
                          stderr=subprocess.DEVNULL,
                          preexec_fn=heed_signals) as process:
        wait_for_child(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 5  # it was told to stop


def heed_signals():
    """A test run of nohup, or in the background, has some ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def interrupted(path, number, *arguments):
    """Exit status of what a terminal tells to stop; nothing may be left."""
    with subprocess.Popen([SIM, *arguments], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL,
                          preexec_fn=heed_signals,
                          start_new_session=True) as process:
        _, store = wait_for_world(process,
                                  lambda pid: [pid] + children_of(pid))
        folder = re.match(r"/[a-z/]+/confmesh-sim-\w{6}", store).group(0)
        os.killpg(process.pid, number)
        status = process.wait(LIMIT_S)
    end = time.monotonic() + LIMIT_S
    while os.path.exists(folder):
        assert time.monotonic() < end, "%s left %s" % (path, folder)
        time.sleep(0.02)
    return status


def test_nothing_is_left():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.plan")
        page = os.path.join(folder, "a.html")
        with open(path, "w", encoding="utf-8") as file:
            file.write(LONG)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
                       signal.SIGKILL):
            for words in (("replay", path), ("replay", path, "--here"),
                          ("trace", path, "--html", page), ("shrink", path)):
                status = interrupted(words, number, *words)
                assert status == -number, (words, number, status)
        assert interrupted("bench", signal.SIGINT, "bench",
                           "--idle") == -signal.SIGINT
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Its children hear of it, too: that is no crash of theirs.
            status = interrupted("run", number, "run", "--seeds", "1000")
            assert status == 5, (number, status)


def test_nohup():
    """What was to be ignored is: also by a run's children."""
    with subprocess.Popen(["nohup", SIM, "run", "--seeds", "1", "--jobs", "1"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL,
                          start_new_session=True) as process:
        wait_for_child(process)
        os.killpg(process.pid, signal.SIGHUP)
        said = process.communicate(timeout=LIMIT_S)[0]
        assert process.returncode == 0, said
        assert re.search(rb"^1 seeds, .* 0 violations$", said, re.M), said



def refused(*arguments):
    """What is said of words that do not do; at once, and on one line."""
    process = run(arguments)
    said = process.stderr.decode()
    assert process.returncode == 64, (arguments, process.returncode, said)
    assert said.startswith("confmesh-sim") and said.count("\n") == 1, said
    assert process.stdout == b"", process.stdout
    return said


def test_refusals():
    for words, why in (
            (("run",), "--seeds or --seconds"),
            (("run", "--seeds", "0"), "from 1 to"),
            (("run", "--seeds", "-1"), "from 1 to"),
            (("run", "--seeds"), "needs a value"),
            (("run", "--seeds", "1", "--jobs", "65"), "from 1 to 64"),
            (("run", "--seeds", "1", "--nodes", "1"), "from 2 to 256"),
            (("run", "--seeds", "1", "--profile", "storge"), "storage"),
            (("run", "--seeds", "1", "--first-seed", "x"), "--first-seed"),
            (("run", "--seeds", "2", "--first-seed", hex(2**64 - 1)),
             "last one is"),
            (("run", "--sedes", "1"), "--seeds"),
            (("run", "5"), "5"),
            (("rnu",), "did you mean run"),
            (("replay", str(2**64)), "up to 18446744073709551615"),
            (("replay", "no-such-plan"), "No such file"),
            (("replay", "1", "--trace", "/nowhere/a"), "/nowhere/a"),
            (("trace", "1"), "--html"),
            (("trace", "1", "--html", "/nowhere/a"), "/nowhere/a"),
            (("shrink", "1", "--output", "/nowhere/a"), "/nowhere/a"),
            (("expand", "one"), "one seed"),
            (("bench", "--nodes", "1"), "from 2 to 256"),
            (("bench", "--nodes", "257"), "from 2 to 256"),
            (("marks", "--seeds", "1"), "make marks")):
        assert why in refused(*words), (words, refused(*words))


def test_plans_are_refused():
    """The line that is wrong is named, comments and empty ones counted in."""
    good = "1 100 put n0 key=1 size=10\n"
    for line, why in (
            ("1 2 put\n", "id time deed hosts"), ("x 2 del n0 key=1\n", "id"),
            ("1 x del n0 key=1\n", "time"), ("1 2 dell n0 key=1\n", "deed"),
            ("1 2 del m0 key=1\n", "hosts"), ("1 2 del n9 key=1\n", "nodes=2"),
            ("1 2 del n0,n1 key=1\n", "one"), ("1 2 del n0\n", "missing"),
            ("1 2 del n0 key=1 ppm=1\n", "no such parameter"),
            ("1 2 del n0 key=-1\n", "from 0"), ("1 2 del n0 key\n", "name="),
            ("1 2 del n0 key=1 key=2\n", "twice"),
            ("1 2 oneway n0 for=9\n", "to="),
            ("1 2 oneway n0 to=n1 to=n0 for=9\n", "twice"),
            ("1 9999 del n0 key=1\n", "duration=3000"),
            ("1 2 wipe n0 for=9\n", "n0"),
            ("1 2 clone n1 to=n0 count=1 for=9\n", "n0"),
            ("1 2 del n0 key=1 " + "x" * 5000 + "\n", "too long")):
        process = replay_of("# a plan\n\n" + CALM + "# this one:\n" + line)
        said = process.stderr.decode()
        assert process.returncode == 64 and why in said, (line, said)
        assert re.match(r"confmesh-sim replay: line 5[:,] ", said), said
    said = replay_of(CALM + good + "\n" + good).stderr.decode()
    assert "line 4: two lines have the id 1" in said and "line 2" in said, said
    for header in ("confmesh-plan 2 seed=1 nodes=3 core=n0",
                   "confmesh-plan 1 seed=1", "confmesh-plan 1 nodes=3 core=n0",
                   "confmesh-plan 1 seed=1 nodes=0 core=n0",
                   "confmesh-plan 1 seed=1 nodes=300 core=n0",
                   "confmesh-plan 1 seed=1 nodes=3 joined=4 core=n0",
                   "confmesh-plan 1 seed=1 nodes=3 core=n3",
                   "confmesh-plan 1 seed=1 nodes=3 seed=2 core=n0",
                   "confmesh-plan 1 seed=1 nodes=3 core=n0 core=n1",
                   "confmesh-plan 1 seed=1 nodes=3 colour=1 core=n0",
                   "confmesh-plan 1 seed=1 nodes=3 core=n0 loss=1000001",
                   "confmesh-plan 1 seed=1 nodes=3 core=n0 sync-min=9"):
        process = replay_of("# a plan\n" + header + "\n" + good)
        said = process.stderr.decode()
        assert process.returncode == 64, (header, said)
        assert re.match(r"confmesh-sim replay: line 2[:,] ", said), said
    for text in ("", "\n", "x" * (17 << 20), "confmesh-plan 1 \0"):
        process = replay_of(text)
        assert process.returncode == 64, text[:20]
        assert len(process.stderr.decode().strip()) > 30, text[:20]


def test_json():
    process = replay_of(MANY, "--json")
    told = json.loads(process.stdout)
    assert process.returncode == 0 and told["outcome"] == "pass", told
    assert told["plan"].endswith("a.plan") and told["operations"] == 30, told
    assert told["looked_at"]["fold"] > 0 and told["kinds"] == [], told
    told = json.loads(replay_of(MANY, "--json", program=CANARY).stdout)
    assert told["outcome"] == "safety" and told["fingerprint"] == "fold", told
    process = replay_of(CALM, "--json", "--twice", program=ENVIRONMENT)
    told = json.loads(process.stdout)
    assert process.returncode == 3, told
    assert told["outcome"] == "nondeterminism", told
    assert "first event that differs" in process.stderr.decode()
    for program, violations in ((SIM, 0), (CANARY, 2)):
        process = run(("run", "--seeds", "2", "--profile", "quiet", "--nodes",
                       "2", "--json"), program)
        *runs, end = [json.loads(line)
                      for line in process.stdout.decode().splitlines()]
        assert sorted(r["seed"] for r in runs) == ["0x1", "0x2"], runs
        assert end["seeds"] == 2 and end["violations"] == violations, end
        assert end["looked_at"]["fold"] > 0 and not end["interrupted"], end
        assert ("REPRO" in process.stderr.decode()) == (violations > 0)
    told = json.loads(run(("bench", "--chaos", "--nodes", "2",
                           "--json")).stdout)
    assert told["outcome"] == "pass" and told["goal"] == 10, told
    assert told["node_hours_per_cpu_second"] > 0, told


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
                 test_crash, test_inconclusive, test_nothing_is_left,
                 test_nohup, test_refusals, test_plans_are_refused, test_json,
                 test_usage, test_help):
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
