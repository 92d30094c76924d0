#!/usr/bin/env python3
"""The zoo of planted bugs is in order. parallel-safe

Every patch applies to the tree as it is and has a budget; one that does not
apply, or changes what cannot be planted, fails with a line that says so.
Whether the bugs are found is `make zoo`.
"""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
ZOO = os.path.join(ROOT, "sim/zoo")
BUGS_MIN = 15  # and the canary
QUICK_MIN = 6


def bugs():
    return sorted(f[:-6] for f in os.listdir(ZOO) if f.endswith(".patch"))


def budgets():
    with open(os.path.join(ZOO, "budgets"), encoding="utf-8") as file:
        lines = [line.split("#")[0].split() for line in file]
    return {fields[0]: fields for fields in lines if fields}


def plant(name, folder):
    process = subprocess.run([os.path.join(ZOO, "plant"), name, folder],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             check=False)
    return (process.returncode, process.stdout.decode().split(),
            process.stderr.decode())


def test_every_patch_applies():
    with tempfile.TemporaryDirectory() as folder:
        for name in bugs():
            status, files, said = plant(name, os.path.join(folder, name))
            assert status == 0, said
            for file in files:
                with open(os.path.join(ROOT, file), "rb") as right, \
                        open(os.path.join(folder, name, file), "rb") as wrong:
                    assert right.read() != wrong.read(), (name, file)


def test_every_patch_has_a_budget():
    lines = budgets()
    assert sorted(lines) == bugs(), set(lines) ^ set(bugs())
    assert len(lines) > BUGS_MIN
    with open(os.path.join(ROOT, "sim/expand.h"), encoding="utf-8") as file:
        profiles = re.findall(r'X\(SIM_PROFILE_\w+, "(\w+)"\)', file.read())
    for name, fields in lines.items():
        assert len(fields) == 5 and int(fields[1]) > 0, name
        profile, _, nodes = fields[2].partition(":")
        if profile.endswith(".plan"):
            path = os.path.join(ROOT, "sim/regress", profile)
            assert os.path.exists(path) and fields[1] == "1", name
        else:
            assert profile in profiles and nodes in ("", "6", "8"), name
        assert fields[3] in ("quick", "slow"), name
    quick = [name for name, fields in lines.items() if fields[3] == "quick"]
    assert len(quick) >= QUICK_MIN and "canary" in quick, quick


def refused(text, words):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "test.patch")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        status, files, said = plant(path, os.path.join(folder, "x"))
    assert status != 0 and not files, text
    assert words in said, said


def test_stale_patch_fails_loudly():
    refused("--- a/crdt/vv.c\n+++ b/crdt/vv.c\n@@ -1,2 +1,2 @@\n"
            " no such line\n-nor this\n+but this\n",
            "does not apply any more")


def test_what_cannot_be_planted():
    refused("--- a/crdt/vv.h\n+++ b/crdt/vv.h\n@@ -1 +1 @@\n-a\n+b\n",
            "only .c files")
    refused("--- a/crdt/gone.c\n+++ b/crdt/gone.c\n@@ -1 +1 @@\n-a\n+b\n",
            "is not there any more")
    refused("Nothing.\n", "changes nothing")
    with tempfile.TemporaryDirectory() as folder:
        status, _, said = plant("no-such-bug", folder)
    assert status != 0 and "there is no such bug" in said, said


def main():
    passed = failed = 0
    for test in (test_every_patch_applies, test_every_patch_has_a_budget,
                 test_stale_patch_fails_loudly, test_what_cannot_be_planted):
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
