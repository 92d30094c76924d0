/* Goal: a real store becomes a snapshot at a target, is read back, and comes
 * up in an empty store as the same state; interruptions and damage on the way
 * are told. Method: founded stores in a scratch directory. */
#include "tests/unit/snapshot_life.h"

#include <sys/stat.h>

#include "node/store_txn.h"

static void a_store_becomes_a_verified_snapshot(void **state)
{
    struct snapshot_outcome first;
    struct snapshot_outcome second;
    struct snapshot_listing listing;
    struct snapshot_memory memory;
    struct snapshot_listed listed;
    struct cm_detail detail = {""};
    char target[128];
    struct life l;

    (void)state;
    life_begin(&l, "verified");
    fill(&l, 300);
    path_of(target, "verified-target");
    assert_int_equal(take(&l, target, NULL, &first, &detail), 0);
    assert_int_equal(first.sequence, 1);
    assert_int_equal(first.chunks, first.chunks_new);
    assert_int_equal(first.entries, 302);
    assert_int_equal(snapshot_verify(target, first.name, l.authority.public_key,
                                     NULL, NULL, &listed, &detail),
                     0);
    assert_string_equal(listed.verdict, "good");
    assert_string_equal(listed.signer, "founder");
    /* One small change: few objects are new, the chain goes on. */
    write_op(&l, OP_PUT, "config/00007/name", "", "x", 1);
    memory.sequence = first.sequence;
    memory.hash = first.manifest_hash;
    assert_int_equal(take(&l, target, &memory, &second, &detail), 0);
    assert_int_equal(second.sequence, 2);
    assert_true(second.chunks_new <= 4);
    /* A node that forgot its last one continues what the target has. */
    assert_int_equal(take(&l, target, NULL, &second, &detail), 0);
    assert_int_equal(second.sequence, 3);
    assert_int_equal(second.chunks_new, 0);
    assert_int_equal(snapshot_list(&listing, target, NULL, &detail), 0);
    assert_int_equal(listing.count, 3);
    assert_int_equal(listing.items[0].sequence, 3);
    snapshot_listing_release(&listing);
    life_end(&l);
}

static void damage_at_the_target_is_found_and_mended(void **state)
{
    struct snapshot_outcome outcome;
    struct snapshot_outcome again;
    struct snapshot_listing listing;
    struct cm_detail detail = {""};
    struct object_list names;
    struct object_dir d;
    char mesh[MESH_ID_TEXT_SIZE];
    char prefix[128];
    char target[128];
    struct mesh_id id;
    struct life l;
    size_t i;
    size_t k;

    (void)state;
    life_begin(&l, "damage");
    fill(&l, 100);
    path_of(target, "damage-target");
    assert_int_equal(take(&l, target, NULL, &outcome, &detail), 0);
    id = mesh_id_of(l.authority.public_key);
    mesh_id_format(mesh, &id);
    assert_int_equal(object_dir_open(&d, target, false, NULL), 0);
    for (k = 0; k < 2; k++) {
        (void)snprintf(prefix, sizeof prefix, "v1/%s/%c/", mesh, "pi"[k]);
        assert_int_equal(object_dir_list(&d, prefix, &names, NULL), 0);
        assert_int_equal(names.count, 1);
        for (i = 0; i < names.count; i++) {
            char name[256];

            (void)snprintf(name, sizeof name, "%s%s", prefix, names.names[i]);
            damage(target, name);
            assert_int_equal(snapshot_verify(target, outcome.name, NULL, NULL,
                                             NULL, NULL, &detail),
                             CM_ERR_DAMAGED);
            assert_non_null(strstr(detail.text, names.names[i]));
            /* The next snapshot puts the right bytes in its place. */
            assert_int_equal(take(&l, target, NULL, &again, &detail), 0);
            assert_int_equal(again.chunks_new, again.chunks);
            assert_int_equal(snapshot_verify(target, outcome.name, NULL, NULL,
                                             NULL, NULL, &detail),
                             0);
        }
        object_list_release(&names);
    }
    object_dir_close(&d);
    /* A damaged manifest is listed with its verdict, last. */
    damage(target, outcome.name);
    assert_int_equal(snapshot_list(&listing, target, NULL, &detail), 0);
    assert_string_equal(listing.items[listing.count - 1].name, outcome.name);
    assert_int_not_equal(listing.items[listing.count - 1].error, 0);
    assert_int_equal(listing.items[0].error, 0);
    snapshot_listing_release(&listing);
    life_end(&l);
}

static off_t file_size(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

/* Goal: a spool of several blocks reads back, from its file as from the tail
 * that is not written yet, and whoever leaves last empties the file: where the
 * scan is released nothing is left to wait for. */
static void the_last_to_leave_empties_the_spool(void **state)
{
    struct cm_detail detail = {""};
    struct snapshot_scan scan;
    struct buffer bytes;
    uint8_t value[8000];
    char key[32];
    struct life l;
    int error;

    (void)state;
    life_begin(&l, "leave");
    for (unsigned i = 0; i < 100; i++) {
        uint8_t seed[32] = {(uint8_t)i};

        randombytes_buf_deterministic(value, sizeof value, seed);
        (void)snprintf(key, sizeof key, "large/%u", i);
        write_op(&l, OP_PUT, key, "", value, sizeof value);
    }
    assert_int_equal(
        snapshot_scan_begin(&scan, l.store, l.dir, WALL, NULL, &detail), 0);
    do
        error = snapshot_scan_step(&scan, &detail);
    while (error == SNAPSHOT_MORE);
    assert_int_equal(error, SNAPSHOT_DONE);
    assert_true(scan.spool.written >= SPOOL_BLOCK_SIZE);
    assert_true(scan.spool.tail.size > 0);
    assert_int_equal(file_size(scan.spool.fd), scan.spool.written);
    buffer_init(&bytes, SNAPSHOT_OBJECT_MAX);
    for (size_t i = 0; i < scan.spool.count; i++)
        assert_int_equal(snapshot_spool_read(&scan.spool, i, &bytes, &detail),
                         0);
    snapshot_scan_use(&scan);
    snapshot_scan_leave(&scan);
    assert_int_equal(snapshot_spool_read(&scan.spool, 0, &bytes, &detail), 0);
    snapshot_scan_leave(&scan);
    assert_int_equal(file_size(scan.spool.fd), 0);
    buffer_release(&bytes);
    snapshot_scan_release(&scan);
    life_end(&l);
}

static enum snapshot_sum scan_sum(struct life *l, bool trusts,
                                  struct digest *ret_kept)
{
    struct cm_detail detail = {""};
    struct snapshot_scan scan;
    enum snapshot_sum ret;
    struct manifest m;
    struct buffer bytes;
    int error;

    assert_int_equal(
        snapshot_scan_begin(&scan, l->store, l->dir, WALL, NULL, &detail), 0);
    if (trusts)
        snapshot_scan_trust(&scan);
    do
        error = snapshot_scan_step(&scan, &detail);
    while (error == SNAPSHOT_MORE);
    assert_int_equal(error, SNAPSHOT_DONE);
    ret = scan.sum;
    *ret_kept = scan.kept;
    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    scan.manifest.sequence = 1;
    assert_int_equal(snapshot_scan_manifest(&scan,
                                            datadir_sign_secret_key(l->datadir),
                                            &bytes, &detail),
                     0);
    assert_int_equal(manifest_decode(&m, buffer_slice(&bytes), NULL, NULL), 0);
    if (ret == SNAPSHOT_SUM_AGREES || ret == SNAPSHOT_SUM_KEPT) {
        struct hash digest = digest_finish(&scan.kept, &m.vv);

        assert_true(hash_equal(&digest, &m.state_digest));
    }
    manifest_release(&m);
    buffer_release(&bytes);
    snapshot_scan_release(&scan);
    return ret;
}

/* Goal: the sum that the store keeps is compared where it is added up, and
 * taken as it is only by who asks for that. */
static void the_sum_is_compared(void **state)
{
    struct digest kept, changed;
    uint8_t lanes[DIGEST_BYTES];
    struct schema_key key;
    struct buffer record;
    struct store_txn t;
    struct life l;

    (void)state;
    life_begin(&l, "sum");
    fill(&l, 50);
    assert_int_equal(scan_sum(&l, false, &kept), SNAPSHOT_SUM_AGREES);
    assert_int_equal(scan_sum(&l, true, &changed), SNAPSHOT_SUM_KEPT);
    assert_true(digest_equal(&kept, &changed));
    changed.lanes[7]++;
    digest_encode(lanes, &changed);
    buffer_init(&record, 4096);
    schema_key_state(&key, SCHEMA_STATE_LANES);
    schema_record_begin(&record);
    buffer_append(&record, lanes, SCHEMA_LANES_HALF);
    assert_int_equal(store_txn_begin(&t, l.store, true, NULL), 0);
    assert_int_equal(store_txn_put(&t, &key, &record), 0);
    assert_int_equal(store_txn_commit(&t, NULL), 0);
    assert_int_equal(scan_sum(&l, false, &kept), SNAPSHOT_SUM_DIFFERS);
    assert_int_equal(scan_sum(&l, true, &kept), SNAPSHOT_SUM_KEPT);
    /* What cannot be read is added up. */
    schema_record_begin(&record);
    buffer_append(&record, lanes, 5);
    assert_int_equal(store_txn_begin(&t, l.store, true, NULL), 0);
    assert_int_equal(store_txn_put(&t, &key, &record), 0);
    assert_int_equal(store_txn_commit(&t, NULL), 0);
    assert_int_equal(scan_sum(&l, true, &kept), SNAPSHOT_SUM_ADDED);
    buffer_release(&record);
    life_end(&l);
}

static void certificate_of(struct buffer *out, const struct life *joiner,
                           const struct life *sponsor)
{
    struct certificate c = {
        .mesh = mesh_id_of(sponsor->authority.public_key),
        .name = "joiner",
        .roles = ROLE_WRITER,
        .prefixes_count = 1,
        .not_after_ms = WALL + 1000000,
    };

    memcpy(c.sign_key, datadir_sign_public_key(joiner->datadir), 32);
    datadir_box_public_key(joiner->datadir, c.box_key);
    buffer_init(out, CERTIFICATE_SIZE_MAX);
    assert_int_equal(certificate_encode(out, &c, sponsor->authority.secret_key),
                     0);
}

/* A store that was founded by nobody yet: a joiner's. */
static void joiner_begin(struct life *j, const struct life *sponsor,
                         const char *name)
{
    struct store_identity identity = {.ready = false};
    struct cm_detail detail = {""};
    struct buffer certificate;
    struct store_reader *r;
    struct slice fact;

    memset(j, 0, sizeof *j);
    j->now = WALL;
    path_of(j->dir, name);
    assert_int_equal(datadir_open(&j->datadir, j->dir, true, &detail), 0);
    assert_int_equal(store_open(&j->store, j->dir, 64u << 20, &detail), 0);
    assert_int_equal(store_reader_begin(sponsor->store, &r), 0);
    certificate_of(&certificate, j, sponsor);
    identity.certificate = buffer_slice(&certificate);
    assert_int_equal(store_meta(r, META_GENERATION, &fact), 0);
    identity.generation_order = fact;
    identity.incarnation.bytes[3] = 77;
    identity.host = slice_of("host", 4);
    memcpy(identity.authority_public_key, sponsor->authority.public_key, 32);
    assert_int_equal(writer_initialise(j->store, &identity, &detail), 0);
    store_reader_release(r);
    buffer_release(&certificate);
    assert_int_equal(writer_open(&j->writer, j->store,
                                 datadir_sign_secret_key(j->datadir), &detail),
                     0);
}

static struct snapshot_source *source_of(struct life *l)
{
    struct cm_detail detail = {""};
    struct snapshot_source *s;
    int error;

    assert_int_equal(snapshot_source_create(&s, l->store,
                                            datadir_sign_secret_key(l->datadir),
                                            l->dir, WALL, &detail),
                     0);
    do
        error = snapshot_source_step(s, &detail);
    while (error == SNAPSHOT_MORE);
    assert_int_equal(error, SNAPSHOT_DONE);
    return s;
}

static void a_joiner_adopts_what_a_source_yields(void **state)
{
    struct cm_detail detail = {""};
    struct replacement replacement;
    struct snapshot_source *source;
    struct snapshot_sink *sink;
    struct slice message;
    struct hash expected;
    struct hash found;
    struct life joiner;
    struct life l;
    int error = SNAPSHOT_MORE;

    (void)state;
    life_begin(&l, "sponsor");
    fill(&l, 300);
    expected = digest_of(l.store);
    source = source_of(&l);
    /* The scan is over: later writes are not in it. */
    write_op(&l, OP_PUT, "later", "", "x", 1);
    joiner_begin(&joiner, &l, "joiner");
    assert_int_equal(snapshot_sink_create(&sink, l.authority.public_key,
                                          joiner.dir, &detail),
                     0);
    while (error == SNAPSHOT_MORE) {
        assert_int_equal(snapshot_source_next(source, &message, &detail), 0);
        error = snapshot_sink_feed(sink, message, &detail);
    }
    assert_int_equal(error, SNAPSHOT_DONE);
    assert_int_equal(snapshot_source_next(source, &message, &detail),
                     CM_ERR_NOT_FOUND);
    assert_int_equal(snapshot_sink_messages(sink),
                     snapshot_source_messages(source));
    assert_int_equal(snapshot_sink_replacement(sink, &replacement, &detail), 0);
    assert_int_equal(
        writer_replace(joiner.writer, &replacement, WALL + 1000000, &detail),
        0);
    found = digest_of(joiner.store);
    assert_true(hash_equal(&found, &expected));
    snapshot_sink_free(sink);
    snapshot_source_free(source);
    life_end(&joiner);
    life_end(&l);
}

static void a_sink_refuses_what_does_not_verify(void **state)
{
    struct cm_detail detail = {""};
    uint8_t other[32] = {1};
    struct snapshot_source *source;
    struct snapshot_sink *sink;
    struct slice message;
    struct life l;
    uint64_t n;

    (void)state;
    life_begin(&l, "refused");
    fill(&l, 100);
    source = source_of(&l);
    /* Another authority than the token vouched for. */
    assert_int_equal(snapshot_sink_create(&sink, other, l.dir, &detail), 0);
    assert_int_equal(snapshot_source_next(source, &message, &detail), 0);
    assert_int_equal(snapshot_sink_feed(sink, message, &detail),
                     CM_ERR_AUTHORITY);
    snapshot_sink_free(sink);
    /* Each message damaged in turn. */
    for (n = 0; n < snapshot_source_messages(source); n++) {
        int error = SNAPSHOT_MORE;
        uint64_t i;

        assert_int_equal(
            snapshot_sink_create(&sink, l.authority.public_key, l.dir, &detail),
            0);
        snapshot_source_seek(source, 0);
        for (i = 0; i <= n; i++) {
            uint8_t *copy;

            assert_int_equal(error, SNAPSHOT_MORE);
            assert_int_equal(snapshot_source_next(source, &message, &detail),
                             0);
            copy = malloc(message.size);
            assert_non_null(copy);
            memcpy(copy, message.data, message.size);
            if (i == n)
                copy[message.size / 2] ^= 4;
            error =
                snapshot_sink_feed(sink, slice_of(copy, message.size), &detail);
            free(copy);
        }
        assert_true(error < 0);
        snapshot_sink_free(sink);
    }
    snapshot_source_free(source);
    life_end(&l);
}

static void failed_allocations_are_told(void **state)
{
    struct snapshot_outcome outcome;
    struct cm_detail detail = {""};
    char target[128];
    struct life l;
    int error = -1;
    uint64_t n;

    (void)state;
    life_begin(&l, "nomem");
    fill(&l, 20);
    path_of(target, "nomem-target");
    for (n = 1; error != 0; n++) {
        assert_true(n < 3000);
        detail.text[0] = '\0';
        cm_alloc_fail_after(n);
        error = take(&l, target, NULL, &outcome, &detail);
        cm_alloc_fail_after(0);
        assert_true(error == 0 || detail.text[0] != '\0');
    }
    assert_int_equal(
        snapshot_verify(target, outcome.name, NULL, NULL, NULL, NULL, &detail),
        0);
    life_end(&l);
}

static void an_unready_store_gives_no_snapshot(void **state)
{
    struct snapshot_outcome outcome;
    struct cm_detail detail = {""};
    char target[128];
    struct life joiner;
    struct life l;

    (void)state;
    life_begin(&l, "ready");
    joiner_begin(&joiner, &l, "unready");
    path_of(target, "unready-target");
    assert_int_equal(take(&joiner, target, NULL, &outcome, &detail),
                     CM_ERR_NOT_READY);
    assert_true(detail.text[0] != '\0');
    life_end(&joiner);
    life_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_becomes_a_verified_snapshot),
        cmocka_unit_test(damage_at_the_target_is_found_and_mended),
        cmocka_unit_test(the_last_to_leave_empties_the_spool),
        cmocka_unit_test(the_sum_is_compared),
        cmocka_unit_test(a_joiner_adopts_what_a_source_yields),
        cmocka_unit_test(a_sink_refuses_what_does_not_verify),
        cmocka_unit_test(failed_allocations_are_told),
        cmocka_unit_test(an_unready_store_gives_no_snapshot),
    };

    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
