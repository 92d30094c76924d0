/* Goal: the law that everything follows. Three replicas write at random, each
 * from its own view; whoever applies the events in whatever causal order has
 * byte-identical canonical state and the same digest.
 *
 * Method: a history is made by three replicas that write, and hear of each
 * other's events now and then. Every event is really encoded, signed, decoded
 * and verified; deps, previous hashes and superseded dots come from the
 * writer's own view. Of a small history *every* causal linearisation is
 * applied, of a larger one many random ones. The digest is kept up to date
 * sibling by sibling, as a node does, and compared with one from scratch. A
 * failure prints the seed. */
#include "support.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/random.h"
#include "crdt/digest.h"
#include "crdt/event.h"

#define REPLICAS 3
#define EVENTS_MAX 64
#define ENTRIES 6
#define DOTS_MAX 256
#define CANONICAL_MAX (1u << 18)

/* Three registers, three elements of two sets. */
static const struct {
    enum space space;
    const char *key;
    const char *element;
} places[ENTRIES] = {{SPACE_REGISTER, "a", ""}, {SPACE_REGISTER, "b", ""},
                     {SPACE_REGISTER, "s", ""}, {SPACE_SET, "s", "x"},
                     {SPACE_SET, "s", "y"},     {SPACE_SET, "t", "x"}};

struct replica {
    struct entry entries[ENTRIES];
    struct vv vv;
    struct digest digest;
    hlc_t clock;
};

struct recorded {
    struct buffer bytes;
    struct event event;
    struct hash hash;
};

struct history {
    struct recorded events[EVENTS_MAX];
    size_t count;
    struct key_pair keys[REPLICAS];
};

/* What all linearisations have to come to. */
struct expected {
    struct buffer canonical;
    struct hash digest;
    bool known;
    uint64_t linearisations;
};

static struct entry_id place_id(size_t i)
{
    return (struct entry_id){.space = places[i].space,
                             .key = support_text(places[i].key),
                             .element = support_text(places[i].element)};
}

static void replica_init(struct replica *r)
{
    size_t i;

    for (i = 0; i < ENTRIES; i++)
        entry_init(&r->entries[i]);
    vv_init(&r->vv);
    digest_init(&r->digest);
    r->clock = 0;
}

static void replica_release(struct replica *r)
{
    size_t i;

    for (i = 0; i < ENTRIES; i++)
        entry_release(&r->entries[i]);
    vv_release(&r->vv);
}

static void replica_copy(struct replica *ret, const struct replica *r)
{
    size_t i;
    size_t k;

    replica_init(ret);
    for (i = 0; i < ENTRIES; i++) {
        for (k = 0; k < r->entries[i].count; k++)
            assert_int_equal(
                entry_add_sibling(&ret->entries[i], &r->entries[i].siblings[k]),
                0);
    }
    assert_int_equal(vv_copy(&ret->vv, &r->vv), 0);
    ret->digest = r->digest;
    ret->clock = r->clock;
}

static void digest_entry(struct digest *d, size_t place, const struct entry *e,
                         void (*change)(struct digest *,
                                        const struct entry_id *,
                                        const struct sibling *))
{
    struct entry_id id = place_id(place);
    size_t i;

    for (i = 0; i < e->count; i++)
        change(d, &id, &e->siblings[i]);
}

static bool applicable(const struct replica *r, const struct event *e)
{
    const struct vv_entry *own = vv_find(&r->vv, &e->dot.incarnation);
    size_t i;

    if (e->dot.seq != (own != NULL ? own->seq : 0) + 1)
        return false;
    if (own != NULL && !hash_equal(&own->head, &e->previous))
        return false;
    for (i = 0; i < e->deps_count; i++) {
        if (!vv_covers(&r->vv, &e->deps[i]))
            return false;
    }
    return true;
}

static size_t place_of(const struct op *op)
{
    struct entry_id id = op_entry_id(op);
    size_t i;

    for (i = 0; i < ENTRIES; i++) {
        struct entry_id at = place_id(i);

        if (entry_id_compare(&id, &at) == 0)
            return i;
    }
    fail_msg("operation of no known place");
    return 0;
}

static void replica_apply(struct replica *r, const struct recorded *x)
{
    const struct event *e = &x->event;
    size_t i;

    assert_true(applicable(r, e));
    for (i = 0; i < e->ops_count; i++) {
        size_t place = place_of(&e->ops[i]);
        struct entry *entry = &r->entries[place];
        bool changed;

        digest_entry(&r->digest, place, entry, digest_remove);
        assert_int_equal(
            entry_apply(entry, &e->ops[i], &e->dot, e->hlc, &changed), 0);
        digest_entry(&r->digest, place, entry, digest_add);
    }
    assert_int_equal(vv_set(&r->vv, &e->dot.incarnation, e->dot.seq, &x->hash),
                     0);
    r->clock = hlc_merge(r->clock, e->hlc);
}

/* A random operation on place, naming all that the writer sees there. */
static struct op random_op(struct random_stream *random, size_t place,
                           const struct replica *r, struct dot dots[DOTS_MAX])
{
    static const enum op_kind registers[] = {OP_PUT, OP_PUT, OP_DEL, OP_REVOKE};
    static const enum op_kind sets[] = {OP_SET_ADD, OP_SET_ADD, OP_SET_REMOVE,
                                        OP_SET_REVOKE};
    static const char *const values[] = {"red", "green", "blue", ""};
    const struct entry *e = &r->entries[place];
    struct entry_id id = place_id(place);
    struct op op = {.key = id.key, .element = id.element};
    size_t i;

    op.kind = id.space == SPACE_REGISTER ? registers[random_below(random, 4)]
                                         : sets[random_below(random, 4)];
    if (op.kind == OP_PUT) {
        op.value = support_text(values[random_below(random, 4)]);
        op.flags = random_below(random, 3);
    }
    if (op.kind == OP_PUT || op.kind == OP_SET_ADD)
        op.expires = random_below(random, 2) * hlc_make(90, 0);
    assert_true(e->count <= DOTS_MAX);
    for (i = 0; i < e->count; i++)
        dots[i] = e->siblings[i].dot;
    op.supersedes = dots;
    op.supersedes_count = e->count;
    return op;
}

static size_t make_body(struct buffer *body, struct random_stream *random,
                        const struct replica *r)
{
    struct dot dots[DOTS_MAX];
    size_t first = random_below(random, ENTRIES);
    size_t count = 1 + random_below(random, 3);
    size_t i;

    for (i = 0; i < count; i++) {
        struct op op = random_op(random, (first + i) % ENTRIES, r, dots);

        event_body_add(body, &op);
    }
    return count;
}

/* Writer w writes one event from its own view, and applies it. */
static void write_event(struct history *h, struct replica *replicas, size_t w,
                        struct random_stream *random)
{
    struct replica *r = &replicas[w];
    struct recorded *x = &h->events[h->count];
    struct dot deps[REPLICAS];
    struct buffer body;
    struct event_draft d = {
        .generation = {.number = 1},
        .dot = support_dot((uint8_t)(w + 1), 1),
        .deps = deps,
        /* Clocks that disagree, so that causal order and time do too. */
        .hlc = hlc_next(r->clock, 100 + w * 7 + random_below(random, 20))};
    const struct vv_entry *own = vv_find(&r->vv, &d.dot.incarnation);
    struct hash encoded;
    size_t i;

    assert_true(h->count < EVENTS_MAX);
    if (own != NULL) {
        d.dot.seq = own->seq + 1;
        d.previous = own->head;
    }
    for (i = 0; i < r->vv.count; i++) {
        const struct vv_entry *e = &r->vv.entries[i];

        if (e != own)
            deps[d.deps_count++] =
                (struct dot){.incarnation = e->incarnation, .seq = e->seq};
    }
    buffer_init(&body, EVENT_SIZE_MAX);
    d.ops_count = make_body(&body, random, r);
    d.body = buffer_slice(&body);
    buffer_init(&x->bytes, EVENT_SIZE_MAX);
    assert_int_equal(
        event_encode(&x->bytes, &d, h->keys[w].secret_key, &encoded), 0);
    assert_int_equal(event_decode(&x->event, buffer_slice(&x->bytes)), 0);
    assert_int_equal(event_verify(&x->event, h->keys[w].public_key), 0);
    x->hash = event_hash(&x->event);
    assert_true(hash_equal(&encoded, &x->hash));
    buffer_release(&body);
    h->count++;
    replica_apply(r, x);
}

/* Replica r hears of some event that it may apply, if there is one. */
static void hear_event(const struct history *h, struct replica *r,
                       struct random_stream *random)
{
    size_t start = random_below(random, h->count + 1);
    size_t i;

    for (i = 0; i < h->count; i++) {
        const struct recorded *x = &h->events[(start + i) % h->count];

        if (applicable(r, &x->event)) {
            replica_apply(r, x);
            return;
        }
    }
}

static struct random_stream stream_of(uint64_t seed)
{
    struct random_stream ret;
    uint8_t bytes[32] = {0};

    put_be64(bytes, seed);
    random_init(&ret, bytes);
    return ret;
}

static void make_history(struct history *h, size_t count,
                         struct random_stream *random)
{
    struct replica replicas[REPLICAS];
    size_t i;

    *h = (struct history){0};
    for (i = 0; i < REPLICAS; i++) {
        h->keys[i] = support_key_pair((uint8_t)(i + 1));
        replica_init(&replicas[i]);
    }
    while (h->count < count) {
        size_t w = random_below(random, REPLICAS);

        if (random_below(random, 2) == 0)
            write_event(h, replicas, w, random);
        else
            hear_event(h, &replicas[w], random);
    }
    for (i = 0; i < REPLICAS; i++)
        replica_release(&replicas[i]);
}

static void history_release(struct history *h)
{
    size_t i;

    for (i = 0; i < h->count; i++) {
        event_release(&h->events[i].event);
        buffer_release(&h->events[i].bytes);
    }
}

static void pack_replica(struct buffer *out, const struct replica *r)
{
    size_t i;

    for (i = 0; i < ENTRIES; i++) {
        struct entry_id id = place_id(i);

        if (r->entries[i].count > 0)
            entry_pack(out, &id, &r->entries[i]);
    }
    vv_pack(out, &r->vv);
    assert_int_equal(out->error, 0);
}

/* The canonical bytes, read back and packed again, are the same. */
static void check_codec(struct slice canonical)
{
    struct unpacker u;
    struct buffer again;
    struct vv v;
    size_t end = 0;

    buffer_init(&again, CANONICAL_MAX);
    unpack_init(&u, canonical);
    for (;;) {
        struct entry_id id;
        struct entry e;

        entry_unpack(&u, &id, &e);
        if (u.error != 0) {
            entry_release(&e);
            break;
        }
        entry_pack(&again, &id, &e);
        entry_release(&e);
        end = u.position;
    }
    unpack_init(&u, slice_of(canonical.data + end, canonical.size - end));
    vv_unpack(&u, &v);
    assert_int_equal(unpack_finish(&u), 0);
    vv_pack(&again, &v);
    support_assert_slices(buffer_slice(&again), canonical);
    vv_release(&v);
    buffer_release(&again);
}

static void check_end(struct expected *expected, const struct replica *r,
                      uint64_t seed)
{
    struct hash digest = digest_finish(&r->digest, &r->vv);
    struct digest scratch;
    struct buffer canonical;
    size_t i;

    digest_init(&scratch);
    for (i = 0; i < ENTRIES; i++)
        digest_entry(&scratch, i, &r->entries[i], digest_add);
    if (!digest_equal(&scratch, &r->digest))
        fail_msg("seed %llu: the digest drifts from the state",
                 (unsigned long long)seed);
    buffer_init(&canonical, CANONICAL_MAX);
    pack_replica(&canonical, r);
    expected->linearisations++;
    if (!expected->known) {
        expected->known = true;
        expected->digest = digest;
        expected->canonical = canonical;
        check_codec(buffer_slice(&canonical));
        return;
    }
    if (!slice_equal(buffer_slice(&canonical),
                     buffer_slice(&expected->canonical)))
        fail_msg("seed %llu: states differ after linearisation %llu",
                 (unsigned long long)seed,
                 (unsigned long long)expected->linearisations);
    if (!hash_equal(&digest, &expected->digest))
        fail_msg("seed %llu: digests differ", (unsigned long long)seed);
    buffer_release(&canonical);
}

/* Every causal order from here on, depth first. */
static void enumerate(const struct history *h, const struct replica *r,
                      size_t applied, struct expected *expected, uint64_t seed)
{
    size_t i;

    if (applied == h->count) {
        check_end(expected, r, seed);
        return;
    }
    for (i = 0; i < h->count; i++) {
        struct replica next;

        if (!applicable(r, &h->events[i].event))
            continue;
        replica_copy(&next, r);
        replica_apply(&next, &h->events[i]);
        enumerate(h, &next, applied + 1, expected, seed);
        replica_release(&next);
    }
}

static void test_every_causal_order(void **state)
{
    uint64_t total = 0;
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 150; seed++) {
        struct random_stream random = stream_of(seed);
        struct expected expected = {0};
        struct replica empty;
        struct history h;

        make_history(&h, 5 + seed % 4, &random);
        replica_init(&empty);
        enumerate(&h, &empty, 0, &expected, seed);
        assert_true(expected.linearisations >= 1);
        total += expected.linearisations;
        replica_release(&empty);
        buffer_release(&expected.canonical);
        history_release(&h);
    }
    print_message("%llu linearisations of %llu histories\n",
                  (unsigned long long)total, (unsigned long long)seed - 1);
    assert_true(total > 150 * 3); /* there was concurrency to speak of */
}

static void random_order(const struct history *h, struct random_stream *random,
                         struct expected *expected, uint64_t seed)
{
    struct replica r;
    size_t i;

    replica_init(&r);
    for (i = 0; i < h->count; i++)
        hear_event(h, &r, random);
    check_end(expected, &r, seed);
    replica_release(&r);
}

static void test_random_causal_orders(void **state)
{
    uint64_t seed;
    size_t i;

    (void)state;
    for (seed = 1000; seed < 1040; seed++) {
        struct random_stream random = stream_of(seed);
        struct expected expected = {0};
        struct history h;

        make_history(&h, EVENTS_MAX, &random);
        for (i = 0; i < 40; i++)
            random_order(&h, &random, &expected, seed);
        assert_true(expected.linearisations == 40);
        buffer_release(&expected.canonical);
        history_release(&h);
    }
}

/* The test of the test: without causal delivery the very same comparison
 * fails, so it can see a difference. */
static void test_causal_order_is_needed(void **state)
{
    struct op old = support_put("a", "old");
    struct op new = support_put("a", "new");
    struct dot first = support_dot(1, 1);
    struct dot second = support_dot(2, 1);
    struct entry right;
    struct entry wrong;

    (void)state;
    new.supersedes = &first;
    new.supersedes_count = 1;
    entry_init(&right);
    entry_init(&wrong);
    assert_int_equal(entry_apply(&right, &old, &first, 1, NULL), 0);
    assert_int_equal(entry_apply(&right, &new, &second, 2, NULL), 0);
    assert_int_equal(entry_apply(&wrong, &new, &second, 2, NULL), 0);
    assert_int_equal(entry_apply(&wrong, &old, &first, 1, NULL), 0);
    assert_int_equal(right.count, 1);
    assert_int_equal(wrong.count, 2);
    entry_release(&right);
    entry_release(&wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_causal_order),
        cmocka_unit_test(test_random_causal_orders),
        cmocka_unit_test(test_causal_order_is_needed),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
