/* Goal: an issuer's certificate leaves only after its redemption is on disk,
 * whoever asks how often; what is remembered of tokens stays bounded; after a
 * refusal nothing of the same stream is heard. Method: a node over ports that
 * keep what they are given, and joiners that are channels and no more. */
#include "tests/unit/support.h"

#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "node/datadir.h"
#include "node/found.h"
#include "node/node_internal.h"
#include "node/writer.h"

#define WALL_MS UINT64_C(1700000000000)
#define STREAMS 4

/* ---- ports that keep ---- */

struct wire {
    struct buffer bytes; /* from the node */
    bool written;        /* the node waits for its drain */
    bool closed;
};

struct world {
    char directory[32];
    uint64_t mono_ms;
    uint64_t wall_ms;
    uint64_t random;
    struct wire wires[STREAMS];
    struct intent *first; /* submitted, not committed */
    struct intent *last;
    size_t intents;
    struct datadir *datadir;
    struct store *store;
    struct writer *writer;
    struct node *node;
    char token[TOKEN_TEXT_MAX];
};

static uint64_t mono_ms(void *ctx)
{
    return ((struct world *)ctx)->mono_ms;
}

static uint64_t wall_ms(void *ctx)
{
    return ((struct world *)ctx)->wall_ms;
}

static void fill(void *ctx, void *ret_bytes, size_t size)
{
    uint8_t seed[32] = {0};

    put_be64(seed, ++((struct world *)ctx)->random);
    randombytes_buf_deterministic(ret_bytes, size, seed);
}

static void arm(void *ctx, uint64_t deadline_ms)
{
    (void)ctx;
    (void)deadline_ms;
}

static void send_nothing(void *ctx, const struct address *to,
                         struct slice packet)
{
    (void)ctx;
    (void)to;
    (void)packet;
}

static void connect_nobody(void *ctx, uint64_t stream, const struct address *to)
{
    (void)ctx;
    (void)stream;
    (void)to;
}

static struct wire *wire_of(struct world *w, uint64_t stream)
{
    return &w->wires[stream & ~STREAM_ACCEPTED];
}

static void stream_write(void *ctx, uint64_t stream, struct slice bytes)
{
    struct wire *wire = wire_of(ctx, stream);

    assert_false(wire->closed);
    assert_false(wire->written);
    buffer_append_slice(&wire->bytes, bytes);
    wire->written = true;
}

static void stream_close(void *ctx, uint64_t stream)
{
    wire_of(ctx, stream)->closed = true;
}

static void stream_pause(void *ctx, uint64_t stream, bool paused)
{
    (void)ctx;
    (void)stream;
    (void)paused;
}

static int submit(void *ctx, struct intent *intent)
{
    struct world *w = ctx;

    intent->next = NULL;
    if (w->last != NULL)
        w->last->next = intent;
    else
        w->first = intent;
    w->last = intent;
    w->intents++;
    return 0;
}

static void work_submit(void *ctx, struct work *work)
{
    (void)ctx;
    (void)work;
    fail(); /* nothing here needs any */
}

static void log_line(void *ctx, char level, const char *text)
{
    (void)ctx;
    (void)level;
    assert_non_null(text);
}

/* What was submitted is on disk now. */
static void commit(struct world *w)
{
    struct intent *batch = w->first;
    struct commit_result *r;

    w->first = w->last = NULL;
    w->intents = 0;
    r = writer_commit(w->writer, batch, w->wall_ms);
    assert_non_null(r);
    node_on_commit(w->node, r);
}

/* ---- the issuer ---- */

static void open_node(struct world *w, const char *data)
{
    static const struct clock_ops clock = {mono_ms, wall_ms};
    static const struct random_ops random = {fill};
    static const struct timer_ops timer = {arm};
    static const struct datagram_ops datagram = {send_nothing};
    static const struct stream_ops stream = {connect_nobody, stream_write,
                                             stream_close, stream_pause};
    static const struct writer_ops writer = {submit};
    static const struct work_ops work = {work_submit};
    static const struct log_ops log = {log_line};
    struct node_ports ports = {w,       &clock,  &random, &timer, &datagram,
                               &stream, &writer, &work,   &log};
    struct node_config config = {.spool_dir = data};
    struct commit_result *first;
    struct cm_detail detail = {""};

    assert_int_equal(datadir_open(&w->datadir, data, false, &detail), 0);
    assert_int_equal(store_open(&w->store, data, 64u << 20, &detail), 0);
    memcpy(config.sign_secret_key, datadir_sign_secret_key(w->datadir), 64);
    assert_int_equal(
        writer_open(&w->writer, w->store, config.sign_secret_key, &detail), 0);
    assert_int_equal(writer_snapshot(w->writer, &first), 0);
    config.store = w->store;
    assert_int_equal(address_parse(&config.address, "127.0.0.1:7946"), 0);
    if (node_create(&w->node, &config, &ports, first, &detail) != 0)
        fail_msg("%s", detail.text);
    commit_result_free(first);
    assert_true(node_is_ready(w->node));
}

static void on_token(void *ctx, int error, const char *token,
                     const char *detail)
{
    struct world *w = ctx;

    assert_int_equal(error, 0);
    assert_null(detail);
    (void)snprintf(w->token, sizeof w->token, "%s", token);
}

static struct token token_make(struct world *w, unsigned uses)
{
    struct token ret;

    w->token[0] = '\0';
    node_token_create(w->node, uses, 60000, NULL, on_token, w);
    assert_string_equal(w->token, ""); /* not before it is on disk */
    commit(w);
    assert_int_equal(token_parse(&ret, w->token, NULL), 0);
    return ret;
}

static void world_begin(struct world *w)
{
    struct authority authority;
    struct cm_detail detail;
    uint8_t seed[32] = {3};
    char data[64];
    size_t i;

    *w = (struct world){.mono_ms = 1000, .wall_ms = WALL_MS};
    (void)snprintf(w->directory, sizeof w->directory, "/tmp/cm-spon-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    (void)snprintf(data, sizeof data, "%s/a", w->directory);
    authority_make(&authority, seed);
    assert_int_equal(
        found_mesh(data, "alpha", &authority, LEVEL_LAST, WALL_MS, &detail), 0);
    for (i = 0; i < STREAMS; i++)
        buffer_init(&w->wires[i].bytes, 1u << 20);
    open_node(w, data);
    if (w->first != NULL)
        commit(w);
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void world_end(struct world *w)
{
    size_t i;

    if (w->first != NULL)
        commit(w);
    node_free(w->node);
    writer_close(w->writer);
    store_close(w->store);
    datadir_close(w->datadir);
    for (i = 0; i < STREAMS; i++)
        buffer_release(&w->wires[i].bytes);
    assert_int_equal(nftw(w->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS),
                     0);
}

/* ---- joiners ---- */

struct joining {
    struct world *world;
    uint64_t stream;
    struct channel *channel;
};

/* What the node has written reaches the channel. */
static void hear(struct joining *j)
{
    struct wire *wire = wire_of(j->world, j->stream);

    while (wire->written) {
        assert_int_equal(channel_recv(j->channel, buffer_slice(&wire->bytes)),
                         0);
        buffer_clear(&wire->bytes);
        wire->written = false;
        if (!wire->closed)
            node_on_stream_drained(j->world->node, j->stream);
    }
}

static void say(struct joining *j)
{
    struct slice out = channel_output(j->channel);
    struct buffer copy;

    buffer_init(&copy, 1u << 20);
    buffer_append_slice(&copy, out);
    channel_output_consume(j->channel, out.size);
    node_on_stream_bytes(j->world->node, j->stream, buffer_slice(&copy));
    buffer_release(&copy);
    hear(j);
}

/* A channel of the joiner whose keys are those of key. */
static void joining_begin(struct joining *j, struct world *w, uint64_t number,
                          const struct token *t, uint8_t key)
{
    struct key_pair keys = support_key_pair(key);
    struct channel_config c = {.initiator = true};
    struct address from;
    uint8_t box_secret[32];

    *j = (struct joining){.world = w, .stream = STREAM_ACCEPTED | number};
    memcpy(c.authority_hash, t->authority_hash, 32);
    memcpy(c.sign_secret_key, keys.secret_key, 64);
    memcpy(c.sign_public_key, keys.public_key, 32);
    assert_int_equal(
        crypto_sign_ed25519_sk_to_curve25519(box_secret, keys.secret_key), 0);
    assert_int_equal(crypto_scalarmult_base(c.box_public_key, box_secret), 0);
    fill(w, c.ephemeral_seed, 32);
    assert_int_equal(channel_create(&j->channel, &c), 0);
    assert_int_equal(address_parse(&from, "127.0.0.1:5"), 0);
    node_on_accepted(w->node, j->stream, &from);
    while (channel_output(j->channel).size > 0)
        say(j);
    assert_int_equal(channel_state(j->channel), CHANNEL_ESTABLISHED);
}

/* Into the channel's output, not yet said. */
static void put_join(struct joining *j, const struct token *t, const char *name)
{
    struct address address;
    struct buffer frame;

    assert_int_equal(address_parse(&address, "127.0.0.1:6"), 0);
    buffer_init(&frame, 1024);
    frame_join(&frame, t->id, t->secret, name, &address);
    assert_int_equal(channel_send(j->channel, buffer_slice(&frame)), 0);
    buffer_release(&frame);
}

/* The kind of the next frame that came, 0 if none did. */
static int next_kind(struct joining *j, int *ret_code)
{
    struct slice bytes;
    struct frame f;
    int kind;

    if (!channel_next_frame(j->channel, &bytes))
        return 0;
    assert_int_equal(frame_decode(&f, bytes), 0);
    kind = (int)f.kind;
    if (ret_code != NULL)
        *ret_code = f.code;
    frame_release(&f);
    return kind;
}

static void joining_end(struct joining *j)
{
    if (!wire_of(j->world, j->stream)->closed)
        node_on_stream_closed(j->world->node, j->stream, CM_ERR_CLOSED);
    channel_free(j->channel);
}

/* ---- the tests ---- */

static void a_grant_waits_for_the_disk(void **state)
{
    struct joining first;
    struct joining again;
    struct joining other;
    struct world w;
    struct token t;
    int code;

    (void)state;
    world_begin(&w);
    t = token_make(&w, 1);
    joining_begin(&first, &w, 1, &t, 1);
    put_join(&first, &t, "beta");
    say(&first);
    assert_int_equal(w.intents, 1);
    assert_int_equal(next_kind(&first, NULL), 0);
    /* The same key once more, before the first one is on disk. */
    joining_begin(&again, &w, 2, &t, 1);
    put_join(&again, &t, "beta");
    say(&again);
    assert_int_equal(next_kind(&again, NULL), 0);
    /* Another one finds it used up already. */
    joining_begin(&other, &w, 3, &t, 2);
    put_join(&other, &t, "gamma");
    say(&other);
    assert_int_equal(next_kind(&other, &code), FRAME_REFUSED);
    assert_int_equal(code, CM_ERR_USED_UP);
    commit(&w);
    hear(&first);
    hear(&again);
    assert_int_equal(next_kind(&first, NULL), FRAME_GRANT);
    assert_int_equal(next_kind(&again, NULL), FRAME_GRANT);
    joining_end(&first);
    joining_end(&again);
    joining_end(&other);
    world_end(&w);
}

/* One JOIN a stream: more would be commits at a stranger's command. */
static void one_join_a_stream(void **state)
{
    struct joining j;
    struct world w;
    struct token t;
    int i;

    (void)state;
    world_begin(&w);
    t = token_make(&w, 1);
    joining_begin(&j, &w, 1, &t, 1);
    for (i = 0; i < 20; i++)
        put_join(&j, &t, "beta");
    say(&j);
    assert_true(w.intents <= 1);
    assert_true(wire_of(&w, j.stream)->closed);
    commit(&w);
    joining_end(&j);
    world_end(&w);
}

static void nothing_is_heard_after_a_refusal(void **state)
{
    struct token wrong;
    struct joining j;
    struct world w;
    struct token t;
    int code;

    (void)state;
    world_begin(&w);
    t = token_make(&w, 1);
    wrong = t;
    wrong.secret[0] ^= 1;
    joining_begin(&j, &w, 1, &t, 1);
    put_join(&j, &wrong, "beta");
    put_join(&j, &t, "beta");
    say(&j);
    assert_int_equal(w.intents, 0);
    assert_int_equal(next_kind(&j, &code), FRAME_REFUSED);
    assert_int_equal(code, CM_ERR_NOT_FOUND);
    assert_int_equal(next_kind(&j, NULL), 0);
    assert_true(wire_of(&w, j.stream)->closed);
    joining_end(&j);
    world_end(&w);
}

/* What is remembered fits into a commit, always: beyond, joiners are told so,
 * and time makes room. */
static void what_is_remembered_is_bounded(void **state)
{
    static uint8_t certificate[CERTIFICATE_SIZE_MAX];
    struct token_record *record;
    struct joining j;
    struct world w;
    struct token t;
    size_t i;
    int code;

    (void)state;
    world_begin(&w);
    t = token_make(&w, TOKEN_USES_MAX);
    record = &w.node->tokens.records[w.node->tokens.count - 1];
    for (i = 0;
         token_table_size(&w.node->tokens) + 4200 < TOKEN_TABLE_BYTES_MAX;
         i++) {
        uint8_t key[32] = {0};

        put_be64(key, i);
        assert_int_equal(
            token_record_redeem(record, key,
                                slice_of(certificate, sizeof certificate)),
            0);
    }
    joining_begin(&j, &w, 1, &t, 1);
    record = &w.node->tokens.records[w.node->tokens.count - 1];
    while (token_table_size(&w.node->tokens) + 64 < TOKEN_TABLE_BYTES_MAX)
        assert_int_equal(
            token_record_redeem(record, certificate, slice_of(NULL, 0)), 0);
    put_join(&j, &t, "beta");
    say(&j);
    assert_int_equal(w.intents, 0);
    assert_int_equal(next_kind(&j, &code), FRAME_REFUSED);
    assert_int_equal(code, CM_ERR_LIMIT);
    joining_end(&j);
    w.wall_ms += 60001;
    t = token_make(&w, 1); /* the old one has expired, and is forgotten */
    joining_begin(&j, &w, 2, &t, 1);
    put_join(&j, &t, "beta");
    say(&j);
    commit(&w);
    hear(&j);
    assert_int_equal(next_kind(&j, NULL), FRAME_GRANT);
    joining_end(&j);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grant_waits_for_the_disk),
        cmocka_unit_test(one_join_a_stream),
        cmocka_unit_test(nothing_is_heard_after_a_refusal),
        cmocka_unit_test(what_is_remembered_is_bounded),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
