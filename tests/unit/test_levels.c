/* Format levels: what is new is announced once, written when everybody knows it
 * and not before, and waits where it comes too early. */
#include "tests/unit/writer_fixture.h"

#include "crdt/eviction.h"
#include "node/pending.h"
#include "node/standing_read.h"

static uint32_t level_of(struct fixture_node *n, const struct incarnation *who)
{
    struct store_reader *r;
    struct standing *s = NULL;
    uint32_t ret;

    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_int_equal(standing_read(&s, r, NULL, NULL), 0);
    ret = who != NULL ? standing_level_of(s, who) : standing_level(s, NULL);
    standing_free(s);
    store_reader_release(r);
    return ret;
}

/* A batch with nothing of its own. */
static void nudge(struct fixture_node *n)
{
    struct intent *i = intent_new(INTENT_EXPIRE);

    assert_non_null(i);
    commit_result_free(fixture_commit(n, i));
    intent_free(i);
}

static void restart(struct fixture_node *n, uint32_t level)
{
    fixture_close(n);
    n->level = level;
    fixture_open(n);
}

static void spread(struct fixture_mesh *m)
{
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < m->count; i++) {
            for (size_t k = 0; k < m->count; k++) {
                if (i != k)
                    fixture_sync(&m->nodes[i], &m->nodes[k]);
            }
        }
    }
}

static void expect_all_equal(struct fixture_mesh *m)
{
    for (size_t i = 1; i < m->count; i++)
        fixture_expect_equal(&m->nodes[0], &m->nodes[i]);
}

/* Nodes of the program before this one. */
static void old_mesh(struct fixture_mesh *m, size_t count)
{
    fixture_mesh_make_level(m, LEVEL_FIRST);
    while (m->count < count)
        (void)fixture_add_node(m, ROLE_WRITER, "", true);
    spread(m);
    expect_all_equal(m);
}

static struct intent *do_revoke(struct fixture_node *n, const char *key,
                                const char *reason)
{
    struct local_op op = fixture_op(OP_REVOKE, key, NULL, reason);

    return fixture_do(n, &op);
}

static int revoke_for(struct fixture_node *n, const char *key,
                      const char *reason)
{
    struct intent *i = do_revoke(n, key, reason);
    int ret = i->result;

    intent_free(i);
    return ret;
}

/* Goal: a mesh that this program founded and let others into has nothing to
 * announce; the order and the adds have said it. */
static void test_new_mesh_announces_nothing(void **state)
{
    struct fixture_mesh m;

    (void)state;
    fixture_mesh_make(&m);
    (void)fixture_add_node(&m, ROLE_WRITER, "", true);
    for (size_t i = 0; i < 2; i++)
        nudge(&m.nodes[i]);
    assert_int_equal(m.nodes[0].events_count, 1); /* the add */
    assert_int_equal(m.nodes[1].events_count, 0);
    assert_int_equal(level_of(&m.nodes[1], NULL), LEVEL_LAST);
    assert_int_equal(revoke_for(&m.nodes[0], "k", "why"), 0);
    fixture_mesh_release(&m);
}

/* Goal: after an update the level is written once, never again, whatever
 * restarts and batches follow; everybody keeps it, over restarts too. */
static void test_announced_once(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n;

    (void)state;
    old_mesh(&m, 2);
    n = &m.nodes[1];
    nudge(n);
    assert_int_equal(n->events_count, 0);
    for (int i = 0; i < 3; i++) {
        restart(n, LEVEL_LAST);
        nudge(n);
        nudge(n);
        assert_int_equal(n->events_count, 1);
    }
    spread(&m);
    expect_all_equal(&m);
    restart(&m.nodes[0], LEVEL_FIRST);
    assert_int_equal(level_of(&m.nodes[0], &n->incarnation), LEVEL_LAST);
    assert_int_equal(level_of(&m.nodes[0], NULL), LEVEL_FIRST);
    fixture_mesh_release(&m);
}

/* Goal: nobody writes what somebody does not know; the refusal says who, and
 * the rest goes on. */
static void test_refused_until_everybody_knows(void **state)
{
    struct fixture_mesh m;
    struct intent *i;

    (void)state;
    old_mesh(&m, 3);
    restart(&m.nodes[0], LEVEL_LAST);
    restart(&m.nodes[1], LEVEL_LAST);
    nudge(&m.nodes[0]);
    nudge(&m.nodes[1]);
    spread(&m);
    i = do_revoke(&m.nodes[0], "users/bob", "left");
    assert_int_equal(i->result, CM_ERR_LEVEL);
    assert_non_null(strstr(i->detail.text, "node-3"));
    assert_null(strstr(i->detail.text, "node-2"));
    intent_free(i);
    i = do_revoke(&m.nodes[2], "users/bob", "left");
    assert_int_equal(i->result, CM_ERR_LEVEL);
    assert_non_null(strstr(i->detail.text, "this program"));
    intent_free(i);
    assert_int_equal(revoke_for(&m.nodes[0], "users/eve", ""), 0);
    restart(&m.nodes[2], LEVEL_LAST);
    nudge(&m.nodes[2]);
    /* It has not been heard of yet. */
    assert_int_equal(revoke_for(&m.nodes[0], "users/bob", "left"),
                     CM_ERR_LEVEL);
    spread(&m);
    assert_int_equal(revoke_for(&m.nodes[0], "users/bob", "left"), 0);
    spread(&m);
    expect_all_equal(&m);
    fixture_mesh_release(&m);
}

/* Goal: the reason is told to whoever is refused because of the revoke, and is
 * part of what a key shows everywhere. */
static void test_reason_is_told(void **state)
{
    struct local_op op = fixture_op(OP_PUT, "k", NULL, "1");
    struct fixture_mesh m;
    struct intent *i;

    (void)state;
    fixture_mesh_make(&m);
    (void)fixture_add_node(&m, ROLE_WRITER, "", true);
    assert_int_equal(revoke_for(&m.nodes[0], "k", "left the company"), 0);
    fixture_sync(&m.nodes[1], &m.nodes[0]);
    i = fixture_do(&m.nodes[1], &op);
    assert_int_equal(i->result, CM_ERR_REVOKED);
    assert_non_null(strstr(i->detail.text, "(left the company)"));
    intent_free(i);
    expect_all_equal(&m);
    fixture_mesh_release(&m);
}

/* ---- who does not stay does not count ---- */

static struct buffer eviction_of(struct fixture_mesh *m,
                                 const struct fixture_node *who)
{
    struct incarnation names[1] = {who->incarnation};
    struct eviction_order o = {.mesh = m->mesh,
                               .epoch = 1,
                               .incarnations = names,
                               .count = 1,
                               .created_ms = FIXTURE_WALL_MS};
    struct buffer ret;

    o.generation = generation_id_of(1, buffer_slice(&m->order));
    buffer_init(&ret, EVICTION_SIZE_MAX);
    assert_int_equal(eviction_encode(&ret, &o, m->authority.secret_key), 0);
    return ret;
}

static void hear(struct fixture_node *n, struct slice order)
{
    struct intent *i = intent_new(INTENT_ORDER);

    assert_int_equal(intent_set_event(i, order), 0);
    commit_result_free(fixture_commit(n, i));
    assert_int_equal(i->result, 0);
    intent_free(i);
}

/* Goal: an incarnation that is being evicted holds nothing back, at who knows
 * of the order; who does not know of it yet learns it from the writer's fence,
 * and applies the event then. Method: one of three is gone, and only the
 * writer has heard the order. */
static void test_evicted_one_does_not_count(void **state)
{
    struct fixture_mesh m;
    struct buffer order;

    (void)state;
    old_mesh(&m, 3);
    restart(&m.nodes[0], LEVEL_LAST);
    restart(&m.nodes[1], LEVEL_LAST);
    nudge(&m.nodes[0]);
    nudge(&m.nodes[1]);
    fixture_sync(&m.nodes[0], &m.nodes[1]);
    fixture_sync(&m.nodes[1], &m.nodes[0]);
    assert_int_equal(revoke_for(&m.nodes[0], "k", "why"), CM_ERR_LEVEL);
    order = eviction_of(&m, &m.nodes[2]);
    hear(&m.nodes[0], buffer_slice(&order));
    assert_int_equal(revoke_for(&m.nodes[0], "k", "why"), 0);
    for (int i = 0; i < 2; i++) {
        fixture_sync(&m.nodes[1], &m.nodes[0]);
        fixture_sync(&m.nodes[0], &m.nodes[1]);
    }
    fixture_expect_equal(&m.nodes[0], &m.nodes[1]);
    buffer_release(&order);
    fixture_mesh_release(&m);
}

/* ---- too early ---- */

/* An event that its writer should not have written. */
static struct buffer early_event(struct fixture_mesh *m,
                                 const struct fixture_node *writer)
{
    struct event_draft d = {.generation =
                                generation_id_of(1, buffer_slice(&m->order)),
                            .dot = {writer->incarnation, 1},
                            .hlc = hlc_make(FIXTURE_WALL_MS, 1),
                            .ops_count = 1};
    struct op op = {.kind = OP_REVOKE,
                    .key = slice_of_string("k"),
                    .value = slice_of_string("why")};
    struct buffer body, ret;

    d.mesh = m->mesh;
    buffer_init(&body, 4096);
    event_body_add(&body, &op);
    d.body = buffer_slice(&body);
    buffer_init(&ret, EVENT_SIZE_MAX);
    assert_int_equal(event_encode(&ret, &d, writer->secret_key, NULL), 0);
    buffer_release(&body);
    return ret;
}

/* Goal: it waits at who knows it as at who does not, so that nobody's events
 * build on it but its writer's; it applies with the last announcement.
 * Method: node 4 writes it, node 2 knows it, node 3 does not. */
static void test_early_event_waits_everywhere(void **state)
{
    struct fixture_mesh m;
    struct buffer early;
    struct slice bytes;

    (void)state;
    old_mesh(&m, 4);
    for (size_t i = 0; i < 2; i++) {
        restart(&m.nodes[i], LEVEL_LAST);
        nudge(&m.nodes[i]);
    }
    m.count = 3; /* node 4 is played by hand */
    spread(&m);
    early = early_event(&m, &m.nodes[3]);
    bytes = buffer_slice(&early);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(fixture_deliver(&m.nodes[i], bytes), CM_ERR_PENDING);
    assert_int_equal(fixture_write(&m.nodes[1], OP_PUT, "other", NULL, "1"), 0);
    spread(&m);
    for (size_t i = 0; i < 3; i++) {
        fixture_expect(&m.nodes[i], "other", "1");
        assert_int_equal(vv_seq(&m.nodes[i].vv, &m.nodes[3].incarnation), 0);
    }
    expect_all_equal(&m);
    restart(&m.nodes[2], LEVEL_LAST); /* what waits goes with the memory */
    nudge(&m.nodes[2]);
    spread(&m);
    assert_int_equal(fixture_deliver(&m.nodes[2], bytes), 0);
    assert_int_equal(fixture_write(&m.nodes[0], OP_PUT, "late", NULL, "1"), 0);
    spread(&m);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(vv_seq(&m.nodes[i].vv, &m.nodes[3].incarnation), 1);
    expect_all_equal(&m);
    m.count = 4;
    buffer_release(&early);
    fixture_mesh_release(&m);
}

/* ---- promises ---- */

/* Goal: who has announced a level lets nobody in who knows less, so that a
 * level which everybody knows stays known. */
static void test_sponsor_keeps_its_word(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n;

    (void)state;
    old_mesh(&m, 1);
    n = fixture_add_node(&m, ROLE_WRITER, "", false);
    restart(&m.nodes[0], LEVEL_LAST);
    nudge(&m.nodes[0]);
    struct local_op op = {
        .kind = OP_ROSTER_ADD,
        .key = slice_of(n->incarnation.bytes, INCARNATION_SIZE),
        .value = buffer_slice(&n->certificate),
        .level = LEVEL_FIRST,
    };
    struct intent *i = fixture_do(&m.nodes[0], &op);
    assert_int_equal(i->result, CM_ERR_LEVEL);
    assert_true(i->detail.text[0] != '\0');
    intent_free(i);
    op.level = LEVEL_LAST;
    i = fixture_do(&m.nodes[0], &op);
    assert_int_equal(i->result, 0);
    intent_free(i);
    assert_int_equal(level_of(&m.nodes[0], &n->incarnation), LEVEL_LAST);
    fixture_mesh_release(&m);
}

/* Goal: a program of a lower level does not open what a newer one announced. */
static void test_no_way_back(void **state)
{
    struct cm_detail detail = {{0}};
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];

    (void)state;
    old_mesh(&m, 1);
    restart(n, LEVEL_LAST);
    assert_int_equal(writer_limit_level(n->writer, LEVEL_FIRST, &detail), 0);
    restart(n, LEVEL_LAST);
    nudge(n);
    fixture_close(n);
    n->level = 0;
    fixture_open(n);
    assert_int_equal(writer_limit_level(n->writer, LEVEL_FIRST, &detail),
                     CM_ERR_FORMAT_VERSION);
    assert_non_null(strstr(detail.text, "newer"));
    fixture_mesh_release(&m);
}

static int never(void *context, struct entry_id *ret_id,
                 const struct entry **ret_entry)
{
    (void)context;
    (void)ret_id;
    (void)ret_entry;
    fail_msg("a state that cannot be read is not looked into");
    return CM_ERR_INVALID;
}

/* Goal: a state with operations of a later level is refused before anything of
 * it is taken, with what to install. */
static void test_later_state_is_refused(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct replacement r = {.next = never};
    struct store_reader *reader;
    struct intent *i = intent_new(INTENT_REPLACE);

    (void)state;
    old_mesh(&m, 1);
    a = &m.nodes[0];
    b = &m.nodes[1];
    fixture_keys(b, 2);
    fixture_certify(&m, b, "node-2", ROLE_READER, "");
    b->level = LEVEL_FIRST;
    fixture_identity(&m, b, false);
    m.count = 2;
    restart(a, LEVEL_LAST);
    nudge(a);
    assert_int_equal(revoke_for(a, "k", "why"), 0);
    assert_int_equal(store_reader_begin(a->store, &reader), 0);
    r.vv = &a->vv;
    r.generation_order = buffer_slice(&m.order);
    assert_int_equal(store_meta(reader, META_STANDING, &r.standing), 0);
    i->replacement = &r;
    commit_result_free(fixture_commit(b, i));
    assert_int_equal(i->result, CM_ERR_FORMAT_VERSION);
    assert_non_null(strstr(i->detail.text, "level 2"));
    intent_free(i);
    store_reader_release(reader);
    fixture_mesh_release(&m);
}

/* ---- in any order ---- */

static uint32_t draw(uint32_t *random, uint32_t below)
{
    *random = *random * 1664525 + 1013904223;
    return (*random >> 8) % below;
}

/* Updates, writes with and without what is new, and single events that come
 * anywhere in any order. */
static void step(struct fixture_mesh *m, uint32_t *random)
{
    struct fixture_node *n = &m->nodes[draw(random, (uint32_t)m->count)];
    struct fixture_node *from = &m->nodes[draw(random, (uint32_t)m->count)];
    const char *keys[] = {"a", "b", "c"};
    const char *key = keys[draw(random, 3)];
    uint32_t kind = draw(random, 20);

    if (kind == 0 && n->level == LEVEL_FIRST) {
        restart(n, LEVEL_LAST);
        nudge(n);
    } else if (kind < 3) {
        int result = revoke_for(n, key, kind == 1 ? "why" : "");

        assert_true(result == 0 || result == CM_ERR_LEVEL);
    } else if (kind < 4) {
        struct intent *i = intent_new(INTENT_PROPOSE);

        commit_result_free(fixture_commit(n, i));
        intent_free(i);
    } else if (from != n && from->events_count > 0) {
        const struct fixture_event *e =
            &from->events[draw(random, (uint32_t)from->events_count)];

        (void)fixture_deliver(n, slice_of(e->bytes, e->size));
    }
}

/* Goal: levels, and what is needed to read a state, are functions of the
 * version vector like everything. Method: whenever two nodes show one vector
 * after a step, they show one proof; in the end all are alike. */
static void test_any_order(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 12; seed++) {
        struct fixture_mesh m;
        uint32_t random = seed;

        old_mesh(&m, 3);
        for (int k = 0; k < 150; k++) {
            step(&m, &random);
            for (size_t a = 1; a < m.count; a++) {
                if (vv_equal(&m.nodes[0].vv, &m.nodes[a].vv))
                    assert_true(
                        hash_equal(&m.nodes[0].proof, &m.nodes[a].proof));
            }
        }
        for (int k = 0; k < 3; k++)
            spread(&m);
        expect_all_equal(&m);
        fixture_mesh_release(&m);
    }
}

/* ---- the operations ---- */

/* The first event of that body, by the last node. */
static int decode_body(struct fixture_mesh *m, const struct buffer *body,
                       struct event *ret_event, struct buffer *ret_bytes)
{
    const struct fixture_node *n = &m->nodes[m->count - 1];
    struct event_draft d = {.mesh = m->mesh,
                            .generation =
                                generation_id_of(1, buffer_slice(&m->order)),
                            .dot = {n->incarnation, 1},
                            .hlc = hlc_make(FIXTURE_WALL_MS, 1),
                            .body = buffer_slice(body),
                            .ops_count = 1};

    buffer_clear(ret_bytes);
    assert_int_equal(event_encode(ret_bytes, &d, n->secret_key, NULL), 0);
    return event_decode(ret_event, buffer_slice(ret_bytes));
}

static void put_head(struct buffer *body, size_t fields, unsigned kind,
                     struct slice key)
{
    buffer_clear(body);
    pack_array(body, fields);
    pack_uint(body, kind);
    pack_bin(body, key);
    pack_bin(body, slice_of(NULL, 0)); /* author */
    pack_array(body, 0);               /* supersedes */
}

/* Goal: what is new has one encoding, which gives the same operation back; a
 * form that says nothing is refused, and a greater kind is unknown. */
static void test_operations(void **state)
{
    struct slice key = slice_of_string("0123456789abcdef");
    const struct op ops[] = {
        {.kind = OP_REVOKE, .key = key, .value = slice_of_string("why")},
        {.kind = OP_SET_REVOKE,
         .key = key,
         .element = slice_of_string("e"),
         .value = slice_of_string("why")},
        {.kind = OP_ROSTER_ADD,
         .key = key,
         .value = slice_of_string("certificate"),
         .level = 7},
        {.kind = OP_KNOWS, .key = key, .level = LEVEL_MAX},
    };
    struct op bad = ops[3];
    struct fixture_mesh m;
    struct buffer body, bytes;
    struct event e;

    (void)state;
    fixture_mesh_make(&m);
    buffer_init(&body, 4096);
    buffer_init(&bytes, 8192);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        buffer_clear(&body);
        event_body_add(&body, &ops[i]);
        assert_int_equal(decode_body(&m, &body, &e, &bytes), 0);
        assert_int_equal(e.ops_count, 1);
        assert_int_equal(e.ops[0].kind, ops[i].kind);
        assert_int_equal(e.ops[0].level, ops[i].level);
        assert_true(slice_equal(e.ops[0].value, ops[i].value));
        assert_true(slice_equal(e.ops[0].element, ops[i].element));
        assert_int_equal(e.level, i < 2 ? LEVEL_REASONS : LEVEL_FIRST);
        event_release(&e);
    }
    put_head(&body, 5, 11, key);
    pack_bin(&body, slice_of(NULL, 0));
    assert_int_equal(decode_body(&m, &body, &e, &bytes), CM_ERR_NONCANONICAL);
    put_head(&body, 6, 13, key);
    pack_bin(&body, slice_of_string("certificate"));
    pack_uint(&body, LEVEL_FIRST);
    assert_int_equal(decode_body(&m, &body, &e, &bytes), CM_ERR_NONCANONICAL);
    put_head(&body, 5, OP_KNOWS, key);
    pack_uint(&body, LEVEL_FIRST);
    assert_int_equal(decode_body(&m, &body, &e, &bytes), CM_ERR_MALFORMED);
    put_head(&body, 4, OP_WIRE_LAST + 1, key);
    assert_int_equal(decode_body(&m, &body, &e, &bytes), 0);
    assert_true(e.has_unknown_op);
    event_release(&e);
    bad.level = LEVEL_MAX + 1;
    assert_int_equal(op_check(&bad, NULL), CM_ERR_INVALID);
    bad = (struct op){.kind = OP_PUT, .key = key, .level = 2};
    assert_int_equal(op_check(&bad, NULL), CM_ERR_INVALID);
    buffer_release(&body);
    buffer_release(&bytes);
    fixture_mesh_release(&m);
}

/* Goal: an announcement by somebody else is void. */
static void test_announcement_of_another(void **state)
{
    struct fixture_mesh m;
    struct buffer body, bytes;
    struct event e;
    struct op op = {.kind = OP_KNOWS, .level = LEVEL_LAST};

    (void)state;
    old_mesh(&m, 2);
    op.key = slice_of(m.nodes[0].incarnation.bytes, INCARNATION_SIZE);
    buffer_init(&body, 4096);
    buffer_init(&bytes, 8192);
    event_body_add(&body, &op);
    assert_int_equal(decode_body(&m, &body, &e, &bytes), 0);
    event_release(&e);
    assert_int_equal(fixture_deliver(&m.nodes[0], buffer_slice(&bytes)), 0);
    assert_int_equal(vv_seq(&m.nodes[0].vv, &m.nodes[1].incarnation), 1);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(level_of(&m.nodes[0], &m.nodes[i].incarnation),
                         LEVEL_FIRST);
    buffer_release(&body);
    buffer_release(&bytes);
    fixture_mesh_release(&m);
}

/* ---- the record ---- */

static struct standing *fresh(const struct fixture_mesh *m)
{
    struct standing_options o = {.mesh = m->mesh};
    struct standing *s = NULL;

    o.generation = generation_id_of(1, buffer_slice(&m->order));
    o.founder = m->nodes[0].incarnation;
    memcpy(o.founder_sign_key, m->nodes[0].public_key, 32);
    memcpy(o.authority_public_key, m->authority.public_key, 32);
    assert_int_equal(standing_create(&s, &o), 0);
    return s;
}

static void read_record(struct standing *s, struct slice record, int expected)
{
    struct unpacker u;

    unpack_init(&u, record);
    (void)standing_unpack(s, &u);
    assert_int_equal(unpack_finish(&u), expected);
}

static struct slice record_of(struct fixture_node *n, struct buffer *out)
{
    struct store_reader *r;
    struct slice bytes = {0};

    assert_int_equal(store_reader_begin(n->store, &r), 0);
    buffer_clear(out);
    if (store_meta(r, META_STANDING, &bytes) == 0)
        buffer_append_slice(out, bytes);
    store_reader_release(r);
    return buffer_slice(out);
}

/* Goal: a mesh in which nobody announced anything keeps the record of before;
 * one with levels joins them by the greatest, and says what is needed to read
 * it before it is opened. */
static void test_record(void **state)
{
    struct fixture_mesh m;
    struct buffer bytes, packed;
    struct standing *s, *other;
    uint32_t needs = 0;

    (void)state;
    old_mesh(&m, 2);
    buffer_init(&bytes, 1u << 20);
    buffer_init(&packed, 1u << 20);
    s = fresh(&m);
    standing_pack(&packed, s);
    assert_int_equal(packed.data[0], 0x94); /* four fields */
    assert_int_equal(standing_peek_needs(buffer_slice(&packed), &needs), 0);
    assert_int_equal(needs, LEVEL_FIRST);
    for (size_t i = 0; i < 2; i++) {
        restart(&m.nodes[i], LEVEL_LAST);
        nudge(&m.nodes[i]);
    }
    spread(&m);
    assert_int_equal(revoke_for(&m.nodes[0], "k", "why"), 0);
    (void)record_of(&m.nodes[0], &bytes);
    assert_int_equal(bytes.data[0], 0x96);
    assert_int_equal(standing_peek_needs(buffer_slice(&bytes), &needs), 0);
    assert_int_equal(needs, LEVEL_REASONS);
    other = fresh(&m);
    read_record(other, buffer_slice(&bytes), 0);
    assert_int_equal(standing_level_of(other, &m.nodes[1].incarnation),
                     LEVEL_LAST);
    assert_int_equal(standing_join(s, other), 0);
    assert_int_equal(standing_needs(s), LEVEL_REASONS);
    buffer_clear(&packed);
    standing_pack(&packed, s);
    assert_true(slice_equal(buffer_slice(&packed), buffer_slice(&bytes)));
    standing_free(other);
    /* The longer form with nothing in it would be a second encoding. */
    other = fresh(&m);
    buffer_clear(&packed);
    buffer_append(&packed, "\x96\x00\x00\x90\x90\x01\x90", 7);
    read_record(other, buffer_slice(&packed), CM_ERR_NONCANONICAL);
    standing_free(other);
    standing_free(s);
    buffer_release(&bytes);
    buffer_release(&packed);
    fixture_mesh_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_mesh_announces_nothing),
        cmocka_unit_test(test_announced_once),
        cmocka_unit_test(test_refused_until_everybody_knows),
        cmocka_unit_test(test_reason_is_told),
        cmocka_unit_test(test_evicted_one_does_not_count),
        cmocka_unit_test(test_early_event_waits_everywhere),
        cmocka_unit_test(test_sponsor_keeps_its_word),
        cmocka_unit_test(test_no_way_back),
        cmocka_unit_test(test_later_state_is_refused),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_announcement_of_another),
        cmocka_unit_test(test_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
