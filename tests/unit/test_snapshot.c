/* Goal: a snapshot gives back exactly what went in, equal state has equal
 * names, and no damaged byte passes. Method: whole snapshots in memory; every
 * byte of every object flipped, cut and exchanged. */
#include "tests/unit/snapshot_fixture.h"

#include <zstd.h>

static struct fixture_mesh mesh;
static struct fixture_mesh foreign;

static void round_trip(void **state)
{
    static const size_t counts[] = {0, 1, 2, 50, 1500};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct fixture_entry *entries = fixture_entries(counts[i] + 1);
        struct fixture_snapshot *s = calloc(1, sizeof *s);

        assert_non_null(s);
        assert_int_equal(fixture_take(s, &mesh, entries, counts[i]), 0);
        assert_int_equal(fixture_read(s, &mesh, entries, counts[i]), 0);
        fixture_snapshot_release(s);
        free(s);
        free(entries);
    }
}

static size_t common_chunks(const struct fixture_snapshot *a,
                            const struct fixture_snapshot *b)
{
    size_t ret = 0;
    size_t size;
    size_t i;

    for (i = 0; i < a->count; i++)
        ret += a->objects[i].kind == SNAPSHOT_CHUNK &&
               fixture_find(b, a->objects[i].name, &size) != NULL;
    return ret;
}

static size_t chunks_of(const struct fixture_snapshot *s)
{
    size_t ret = 0;
    size_t i;

    for (i = 0; i < s->count; i++)
        ret += s->objects[i].kind == SNAPSHOT_CHUNK;
    return ret;
}

static void equal_state_has_equal_names(void **state)
{
    struct fixture_entry *entries = fixture_entries(1500);
    struct fixture_snapshot *a = calloc(2, sizeof *a);
    struct fixture_snapshot *b = a + 1;
    size_t i;

    (void)state;
    assert_non_null(a);
    assert_int_equal(fixture_take(a, &mesh, entries, 1500), 0);
    assert_int_equal(fixture_take(b, &mesh, entries, 1500), 0);
    assert_int_equal(a->count, b->count);
    for (i = 0; i < a->count; i++)
        assert_string_equal(a->objects[i].name, b->objects[i].name);
    fixture_snapshot_release(b);
    /* Another mesh has other names for the same state. */
    assert_int_equal(fixture_take(b, &foreign, entries, 1500), 0);
    assert_int_equal(common_chunks(a, b), 0);
    fixture_snapshot_release(a);
    fixture_snapshot_release(b);
    free(a);
    free(entries);
}

static void a_small_change_keeps_most_chunks(void **state)
{
    struct fixture_entry *entries = fixture_entries(1500);
    struct fixture_snapshot *a = calloc(2, sizeof *a);
    struct fixture_snapshot *b = a + 1;
    size_t chunks;

    (void)state;
    assert_non_null(a);
    assert_int_equal(fixture_take(a, &mesh, entries, 1500), 0);
    chunks = chunks_of(a);
    assert_in_range(chunks, 10, 60); /* about 330 KB in chunks of 12 KiB */
    entries[700].value[0] ^= 1;
    assert_int_equal(fixture_take(b, &mesh, entries, 1500), 0);
    assert_true(chunks - common_chunks(a, b) <= 1);
    fixture_snapshot_release(b);
    /* One entry fewer, at the very front: only the first chunks differ. */
    assert_int_equal(fixture_take(b, &mesh, entries + 1, 1499), 0);
    assert_true(chunks - common_chunks(a, b) <= 4);
    fixture_snapshot_release(a);
    fixture_snapshot_release(b);
    free(a);
    free(entries);
}

static void every_flipped_byte_is_detected(void **state)
{
    struct fixture_entry *entries = fixture_entries(200);
    struct fixture_snapshot *s = calloc(1, sizeof *s);
    struct manifest m;
    size_t i;
    size_t j;

    (void)state;
    assert_non_null(s);
    assert_int_equal(fixture_take(s, &mesh, entries, 200), 0);
    for (i = 0; i < s->count; i++) {
        struct snapshot_keys keys;
        struct buffer content;
        struct hash expected;

        snapshot_keys_derive(&keys, &mesh.mesh);
        buffer_init(&content, SNAPSHOT_CHUNK_MAX);
        assert_int_equal(hex_decode(expected.bytes, HASH_SIZE,
                                    strrchr(s->objects[i].name, '/') + 1),
                         0);
        for (j = 0; j < s->objects[i].size; j++) {
            uint8_t bit = (uint8_t)(1u << (j % 8));

            s->objects[i].data[j] ^= bit;
            assert_int_not_equal(
                snapshot_object_decode(
                    &content, &keys, s->objects[i].kind, &expected,
                    slice_of(s->objects[i].data, s->objects[i].size), NULL),
                0);
            s->objects[i].data[j] ^= bit;
        }
        assert_int_equal(snapshot_object_decode(
                             &content, &keys, s->objects[i].kind, &expected,
                             slice_of(s->objects[i].data, s->objects[i].size),
                             NULL),
                         0);
        buffer_release(&content);
        /* And through the reader, once per object. */
        s->objects[i].data[s->objects[i].size / 2] ^= 0x10;
        assert_int_not_equal(fixture_read(s, &mesh, entries, 200), 0);
        s->objects[i].data[s->objects[i].size / 2] ^= 0x10;
    }
    for (j = 0; j < s->manifest.size; j++) {
        s->manifest.data[j] ^= (uint8_t)(1u << (j % 8));
        assert_int_not_equal(
            manifest_decode(&m, buffer_slice(&s->manifest), NULL, NULL), 0);
        s->manifest.data[j] ^= (uint8_t)(1u << (j % 8));
    }
    assert_int_equal(fixture_read(s, &mesh, entries, 200), 0);
    fixture_snapshot_release(s);
    free(s);
    free(entries);
}

static void truncated_and_lengthened_objects_are_detected(void **state)
{
    struct fixture_entry *entries = fixture_entries(200);
    struct fixture_snapshot *s = calloc(1, sizeof *s);
    size_t i;
    size_t k;

    (void)state;
    assert_non_null(s);
    assert_int_equal(fixture_take(s, &mesh, entries, 200), 0);
    for (i = 0; i < s->count; i++) {
        size_t size = s->objects[i].size;
        size_t cuts[] = {0, 1, 4, 16, 17, 18, size / 2, size - 1};

        for (k = 0; k < sizeof cuts / sizeof cuts[0]; k++) {
            if (cuts[k] >= size)
                continue;
            s->objects[i].size = cuts[k];
            assert_int_not_equal(fixture_read(s, &mesh, NULL, 200), 0);
        }
        s->objects[i].data = realloc(s->objects[i].data, size + 1);
        assert_non_null(s->objects[i].data);
        s->objects[i].data[size] = 0;
        s->objects[i].size = size + 1;
        assert_int_not_equal(fixture_read(s, &mesh, NULL, 200), 0);
        s->objects[i].size = size;
    }
    for (k = 0; k < s->manifest.size; k++) {
        struct manifest m;

        assert_int_not_equal(
            manifest_decode(&m, slice_of(s->manifest.data, k), NULL, NULL), 0);
    }
    assert_int_equal(fixture_read(s, &mesh, entries, 200), 0);
    fixture_snapshot_release(s);
    free(s);
    free(entries);
}

static void exchanged_and_missing_objects_are_detected(void **state)
{
    struct fixture_entry *entries = fixture_entries(400);
    struct fixture_snapshot *s = calloc(1, sizeof *s);
    char kept[SNAPSHOT_NAME_SIZE];
    size_t i;
    size_t j;

    (void)state;
    assert_non_null(s);
    assert_int_equal(fixture_take(s, &mesh, entries, 400), 0);
    assert_true(s->count > 4);
    for (i = 0; i < s->count; i++) {
        for (j = i + 1; j < s->count; j++) {
            memcpy(kept, s->objects[i].name, sizeof kept);
            memcpy(s->objects[i].name, s->objects[j].name, sizeof kept);
            memcpy(s->objects[j].name, kept, sizeof kept);
            assert_int_not_equal(fixture_read(s, &mesh, NULL, 400), 0);
            memcpy(s->objects[j].name, s->objects[i].name, sizeof kept);
            memcpy(s->objects[i].name, kept, sizeof kept);
        }
        memcpy(kept, s->objects[i].name, sizeof kept);
        s->objects[i].name[0] = '-';
        assert_int_equal(fixture_read(s, &mesh, NULL, 400), CM_ERR_NOT_FOUND);
        memcpy(s->objects[i].name, kept, sizeof kept);
    }
    assert_int_equal(fixture_read(s, &mesh, entries, 400), 0);
    fixture_snapshot_release(s);
    free(s);
    free(entries);
}

/* Goal: what hardly gets smaller costs less time, everything else is compressed
 * as well as ever; both come back. */
static void compression_follows_the_data(void **state)
{
    struct snapshot_coder c = {.fast = false};
    struct snapshot_keys keys;
    struct buffer object, back;
    uint8_t content[12000];
    size_t sizes[2] = {0, 0};

    (void)state;
    snapshot_keys_derive(&keys, &mesh.mesh);
    buffer_init(&object, SNAPSHOT_OBJECT_MAX);
    buffer_init(&back, SNAPSHOT_CHUNK_MAX);
    for (uint32_t i = 0; i < 200; i++) {
        bool noise = i / 50 % 2 == 1; /* in turns of 50 */
        uint8_t seed[32] = {(uint8_t)i};
        struct hash hash;
        struct slice all = slice_of(content, sizeof content);

        randombytes_buf_deterministic(content, sizeof content, seed);
        for (size_t k = 0; k < sizeof content && !noise; k++)
            content[k] = (uint8_t) "0123456789abcdef"[content[k] & 15];
        hash = snapshot_object_hash(&keys, SNAPSHOT_CHUNK, all);
        buffer_clear(&object);
        assert_int_equal(snapshot_object_encode_by(&c, &object, &keys,
                                                   SNAPSHOT_CHUNK, &hash, all),
                         0);
        sizes[noise] += object.size;
        assert_int_equal(snapshot_object_decode(&back, &keys, SNAPSHOT_CHUNK,
                                                &hash, buffer_slice(&object),
                                                NULL),
                         0);
        assert_true(slice_equal(buffer_slice(&back), all));
    }
    /* Hexadecimal digits: a half, but for the first turn after noise. */
    assert_true(sizes[0] < 100 * sizeof content * 7 / 10);
    assert_true(sizes[1] < 100 * sizeof content * 101 / 100);
    assert_true(c.plain <= 31);
    snapshot_coder_release(&c);
    buffer_release(&object);
    buffer_release(&back);
}

/* A frame of size zeroes under a header that declares declared bytes. */
static void make_bomb(struct buffer *out, size_t size, uint32_t declared)
{
    uint8_t *zeroes = calloc(1, size);
    size_t bound = ZSTD_compressBound(size);
    uint8_t header[17] = {'c', 'm', 'o', '1', SNAPSHOT_CHUNK};
    uint8_t *frame = malloc(bound);
    size_t got;

    assert_non_null(zeroes);
    assert_non_null(frame);
    got = ZSTD_compress(frame, bound, zeroes, size, 19);
    assert_false(ZSTD_isError(got));
    put_be32(header + 5, declared);
    put_be64(header + 9,
             record_checksum(slice_of(header, 9), slice_of(frame, got)));
    buffer_append(out, header, sizeof header);
    buffer_append(out, frame, got);
    free(zeroes);
    free(frame);
}

static void a_bomb_does_not_go_off(void **state)
{
    static const struct {
        size_t size;
        uint32_t declared;
        int error;
    } cases[] = {
        {64u << 20, 64u << 20, CM_ERR_TOO_LARGE},
        {64u << 20, 1000, CM_ERR_DAMAGED},
        {64u << 20, UINT32_MAX, CM_ERR_TOO_LARGE},
        {1000, 2000, CM_ERR_DAMAGED},
    };
    struct snapshot_keys keys;
    struct hash expected = {{0}};
    size_t i;

    (void)state;
    snapshot_keys_derive(&keys, &mesh.mesh);
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer object;
        struct buffer content;

        buffer_init(&object, SNAPSHOT_OBJECT_MAX);
        buffer_init(&content, SNAPSHOT_CHUNK_MAX);
        make_bomb(&object, cases[i].size, cases[i].declared);
        assert_int_equal(object.error, 0);
        assert_int_equal(snapshot_object_decode(&content, &keys, SNAPSHOT_CHUNK,
                                                &expected,
                                                buffer_slice(&object), NULL),
                         cases[i].error);
        assert_true(content.capacity <= 4096);
        buffer_release(&object);
        buffer_release(&content);
    }
}

/* A signed manifest over chunks that are not what it says. */
static void a_lying_manifest_is_detected(void **state)
{
    struct fixture_entry *entries = fixture_entries(100);
    struct fixture_snapshot *s = calloc(1, sizeof *s);
    struct manifest m;
    int field;

    (void)state;
    assert_non_null(s);
    for (field = 0; field < 7; field++) {
        assert_int_equal(fixture_take(s, &mesh, entries, 100), 0);
        assert_int_equal(
            manifest_decode(&m, buffer_slice(&s->manifest), NULL, NULL), 0);
        switch (field) {
        case 0:
            m.entry_count--;
            break;
        case 1:
            m.sibling_count++;
            break;
        case 2:
            m.byte_count--;
            break;
        case 3:
            m.state_digest.bytes[0] ^= 1;
            break;
        case 4:
            m.hlc_max = hlc_make(1700000000000, 0);
            break;
        case 5:
            m.vv.entries[0].seq = 3;
            break;
        default:
            m.chunk_count++;
            break;
        }
        {
            struct buffer forged;

            buffer_init(&forged, SNAPSHOT_MANIFEST_MAX);
            assert_int_equal(manifest_encode(&forged, &m, mesh.sign_secret_key),
                             0);
            manifest_release(&m);
            buffer_release(&s->manifest);
            s->manifest = forged;
        }
        assert_int_not_equal(fixture_read(s, &mesh, NULL, 100), 0);
        fixture_snapshot_release(s);
    }
    free(s);
    free(entries);
}

static void entries_beyond_the_limit_are_refused(void **state)
{
    struct snapshot_writer *w;
    uint8_t *value = calloc(1, VALUE_SIZE_MAX);
    struct sibling siblings[18];
    struct entry e = {.siblings = siblings, .count = 18, .capacity = 18};
    struct entry_id id = {.space = SPACE_REGISTER,
                          .key = slice_of_string("big")};
    struct snapshot_object o;
    size_t i;

    (void)state;
    assert_non_null(value);
    for (i = 0; i < 18; i++)
        siblings[i] = (struct sibling){
            .kind = SIBLING_PUT,
            .dot = {.incarnation = mesh.incarnation, .seq = i + 1},
            .hlc = hlc_make(1, 0),
            .value = slice_of(value, VALUE_SIZE_MAX)};
    assert_int_equal(snapshot_writer_create(&w, &mesh.mesh, NULL), 0);
    assert_int_equal(snapshot_writer_add(w, &id, &e), CM_ERR_TOO_LARGE);
    assert_false(snapshot_writer_next_object(w, &o));
    assert_int_equal(snapshot_writer_end(w), CM_ERR_TOO_LARGE);
    snapshot_writer_free(w);
    /* Within the limit it is a chunk of its own. */
    e.count = 16;
    assert_int_equal(snapshot_writer_create(&w, &mesh.mesh, NULL), 0);
    assert_int_equal(snapshot_writer_add(w, &id, &e), 0);
    assert_true(snapshot_writer_next_object(w, &o));
    snapshot_writer_free(w);
    free(value);
}

static void every_failed_allocation_is_told(void **state)
{
    struct fixture_entry *entries = fixture_entries(60);
    struct fixture_snapshot *s = calloc(1, sizeof *s);
    uint64_t n;
    int error = -1;

    (void)state;
    assert_non_null(s);
    for (n = 1; error != 0; n++) {
        assert_true(n < 2000);
        cm_alloc_fail_after(n);
        error = fixture_take(s, &mesh, entries, 60);
        cm_alloc_fail_after(0);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
        if (error != 0)
            fixture_snapshot_release(s);
    }
    assert_true(n > 5);
    error = -1;
    for (n = 1; error != 0; n++) {
        assert_true(n < 2000);
        cm_alloc_fail_after(n);
        error = fixture_read(s, &mesh, entries, 60);
        cm_alloc_fail_after(0);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
    }
    assert_true(n > 5);
    fixture_snapshot_release(s);
    free(s);
    free(entries);
}

static int set_up(void **state)
{
    (void)state;
    if (sodium_init() < 0)
        return -1;
    fixture_mesh_make(&mesh, 1);
    fixture_mesh_make(&foreign, 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_mesh_release(&mesh);
    fixture_mesh_release(&foreign);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(equal_state_has_equal_names),
        cmocka_unit_test(a_small_change_keeps_most_chunks),
        cmocka_unit_test(every_flipped_byte_is_detected),
        cmocka_unit_test(truncated_and_lengthened_objects_are_detected),
        cmocka_unit_test(exchanged_and_missing_objects_are_detected),
        cmocka_unit_test(compression_follows_the_data),
        cmocka_unit_test(a_bomb_does_not_go_off),
        cmocka_unit_test(a_lying_manifest_is_detected),
        cmocka_unit_test(entries_beyond_the_limit_are_refused),
        cmocka_unit_test(every_failed_allocation_is_told),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
