#!/usr/bin/env python3
# parallel-safe
"""docs/SNAPSHOT-FORMAT.md tells the truth: a reader that was written from it
alone reads what the programs wrote, and the vectors beside it hold."""
import base64
import os
import shutil
import subprocess

import harness
import snapshot_reader as reader
from harness import check, check_equal, check_in, cli, wait_until

VECTORS = os.path.join(harness.ROOT, "docs", "snapshot-vectors.txt")


def fill(node):
    connection = node.connect()
    for i in range(400):
        connection.put("a/%03d" % i, b"value %d " % i * (i % 40))
    connection.close()
    node.ok("put", "big", "-", stdin=os.urandom(300000))
    node.ok("put", "gone", "x")
    node.ok("del", "gone")
    node.ok("put", "bob", "x")
    node.ok("revoke", "bob")
    node.ok("set", "add", "s", "a", "b", "c", "d")
    node.ok("set", "remove", "s", "b")
    node.ok("set", "revoke", "s", "d")


def read(target, **options):
    store = reader.Store(target)
    names = store.manifests()
    return reader.Snapshot(store, names[-1], **options)


def test_plain(t):
    node = t.mesh()
    fill(node)
    target = t.path("snap")
    node.ok("snapshot", "now", "--to", target)
    s = read(target)
    check_equal(s.values(), node.values())
    check_equal(s.members("s"), ["a", "c"])
    # The chunks end where the document says.
    sizes = [(tuple(e[:3]), len(reader.pack(e))) for e in s.entries]
    check_equal(len(reader.chunk_ends(s.keys, sizes)), s.manifest.chunks)
    # An increment: most of it lies where it lay.
    before = set(reader.Store(target).names("v1"))
    node.ok("put", "a/200", "changed")
    node.ok("snapshot", "now", "--to", target)
    s2 = read(target)
    check_equal(s2.values(), node.values())
    check_equal(s2.manifest.previous, s.manifest.hash)
    check_equal(len(s2.manifest.segments), 64)
    new = set(reader.Store(target).names("v1")) - before
    check_equal(len(new), 3, "a pack, a segment, a manifest")
    size = sum(os.path.getsize(os.path.join(target, n)) for n in new)
    check(size <= 16384 + 20480, "%d bytes for one key" % size)
    # What is damaged is damaged for this reader, too.
    for name in reader.Store(target).names("v1"):
        path = os.path.join(target, name)
        with open(path, "rb") as file:
            good = file.read()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        with open(path, "wb") as file:
            file.write(bad)
        try:
            for manifest in (s.manifest, s2.manifest):
                reader.Snapshot(reader.Store(target), manifest.path)
            raise harness.Failure(name + " was read")
        except (reader.Damaged, ValueError):
            pass
        with open(path, "wb") as file:
            file.write(good)


def test_deltas(t):
    """The events behind a snapshot, of two writers, of every kind: by the
    document alone one comes to the state that the programs have."""
    nodes = t.mesh(2)
    node, target = nodes[0], t.path("snap")
    fill(node)
    node.stop()
    node.start("--snapshot-to", target, "--snapshot-interval", "1h",
               "--snapshot-delta", "200ms", "--snapshot-drill", "never")
    # The first one, with which its chain begins, it takes by itself.
    wait_until(lambda: node.live()["snapshot"]["sequence"] > 0, "a snapshot")
    t.converged(nodes)
    third = t.join(node, "gamma")
    nodes.append(third)
    for each, tag in zip(nodes, "xyz"):
        each.ok("put", "d/" + tag, tag)
        each.ok("put", "d/flags", tag, "--flags", "9")
        each.ok("set", "add", "t", tag, "out")
        each.ok("put", "d/gone/" + tag, tag)
        each.ok("put", "d/user/" + tag, tag)
        t.converged(nodes)
    third.ok("set", "remove", "t", "x")
    third.ok("set", "revoke", "t", "out")
    third.ok("del", "d/gone/x")
    third.ok("revoke", "d/user/x")
    third.ok("revoke", "d/user/y", "--reason", "she left")
    third.ok("put", "d/user/x", "back", "--unrevoke")
    t.converged(nodes)
    node.wait_uploaded()
    store = reader.Store(target)
    (name,) = store.manifests()
    state = reader.read_with_deltas(store, name)
    check_equal(reader.values_of(state.entries()), node.values())
    check_equal(reader.members_of(state.entries(), "t"), node.set_members("t"))
    check_equal(reader.members_of(state.entries(), "t"), ["y", "z"])
    check(state.number >= 3, "%d deltas" % state.number)
    check(state.compared >= 1, "no digest was compared")
    harness.note("%d of %d states compared" % (state.compared, state.number))
    m = state.manifest
    heart = reader.Heartbeat(store.get("v1/%s/h/%s" % (
        m.mesh.hex(), m.key_id.hex())), m.key)
    check_equal((heart.base, heart.sequence), (m.hash, m.sequence))
    check(heart.number <= state.number, "a heartbeat of more than there is")


def key_pair(path):
    """Out of a key file without a passphrase: public, libsodium's secret."""
    with open(path, encoding="ascii") as file:
        text = file.read().strip()
    public, mode, _salt, _nonce, seed = reader.unpack(
        base64.b64decode(text.rpartition(":")[2]))
    check_equal(mode, 0)
    return public, seed + public


def test_encrypted(t):
    """Only a recipient reads it; nothing of it shows at the target or in the
    process's arguments."""
    key = t.path("recovery.key")
    public = cli("recovery-key", "new", key, "--no-passphrase")
    check_equal(public.returncode, 0, public.stderr)
    text = public.stdout.decode().strip()
    check_equal(os.stat(key).st_mode & 0o777, 0o600)
    check_equal(cli("recovery-key", "new", key, "--no-passphrase").returncode,
                2, "never overwritten")
    target = t.path("snap")
    node = t.init()
    flags = ["--snapshot-to", target, "--snapshot-interval", "1h",
             "--snapshot-delta", "never",
             "--snapshot-recipient", text, "--snapshot-recipient",
             "authority"]
    node.start(*flags)
    fill(node)
    secret = "a value that nobody must see " * 8
    node.ok("put", "secret", secret)
    node.ok("snapshot", "now")
    s = read(target, recovery=key_pair(key))
    check_equal(s.values(), node.values())
    check(s.keys.encrypted, "encrypted")
    first = set(reader.Store(target).names("v1"))
    node.ok("put", "secret", secret + "2")
    node.stop()
    node.start(*flags)
    node.ok("snapshot", "now")
    new = set(reader.Store(target).names("v1")) - first
    check_equal(len(new), 3, "the data key stays: %r" % new)
    for name in reader.Store(target).names("v1"):
        with open(os.path.join(target, name), "rb") as file:
            check(secret.encode()[:40] not in file.read(), name)
    with open(os.path.join(node.data, "snapshot.key"), "rb") as file:
        data_key = file.read()[:32]
    check_equal(os.stat(os.path.join(node.data, "snapshot.key")).st_mode
                & 0o777, 0o600)
    with open("/proc/%d/cmdline" % node.pid, "rb") as file:
        check(data_key.hex().encode() not in file.read(), "in the arguments")
    values = node.values()
    # Without a key: what is stored is checked, the content cannot be.
    check_equal(cli("snapshot", "verify", target).returncode, 0)
    node.kill()
    shutil.rmtree(node.data)

    def restore(name, *flags):
        fresh = t.node(name)
        result = subprocess.run(
            [harness.RESTORE, target, "--data", fresh.data, "--name", name,
             "--no-passphrase", *flags], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, check=False, timeout=60)
        return fresh, result

    other = t.path("other.key")
    check_equal(cli("recovery-key", "new", other,
                    "--no-passphrase").returncode, 0)
    fresh, result = restore("none", "--new-authority", t.path("new.key"))
    check_equal(result.returncode, 4, result.stderr)
    check_in(b"--recovery-key", result.stderr)
    check(not os.path.exists(fresh.data), "nothing made")
    _, result = restore("wrong", "--authority", t.authority,
                        "--recovery-key", other)
    check_equal(result.returncode, 4, result.stderr)
    fresh, result = restore("byauthority", "--authority", t.authority)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(fresh.start().values(), values)
    fresh.stop()
    fresh, result = restore("bykey", "--new-authority", t.path("new.key"),
                            "--recovery-key", key)
    check_equal(result.returncode, 0, result.stderr)
    check_equal(fresh.start().values(), values)


def test_vectors(t):
    """Every line of the vectors, by the document's own formulas."""
    del t
    with open(VECTORS, encoding="ascii") as file:
        v = {name.strip(): bytes.fromhex(value.strip()) for name, _, value in
             (line.partition("=") for line in file if "=" in line)}
    mesh = reader.blake(b"confmesh mesh id v1\0" + v["authority"], size=16)
    check_equal(mesh, v["mesh"])
    for name, keys in (("plain", reader.Keys(mesh)),
                       ("sealed", reader.Keys(mesh, v["data-key"]))):
        check_equal(keys.names, v[name + "-names"])
        check_equal(keys.boundaries, v[name + "-boundaries"])
        for kind in (1, 2, 3, 5):
            content = v["content-%d" % kind]
            expected = v["%s-hash-%d" % (name, kind)]
            check_equal(reader.object_hash(keys, kind, content), expected)
            check_equal(reader.decode_object(
                keys, kind, expected, v["%s-object-%d" % (name, kind)]),
                content)
    keys = reader.Keys(mesh)
    check_equal(reader.H("confmesh pack v1", v["pack"], keys.places),
                v["pack-hash"])
    content = reader.decode_object(keys, 4, v["segment-hash"],
                                   v["segment-object"])
    check_equal(content, v["segment"])
    (pack_hash, places), = reader.unpack(content)
    check_equal(pack_hash, v["pack-hash"])
    at = 4
    for k, kind in zip(range(0, len(places), 36), (1, 2, 3)):
        size = int.from_bytes(places[k + 32:k + 36], "big")
        check_equal(v["pack"][at:at + size], v["plain-object-%d" % kind])
        at += size
    check_equal(at, len(v["pack"]))
    check_signed_vectors(v)


class Vectors:
    """The vectors as a target and as a snapshot."""

    def __init__(self, v):
        self.v = v
        self.manifest = reader.Manifest(v["manifest"], v["authority"])
        self.keys = reader.Keys(v["mesh"])
        content, self.entries = reader.Unpacker(v["content-1"]), []
        while content.at < len(content.data):
            self.entries.append(content.next())

    def get(self, name):
        check_equal(name.split("/")[2], "d")
        return self.v["delta"]


def check_signed_vectors(v):
    """Manifest, event, delta and heartbeat; and the state after them."""
    vectors = Vectors(v)
    m = vectors.manifest
    check_equal(m.hash, v["manifest-hash"])
    check_equal([m.certificate, m.order], [v["certificate"], v["order"]])
    check_equal(m.root, v["plain-hash-3"])
    check_equal(m.digest, reader.state_digest(vectors.entries, m.vector))
    delta = reader.Delta(vectors, "v1/%s/d/%s/%020d-%010d" % (
        m.mesh.hex(), m.key_id.hex(), 1, 1), vectors)
    check_equal(delta.events, [v["event"]])
    state = reader.State(vectors)
    state.take(delta)
    check_equal(state.compared, 1)
    (vector,) = state.vector.values()
    check_equal(vector, (100001, v["event-hash"]))
    check_equal(reader.values_of(state.entries())["config/vector"],
                b"of an event")
    heart = reader.Heartbeat(v["heartbeat"], m.key)
    check_equal((heart.base, heart.sequence, heart.number, heart.last),
                (m.hash, 1, 1, delta.hash))


if __name__ == "__main__":
    harness.main(globals())
