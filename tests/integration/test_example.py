#!/usr/bin/env python3
# parallel-safe
"""The example that docs/ shows does what it says: it was built against the
installed header alone, and runs in a directory that init made."""
import os
import re
import subprocess

import harness
from harness import check, check_equal, check_in

EMBED = os.path.join(harness.BUILD, "examples", "embed")


def run(*arguments):
    return subprocess.run([EMBED, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=harness.CLI_TIMEOUT_S, check=False)


def test_it_writes_reads_and_watches(t):
    node = t.init("app")
    revisions = []
    for number in (1, 2):  # and again, on what the first run left
        result = run(node.data)
        check_equal(result.returncode, 0, result.stderr)
        check_equal(result.stderr, b"")
        lines = result.stdout.decode().splitlines()
        check(re.fullmatch(r"written as [0-9a-f]{32}:\d+", lines[0]), lines[0])
        seen = [re.fullmatch(r"revision (\d+): (.*)", line).groups()
                for line in lines[1:-2]]
        if number == 1:
            check_equal([key for _, key in seen],
                        ["app/mode", "app/limit", "app/peers"])
            check_equal(seen[1][0], seen[2][0], "one commit")
        check_equal(lines[-2:], ["app/limit = 100", "app/mode = fast"])
        revisions.append(int(seen[0][0]))
    check(revisions[0] < revisions[1], "revisions %r" % revisions)
    # What it wrote is there for a node of the ordinary kind.
    node.start()
    check_equal(node.get("app/mode"), b"fast")
    check_equal(node.set_members("app/peers"), ["10.0.0.7"])
    # And a second one does not get in while that runs.
    result = run(node.data)
    check_equal(result.returncode, 1)
    check_in(b"open: ", result.stderr)
    check_in(node.data.encode(), result.stderr)


def test_it_needs_a_directory(t):
    result = run(t.path("none"))
    check_equal(result.returncode, 1)
    check_in(b"confmesh init", result.stderr)


if __name__ == "__main__":
    harness.main(globals())
