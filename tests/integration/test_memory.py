#!/usr/bin/env python3
"""What a node costs that does nothing. Bytes are counted by owner: what every
thread is given at its start, and what is neither a file's nor a library's.
Nothing of it depends on time or load; `make bench` measures the whole."""
import os
import struct

import harness
from harness import check

THREAD_LOCAL_MAX = 4096  # bytes: the C library clears them in each thread
PRIVATE_MAX = 1024       # KiB: heaps, stacks and tables of an idle node

PT_TLS = 7


def thread_local_bytes(path):
    """The size of the thread-local segment of a 64-bit or 32-bit program."""
    with open(path, "rb") as file:
        image = file.read(64)
        wide = image[4] == 2
        at, = struct.unpack_from("<Q" if wide else "<I", image,
                                 32 if wide else 28)
        size, count = struct.unpack_from("<HH", image, 54 if wide else 42)
        file.seek(at)
        headers = file.read(size * count)
    for i in range(count):
        kind, = struct.unpack_from("<I", headers, i * size)
        if kind == PT_TLS:
            return struct.unpack_from("<Q" if wide else "<I", headers,
                                      i * size + (40 if wide else 20))[0]
    return 0


def private_kib(pid):
    """Touched memory of mappings without a file, KiB."""
    total = 0
    ours = False
    with open("/proc/%d/smaps" % pid) as file:
        for line in file:
            words = line.split()
            if not words[0].endswith(":"):
                ours = len(words) == 5 or words[5] in ("[heap]", "[stack]")
            elif ours and words[0] == "Anonymous:":
                total += int(words[1])
    return total


def test_threads_are_small(t):
    size = thread_local_bytes(harness.CONFMESH)
    check(size <= THREAD_LOCAL_MAX, "%d bytes in every thread" % size)


def test_idle_nodes_are_small(t):
    if os.environ.get("SANITIZE"):
        return  # the sanitizers' own memory is many times that
    alpha = t.mesh()
    nodes = [alpha, t.join(alpha, "beta"), t.join(alpha, "gamma")]
    alpha.ok("put", "app/one", "1")
    t.converged(nodes)
    for node in nodes:
        size = private_kib(node.pid)
        check(size <= PRIVATE_MAX, "%s: %d KiB" % (node.name, size))


if __name__ == "__main__":
    harness.main(globals())
