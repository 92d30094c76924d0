#!/usr/bin/env python3
# parallel-safe
"""Somebody has an uploader's key and may write to the target: it can neither
make an event of another origin, nor make another's history go."""
import ctypes
import json
import os
import subprocess
import time

import harness
import snapshot_reader as reader
from harness import RESTORE, check, check_equal, check_in, cli, wait_until
from snapshot_reader import H, pack, unpack

sodium = ctypes.CDLL("libsodium.so.23")
zstd = ctypes.CDLL("libzstd.so.1")
zstd.ZSTD_compress.restype = ctypes.c_size_t
LATEST_MS = (1 << 48) - 1


def flags_of(target):
    return ["--snapshot-to", target, "--snapshot-interval", "1h",
            "--snapshot-delta", "300ms"]


def names(target, kind):
    return [n for n in reader.Store(target).names("v1")
            if "/%s/" % kind in n]


class Thief:
    """Signs as the node whose directory it had."""

    def __init__(self, data):
        with open(os.path.join(data, "node.key"), encoding="ascii") as file:
            seed = bytes.fromhex(file.read()[:64])
        public = ctypes.create_string_buffer(32)
        secret = ctypes.create_string_buffer(64)
        sodium.crypto_sign_seed_keypair(public, secret, seed)
        self.public, self.secret = public.raw, secret.raw

    def key_id(self):
        return reader.blake(b"confmesh key id v1\0" + self.public,
                            size=16).hex()

    def sign(self, domain, body):
        message = domain.encode() + b"\0" + body
        out = ctypes.create_string_buffer(64)
        sodium.crypto_sign_detached(out, None, message,
                                    ctypes.c_ulonglong(len(message)),
                                    self.secret)
        return pack([body, out.raw])


def stored(content, kind=reader.EVENTS):
    out = ctypes.create_string_buffer(len(content) + 1024)
    size = zstd.ZSTD_compress(out, ctypes.c_size_t(len(out)), content,
                              ctypes.c_size_t(len(content)), 3)
    header = b"cmo1" + bytes([kind]) + len(content).to_bytes(4, "big")
    frame = out.raw[:size]
    return header + reader.siphash(reader.siphash(header) +
                                   reader.siphash(frame)) + frame


def two_uploaders(t):
    """alpha, who wrote what counts, and beta, whose key is stolen."""
    target = t.path("snap")
    nodes = t.mesh(2)
    for node in nodes:
        node.stop()
        node.start(*flags_of(target))
    wait_until(lambda: len({n.split("/")[3] for n in names(target, "m")}) == 2,
               "both upload")
    nodes[0].ok("put", "k", "honest-value")
    t.converged(nodes)
    wait_until(lambda: len({n.split("/")[3] for n in names(target, "d")}) == 2,
               "deltas of both")
    for node in nodes:
        node.wait_uploaded()
    for node in nodes:
        node.stop()
    return target, nodes, Thief(nodes[1].data)


def snapshot_of(target, thief):
    for name in sorted(names(target, "m"), reverse=True):
        snapshot = reader.Snapshot(reader.Store(target), name)
        if snapshot.manifest.key == thief.public:
            return name, snapshot
    raise harness.Failure("no manifest of the thief's")


def forge(event, thief, old, new, seq):
    """The event with another value, signed with the key that there is; seq:
    how much later it pretends to be."""
    header, body, signature = unpack(event)
    changed = body.replace(old, new)
    check(changed != body, "the value is in it")
    head = header.replace(H("confmesh event body v1", body),
                          H("confmesh event body v1", changed))
    check(head != header, "the hash is in it")
    if seq > 0:
        fields = unpack(head)
        index = [i for i, f in enumerate(fields) if isinstance(f, bytes) and
                 len(f) == 16][-1] + 1
        fields[index] += seq
        for i, f in enumerate(fields):
            if isinstance(f, bytes) and len(f) == 32 and \
                    f != H("confmesh event body v1", changed):
                fields[i] = H("confmesh event hash v1", header)
        head = pack(fields)
    message = b"confmesh event v1\0" + head
    out = ctypes.create_string_buffer(64)
    sodium.crypto_sign_detached(out, None, message,
                                ctypes.c_ulonglong(len(message)),
                                thief.secret)
    return pack([head, changed, out.raw])


def restore(t, target, name, *flags):
    fresh = t.node(name)
    result = subprocess.run(
        [RESTORE, target, "--data", fresh.data, "--name", name,
         "--authority", t.authority, "--no-passphrase", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        timeout=harness.CLI_TIMEOUT_S)
    return fresh, result


def test_forged_events(t):
    """A delta with an event of alpha's that alpha never wrote: the restore
    says that something was not used, and has what alpha wrote."""
    target, nodes, thief = two_uploaders(t)
    name, snapshot = snapshot_of(target, thief)
    m = snapshot.manifest
    mine = sorted(n for n in names(target, "d") if m.key_id.hex() in n and
                  "%020d-" % m.sequence in n)
    found = None
    for each in mine:
        delta = reader.Delta(reader.Store(target), each, snapshot)
        for event in delta.events:
            if b"honest-value" in event:
                found = event
    check(found is not None, "alpha's event among beta's deltas")
    for number, seq in enumerate((0, 1)):
        event = forge(found, thief, b"honest-value", b"forged-value", seq)
        content = pack(event)
        body = pack([1, bytes.fromhex(name.split("/")[1]), m.hash, m.sequence,
                     delta.number + 1, delta.hash, int(time.time() * 1000),
                     bytes(32), 1,
                     reader.object_hash(snapshot.keys, reader.EVENTS, content),
                     stored(content)])
        path = os.path.join(target, mine[-1][:-10] +
                            "%010d" % (delta.number + 1))
        with open(path, "wb") as file:
            file.write(thief.sign("confmesh delta v1", body))
        fresh, result = restore(t, target, "phoenix%d" % number)
        check(result.returncode in (0, 6), result.stderr)
        if seq == 1:
            check_in(b"not used", result.stderr)
        check_equal(fresh.start().values(), {"k": b"honest-value"})
        fresh.stop()


def forge_snapshot(target, thief, snapshot, old, new):
    """A whole snapshot of the thief's, the newest by its own word, in which
    everybody's values are what he likes."""
    keys, m = snapshot.keys, snapshot.manifest
    entries = [e[:3] + [[s[:7] + [s[7].replace(old, new)] for s in e[3]]]
               for e in snapshot.entries]
    chunk = b"".join(pack(e) for e in entries)
    contents = [(reader.CHUNK, chunk)]
    for kind in (reader.LEAF, reader.ROOT):
        contents.append((kind, pack([reader.object_hash(keys,
                                                        *contents[-1])])))
    data, places = b"cmp1", b""
    for kind, content in contents:
        object_bytes = stored(content, kind)
        data += object_bytes
        places += reader.object_hash(keys, kind, content)
        places += len(object_bytes).to_bytes(4, "big")
    segment = pack([[H("confmesh pack v1", data, keys.places), places]])
    digest = reader.object_hash(keys, reader.SEGMENT, segment)
    fields = unpack(unpack(reader.Store(target).get(m.path))[0])
    fields[5:12] = [m.sequence + 1000, bytes(32),
                    reader.object_hash(keys, *contents[-1]), 1, len(entries),
                    sum(len(e[3]) for e in entries), len(chunk)]
    fields[12] = reader.state_digest(entries, m.vector)
    fields[15], fields[16] = (LATEST_MS << 16) | 0xffff, LATEST_MS
    fields[17] = digest
    top = "v1/%s/" % m.mesh.hex()
    for name, content in (
            (top + "p/" + H("confmesh pack v1", data, keys.places).hex(), data),
            (top + "i/" + digest.hex(), stored(segment, reader.SEGMENT)),
            (m.path[:-20] + "%020d" % fields[5],
             thief.sign("confmesh manifest v1", pack(fields)))):
        with open(os.path.join(target, name), "wb") as file:
            file.write(content)


def test_forged_snapshot(t):
    """A snapshot vouches for what its signer saw, so a stolen key can sign any
    state. Once the thief is evicted, the others' snapshots say so, a restore
    tells it, and passes over what that key has signed."""
    target, nodes, thief = two_uploaders(t)
    _, snapshot = snapshot_of(target, thief)
    if b"honest-value" not in snapshot.values().values():
        nodes[1].start(*flags_of(target))
        check_equal(nodes[1].snapshot_now().returncode, 0)
        nodes[1].stop()
        _, snapshot = snapshot_of(target, thief)
    nodes[0].start(*flags_of(target))
    nodes[0].ok("evict", "beta", "--authority", t.authority)
    alpha = nodes[0].name

    def accused():
        return [x for x in names(target, "m") if thief.key_id() not in x
                and thief.key_id() in reader.Manifest(
                    reader.Store(target).get(x)).evicted.hex()]
    wait_until(accused, "a snapshot that tells of the eviction")
    nodes[0].stop()
    forge_snapshot(target, thief, snapshot, b"honest-value", b"forged-value")
    listed = [json.loads(line) for line in cli(
        "snapshot", "list", target, "--json").stdout.splitlines()]
    check_equal({x["signer"] for x in listed if x.get("evicted_by") == alpha},
                {"beta"})
    for signer in ("beta", thief.key_id()):
        fresh, result = restore(t, target, "phoenix", "--without", signer,
                                "--dry-run")
        check_equal(result.returncode, 0, result.stderr)
    fresh, result = restore(t, target, "phoenix", "--dry-run")
    check_in(b"the key of beta was evicted", result.stderr)
    check_in(b"--without beta", result.stderr)
    fresh, result = restore(t, target, "phoenix", "--without", "beta")
    check_equal(result.returncode, 0, result.stderr)
    check(b"was evicted" not in result.stderr, result.stderr)
    check_equal(fresh.start().values(), {"k": b"honest-value"})
    fresh.stop()
    _, result = restore(t, target, "none", "--without", "beta", "--without",
                        alpha)
    check_equal(result.returncode, 5, result.stderr)
    check_in(b"but those of --without", result.stderr)


def test_no_eviction(t):
    """A hundred manifests of beta's, of the greatest times and numbers: a
    prune keeps alpha's as before, and the newest that is whole."""
    target, nodes, thief = two_uploaders(t)
    name, snapshot = snapshot_of(target, thief)
    alphas = {n for n in names(target, "m") if snapshot.manifest.key_id.hex()
              not in n}
    body, _ = unpack(reader.Store(target).get(name))
    fields = unpack(body)
    for number in range(100):
        fields[5] = 1000000 + number
        fields[6] = bytes(32)
        fields[15] = (LATEST_MS << 16) | 0xffff
        fields[16] = LATEST_MS
        path = os.path.join(target, name[:-20] + "%020d" % fields[5])
        with open(path, "wb") as file:
            file.write(thief.sign("confmesh manifest v1", pack(fields)))
    for _ in range(2):
        result = cli("snapshot", "prune", target, "--json", "--grace", "0s",
                     "--keep-last", "1", "--keep-hourly", "0", "--keep-daily",
                     "0", "--keep-weekly", "0")
        check_equal(result.returncode, 0, result.stderr)
    left = set(names(target, "m"))
    check(alphas and max(alphas) in left, "alpha's newest went")
    check(len(left) < 10, "nothing was pruned: %d" % len(left))
    check_equal(cli("snapshot", "verify", target, max(alphas)).returncode, 0)
    check(json.loads(result.stdout)["kept"] >= 2, result.stdout)


if __name__ == "__main__":
    harness.main(globals())
