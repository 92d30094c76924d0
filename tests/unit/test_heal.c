/* The writer's part of mending, and the copy of a node's facts. Goal: what was
 * damaged or differs is afterwards byte for byte what the peer of the same
 * vector has, digest included; what does not belong is refused whole. */
#include "tests/unit/support.h"

#include "tests/unit/writer_fixture.h"

#include "crdt/base/alloc.h"
#include "node/heal_change.h"
#include "node/heal_facts.h"
#include "node/store_txn.h"

static struct schema_key key_of(const char *key)
{
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string(key)};
    struct schema_key ret;

    schema_key_entry(&ret, &id);
    return ret;
}

/* The record as it lies there, with one bit flipped. */
static void rot(struct fixture_node *n, const struct schema_key *key)
{
    MDB_val k = {.mv_size = key->size,
                 .mv_data = (void *)(uintptr_t)key->bytes};
    uint8_t bytes[4096];
    struct store_txn t;
    MDB_val v;

    assert_int_equal(store_txn_begin(&t, n->store, true, NULL), 0);
    assert_int_equal(mdb_get(t.mdb, store_dbi(n->store), &k, &v), 0);
    assert_true(v.mv_size <= sizeof bytes);
    memcpy(bytes, v.mv_data, v.mv_size);
    bytes[v.mv_size - 1] ^= 1;
    v.mv_data = bytes;
    assert_int_equal(mdb_put(t.mdb, store_dbi(n->store), &k, &v, 0), 0);
    assert_int_equal(store_txn_commit(&t, NULL), 0);
}

static int heal(struct fixture_node *n, struct heal_change *c)
{
    struct intent *i = intent_new(INTENT_HEAL);
    int ret;

    assert_non_null(i);
    i->replacement = c;
    commit_result_free(fixture_commit(n, i));
    ret = i->result;
    intent_free(i);
    return ret;
}

/* What a peer would send. */
static void add_entry(struct heal_change *c, struct fixture_node *from,
                      const char *key)
{
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string(key)};
    struct schema_key name = key_of(key);
    struct store_reader *r;
    struct buffer packed;
    struct entry entry;

    buffer_init(&packed, 1u << 20);
    entry_init(&entry);
    assert_int_equal(store_reader_begin(from->store, &r), 0);
    if (store_get(r, &id, &entry, NULL) == 0)
        entry_pack(&packed, &id, &entry);
    assert_int_equal(heal_change_add(c, &name, buffer_slice(&packed)), 0);
    store_reader_release(r);
    entry_release(&entry);
    buffer_release(&packed);
}

struct pair {
    struct fixture_mesh m;
    struct fixture_node *a, *b;
};

static void pair_make(struct pair *p)
{
    fixture_mesh_make(&p->m);
    p->a = &p->m.nodes[0];
    p->b = fixture_add_node(&p->m, ROLE_WRITER, "", true);
    (void)fixture_write(p->a, OP_PUT, "one", NULL, "1");
    (void)fixture_write(p->a, OP_PUT, "two", NULL, "2");
    fixture_sync(p->b, p->a);
    fixture_expect_equal(p->a, p->b);
}

static void test_rotten_entry_comes_back(void **state)
{
    struct heal_change *c = heal_change_new();
    struct schema_key key = key_of("two");
    struct pair p;

    (void)state;
    assert_non_null(c);
    pair_make(&p);
    rot(p.b, &key);
    c->vv = vv_hash(&p.b->vv);
    add_entry(c, p.a, "two");
    assert_int_equal(heal(p.b, c), 0);
    assert_int_equal(c->healed, 1);
    fixture_expect(p.b, "two", "2");
    fixture_expect_equal(p.a, p.b);
    heal_change_free(c);
    fixture_mesh_release(&p.m);
}

/* The event that touches what is damaged waits and comes afterwards. */
static void test_what_waited_for_it_comes(void **state)
{
    struct heal_change *c = heal_change_new();
    struct schema_key key = key_of("two");
    const struct fixture_event *e;
    struct pair p;

    (void)state;
    assert_non_null(c);
    pair_make(&p);
    rot(p.b, &key);
    c->vv = vv_hash(&p.b->vv);
    add_entry(c, p.a, "two");
    (void)fixture_write(p.a, OP_PUT, "two", NULL, "3");
    e = &p.a->events[p.a->events_count - 1];
    assert_int_equal(fixture_deliver(p.b, slice_of(e->bytes, e->size)),
                     CM_ERR_DAMAGED);
    assert_false(vv_equal(&p.a->vv, &p.b->vv));
    assert_int_equal(heal(p.b, c), 0);
    fixture_expect(p.b, "two", "3");
    fixture_expect_equal(p.a, p.b);
    heal_change_free(c);
    fixture_mesh_release(&p.m);
}

/* Equal vectors, another state: what the law forbids, made by hand. */
static void test_divergence_is_mended(void **state)
{
    struct heal_change *c = heal_change_new();
    struct schema_key key = key_of("one");
    struct pair p;

    (void)state;
    assert_non_null(c);
    pair_make(&p);
    c->vv = vv_hash(&p.b->vv);
    assert_int_equal(heal_change_add(c, &key, slice_of(NULL, 0)), 0);
    assert_int_equal(heal(p.b, c), 0);
    fixture_expect(p.b, "one", "");
    assert_true(vv_equal(&p.a->vv, &p.b->vv));
    assert_false(hash_equal(&p.a->digest, &p.b->digest));
    heal_change_free(c);
    c = heal_change_new();
    assert_non_null(c);
    c->vv = vv_hash(&p.b->vv);
    add_entry(c, p.a, "one");
    assert_int_equal(heal(p.b, c), 0);
    fixture_expect_equal(p.a, p.b);
    heal_change_free(c);
    fixture_mesh_release(&p.m);
}

/* An entry of another vector would not be this state's: refused whole. */
static void test_another_vector_is_refused(void **state)
{
    struct heal_change *c = heal_change_new();
    struct pair p;

    (void)state;
    assert_non_null(c);
    pair_make(&p);
    c->vv = vv_hash(&p.b->vv);
    (void)fixture_write(p.a, OP_PUT, "one", NULL, "newer");
    add_entry(c, p.a, "one"); /* a sibling beyond b's vector */
    assert_int_equal(heal(p.b, c), CM_ERR_MALFORMED);
    fixture_expect(p.b, "one", "1");
    fixture_sync(p.b, p.a);
    assert_int_equal(heal(p.b, c), CM_ERR_CONDITION);
    fixture_expect_equal(p.a, p.b);
    heal_change_free(c);
    fixture_mesh_release(&p.m);
}

static void test_other_records_are_made_again(void **state)
{
    static const uint8_t which[] = {SCHEMA_STATE_LANES, SCHEMA_STATE_LANES + 1};
    struct heal_change *c = heal_change_new();
    struct pair p;

    (void)state;
    assert_non_null(c);
    pair_make(&p);
    for (size_t i = 0; i < sizeof which; i++) {
        schema_key_state(&c->drop[c->drop_count], which[i]);
        rot(p.b, &c->drop[c->drop_count++]);
    }
    schema_key_actor(&c->drop[c->drop_count], 0);
    rot(p.b, &c->drop[c->drop_count++]);
    schema_key_event(&c->drop[c->drop_count], 0, 2);
    rot(p.b, &c->drop[c->drop_count++]);
    assert_int_equal(heal(p.b, c), 0);
    assert_int_equal(c->healed, 4);
    fixture_close(p.b);
    fixture_open(p.b); /* everything that a start needs is there */
    (void)fixture_write(p.a, OP_PUT, "three", NULL, "3");
    fixture_sync(p.b, p.a);
    fixture_expect_equal(p.a, p.b);
    heal_change_free(c);
    fixture_mesh_release(&p.m);
}

/* ---- the copy of the facts ---- */

static void test_facts_come_back(void **state)
{
    struct heal_facts *f = cm_calloc(1, sizeof *f);
    struct heal_facts *g = cm_calloc(1, sizeof *g);
    struct buffer text;

    (void)state;
    assert_true(f != NULL && g != NULL);
    heal_facts_init(f);
    f->authority[0] = 1;
    f->incarnation.bytes[3] = 4;
    buffer_append_string(&f->certificate, "certificate");
    buffer_append_string(&f->generation, "order");
    assert_int_equal(address_parse(&f->bind, "127.0.0.1:7000"), 0);
    f->peers[0].peer.bytes[0] = 9;
    assert_int_equal(address_parse(&f->peers[0].address, "[::1]:7001"), 0);
    f->peers_count = 1;
    buffer_init(&text, HEAL_FACTS_SIZE_MAX);
    heal_facts_format(&text, f);
    assert_int_equal(text.error, 0);
    for (size_t i = 0; i < text.size; i++) { /* any byte that rots is told */
        heal_facts_init(g);
        text.data[i] ^= 1;
        assert_int_equal(heal_facts_parse(g, buffer_slice(&text)),
                         CM_ERR_DAMAGED);
        text.data[i] ^= 1;
        heal_facts_release(g);
    }
    heal_facts_init(g);
    assert_int_equal(heal_facts_parse(g, buffer_slice(&text)), 0);
    assert_int_equal(g->peers_count, 1);
    assert_true(address_equal(&g->peers[0].address, &f->peers[0].address));
    assert_true(address_equal(&g->bind, &f->bind));
    assert_true(slice_equal(buffer_slice(&g->certificate),
                            slice_of_string("certificate")));
    assert_true(incarnation_equal(&g->incarnation, &f->incarnation));
    heal_facts_release(g);
    heal_facts_release(f);
    buffer_release(&text);
    cm_free(f);
    cm_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotten_entry_comes_back),
        cmocka_unit_test(test_what_waited_for_it_comes),
        cmocka_unit_test(test_divergence_is_mended),
        cmocka_unit_test(test_another_vector_is_refused),
        cmocka_unit_test(test_other_records_are_made_again),
        cmocka_unit_test(test_facts_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
