/* Goal: a manifest says what was signed by a member of the trusted mesh, or is
 * refused. Method: real certificates, forged in one respect at a time. */
#include "tests/unit/snapshot_fixture.h"

static struct fixture_mesh mesh;
static struct fixture_mesh foreign;

static void encode(struct buffer *out, const struct manifest *m,
                   const struct fixture_mesh *signer)
{
    buffer_init(out, SNAPSHOT_MANIFEST_MAX);
    assert_int_equal(manifest_encode(out, m, signer->sign_secret_key), 0);
}

static struct manifest filled(void)
{
    struct manifest m = fixture_manifest(&mesh);

    m.sequence = 42;
    m.previous.bytes[3] = 9;
    m.root.bytes[0] = 1;
    m.chunk_count = 2;
    m.entry_count = 3;
    m.sibling_count = 4;
    m.byte_count = 500;
    m.state_digest.bytes[5] = 5;
    return m;
}

static void what_was_signed_is_read_back(void **state)
{
    struct manifest m = filled();
    struct manifest back;
    struct buffer bytes;
    struct key_id signer = key_id_of(mesh.sign_key);

    (void)state;
    encode(&bytes, &m, &mesh);
    assert_int_equal(manifest_decode(&back, buffer_slice(&bytes),
                                     mesh.authority.public_key, NULL),
                     0);
    assert_int_equal(back.sequence, 42);
    assert_true(hash_equal(&back.previous, &m.previous));
    assert_true(hash_equal(&back.root, &m.root));
    assert_int_equal(back.chunk_count, 2);
    assert_int_equal(back.entry_count, 3);
    assert_int_equal(back.sibling_count, 4);
    assert_int_equal(back.byte_count, 500);
    assert_true(vv_equal(&back.vv, &m.vv));
    assert_true(back.hlc_max == m.hlc_max);
    assert_true(back.created_ms == m.created_ms);
    assert_true(key_id_equal(&back.signer, &signer));
    assert_string_equal(back.signer_name, "node-1");
    assert_int_equal(back.generation.number, 1);
    manifest_release(&back);
    buffer_release(&bytes);
}

/* Format 2, where there are any; and only then. */
static void evicted_keys_are_read_back(void **state)
{
    static const uint8_t keys[3 * KEY_ID_SIZE] = {1, 2, 3};
    struct manifest m = filled();
    struct manifest back;
    struct buffer bytes;

    (void)state;
    m.evicted = slice_of(keys, sizeof keys);
    encode(&bytes, &m, &mesh);
    assert_int_equal(manifest_decode(&back, buffer_slice(&bytes), NULL, NULL),
                     0);
    assert_true(slice_equal(back.evicted, m.evicted));
    assert_int_equal(back.sequence, 42);
    manifest_release(&back);
    buffer_release(&bytes);
    m.evicted.size = 0;
    encode(&bytes, &m, &mesh);
    assert_int_equal(manifest_decode(&back, buffer_slice(&bytes), NULL, NULL),
                     0);
    assert_int_equal(back.evicted.size, 0);
    manifest_release(&back);
    buffer_release(&bytes);
}

static void names_sort_by_sequence(void **state)
{
    struct key_id signer = key_id_of(mesh.sign_key);
    char a[SNAPSHOT_NAME_SIZE];
    char b[SNAPSHOT_NAME_SIZE];

    (void)state;
    manifest_name(a, &mesh.mesh, &signer, 9);
    manifest_name(b, &mesh.mesh, &signer, 10);
    assert_true(strcmp(a, b) < 0);
    assert_int_equal(strlen(a), 3 + 32 + 3 + 32 + 1 + 20);
}

static void foreign_trust_is_refused(void **state)
{
    struct cm_detail detail;
    struct manifest back;
    struct buffer bytes;
    struct manifest m = filled();

    (void)state;
    encode(&bytes, &m, &mesh);
    assert_int_equal(manifest_decode(&back, buffer_slice(&bytes),
                                     foreign.authority.public_key, &detail),
                     CM_ERR_AUTHORITY);
    buffer_release(&bytes);
    /* Signed by a key that the certificate does not name. */
    encode(&bytes, &m, &foreign);
    assert_int_equal(
        manifest_decode(&back, buffer_slice(&bytes), NULL, &detail),
        CM_ERR_SIGNATURE);
    buffer_release(&bytes);
    /* A certificate of another mesh. */
    m.certificate = buffer_slice(&foreign.certificate);
    encode(&bytes, &m, &foreign);
    assert_int_not_equal(
        manifest_decode(&back, buffer_slice(&bytes), NULL, &detail), 0);
    buffer_release(&bytes);
    /* An order of another mesh. */
    m = filled();
    m.generation_order = buffer_slice(&foreign.order);
    encode(&bytes, &m, &mesh);
    assert_int_not_equal(
        manifest_decode(&back, buffer_slice(&bytes), NULL, &detail), 0);
    buffer_release(&bytes);
    /* A mesh id that is not the authority's. */
    m = filled();
    m.mesh = foreign.mesh;
    encode(&bytes, &m, &mesh);
    assert_int_not_equal(
        manifest_decode(&back, buffer_slice(&bytes), NULL, &detail), 0);
    buffer_release(&bytes);
}

static void senseless_counts_are_refused(void **state)
{
    struct manifest back;
    struct buffer bytes;
    struct manifest m;
    int field;

    (void)state;
    for (field = 0; field < 4; field++) {
        m = filled();
        if (field == 0)
            m.chunk_count = 4;
        else if (field == 1)
            m.entry_count = 5;
        else if (field == 2)
            m.sibling_count = 501;
        else
            m.sequence = 1; /* but with a previous one */
        encode(&bytes, &m, &mesh);
        assert_int_equal(
            manifest_decode(&back, buffer_slice(&bytes), NULL, NULL),
            CM_ERR_MALFORMED);
        buffer_release(&bytes);
    }
}

static void every_failed_allocation_is_told(void **state)
{
    struct manifest m = filled();
    struct manifest back;
    struct buffer bytes;
    int error = -1;
    uint64_t n;

    (void)state;
    encode(&bytes, &m, &mesh);
    for (n = 1; error != 0; n++) {
        assert_true(n < 100);
        cm_alloc_fail_after(n);
        error = manifest_decode(&back, buffer_slice(&bytes), NULL, NULL);
        cm_alloc_fail_after(0);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
    }
    manifest_release(&back);
    buffer_release(&bytes);
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
        cmocka_unit_test(what_was_signed_is_read_back),
        cmocka_unit_test(evicted_keys_are_read_back),
        cmocka_unit_test(names_sort_by_sequence),
        cmocka_unit_test(foreign_trust_is_refused),
        cmocka_unit_test(senseless_counts_are_refused),
        cmocka_unit_test(every_failed_allocation_is_told),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
