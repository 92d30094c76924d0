/* Events that nobody honest writes. Goal: each is refused or waits, with a code
 * and a sentence, never a crash, and another origin's events come all the same.
 * Method: one node forges with its own, rightful key; a third one writes on. */
#include "tests/unit/writer_fixture.h"

struct scene {
    struct fixture_mesh m;
    struct fixture_node *victim, *forger, *honest;
    struct event_draft draft; /* a rightful first event of the forger */
    struct buffer body;
    struct cm_detail detail;       /* of the last delivery */
    struct refusals refused;       /* counted since the scene began */
    uint32_t waits[REFUSAL_KINDS]; /* after the last delivery */
};

static void scene_make(struct scene *s)
{
    struct op op = {.kind = OP_PUT,
                    .key = slice_of_string("k"),
                    .value = slice_of_string("forged")};

    memset(&s->refused, 0, sizeof s->refused);
    fixture_mesh_make(&s->m);
    s->victim = &s->m.nodes[0];
    s->forger = fixture_add_node(&s->m, ROLE_WRITER, "", true);
    s->honest = fixture_add_node(&s->m, ROLE_WRITER, "", true);
    buffer_init(&s->body, EVENT_SIZE_MAX);
    event_body_add(&s->body, &op);
    s->draft = (struct event_draft){
        .mesh = s->m.mesh,
        .generation = generation_id_of(1, buffer_slice(&s->m.order)),
        .dot = {s->forger->incarnation, 1},
        .hlc = hlc_make(FIXTURE_WALL_MS, 9),
        .body = buffer_slice(&s->body),
        .ops_count = 1,
    };
}

static int deliver_bytes(struct scene *s, struct slice bytes)
{
    struct intent *i = intent_new(INTENT_FOREIGN);
    struct commit_result *r;
    int ret;

    assert_non_null(i);
    assert_int_equal(intent_set_event(i, bytes), 0);
    memset(i->from, 7, sizeof i->from);
    r = fixture_commit(s->victim, i);
    assert_non_null(r);
    refusals_join(&s->refused, &r->refused);
    memcpy(s->waits, r->waits, sizeof s->waits);
    commit_result_free(r);
    ret = i->result;
    s->detail = i->detail;
    intent_free(i);
    return ret;
}

static int deliver_signed(struct scene *s, const uint8_t *secret_key)
{
    struct buffer bytes;
    struct hash hash;
    int ret;

    buffer_init(&bytes, EVENT_SIZE_MAX);
    assert_int_equal(event_encode(&bytes, &s->draft, secret_key, &hash), 0);
    ret = deliver_bytes(s, buffer_slice(&bytes));
    buffer_release(&bytes);
    return ret;
}

/* That reason was counted so often, with its sender, and no other one was. */
static void expect_refused(const struct scene *s, enum refusal why,
                           uint64_t count)
{
    assert_int_equal(s->refused.of[why].count, count);
    assert_int_equal(s->refused.of[why].from[0], 7);
    assert_true(s->refused.of[why].last_ms >= FIXTURE_WALL_MS);
    assert_int_equal(s->refused.total, count);
    assert_true(refusal_text(why)->found[0] != '\0');
}

/* It waits, and for that. */
static void expect_waits(const struct scene *s, enum refusal why)
{
    expect_refused(s, why, 1);
    assert_int_equal(s->waits[why], 1);
}

static int deliver(struct scene *s)
{
    return deliver_signed(s, s->forger->secret_key);
}

/* Nothing of it is seen, and others go on. */
static void scene_end(struct scene *s)
{
    fixture_expect(s->victim, "k", "");
    assert_int_equal(fixture_write(s->honest, OP_PUT, "h", NULL, "on"), 0);
    fixture_sync(s->victim, s->honest);
    fixture_expect(s->victim, "h", "on");
    buffer_release(&s->body);
    fixture_mesh_release(&s->m);
}

static void test_wrong_signature(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    assert_int_equal(deliver_signed(&s, s.honest->secret_key),
                     CM_ERR_SIGNATURE);
    assert_true(s.detail.text[0] != '\0');
    expect_refused(&s, REFUSAL_EVENT_SIGNATURE, 1);
    scene_end(&s);
}

static void test_wrong_mesh(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    s.draft.mesh.bytes[0] ^= 1;
    assert_int_equal(deliver(&s), CM_ERR_WRONG_MESH);
    assert_true(s.detail.text[0] != '\0');
    expect_refused(&s, REFUSAL_EVENT_MESH, 1);
    scene_end(&s);
}

static void test_wrong_generation(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    s.draft.generation.number = 2;
    assert_int_equal(deliver(&s), CM_ERR_WRONG_GENERATION);
    s.draft.generation.number = 1;
    s.draft.generation.hash[0] ^= 1; /* M16: one number, another order */
    assert_int_equal(deliver(&s), CM_ERR_WRONG_GENERATION);
    assert_true(s.detail.text[0] != '\0');
    expect_refused(&s, REFUSAL_EVENT_GENERATION, 2);
    scene_end(&s);
}

static void test_skipped_seq_waits(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    s.draft.dot.seq = 7;
    s.draft.previous.bytes[0] = 1;
    assert_int_equal(deliver(&s), CM_ERR_PENDING);
    expect_waits(&s, REFUSAL_EVENT_GAP);
    scene_end(&s);
}

static void test_reused_seq_is_a_fork(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    assert_int_equal(fixture_write(s.forger, OP_PUT, "real", NULL, "1"), 0);
    fixture_sync(s.victim, s.forger);
    assert_int_equal(deliver(&s), CM_ERR_FORK);
    assert_true(s.detail.text[0] != '\0');
    fixture_expect(s.victim, "real", "1");
    expect_refused(&s, REFUSAL_EVENT_FORK, 1);
    scene_end(&s);
}

/* On an event that its origin has never written. */
static void test_forged_deps_wait(void **state)
{
    struct scene s;
    struct dot dep;

    (void)state;
    scene_make(&s);
    dep = (struct dot){s.honest->incarnation, 1000};
    s.draft.deps = &dep;
    s.draft.deps_count = 1;
    assert_int_equal(deliver(&s), CM_ERR_PENDING);
    expect_waits(&s, REFUSAL_EVENT_DEPENDENCY);
    scene_end(&s);
}

static void test_future_clock_is_held(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    s.draft.hlc = hlc_make(FIXTURE_WALL_MS + 3600000, 0);
    assert_int_equal(deliver(&s), CM_ERR_HELD);
    assert_true(s.detail.text[0] != '\0');
    expect_waits(&s, REFUSAL_EVENT_CLOCK);
    scene_end(&s);
}

/* An operation of a later format, which must not be written before everyone
 * knows it. Passing over it would give this replica another state than those
 * that know it, at the same vector: it waits, and its writer's next one with
 * it, until the writer is evicted or this program knows it. */
static void test_unknown_operation_waits(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    buffer_clear(&s.body);
    pack_array(&s.body, 2);
    pack_uint(&s.body, 200);
    pack_string(&s.body, slice_of_string("anything"));
    s.draft.body = buffer_slice(&s.body);
    assert_int_equal(deliver(&s), CM_ERR_PENDING);
    assert_int_equal(vv_seq(&s.victim->vv, &s.forger->incarnation), 0);
    assert_true(s.detail.text[0] != '\0');
    expect_waits(&s, REFUSAL_EVENT_OPERATION);
    scene_end(&s);
}

static void test_no_authority_is_void(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    s.forger = fixture_add_node(&s.m, ROLE_WRITER, "mine/", true);
    s.draft.dot.incarnation = s.forger->incarnation;
    assert_int_equal(deliver(&s), 0);
    assert_true(s.detail.text[0] != '\0');
    assert_int_equal(vv_seq(&s.victim->vv, &s.forger->incarnation), 1);
    expect_refused(&s, REFUSAL_EVENT_AUTHORITY, 1);
    scene_end(&s);
}

static void try_op(const struct op *op, bool taken)
{
    struct scene s;

    scene_make(&s);
    buffer_clear(&s.body);
    /* By hand: the encoder refuses it. */
    pack_array(&s.body, 7);
    pack_uint(&s.body, OP_PUT);
    pack_bin(&s.body, op->key);
    pack_bin(&s.body, op->author);
    pack_array(&s.body, 0);
    pack_bin(&s.body, op->value);
    pack_uint(&s.body, 0);
    pack_uint(&s.body, 0);
    assert_int_equal(s.body.error, 0);
    s.draft.body = buffer_slice(&s.body);
    assert_true(taken ? deliver(&s) == 0 : deliver(&s) < 0);
    assert_int_equal(vv_seq(&s.victim->vv, &s.forger->incarnation), taken);
    if (!taken)
        expect_refused(&s, REFUSAL_EVENT_TOO_LONG, 1);
    scene_end(&s);
}

static void test_over_long_anything(void **state)
{
    static uint8_t long_bytes[VALUE_SIZE_MAX + 1];
    struct op key = {.kind = OP_PUT, .value = slice_of_string("v")};
    struct op value = {.kind = OP_PUT, .key = slice_of_string("k")};
    struct op author = {.kind = OP_PUT, .key = slice_of_string("k")};

    (void)state;
    memset(long_bytes, 'x', sizeof long_bytes);
    key.key = slice_of(long_bytes, KEY_SIZE_MAX);
    try_op(&key, true); /* by this very encoding */
    key.key = slice_of(long_bytes, KEY_SIZE_MAX + 1);
    value.value = slice_of(long_bytes, VALUE_SIZE_MAX + 1);
    author.author = slice_of(long_bytes, AUTHOR_SIZE_MAX + 1);
    try_op(&key, false);
    try_op(&value, false);
    try_op(&author, false);
}

/* An event of somebody whom no roster knows: a mesh of strangers could fill a
 * disk otherwise. */
static void test_stranger_waits(void **state)
{
    struct scene s;

    (void)state;
    scene_make(&s);
    s.draft.dot.incarnation.bytes[3] ^= 1;
    assert_int_equal(deliver(&s), CM_ERR_PENDING);
    expect_waits(&s, REFUSAL_EVENT_STRANGER);
    scene_end(&s);
}

/* A roster-add by one who may not sponsor. */
static void test_add_against_the_rules_is_void(void **state)
{
    struct scene s;
    struct op op = {.kind = OP_ROSTER_ADD};

    (void)state;
    scene_make(&s);
    op.key = slice_of(s.honest->incarnation.bytes, INCARNATION_SIZE);
    op.value = slice_of_string("no certificate");
    buffer_clear(&s.body);
    event_body_add(&s.body, &op);
    s.draft.body = buffer_slice(&s.body);
    assert_int_equal(deliver(&s), 0);
    expect_refused(&s, REFUSAL_EVENT_RULE, 1);
    scene_end(&s);
}

/* Bytes cut off anywhere, and with any one bit turned. */
static void test_truncated_and_altered(void **state)
{
    struct scene s;
    struct buffer bytes;
    struct hash hash;
    uint64_t tried = 0;

    (void)state;
    scene_make(&s);
    buffer_init(&bytes, EVENT_SIZE_MAX);
    assert_int_equal(
        event_encode(&bytes, &s.draft, s.forger->secret_key, &hash), 0);
    for (size_t size = 0; size < bytes.size; size += 7, tried++)
        assert_true(deliver_bytes(&s, slice_of(bytes.data, size)) < 0);
    for (size_t at = 0; at < bytes.size; at++, tried++) {
        bytes.data[at] ^= 1;
        assert_true(deliver_bytes(&s, buffer_slice(&bytes)) < 0);
        bytes.data[at] ^= 1;
    }
    /* Each of them for one reason, or it waits unverified under a name that
     * nobody has. */
    assert_int_equal(s.refused.total, tried);
    buffer_release(&bytes);
    scene_end(&s);
}

/* Every reason can be found by its name, and says what to do or that nothing
 * is to be done. */
static void test_reasons_have_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < REFUSAL_KINDS; i++) {
        const struct refusal_text *t = refusal_text((enum refusal)i);

        assert_int_equal(refusal_by_name(t->name), i);
        assert_true(t->found[0] != '\0');
        assert_true(t->remedy != NULL);
    }
    assert_int_equal(refusal_by_name("event-none"), REFUSAL_NONE);
    assert_int_equal(refusal_of_event(CM_ERR_DUPLICATE), REFUSAL_NONE);
    assert_int_equal(refusal_of_order(CM_ERR_DUPLICATE),
                     REFUSAL_ORDER_REPEATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_signature),
        cmocka_unit_test(test_wrong_mesh),
        cmocka_unit_test(test_wrong_generation),
        cmocka_unit_test(test_skipped_seq_waits),
        cmocka_unit_test(test_reused_seq_is_a_fork),
        cmocka_unit_test(test_forged_deps_wait),
        cmocka_unit_test(test_future_clock_is_held),
        cmocka_unit_test(test_unknown_operation_waits),
        cmocka_unit_test(test_no_authority_is_void),
        cmocka_unit_test(test_over_long_anything),
        cmocka_unit_test(test_stranger_waits),
        cmocka_unit_test(test_add_against_the_rules_is_void),
        cmocka_unit_test(test_truncated_and_altered),
        cmocka_unit_test(test_reasons_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
