/* A member that went bad, for tests with real processes: a whole node in a
 * directory that is certified already, with its own rightful keys, that sends
 * on demand what no honest node would.
 *
 *   hostile_node DATA HOST:PORT
 *
 * Reads commands from standard input, one in a line, and answers each with a
 * line "ok …" or "error …":
 *
 *   event KIND     pushes one event to every peer; the kinds are below
 *   cut honest|altered|truncated
 *                  what the objects of cuts that it gives are like from now on
 *   token          a join token of this node, which has to be an issuer
 *
 * It ends with its input. It writes nothing by itself: its node goes on beside
 * what is forged, as if its machine had been broken into. */
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/pack.h"
#include "crdt/event.h"
#include "crdt/limits.h"
#include "node/confmesh_internal.h"
#include "node/node_internal.h"

/* Its own spool, which can lie: see snapshot_spool_read below. */
#define snapshot_spool_read honest_spool_read
int honest_spool_read(const struct snapshot_spool *s, size_t index,
                      struct buffer *ret_bytes, struct cm_detail *detail);
#include "node/snapshot_spool.c" /* NOLINT(bugprone-suspicious-include) */
#undef snapshot_spool_read

/* Nor does it repent. Whoever has taken its forgery would tell it that it knows
 * of events which its own disk does not hold: an honest node returns then, and
 * retires the incarnation under which the forgery waits at the others. */
#define returning_begin honest_returning_begin
#define returning_begin_with honest_returning_begin_with
void honest_returning_begin(struct node *n, enum return_reason reason);
void honest_returning_begin_with(struct node *n, enum return_reason reason,
                                 const struct key_id *peer,
                                 const struct address *address);
#include "node/return_flow.c" /* NOLINT(bugprone-suspicious-include) */
#undef returning_begin
#undef returning_begin_with

#define READY_MS 60000
#define TOKEN_TTL_MS 3600000
#define YEAR_MS (UINT64_C(365) * 24 * 3600 * 1000)
#define FAR_SEQ 1000 /* nobody writes so much meanwhile */
#define LINE_SIZE 64
#define OP_OF_THE_FUTURE 200

enum cut_mode { CUT_HONEST, CUT_ALTERED, CUT_TRUNCATED };

static atomic_int cut_mode;

int snapshot_spool_read(const struct snapshot_spool *s, size_t index,
                        struct buffer *ret_bytes, struct cm_detail *detail)
{
    int error = honest_spool_read(s, index, ret_bytes, detail);

    if (error != 0 || ret_bytes->size == 0)
        return error;
    if (atomic_load(&cut_mode) == CUT_ALTERED)
        ret_bytes->data[ret_bytes->size / 2] ^= 0x10;
    else if (atomic_load(&cut_mode) == CUT_TRUNCATED)
        ret_bytes->size--;
    return 0;
}

void returning_begin(struct node *n, enum return_reason reason)
{
    (void)n;
    (void)reason;
}

void returning_begin_with(struct node *n, enum return_reason reason,
                          const struct key_id *peer,
                          const struct address *address)
{
    (void)n;
    (void)reason;
    (void)peer;
    (void)address;
}

/* ---- events ---- */

struct forgery {
    struct node *node;
    struct event_draft draft;
    struct buffer body;
    struct dot dep;
    uint8_t secret_key[64];
    bool cut_short; /* the bytes end early */
};

/* Adds a put by hand, since the encoder refuses a key that is too long. */
static void body_put(struct buffer *body, struct slice key)
{
    pack_array(body, 7);
    pack_uint(body, OP_PUT);
    pack_bin(body, key);
    pack_bin(body, slice_of(NULL, 0));
    pack_array(body, 0);
    pack_bin(body, slice_of_string("what nobody wrote"));
    pack_uint(body, 0);
    pack_uint(body, 0);
}

static void forge_signature(struct forgery *f)
{
    uint8_t public_key[32];
    uint8_t seed[32] = {1};

    CHECK(crypto_sign_seed_keypair(public_key, f->secret_key, seed) == 0);
}

static void forge_mesh(struct forgery *f)
{
    f->draft.mesh.bytes[0] ^= 1;
}

static void forge_generation(struct forgery *f)
{
    f->draft.generation.number++;
}

static void forge_malformed(struct forgery *f)
{
    f->cut_short = true;
}

static void forge_too_long(struct forgery *f)
{
    uint8_t key[KEY_SIZE_MAX + 1];

    memset(key, 'k', sizeof key);
    buffer_clear(&f->body);
    body_put(&f->body, slice_of(key, sizeof key));
}

/* Another event under the name of its newest one. */
static void forge_fork(struct forgery *f)
{
    CHECK(f->draft.dot.seq > 1);
    f->draft.dot.seq--;
    memset(&f->draft.previous, 7, sizeof f->draft.previous);
    if (f->draft.dot.seq == 1)
        memset(&f->draft.previous, 0, sizeof f->draft.previous);
}

static void forge_gap(struct forgery *f)
{
    f->draft.dot.seq += FAR_SEQ;
    memset(&f->draft.previous, 7, sizeof f->draft.previous);
}

/* On an event of somebody else that there is not. */
static void forge_dependency(struct forgery *f)
{
    const struct vv *vv = &f->node->vv;

    for (size_t i = 0; i < vv->count; i++) {
        if (incarnation_equal(&vv->entries[i].incarnation,
                              &f->node->incarnation))
            continue;
        f->dep =
            (struct dot){vv->entries[i].incarnation, vv->entries[i].seq + 999};
        f->draft.deps = &f->dep;
        f->draft.deps_count = 1;
        return;
    }
    CHECK(!"another member has written something");
}

static void forge_clock(struct forgery *f)
{
    f->draft.hlc = hlc_make(hlc_wall_ms(f->draft.hlc) + 10 * YEAR_MS, 0);
}

static void forge_operation(struct forgery *f)
{
    buffer_clear(&f->body);
    pack_array(&f->body, 2);
    pack_uint(&f->body, OP_OF_THE_FUTURE);
    pack_string(&f->body, slice_of_string("anything"));
}

static void forge_stranger(struct forgery *f)
{
    f->draft.dot.incarnation.bytes[3] ^= 1;
    f->draft.dot.seq = 1;
    memset(&f->draft.previous, 0, sizeof f->draft.previous);
}

/* A roster-add without a certificate: it applies, and counts for nothing. */
static void forge_rule(struct forgery *f)
{
    struct incarnation who = f->node->incarnation;
    struct op op = {.kind = OP_ROSTER_ADD,
                    .key = slice_of(who.bytes, sizeof who.bytes),
                    .value = slice_of_string("no certificate")};

    who.bytes[0] ^= 1;
    buffer_clear(&f->body);
    event_body_add(&f->body, &op);
}

static const struct {
    const char *name;
    void (*forge)(struct forgery *f);
} kinds[] = {
    {"signature", forge_signature},
    {"mesh", forge_mesh},
    {"generation", forge_generation},
    {"malformed", forge_malformed},
    {"too-long", forge_too_long},
    {"fork", forge_fork},
    {"gap", forge_gap},
    {"dependency", forge_dependency},
    {"clock", forge_clock},
    {"operation", forge_operation},
    {"stranger", forge_stranger},
    {"rule", forge_rule},
};

/* The next event of the node, right in everything. */
static void forgery_begin(struct forgery *f, struct node *n)
{
    const struct vv_entry *head = vv_find(&n->vv, &n->incarnation);

    *f = (struct forgery){.node = n};
    buffer_init(&f->body, EVENT_SIZE_MAX);
    body_put(&f->body, slice_of_string("forged"));
    memcpy(f->secret_key, n->sign_secret_key, sizeof f->secret_key);
    f->draft = (struct event_draft){
        .mesh = n->mesh,
        .generation = n->generation,
        .dot = {n->incarnation, head == NULL ? 1 : head->seq + 1},
        .hlc = hlc_make(node_wall(n), 0),
        .ops_count = 1,
    };
    if (head != NULL)
        f->draft.previous = head->head;
}

struct push {
    struct confmesh *mesh;
    const char *kind;
};

static int push_on_loop(void *ctx)
{
    struct push *p = ctx;
    struct node *n = confmesh_node(p->mesh);
    struct forgery f;
    struct buffer bytes;
    struct hash hash;
    int error = CM_ERR_NOT_FOUND;

    forgery_begin(&f, n);
    buffer_init(&bytes, EVENT_SIZE_MAX);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, p->kind) != 0)
            continue;
        kinds[i].forge(&f);
        f.draft.body = buffer_slice(&f.body);
        error = event_encode(&bytes, &f.draft, f.secret_key, &hash);
        if (error == 0 && f.cut_short)
            bytes.size -= 9;
        if (error == 0)
            error =
                gossip_push(n->gossip, node_now(n), buffer_slice(&bytes), NULL);
    }
    buffer_release(&bytes);
    buffer_release(&f.body);
    sodium_memzero(&f, sizeof f);
    return error;
}

/* ---- tokens ---- */

static void on_token(void *ctx, int error, const char *token,
                     const char *detail)
{
    (void)ctx;
    if (error == 0)
        (void)printf("ok %s\n", token);
    else
        (void)printf("error %s\n", detail);
    (void)fflush(stdout);
}

static int token_on_loop(void *ctx)
{
    struct confmesh *mesh = ctx;

    node_token_create(confmesh_node(mesh), 1, TOKEN_TTL_MS, NULL, on_token,
                      NULL);
    return 0;
}

/* ---- commands ---- */

static int set_cut(const char *name)
{
    static const char *const names[] = {"honest", "altered", "truncated"};

    for (int i = 0; i < 3; i++) {
        if (strcmp(names[i], name) == 0) {
            atomic_store(&cut_mode, i);
            return 0;
        }
    }
    return CM_ERR_NOT_FOUND;
}

/* What "token" does is answered when it is done. */
static void obey(struct confmesh *mesh, const char *line)
{
    struct push push = {.mesh = mesh};
    int error = CM_ERR_NOT_FOUND;

    if (strcmp(line, "token") == 0 &&
        confmesh_on_loop(mesh, token_on_loop, mesh) == 0)
        return;
    if (strncmp(line, "event ", 6) == 0) {
        push.kind = line + 6;
        error = confmesh_on_loop(mesh, push_on_loop, &push);
    } else if (strncmp(line, "cut ", 4) == 0) {
        error = set_cut(line + 4);
    }
    if (error == 0)
        (void)printf("ok\n");
    else
        (void)printf("error %s: %s\n", line, cm_strerror(error));
    (void)fflush(stdout);
}

static void print_log(void *ctx, char level, const char *text)
{
    (void)ctx;
    (void)fprintf(stderr, "%c %s\n", level, text);
}

int main(int argc, char **argv)
{
    struct confmesh_options options = {.log = print_log};
    struct confmesh *mesh;
    char line[LINE_SIZE];
    char why[512];

    if (argc != 3) {
        (void)fprintf(stderr, "usage: hostile_node DATA HOST:PORT\n");
        return 64;
    }
    options.data = argv[1];
    options.bind = argv[2];
    if (confmesh_open(&mesh, &options, why, sizeof why) != 0) {
        (void)fprintf(stderr, "hostile_node: %s\n", why);
        return 1;
    }
    if (confmesh_wait_ready(mesh, READY_MS) != 0) {
        (void)fprintf(stderr, "hostile_node: %s\n", confmesh_error());
        confmesh_close(mesh);
        return 1;
    }
    (void)printf("ok ready\n");
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        obey(mesh, line);
    }
    confmesh_close(mesh);
    return 0;
}
