#!/usr/bin/env python3
"""One seed, one hash: `confmesh-sim run` wherever it is started. parallel-safe

Addresses with and without randomisation, other fills and arenas of malloc,
locales, time zones, directories for temporary files, sizes of environment and
stack, working directories, file modes, descriptors and names of the program:
the chain over all events of a run stays the same. Of an ordinary seed, and of
one in which LMDB dies of a damaged file, where a wild address is read (not
under a sanitizer, which is slow).
"""
import json
import os
import re
import resource
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SIM = os.path.abspath(os.path.join(
    os.environ.get("BUILD_DIR", os.path.join(ROOT, "build")), "confmesh-sim"))
LIMIT_S = 300
SEEDS_TRIED = 400
SANITIZED = "san-" in SIM
ORDINARY = ("1", "default")


def can(words):
    try:
        return subprocess.run(words + ["true"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL,
                              check=False).returncode == 0
    except OSError:
        return False


def chain_of(seed, profile, prefix=(), environment=None, folder=None,
             program=SIM, prepare=None):
    process = subprocess.run(
        [*prefix, program, "run", "--seeds", "1", "--first-seed", seed,
         "--profile", profile, "--nodes", "3", "--jobs", "1", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        cwd=folder, check=False, timeout=LIMIT_S, preexec_fn=prepare)
    line = process.stdout.decode().splitlines()[:1]
    if process.returncode != 0 or not line:
        raise AssertionError("exit status %d: %s%s" % (
            process.returncode, process.stdout.decode()[-500:],
            process.stderr.decode("utf-8", "replace")[-500:]))
    return json.loads(line[0])["chain"]


def find_lethal():
    """The first seed of storage in which LMDB dies, and that passes."""
    for seed in range(1, SEEDS_TRIED):
        source = [str(seed), "--profile", "storage", "--nodes", "3"]
        plan = subprocess.run([SIM, "expand", *source], check=True,
                              stdout=subprocess.PIPE).stdout
        if b"ppm=1000000" not in plan:
            continue
        process = subprocess.run([SIM, "replay", *source], check=False,
                                 stdout=subprocess.PIPE, timeout=LIMIT_S,
                                 stderr=subprocess.DEVNULL)
        if process.returncode == 0 and re.search(rb"^LMDB died \d+ times",
                                                 process.stdout, re.M):
            return str(seed), "storage"
    raise AssertionError("LMDB dies in no seed")


def small_stack():
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, hard))
    os.umask(0)
    for _ in range(40):  # numbers of descriptors are others
        os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)


def ways(folder):
    """Name and how: each other than the first, and than each other."""
    link = os.path.join(folder, "another-name-for-it")
    os.symlink(SIM, link)
    other = {"MALLOC_PERTURB_": "165", "MALLOC_ARENA_MAX": "1",
             "MALLOC_TOP_PAD_": "1000000", "LC_ALL": "tr_TR.UTF-8",
             "LANG": "de_DE.UTF-8", "TZ": "Pacific/Kiritimati",
             "TMPDIR": "/nowhere", "HOME": "/nowhere", "P": "x" * 20000}
    yield "nothing in the environment", {"environment": {}}
    yield "all of it other", {
        "environment": other, "folder": "/", "program": link,
        "prepare": None if SANITIZED else small_stack}
    yield "malloc's fill alone", {"environment": {"MALLOC_PERTURB_": "90"},
                                  "folder": folder}
    if can(["setarch", "-R"]):
        yield "addresses without chance", {"prefix": ("setarch", "-R")}


def main():
    failed = 0
    runs = 0
    with tempfile.TemporaryDirectory() as folder:
        seeds = [ORDINARY] if SANITIZED else [ORDINARY, find_lethal()]
        for seed, profile in seeds:
            first = chain_of(seed, profile)
            for name, how in list(ways(tempfile.mkdtemp(dir=folder))):
                runs += 1
                other = chain_of(seed, profile, **how)
                if other != first:
                    failed += 1
                    print("FAILED seed %s of %s, %s: %s, not %s" % (
                        seed, profile, name, other, first))
    print("%d passed, %d failed" % (runs - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
