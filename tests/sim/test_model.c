/* Goal: the model and crdt/ agree about every history, and the model's
 * answers do not depend on the order in which it was asked or told.
 * Method: random histories of all kinds of operations by several writers that
 * hear of each other now and then. crdt/entry.c applies them in causal order,
 * replica by replica; the model is asked for the same vectors. */
#include "tests/unit/writer_fixture.h"

#include "sim/model.h"

#define WRITERS 4
#define EVENTS 60 /* of each writer */
#define KEYS 5
#define ELEMENTS 2
#define IDS (KEYS + KEYS * ELEMENTS)
#define HISTORIES 25

struct replica {
    uint64_t seqs[WRITERS];
    struct entry entries[IDS];
    struct digest digest;
};

struct history {
    uint64_t chance;
    struct key_pair_of {
        uint8_t public_key[32];
        uint8_t secret_key[64];
    } keys;
    struct incarnation writers[WRITERS];
    struct buffer bytes[WRITERS][EVENTS];
    struct event events[WRITERS][EVENTS];
    struct hash heads[WRITERS];
    unsigned counts[WRITERS];
    struct replica replicas[WRITERS];
    struct sim_model *model;
    uint64_t time;
};

static uint64_t draw(struct history *h, uint64_t below)
{
    h->chance ^= h->chance << 13;
    h->chance ^= h->chance >> 7;
    h->chance ^= h->chance << 17;
    return h->chance % below;
}

static struct entry_id id_of(unsigned number, char key[16], char element[16])
{
    struct entry_id id = {.space = number < KEYS ? SPACE_REGISTER : SPACE_SET};

    (void)snprintf(key, 16, "key%u", number % KEYS);
    (void)snprintf(element, 16, "element%u", number / KEYS);
    id.key = slice_of_string(key);
    id.element = slice_of_string(number < KEYS ? "" : element);
    return id;
}

static unsigned number_of(const struct op *op)
{
    struct entry_id wanted = op_entry_id(op);
    char key[16];
    char element[16];

    for (unsigned i = 0; i < IDS; i++) {
        struct entry_id id = id_of(i, key, element);
        if (entry_id_compare(&id, &wanted) == 0)
            return i;
    }
    fail();
    return 0;
}

static void apply(struct replica *r, const struct event *e)
{
    for (size_t i = 0; i < e->ops_count; i++) {
        struct entry *entry = &r->entries[number_of(&e->ops[i])];
        struct entry_id id = op_entry_id(&e->ops[i]);

        for (size_t j = 0; j < entry->count; j++)
            digest_remove(&r->digest, &id, &entry->siblings[j]);
        assert_int_equal(entry_apply(entry, &e->ops[i], &e->dot, e->hlc, NULL),
                         0);
        for (size_t j = 0; j < entry->count; j++)
            digest_add(&r->digest, &id, &entry->siblings[j]);
    }
}

static enum op_kind draw_kind(struct history *h, enum space space)
{
    static const enum op_kind registers[] = {OP_PUT, OP_PUT, OP_PUT, OP_DEL,
                                             OP_REVOKE};
    static const enum op_kind sets[] = {OP_SET_ADD, OP_SET_ADD, OP_SET_REMOVE,
                                        OP_SET_REVOKE};

    return space == SPACE_REGISTER ? registers[draw(h, 5)] : sets[draw(h, 4)];
}

/* An operation on one entry that names all of the replica's siblings. */
static void add_op(struct history *h, const struct replica *r, unsigned number,
                   struct buffer *body)
{
    char key[16];
    char element[16];
    struct entry_id id = id_of(number, key, element);
    const struct entry *e = &r->entries[number];
    struct dot dots[WRITERS * EVENTS];
    struct op op = {
        .kind = draw_kind(h, id.space),
        .key = id.key,
        .element = id.element,
        .supersedes = dots,
        .supersedes_count = e->count,
    };

    for (size_t i = 0; i < e->count; i++)
        dots[i] = e->siblings[i].dot;
    if (op.kind == OP_PUT)
        op.value = slice_of_string(key);
    if ((op.kind == OP_PUT || op.kind == OP_SET_ADD) && draw(h, 3) == 0)
        op.expires = hlc_make(FIXTURE_WALL_MS + draw(h, 200), 0);
    event_body_add(body, &op);
}

static void write_event(struct history *h, unsigned writer)
{
    struct replica *r = &h->replicas[writer];
    unsigned seq = h->counts[writer];
    struct buffer *bytes = &h->bytes[writer][seq];
    struct event *e = &h->events[writer][seq];
    unsigned first = (unsigned)draw(h, IDS);
    unsigned count = 1 + (unsigned)draw(h, 3);
    struct sim_model_event *added = NULL;
    struct buffer body;

    buffer_init(&body, EVENT_SIZE_MAX);
    buffer_init(bytes, EVENT_SIZE_MAX);
    for (unsigned i = 0; i < count; i++)
        add_op(h, r, (first + i) % IDS, &body);
    h->time += draw(h, 3);
    struct event_draft draft = {
        .generation = {.number = 1},
        .dot = {h->writers[writer], seq + 1},
        /* Equal stamps of different writers are wanted. */
        .hlc = hlc_make(FIXTURE_WALL_MS + h->time / 2, (uint16_t)seq),
        .previous = h->heads[writer],
        .body = buffer_slice(&body),
        .ops_count = count,
    };
    assert_int_equal(
        event_encode(bytes, &draft, h->keys.secret_key, &h->heads[writer]), 0);
    buffer_release(&body);
    assert_int_equal(event_decode(e, buffer_slice(bytes)), 0);
    assert_int_equal(sim_model_add(h->model, buffer_slice(bytes), &added), 0);
    h->counts[writer]++;
    r->seqs[writer]++;
    apply(r, e);
}

/* Merges the other's knowledge, event by event, by clock: a causal order. */
static void hear(struct history *h, unsigned writer, unsigned other)
{
    struct replica *r = &h->replicas[writer];
    const uint64_t *wanted = h->replicas[other].seqs;

    for (;;) {
        const struct event *next = NULL;
        unsigned from = 0;

        for (unsigned a = 0; a < WRITERS; a++) {
            if (r->seqs[a] >= wanted[a])
                continue;
            const struct event *e = &h->events[a][r->seqs[a]];
            bool ready = true;
            for (size_t i = 0; i < e->ops_count; i++)
                for (size_t j = 0; j < e->ops[i].supersedes_count; j++)
                    for (unsigned b = 0; b < WRITERS; b++)
                        if (incarnation_equal(
                                &e->ops[i].supersedes[j].incarnation,
                                &h->writers[b]) &&
                            e->ops[i].supersedes[j].seq > r->seqs[b])
                            ready = false;
            if (ready && (next == NULL || e->hlc < next->hlc)) {
                next = e;
                from = a;
            }
        }
        if (next == NULL)
            return;
        r->seqs[from]++;
        apply(r, next);
    }
}

static void compare(struct history *h, const struct replica *r)
{
    struct sim_model_view v = {
        .seqs = r->seqs, .count = WRITERS, .actor = SIM_MODEL_NO_ACTOR};
    hlc_t now = hlc_make(FIXTURE_WALL_MS + 100, 0);
    struct digest folded;
    size_t entries = 0;
    size_t expected = 0;

    sim_model_fold(h->model, &v, &folded, &entries);
    assert_true(digest_equal(&folded, &r->digest));
    for (unsigned i = 0; i < IDS; i++) {
        char key[16];
        char element[16];
        struct entry_id id = id_of(i, key, element);
        const struct sim_model_entry *e = sim_model_entry(h->model, &id);
        const struct sim_model_op *const *ops = NULL;
        size_t count = sim_model_standing(h->model, &v, e, &ops);

        expected += r->entries[i].count > 0;
        assert_int_equal(count, r->entries[i].count);
        for (size_t j = 0; j < count; j++)
            assert_true(dot_equal(&ops[j]->event->decoded.dot,
                                  &r->entries[i].siblings[j].dot));
        struct sim_model_answer a = sim_model_resolve(h->model, &v, e, now);
        struct resolution x = entry_resolve(&r->entries[i], now);
        assert_int_equal(a.present, x.present);
        assert_int_equal(a.revoked, x.revoke != NULL);
        assert_int_equal(a.winner != NULL, x.winner != NULL);
        if (a.winner != NULL)
            assert_true(
                dot_equal(&a.winner->event->decoded.dot, &x.winner->dot));
    }
    assert_int_equal(entries, expected);
}

static void begin(struct history *h, uint64_t seed)
{
    uint8_t key_seed[32] = {1};

    memset(h, 0, sizeof *h);
    h->chance = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    crypto_sign_seed_keypair(h->keys.public_key, h->keys.secret_key, key_seed);
    h->model = sim_model_create(h->keys.public_key);
    for (unsigned i = 0; i < WRITERS; i++) {
        h->writers[i].bytes[0] = (uint8_t)(i + 1);
        assert_int_equal(sim_model_actor(h->model, &h->writers[i]), i);
        digest_init(&h->replicas[i].digest);
        for (unsigned j = 0; j < IDS; j++)
            entry_init(&h->replicas[i].entries[j]);
    }
}

static void end(struct history *h)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        for (unsigned j = 0; j < IDS; j++)
            entry_release(&h->replicas[i].entries[j]);
        for (unsigned j = 0; j < h->counts[i]; j++) {
            event_release(&h->events[i][j]);
            buffer_release(&h->bytes[i][j]);
        }
    }
    sim_model_free(h->model);
}

static void run_history(struct history *h)
{
    unsigned total = 0;

    while (total < WRITERS * EVENTS / 2) {
        unsigned writer = (unsigned)draw(h, WRITERS);

        if (draw(h, 3) == 0) {
            hear(h, writer, (unsigned)draw(h, WRITERS));
        } else if (h->counts[writer] < EVENTS) {
            write_event(h, writer);
            total++;
        }
        compare(h, &h->replicas[writer]);
    }
}

static void test_model_agrees_with_crdt(void **state)
{
    static struct history h;

    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        begin(&h, seed);
        run_history(&h);
        for (unsigned i = 0; i < WRITERS; i++)
            for (unsigned j = 0; j < WRITERS; j++)
                hear(&h, i, j);
        for (unsigned i = 0; i < WRITERS; i++)
            compare(&h, &h.replicas[i]);
        end(&h);
    }
}

/* Applying step by step gives the fold; removing gives back what was. */
static void test_steps_and_removal(void **state)
{
    static struct history h;
    uint64_t seqs[WRITERS] = {0};
    struct sim_model_view v = {
        .seqs = seqs, .count = WRITERS, .actor = SIM_MODEL_NO_ACTOR};
    struct digest stepped;
    struct digest folded;

    (void)state;
    begin(&h, 77);
    run_history(&h);
    digest_init(&stepped);
    for (bool any = true; any;) {
        any = false;
        for (unsigned a = 0; a < WRITERS; a++) {
            struct sim_model_event *e = sim_model_find(h.model, a, seqs[a] + 1);
            if (e == NULL)
                continue;
            sim_model_apply(&v, e, &stepped);
            seqs[a]++;
            any = true;
            sim_model_fold(h.model, &v, &folded, NULL);
            assert_true(digest_equal(&stepped, &folded));
        }
    }
    for (unsigned a = 0; a < WRITERS; a++) { /* the newest never was */
        struct sim_model_event *e = sim_model_find(h.model, a, seqs[a]);
        seqs[a]--;
        sim_model_fold(h.model, &v, &stepped, NULL);
        sim_model_remove(h.model, e);
        sim_model_fold(h.model, &v, &folded, NULL);
        assert_true(digest_equal(&stepped, &folded));
        assert_null(sim_model_find(h.model, a, seqs[a] + 1));
    }
    end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_agrees_with_crdt),
        cmocka_unit_test(test_steps_and_removal),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
