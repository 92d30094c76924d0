#!/usr/bin/env python3
"""What a node costs that does nothing. Bytes are counted by owner: what every
thread is given at its start, and what is neither a file's nor a library's.
Nothing of it depends on time or load; `make bench` measures the whole."""
import base64
import json
import os
import struct

import harness
from harness import check

THREAD_LOCAL_MAX = 4096  # bytes: the C library clears them in each thread
PRIVATE_MAX = 1024       # KiB: heaps, stacks and tables of an idle node

BURST_KEYS = 40000
BURST_OPS = 2000
BURST_MIN = 3000         # KiB that it takes: else nothing was measured
BURST_LEFT_MAX = 1536    # KiB, of the same: what is left of it is no more

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


def put_all(connection, numbers):
    """One transaction."""
    value = base64.b64encode(b"v" * 100).decode()
    answer = connection.request("PUT", "/v1/txn", json.dumps(
        [{"KV": {"Verb": "set", "Key": "k/%07d" % i, "Value": value}}
         for i in numbers]))
    check(answer.status == 200, "%d: %r" % (answer.status, answer.body[:200]))


def test_a_burst_is_given_back(t):
    """What large transactions all over a larger store took is not held for
    ever: some seconds later the node is small again, and stays so while single
    keys are written."""
    if os.environ.get("SANITIZE"):
        return
    node = t.mesh()
    connection = node.connect()
    for at in range(0, BURST_KEYS, BURST_OPS):
        put_all(connection, range(at, at + BURST_OPS))
    most = 0
    for start in range(5):
        put_all(connection, range(start, BURST_KEYS, BURST_KEYS // BURST_OPS))
        most = max(most, private_kib(node.pid))
    check(most >= BURST_MIN, "only %d KiB" % most)
    harness.wait_until(lambda: private_kib(node.pid) <= BURST_LEFT_MAX,
                       "at most %d KiB" % BURST_LEFT_MAX, 60,
                       lambda: "%d KiB" % private_kib(node.pid))
    for i in range(200):
        connection.put("k/%07d" % (i * 199), b"w" * 100)
    connection.close()
    size = private_kib(node.pid)
    check(size <= BURST_LEFT_MAX, "%d KiB" % size)
    check(node.get("k/0000199") == b"w" * 100, "a value of the last ones")
    harness.note("%d KiB, then %d" % (most, size))


if __name__ == "__main__":
    harness.main(globals())
