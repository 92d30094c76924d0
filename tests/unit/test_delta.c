/* Goal: a delta or heartbeat says what its signer said, or is refused. Method:
 * both encoded, decoded, and then every byte flipped, every end cut off. */
#include "tests/unit/snapshot_fixture.h"

#include "backup/delta.h"
#include "node/snapshot_prune.h"

static struct fixture_mesh mesh;

static struct delta filled(void)
{
    struct delta d = {.mesh = mesh.mesh,
                      .base = {{1}},
                      .base_sequence = 7,
                      .number = 1,
                      .previous = {{1}},
                      .created_ms = 1700000000000,
                      .state_digest = {{3}},
                      .events = 2};

    return d;
}

static void encode(struct buffer *out, bool sealed)
{
    static const uint8_t data_key[32] = {9};
    struct snapshot_keys keys;
    struct buffer content;
    struct delta d = filled();

    if (sealed)
        snapshot_keys_derive_encrypted(&keys, &mesh.mesh, data_key);
    else
        snapshot_keys_derive(&keys, &mesh.mesh);
    buffer_init(&content, 4096);
    pack_bin(&content, slice_of("first event", 11));
    pack_bin(&content, slice_of("second", 6));
    buffer_init(out, DELTA_SIZE_MAX);
    assert_int_equal(delta_encode(out, &d, &keys, buffer_slice(&content),
                                  mesh.sign_secret_key),
                     0);
    assert_true(out->size <= content.size + 512);
    buffer_release(&content);
}

static void what_was_put_is_read_back(void **state)
{
    static const uint8_t data_key[32] = {9};
    struct snapshot_keys keys[2];
    struct buffer content;
    struct buffer bytes;
    size_t sealed;

    (void)state;
    snapshot_keys_derive(&keys[0], &mesh.mesh);
    snapshot_keys_derive_encrypted(&keys[1], &mesh.mesh, data_key);
    for (sealed = 0; sealed < 2; sealed++) {
        struct slice event;
        struct delta d;
        size_t at = 0;

        encode(&bytes, sealed == 1);
        assert_int_equal(
            delta_decode(&d, buffer_slice(&bytes), mesh.sign_key, NULL), 0);
        assert_int_equal(d.base_sequence, 7);
        assert_int_equal(d.events, 2);
        buffer_init(&content, SNAPSHOT_CHUNK_MAX);
        assert_int_not_equal(
            delta_events(&content, &d, &keys[1 - sealed], NULL), 0);
        assert_int_equal(delta_events(&content, &d, &keys[sealed], NULL), 0);
        assert_true(delta_next_event(buffer_slice(&content), &at, &event));
        assert_true(slice_equal(event, slice_of_string("first event")));
        assert_true(delta_next_event(buffer_slice(&content), &at, &event));
        assert_false(delta_next_event(buffer_slice(&content), &at, &event));
        buffer_release(&content);
        buffer_release(&bytes);
    }
}

static void no_other_byte_passes(void **state)
{
    struct heartbeat h = {.mesh = mesh.mesh, .base_sequence = 3, .number = 4};
    struct heartbeat heard;
    struct buffer bytes;
    struct delta d;
    size_t i;

    (void)state;
    encode(&bytes, false);
    for (i = 0; i < bytes.size; i++) {
        bytes.data[i] ^= (uint8_t)(1u << (i % 8));
        assert_int_not_equal(
            delta_decode(&d, buffer_slice(&bytes), mesh.sign_key, NULL), 0);
        bytes.data[i] ^= (uint8_t)(1u << (i % 8));
        assert_int_not_equal(
            delta_decode(&d, slice_of(bytes.data, i), mesh.sign_key, NULL), 0);
    }
    assert_int_not_equal(
        delta_decode(&d, buffer_slice(&bytes), mesh.box_key, NULL), 0);
    buffer_clear(&bytes);
    assert_int_equal(heartbeat_encode(&bytes, &h, mesh.sign_secret_key), 0);
    assert_true(bytes.size <= HEARTBEAT_SIZE_MAX);
    assert_int_equal(
        heartbeat_decode(&heard, buffer_slice(&bytes), mesh.sign_key, NULL), 0);
    assert_int_equal(heard.number, 4);
    /* Neither is the other. */
    assert_int_not_equal(
        delta_decode(&d, buffer_slice(&bytes), mesh.sign_key, NULL), 0);
    for (i = 0; i < bytes.size; i++) {
        bytes.data[i] ^= (uint8_t)(1u << (i % 8));
        assert_int_not_equal(
            heartbeat_decode(&heard, buffer_slice(&bytes), mesh.sign_key, NULL),
            0);
        bytes.data[i] ^= (uint8_t)(1u << (i % 8));
    }
    buffer_release(&bytes);
}

static void names_are_parsed_strictly(void **state)
{
    static const char *const bad[] = {"",
                                      "1-1",
                                      "00000000000000000007-0000000001x",
                                      "00000000000000000007_0000000001",
                                      "90000000000000000007-0000000001",
                                      "0000000000000000000a-0000000001"};
    struct key_id signer = key_id_of(mesh.sign_key);
    char name[SNAPSHOT_NAME_SIZE];
    uint64_t sequence;
    uint64_t number;
    size_t i;

    (void)state;
    delta_name(name, &mesh.mesh, &signer, 7, 12);
    assert_true(delta_name_parse(&sequence, &number, strrchr(name, '/') + 1));
    assert_int_equal(sequence, 7);
    assert_int_equal(number, 12);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(delta_name_parse(&sequence, &number, bad[i]));
}

#define HOUR UINT64_C(3600000)

static void snapshots_are_kept_by_sequence(void **state)
{
    struct prune_policy policy = {
        .keep_last = 2, .keep_hourly = 3, .keep_daily = 2};
    const uint64_t now = 1000 * 24 * HOUR;
    /* Newest first: two of one hour, then one an hour, then days before. */
    const uint64_t created[] = {
        now - 1,         now - 2,          now - 3,          now - HOUR - 1,
        now - HOUR - 2,  now - 2 * HOUR,   now - 30 * HOUR,  now - 31 * HOUR,
        now - 80 * HOUR, now - 100 * HOUR, now - 101 * HOUR,
    };
    const bool wanted[] = {true, true,  false, true,  false, false,
                           true, false, false, false, false};
    /* A thief's, dated ahead of any clock: one moment for all of them. */
    const uint64_t ahead[] = {now + 50 * HOUR, now + 40 * HOUR, now + 30 * HOUR,
                              now + 20 * HOUR};
    bool keep[11];
    size_t i;

    (void)state;
    prune_choose(keep, created, 11, &policy, now);
    for (i = 0; i < 11; i++)
        if (i != 5) /* the third hour, whichever side of it */
            assert_int_equal(keep[i], wanted[i]);
    prune_choose(keep, ahead, 4, &policy, now);
    assert_true(keep[0] && keep[1] && !keep[2] && !keep[3]);
}

static int set_up(void **state)
{
    (void)state;
    if (sodium_init() < 0)
        return -1;
    fixture_mesh_make(&mesh, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_mesh_release(&mesh);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_read_back),
        cmocka_unit_test(no_other_byte_passes),
        cmocka_unit_test(names_are_parsed_strictly),
        cmocka_unit_test(snapshots_are_kept_by_sequence),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
