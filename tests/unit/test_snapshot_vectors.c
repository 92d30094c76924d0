/* Goal: the vectors beside docs/SNAPSHOT-FORMAT.md are what this release
 * computes, so that a change of the format cannot pass unnoticed. Method: keys,
 * hashes and places are computed again and compared; stored objects, which may
 * compress otherwise in another release of zstd, are decoded. With
 * VECTORS_WRITE=FILE the vectors are written instead. */
#include "tests/unit/snapshot_fixture.h"

#include "backup/delta.h"
#include "crdt/digest.h"
#include "crdt/event.h"

#define LINES_MAX 64

struct line {
    char name[32];
    uint8_t *data;
    size_t size;
};
static struct line lines[LINES_MAX];
static size_t lines_count;
static FILE *written;

static const char *const path = "docs/snapshot-vectors.txt";

static void load(void)
{
    static char text[65536];
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return; /* every line is missed then */
    while (fgets(text, sizeof text, file) != NULL) {
        char *equals = strstr(text, " = ");
        struct line *l = &lines[lines_count];

        if (equals == NULL)
            continue;
        text[strcspn(text, "\n")] = '\0';
        *equals = '\0';
        assert_true(lines_count++ < LINES_MAX);
        (void)snprintf(l->name, sizeof l->name, "%.31s", text);
        l->size = strlen(equals + 3) / 2;
        l->data = malloc(l->size + 1);
        assert_non_null(l->data);
        assert_int_equal(hex_decode(l->data, l->size, equals + 3), 0);
    }
    (void)fclose(file);
}

static struct slice vector(const char *name)
{
    size_t i;

    for (i = 0; i < lines_count; i++)
        if (strcmp(lines[i].name, name) == 0)
            return slice_of(lines[i].data, lines[i].size);
    fail_msg("%s has no %s", path, name);
    return slice_of(NULL, 0);
}

static void expect(const char *name, struct slice bytes)
{
    if (written != NULL) {
        char *text = malloc(2 * bytes.size + 1);

        assert_non_null(text);
        hex_encode(text, bytes);
        (void)fprintf(written, "%s = %s\n", name, text);
        free(text);
    } else if (!slice_equal(vector(name), bytes)) {
        fail_msg("%s of %s is not what is computed", name, path);
    }
}

static void expect_numbered(const char *prefix, const char *what, int number,
                            struct slice bytes)
{
    char name[32];

    (void)snprintf(name, sizeof name, "%s%s-%d", prefix, what, number);
    expect(name, bytes);
}

/* Compared by what it holds. */
static void expect_object(const char *name, const struct snapshot_keys *keys,
                          enum snapshot_object_kind kind, struct slice content)
{
    struct hash hash = snapshot_object_hash(keys, kind, content);
    struct buffer out;

    buffer_init(&out, SNAPSHOT_OBJECT_MAX);
    if (written != NULL) {
        assert_int_equal(snapshot_object_encode(&out, keys, kind, content), 0);
        expect(name, buffer_slice(&out));
    } else {
        assert_int_equal(
            snapshot_object_decode(&out, keys, kind, &hash, vector(name), NULL),
            0);
        assert_true(slice_equal(buffer_slice(&out), content));
    }
    buffer_release(&out);
}

/* The contents of the three kinds of a snapshot with three keys. */
static void make_contents(struct buffer contents[6])
{
    static const enum snapshot_object_kind kinds[] = {
        SNAPSHOT_CHUNK, SNAPSHOT_LEAF, SNAPSHOT_ROOT};
    struct fixture_snapshot *s = calloc(1, sizeof *s);
    struct fixture_entry *entries = fixture_entries(3);
    struct fixture_mesh mesh;
    struct snapshot_keys keys;
    size_t i;

    assert_non_null(s);
    fixture_mesh_make(&mesh, 1);
    assert_int_equal(fixture_take(s, &mesh, entries, 3), 0);
    snapshot_keys_derive(&keys, &mesh.mesh);
    assert_int_equal(s->count, 3);
    for (i = 0; i < 3; i++) {
        struct hash hash;

        assert_int_equal(s->objects[i].kind, kinds[i]);
        assert_int_equal(hex_decode(hash.bytes, HASH_SIZE,
                                    strrchr(s->objects[i].name, '/') + 1),
                         0);
        assert_int_equal(snapshot_object_decode(
                             &contents[kinds[i]], &keys, kinds[i], &hash,
                             slice_of(s->objects[i].data, s->objects[i].size),
                             NULL),
                         0);
    }
    buffer_append_string(&contents[SNAPSHOT_EVENTS], "events of a delta");
    expect("authority", slice_of(mesh.authority.public_key, 32));
    expect("mesh", slice_of(mesh.mesh.bytes, MESH_ID_SIZE));
    fixture_snapshot_release(s);
    fixture_mesh_release(&mesh);
    free(s);
    free(entries);
}

static void expect_keyed(const char *name, const struct snapshot_keys *keys,
                         struct buffer contents[6])
{
    static const enum snapshot_object_kind kinds[] = {
        SNAPSHOT_CHUNK, SNAPSHOT_LEAF, SNAPSHOT_ROOT, SNAPSHOT_EVENTS};
    char text[32];
    size_t i;

    (void)snprintf(text, sizeof text, "%s-names", name);
    expect(text, slice_of(keys->names, 32));
    (void)snprintf(text, sizeof text, "%s-boundaries", name);
    expect(text, slice_of(keys->boundaries, 32));
    for (i = 0; i < 4; i++) {
        struct slice content = buffer_slice(&contents[kinds[i]]);
        struct hash hash = snapshot_object_hash(keys, kinds[i], content);

        expect_numbered(name, "-hash", (int)kinds[i],
                        slice_of(hash.bytes, HASH_SIZE));
        (void)snprintf(text, sizeof text, "%s-object-%d", name, (int)kinds[i]);
        expect_object(text, keys, kinds[i], content);
    }
}

/* The three plain objects in a pack, as they are stored in the vectors. */
static void expect_pack(const struct snapshot_keys *keys,
                        struct buffer contents[6])
{
    struct snapshot_map map = {0};
    struct buffer objects;
    struct buffer pack;
    struct buffer segment;
    struct hash hash;
    size_t sizes[6] = {0};
    int kind;

    buffer_init(&objects, SNAPSHOT_OBJECT_MAX);
    buffer_init(&pack, SNAPSHOT_PACK_MAX);
    buffer_init(&segment, SNAPSHOT_CHUNK_MAX);
    snapshot_pack_begin(&pack);
    for (kind = 1; kind <= 3; kind++) {
        char name[32];

        (void)snprintf(name, sizeof name, "plain-object-%d", kind);
        if (written != NULL) {
            size_t before = objects.size;

            assert_int_equal(
                snapshot_object_encode(&objects, keys,
                                       (enum snapshot_object_kind)kind,
                                       buffer_slice(&contents[kind])),
                0);
            sizes[kind] = objects.size - before;
            buffer_append(&pack, objects.data + before, sizes[kind]);
        } else {
            sizes[kind] = vector(name).size;
            buffer_append_slice(&pack, vector(name));
        }
    }
    hash = snapshot_pack_hash(keys, buffer_slice(&pack));
    expect("pack", buffer_slice(&pack));
    expect("pack-hash", slice_of(hash.bytes, HASH_SIZE));
    assert_int_equal(snapshot_map_add_pack(&map, &hash), 0);
    for (kind = 1; kind <= 3; kind++) {
        hash = snapshot_object_hash(keys, (enum snapshot_object_kind)kind,
                                    buffer_slice(&contents[kind]));
        assert_int_equal(snapshot_map_add(&map, &hash, sizes[kind]), 0);
    }
    assert_int_equal(snapshot_map_encode(&segment, &map), 0);
    hash = snapshot_object_hash(keys, SNAPSHOT_SEGMENT, buffer_slice(&segment));
    expect("segment", buffer_slice(&segment));
    expect("segment-hash", slice_of(hash.bytes, HASH_SIZE));
    expect_object("segment-object", keys, SNAPSHOT_SEGMENT,
                  buffer_slice(&segment));
    snapshot_map_release(&map);
    buffer_release(&objects);
    buffer_release(&pack);
    buffer_release(&segment);
}

/* One more value than the snapshot has, written by its signer. */
static void make_event(struct buffer *out, const struct fixture_mesh *mesh,
                       struct digest *digest, struct hash *ret_hash)
{
    struct event_draft draft = {
        .mesh = mesh->mesh,
        .generation = generation_id_of(1, buffer_slice(&mesh->order)),
        .dot = {.incarnation = mesh->incarnation, .seq = 100001},
        .hlc = hlc_make(1800000000001, 2),
        .previous = {{1}},
        .ops_count = 1,
    };
    struct op op = {.kind = OP_PUT,
                    .key = slice_of_string("config/vector"),
                    .author = slice_of_string("ann"),
                    .value = slice_of_string("of an event"),
                    .flags = 300};
    struct sibling sibling = {.kind = SIBLING_PUT,
                              .dot = draft.dot,
                              .hlc = draft.hlc,
                              .flags = op.flags,
                              .author = op.author,
                              .value = op.value};
    struct entry_id id = op_entry_id(&op);
    struct buffer body;

    buffer_init(&body, EVENT_SIZE_MAX);
    event_body_add(&body, &op);
    draft.body = buffer_slice(&body);
    assert_int_equal(event_encode(out, &draft, mesh->sign_secret_key, ret_hash),
                     0);
    digest_add(digest, &id, &sibling);
    buffer_release(&body);
}

/* The sum over what fixture_add adds. */
static void add_entries(struct digest *digest, const struct fixture_mesh *mesh,
                        const struct fixture_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct sibling s = {
            .kind = SIBLING_PUT,
            .dot = {.incarnation = mesh->incarnation, .seq = entries[i].seq},
            .hlc = hlc_make(1700000000000 + entries[i].seq, 0),
            .value = slice_of(entries[i].value, entries[i].value_size),
        };
        struct entry_id id = {.space = SPACE_REGISTER,
                              .key = slice_of_string(entries[i].key),
                              .element = slice_of(NULL, 0)};

        digest_add(digest, &id, &s);
    }
}

/* Compared by what it holds: its object is compressed. Its hash. */
static struct hash expect_delta(const struct fixture_mesh *mesh,
                                const struct delta *delta, struct slice content)
{
    struct snapshot_keys keys;
    struct hash hash;
    struct buffer out;
    struct delta d = *delta;

    snapshot_keys_derive(&keys, &mesh->mesh);
    buffer_init(&out, DELTA_SIZE_MAX);
    if (written != NULL) {
        assert_int_equal(
            delta_encode(&out, &d, &keys, content, mesh->sign_secret_key), 0);
        expect("delta", buffer_slice(&out));
        hash = delta_hash(buffer_slice(&out));
    } else {
        hash = delta_hash(vector("delta"));
        assert_int_equal(
            delta_decode(&d, vector("delta"), mesh->sign_key, NULL), 0);
        assert_true(hash_equal(&d.base, &delta->base));
        assert_true(hash_equal(&d.previous, &delta->previous));
        assert_true(hash_equal(&d.state_digest, &delta->state_digest));
        assert_int_equal(d.base_sequence, 1);
        assert_int_equal(d.number, 1);
        assert_int_equal(delta_events(&out, &d, &keys, NULL), 0);
        assert_true(slice_equal(buffer_slice(&out), content));
    }
    buffer_release(&out);
    return hash;
}

static void expect_behind(const struct fixture_mesh *mesh,
                          const struct hash *manifest, struct digest *digest)
{
    struct delta delta = {.mesh = mesh->mesh,
                          .base = *manifest,
                          .base_sequence = 1,
                          .number = 1,
                          .previous = *manifest,
                          .created_ms = 1800000000002,
                          .events = 1};
    struct heartbeat heartbeat = {.mesh = mesh->mesh,
                                  .base = *manifest,
                                  .base_sequence = 1,
                                  .number = 1,
                                  .created_ms = 1800000000003};
    struct buffer content;
    struct buffer out;
    struct hash hash;
    struct vv vv;

    buffer_init(&out, EVENT_SIZE_MAX);
    buffer_init(&content, EVENT_SIZE_MAX);
    make_event(&out, mesh, digest, &hash);
    expect("event", buffer_slice(&out));
    expect("event-hash", slice_of(hash.bytes, HASH_SIZE));
    pack_bin(&content, buffer_slice(&out));
    vv_init(&vv);
    assert_int_equal(vv_set(&vv, &mesh->incarnation, 100001, &hash), 0);
    delta.state_digest = digest_finish(digest, &vv);
    heartbeat.last = expect_delta(mesh, &delta, buffer_slice(&content));
    vv_release(&vv);
    buffer_clear(&out);
    assert_int_equal(heartbeat_encode(&out, &heartbeat, mesh->sign_secret_key),
                     0);
    expect("heartbeat", buffer_slice(&out));
    buffer_release(&out);
    buffer_release(&content);
}

/* What is signed: nothing of it depends on a release of zstd but the object
 * in the delta. */
static void expect_signed(void)
{
    struct fixture_snapshot *s = calloc(1, sizeof *s);
    struct fixture_entry *entries = fixture_entries(3);
    struct generation_order order = {.number = 1, .created_ms = 1700000000000};
    struct fixture_mesh mesh;
    struct digest digest;
    struct hash hash;

    assert_non_null(s);
    fixture_mesh_make(&mesh, 1);
    order.mesh = mesh.mesh;
    order.founder = mesh.incarnation;
    order.founder_certificate = buffer_slice(&mesh.certificate);
    buffer_clear(&mesh.order);
    assert_int_equal(
        generation_order_encode(&mesh.order, &order, mesh.authority.secret_key),
        0);
    assert_int_equal(fixture_take(s, &mesh, entries, 3), 0);
    expect("certificate", buffer_slice(&mesh.certificate));
    expect("order", buffer_slice(&mesh.order));
    expect("manifest", buffer_slice(&s->manifest));
    hash = manifest_hash(buffer_slice(&s->manifest));
    expect("manifest-hash", slice_of(hash.bytes, HASH_SIZE));
    digest_init(&digest);
    add_entries(&digest, &mesh, entries, 3);
    expect_behind(&mesh, &hash, &digest);
    fixture_snapshot_release(s);
    fixture_mesh_release(&mesh);
    free(s);
    free(entries);
}

static void the_vectors_hold(void **state)
{
    static const uint8_t data_key[32] = {1, 2, 3, 4, 5, 6, 7, 8};
    const char *to = getenv("VECTORS_WRITE");
    struct buffer contents[6];
    struct snapshot_keys plain;
    struct snapshot_keys sealed;
    struct mesh_id mesh;
    struct authority authority;
    uint8_t seed[32] = {1};
    int kind;

    (void)state;
    written = to != NULL ? fopen(to, "we") : NULL;
    if (written == NULL)
        load();
    else
        (void)fputs("Vectors of the snapshot format, version 1: see "
                    "SNAPSHOT-FORMAT.md. Bytes in hex.\n",
                    written);
    for (kind = 0; kind < 6; kind++)
        buffer_init(&contents[kind], SNAPSHOT_CHUNK_MAX);
    make_contents(contents);
    authority_make(&authority, seed);
    mesh = mesh_id_of(authority.public_key);
    for (kind = 1; kind <= 5; kind++)
        if (kind != SNAPSHOT_SEGMENT)
            expect_numbered("content", "", kind, buffer_slice(&contents[kind]));
    snapshot_keys_derive(&plain, &mesh);
    snapshot_keys_derive_encrypted(&sealed, &mesh, data_key);
    expect("data-key", slice_of(data_key, sizeof data_key));
    expect_keyed("plain", &plain, contents);
    expect_keyed("sealed", &sealed, contents);
    expect_pack(&plain, contents);
    expect_signed();
    for (kind = 0; kind < 6; kind++)
        buffer_release(&contents[kind]);
    for (size_t i = 0; i < lines_count; i++)
        free(lines[i].data);
    if (written != NULL)
        (void)fclose(written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_hold),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
