"""A second reader of snapshots, written from docs/SNAPSHOT-FORMAT.md alone:
it shares no code with the programs. msgpack, BLAKE2b and the index are
Python; Ed25519, SipHash, ChaCha20, the AEAD and zstd are called in their
libraries."""
import ctypes
import hashlib
import operator
import os
import struct

_sodium = ctypes.CDLL("libsodium.so.23")
_zstd = ctypes.CDLL("libzstd.so.1")
_zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
_zstd.ZSTD_decompress.restype = ctypes.c_size_t
for _name in ("ZSTD_getFrameContentSize", "ZSTD_decompress"):
    getattr(_zstd, _name).argtypes = {
        "ZSTD_getFrameContentSize": [ctypes.c_char_p, ctypes.c_size_t],
        "ZSTD_decompress": [ctypes.c_char_p, ctypes.c_size_t,
                            ctypes.c_char_p, ctypes.c_size_t]}[_name]
_LEN = ctypes.c_ulonglong


class Damaged(Exception):
    """Something is not what the document says."""


def need(condition, text):
    if not condition:
        raise Damaged(text)


# ---- hashes ----

def blake(data, key=b"", size=32):
    return hashlib.blake2b(data, digest_size=size, key=key).digest()


def H(domain, data, key=b""):
    return blake(domain.encode() + b"\0" + data, key)


def siphash(data):
    out = ctypes.create_string_buffer(8)
    _sodium.crypto_shorthash(out, data, _LEN(len(data)),
                             b"confmesh record\0")
    return out.raw


def verify(signature, domain, body, key):
    message = domain.encode() + b"\0" + body
    need(_sodium.crypto_sign_verify_detached(
        signature, message, _LEN(len(message)), key) == 0,
        "a signature under '%s'" % domain)


# ---- canonical msgpack ----

class Unpacker:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        need(self.at + size <= len(self.data), "the end comes too early")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, size, least):
        value = int.from_bytes(self.take(size), "big")
        need(value >= least, "not the shortest form")
        return value

    def next(self):
        tag = self.take(1)[0]
        if tag < 0x80:
            return tag
        if 0x90 <= tag < 0xa0:
            return [self.next() for _ in range(tag & 15)]
        if 0xa0 <= tag < 0xc0:
            return self.take(tag & 31).decode()
        sized = {0xc4: (1, 0, "bin"), 0xc5: (2, 256, "bin"),
                 0xc6: (4, 65536, "bin"), 0xcc: (1, 128, "uint"),
                 0xcd: (2, 256, "uint"), 0xce: (4, 65536, "uint"),
                 0xcf: (8, 1 << 32, "uint"), 0xd9: (1, 32, "str"),
                 0xda: (2, 256, "str"), 0xdb: (4, 65536, "str"),
                 0xdc: (2, 16, "array"), 0xdd: (4, 65536, "array")}
        need(tag in sized, "type %02x" % tag)
        size, least, kind = sized[tag]
        value = self.number(size, least)
        if kind == "bin":
            return self.take(value)
        if kind == "str":
            return self.take(value).decode()
        if kind == "array":
            return [self.next() for _ in range(value)]
        return value


def unpack(data):
    u = Unpacker(data)
    ret = u.next()
    need(u.at == len(data), "something follows")
    return ret


def pack(value):
    if isinstance(value, int):
        if value < 128:
            return bytes([value])
        for tag, size in ((0xcc, 1), (0xcd, 2), (0xce, 4), (0xcf, 8)):
            if value < 1 << (8 * size):
                return bytes([tag]) + value.to_bytes(size, "big")
    if isinstance(value, bytes):
        for tag, size in ((0xc4, 1), (0xc5, 2), (0xc6, 4)):
            if len(value) < 1 << (8 * size):
                return bytes([tag]) + len(value).to_bytes(size, "big") + value
    if isinstance(value, list):
        if len(value) < 16:
            head = bytes([0x90 | len(value)])
        elif len(value) < 65536:
            head = b"\xdc" + len(value).to_bytes(2, "big")
        else:
            head = b"\xdd" + len(value).to_bytes(4, "big")
        return head + b"".join(pack(v) for v in value)
    raise TypeError(value)


# ---- keys and objects ----

class Keys:
    def __init__(self, mesh, data_key=b""):
        self.places = H("confmesh snapshot names v1", mesh)
        self.names = H("confmesh snapshot names v1", mesh, data_key)
        self.boundaries = H("confmesh snapshot boundaries v1", mesh, data_key)
        self.encrypted = bool(data_key)
        if data_key:
            self.encryption = H("confmesh snapshot encryption v1", mesh,
                                data_key)
            self.nonces = H("confmesh snapshot nonces v1", mesh, data_key)


DOMAINS = {1: "confmesh chunk v1", 2: "confmesh index leaf v1",
           3: "confmesh index root v1", 4: "confmesh segment v1",
           5: "confmesh events v1"}
CHUNK, LEAF, ROOT, SEGMENT, EVENTS = 1, 2, 3, 4, 5


def object_hash(keys, kind, content):
    return H(DOMAINS[kind], content,
             keys.places if kind == SEGMENT else keys.names)


def unzstd(frame, size):
    need(_zstd.ZSTD_getFrameContentSize(frame, len(frame)) == size,
         "the frame declares another size")
    out = ctypes.create_string_buffer(max(size, 1))
    need(_zstd.ZSTD_decompress(out, size, frame, len(frame)) == size,
         "the frame does not decompress")
    return out.raw[:size]


def decode_object(keys, kind, expected, stored):
    sealed = keys.encrypted and kind != SEGMENT
    header, size = stored[:9], int.from_bytes(stored[5:9], "big")
    need(stored[:4] == (b"cme1" if sealed else b"cmo1"), "magic")
    need(stored[4] == kind, "kind")
    if sealed:
        nonce, text = stored[9:33], stored[33:]
        need(len(text) > 16, "an encrypted object is short")
        frame = ctypes.create_string_buffer(len(text))
        length = _LEN(0)
        need(_sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            frame, ctypes.byref(length), None, text, _LEN(len(text)),
            header + expected, _LEN(41), nonce, keys.encryption) == 0,
            "it does not decrypt")
        frame = frame.raw[:length.value]
        need(blake(bytes([kind]) + frame, keys.nonces, 24) == nonce, "nonce")
    else:
        frame = stored[17:]
        need(siphash(siphash(header) + siphash(frame)) == stored[9:17],
             "checksum")
    content = unzstd(frame, size)
    need(object_hash(keys, kind, content) == expected, "an object's hash")
    return content


# ---- certificate, sealed keys, manifest ----

def check_certificate(data, authority, mesh, issuer=False):
    body, signature = unpack(data)
    (form, its_mesh, key, _box, name, roles, _prefixes, _from, _until,
     above) = unpack(body)
    need(form == 1 and its_mesh == mesh, "certificate of another mesh")
    need(not (issuer and above), "a chain of three")
    by = check_certificate(above, authority, mesh, True)[0] if above \
        else authority
    verify(signature, "confmesh certificate v1", body, by)
    need(roles & (4 if issuer else 1), "role of a certificate")
    return key, name


def open_sealed(sealed, mesh, public, secret):
    """D, for an Ed25519 key pair that is a recipient."""
    key_id, boxes = unpack(sealed)
    box_public = ctypes.create_string_buffer(32)
    box_secret = ctypes.create_string_buffer(32)
    data_key = ctypes.create_string_buffer(32)
    _sodium.crypto_sign_ed25519_pk_to_curve25519(box_public, public)
    _sodium.crypto_sign_ed25519_sk_to_curve25519(box_secret, secret)
    for recipient, box in boxes:
        if recipient == public:
            need(_sodium.crypto_box_seal_open(
                data_key, box, _LEN(len(box)), box_public, box_secret) == 0,
                "the sealed key")
            need(H("confmesh snapshot key id v1", mesh,
                   data_key.raw)[:16] == key_id, "the key's id")
            return data_key.raw
    raise Damaged("sealed for others")


class Manifest:
    FIELDS = ("format mesh authority order certificate sequence previous root "
              "chunks entries siblings bytes digest vector standing hlc "
              "created segments sealed evicted").split()

    def __init__(self, data, authority=None):
        body, signature = unpack(data)
        fields = unpack(body)
        if fields[0] == 1:
            fields.append(b"")
        elif fields[0] == 2:
            need(fields[-1] and len(fields[-1]) % 16 == 0, "evicted keys")
        need(fields[0] in (1, 2) and len(fields) == len(self.FIELDS),
             "format")
        for name, value in zip(self.FIELDS, fields):
            setattr(self, name, value)
        self.hash = H("confmesh manifest v1", data)
        need(authority in (None, self.authority), "another authority")
        need(blake(b"confmesh mesh id v1\0" + self.authority, size=16)
             == self.mesh, "mesh id")
        key, self.name = check_certificate(self.certificate, self.authority,
                                           self.mesh)
        self.key = key
        verify(signature, "confmesh manifest v1", body, key)
        order, by = unpack(self.order)
        verify(by, "confmesh generation order v1", order, self.authority)
        self.key_id = blake(b"confmesh key id v1\0" + key, size=16)
        self.path = "v1/%s/m/%s/%020d" % (self.mesh.hex(), self.key_id.hex(),
                                          self.sequence)


# ---- a whole snapshot ----

class Store:
    """A directory: the target file:DIR."""

    def __init__(self, path):
        self.path = path

    def get(self, name):
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                return file.read()
        except FileNotFoundError as error:
            raise Damaged("%s is missing" % name) from error

    def names(self, prefix):
        return sorted(os.path.relpath(os.path.join(d, f), self.path)
                      for d, _, files in os.walk(os.path.join(self.path,
                                                              prefix))
                      for f in files if not f.startswith("."))

    def manifests(self):
        return [n for n in self.names("v1") if "/m/" in n]


def state_digest(entries, vector):
    lanes = [0] * 1024
    for entry in entries:
        for sibling in entry[3]:
            key = blake(b"confmesh sibling v1\0"
                        + pack(entry[:3] + [sibling]))
            stream = ctypes.create_string_buffer(2048)
            _sodium.crypto_stream_chacha20(stream, _LEN(2048), b"\0" * 8, key)
            lanes = list(map(operator.add, lanes,
                             struct.unpack("<1024H", stream.raw)))
    data = b"".join((lane & 0xffff).to_bytes(2, "little") for lane in lanes)
    return H("confmesh digest v1",
             data + H("confmesh version vector v1", pack(vector)))


def values_of(entries):
    """What registers show; nothing of it expires."""
    ret = {}
    for space, key, _element, siblings in entries:
        if space != 1 or any(s[0] == 3 for s in siblings):
            continue
        winner = max(siblings, key=lambda s: (s[3], s[1], s[2]))
        if winner[0] == 1:
            ret[key.decode()] = winner[7]
    return ret


def members_of(entries, name):
    return sorted(e[2].decode() for e in entries
                  if e[0] == 2 and e[1] == name.encode()
                  and any(s[0] == 4 for s in e[3])
                  and not any(s[0] == 3 for s in e[3]))


class Snapshot:
    def __init__(self, store, name, authority=None, recovery=None):
        self.store = store
        self.manifest = m = Manifest(store.get(name), authority)
        need(m.path == name, "a manifest under another name")
        self.keys = Keys(m.mesh, open_sealed(m.sealed, m.mesh, *recovery)
                         if m.sealed else b"")
        self.places, self.packs = {}, {}
        for at in range(0, len(m.segments), 32):
            self._segment(m.segments[at:at + 32])
        self.entries = list(self._entries())
        self._check()

    def _segment(self, digest):
        content = decode_object(
            self.keys, SEGMENT, digest,
            self.store.get("v1/%s/i/%s" % (self.manifest.mesh.hex(),
                                           digest.hex())))
        for pack_hash, places in unpack(content):
            at = 4
            for k in range(0, len(places), 36):
                size = int.from_bytes(places[k + 32:k + 36], "big")
                self.places[places[k:k + 32]] = (pack_hash, at, size)
                at += size

    def _pack(self, digest):
        if digest not in self.packs:
            data = self.store.get("v1/%s/p/%s" % (self.manifest.mesh.hex(),
                                                  digest.hex()))
            need(data[:4] == b"cmp1", "a pack's magic")
            need(H("confmesh pack v1", data, self.keys.places) == digest,
                 "a pack's hash")
            self.packs[digest] = data
        return self.packs[digest]

    def _object(self, kind, digest):
        need(digest in self.places, "an object that no segment places")
        pack_hash, at, size = self.places[digest]
        return decode_object(self.keys, kind, digest,
                             self._pack(pack_hash)[at:at + size])

    def _entries(self):
        m, last = self.manifest, None
        leaves = unpack(self._object(ROOT, m.root))
        chunks = [c for leaf in leaves
                  for c in unpack(self._object(LEAF, leaf))]
        need(len(chunks) == m.chunks, "number of chunks")
        self.chunk_sizes, total = [], 0
        for chunk in chunks:
            content = self._object(CHUNK, chunk)
            total += len(content)
            self.chunk_sizes.append(len(content))
            u = Unpacker(content)
            while u.at < len(content):
                entry = u.next()
                need(last is None or last < tuple(entry[:3]), "order")
                last = tuple(entry[:3])
                yield entry
        need(total == m.bytes, "number of bytes")

    def _check(self):
        m = self.manifest
        seen = {i: seq for i, seq, _ in m.vector}
        siblings = [s for e in self.entries for s in e[3]]
        need(len(self.entries) == m.entries, "number of entries")
        need(len(siblings) == m.siblings, "number of siblings")
        need(all(s[2] <= seen[s[1]] and s[3] <= m.hlc for s in siblings),
             "a sibling beyond the vector or the clock")
        need(state_digest(self.entries, m.vector) == m.digest, "state digest")

    def values(self):
        return values_of(self.entries)

    def members(self, name):
        return members_of(self.entries, name)


def chunk_ends(keys, ids_and_sizes):
    """The number of entries in each chunk, as the document has it."""
    ret, filled, count = [], 0, 0
    for (space, key, element), size in ids_and_sizes:
        if filled and filled + size > 131072:
            ret.append(count)
            filled = count = 0
        filled, count = filled + size, count + 1
        ends = filled >= 131072
        if not ends and filled >= 4096:
            per = 16384 if filled < 12288 else 2048
            h = blake(bytes([space]) + len(key).to_bytes(8, "big") + key
                      + element, keys.boundaries, 16)
            ends = size >= per or int.from_bytes(h[:4], "big") < \
                size * ((1 << 32) // per)
        if ends:
            ret.append(count)
            filled = count = 0
    return ret + ([count] if count else [])


class Delta:
    """The events since a snapshot, or since the delta before."""

    def __init__(self, store, name, snapshot):
        data = store.get(name)
        m = snapshot.manifest
        body, signature = unpack(data)
        verify(signature, "confmesh delta v1", body, m.key)
        (form, mesh, base, sequence, self.number, self.previous, self.created,
         self.digest, count, events, stored) = unpack(body)
        need(form == 1 and mesh == m.mesh, "a delta of another mesh")
        need(base == m.hash and sequence == m.sequence, "another manifest")
        need(name == "v1/%s/d/%s/%020d-%010d" % (
            mesh.hex(), m.key_id.hex(), sequence, self.number), "name")
        self.hash, self.size = H("confmesh delta v1", data), len(data)
        content = decode_object(snapshot.keys, EVENTS, events, stored)
        u, self.events = Unpacker(content), []
        while u.at < len(content):
            self.events.append(u.next())
        need(len(self.events) == count, "number of events")


# ---- events ----

# Of each kind: space, the fields behind the first four, the sibling's kind.
KINDS = {1: (1, "value flags expires", 1), 2: (1, "", 2), 3: (1, "", 3),
         4: (2, "element expires", 4), 5: (2, "element", None),
         6: (2, "element", 3), 7: (3, "value", 5), 11: (1, "value", 3),
         12: (2, "element value", 3), 13: (3, "value level", 5)}


class State:
    """A snapshot's state, carried on by the events of its deltas."""

    def __init__(self, snapshot):
        self.manifest = m = snapshot.manifest
        self.siblings = {tuple(e[:3]): list(e[3]) for e in snapshot.entries}
        self.vector = {i: (seq, head) for i, seq, head in m.vector}
        order = unpack(unpack(m.order)[0])
        self.generation = [order[2], H("confmesh generation v1", m.order)[:16]]
        self.founder = (order[4], order[5])
        self.last, self.number = m.hash, 0
        self.whole = True  # no standing has changed: the digest can be told
        self.compared = 0

    def entries(self):
        return [list(i) + [self.siblings[i]] for i in sorted(self.siblings)
                if self.siblings[i]]

    def _certificate(self, incarnation):
        """Key and prefixes of who wrote under that name."""
        entry = self.siblings.get((3, incarnation, b""))
        need(entry or incarnation == self.founder[0], "an unknown member")
        data = entry[0][7] if entry else self.founder[1]
        key, _ = check_certificate(data, self.manifest.authority,
                                   self.manifest.mesh)
        return key, unpack(unpack(data)[0])[6]

    def apply(self, event):
        header, body, signature = unpack(event)
        (form, mesh, number, generation, incarnation, seq, hlc, deps, previous,
         body_hash) = unpack(header)
        need(form == 1 and mesh == self.manifest.mesh
             and [number, generation] == self.generation, "another mesh's")
        need(H("confmesh event body v1", body) == body_hash, "an event's body")
        key, prefixes = self._certificate(incarnation)
        verify(signature, "confmesh event v1", header, key)
        before, head = self.vector.get(incarnation, (0, bytes(32)))
        if seq <= before:
            return
        need(seq == before + 1 and previous == head, "an event's turn")
        need(all(self.vector.get(i, (0,))[0] >= s for i, s in deps),
             "what an event depends on")
        operations = unpack(body)
        if all(o[0] in KINDS and (KINDS[o[0]][0] > 2 or any(
                o[1].startswith(p.encode()) for p in prefixes))
               for o in operations):
            for operation in operations:
                self._operate(operation, [incarnation, seq, hlc])
        else:  # fences, acknowledgements: or void
            self.whole = self.whole and all(o[0] in KINDS for o in operations)
        self.vector[incarnation] = (seq, H("confmesh event hash v1", header))

    def _operate(self, operation, dot):
        kind, key, author, supersedes = operation[:4]
        space, fields, makes = KINDS[kind]
        f = dict(zip(fields.split(), operation[4:]))
        need(len(operation) == 4 + len(f) == 4 + len(fields.split()), "fields")
        place = (space, key, f.get("element", b""))
        kept = [s for s in self.siblings.get(place, [])
                if s[1:3] not in supersedes]
        if makes:
            kept.append([makes] + dot + [f.get("flags", 0),
                                         f.get("expires", 0), author,
                                         f.get("value", b"")])
        self.siblings[place] = sorted(kept, key=lambda s: s[1:3])

    def take(self, delta):
        need(delta.number == self.number + 1
             and delta.previous == self.last, "the chain")
        for event in delta.events:
            self.apply(event)
        self.last, self.number = delta.hash, delta.number
        if self.whole and any(delta.digest):
            need(state_digest(self.entries(), [
                [i, *self.vector[i]] for i in sorted(self.vector)])
                == delta.digest, "the state after a delta")
            self.compared += 1


def read_with_deltas(store, name, **options):
    """The state of a manifest and of the deltas behind it."""
    snapshot = Snapshot(store, name, **options)
    state, m = State(snapshot), snapshot.manifest
    while True:
        name = "v1/%s/d/%s/%020d-%010d" % (m.mesh.hex(), m.key_id.hex(),
                                           m.sequence, state.number + 1)
        if not os.path.exists(os.path.join(store.path, name)):
            return state
        state.take(Delta(store, name, snapshot))


class Heartbeat:
    def __init__(self, data, key):
        body, signature = unpack(data)
        verify(signature, "confmesh heartbeat v1", body, key)
        (form, self.mesh, self.base, self.sequence, self.number, self.last,
         self.created) = unpack(body)
        need(form == 1 and len(data) <= 1024, "a heartbeat")
