#include "tests/bench/support_replica.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/bench/support.h"

void bench_must(int error, const char *what)
{
    if (error != 0)
        bench_fail("%s: %s", what, cm_strerror(error));
}

uint64_t bench_wall_ms(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        bench_fail("clock_gettime: %s", strerror(errno));
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- two replicas ---- */

static void replica_certify(struct mesh *m, struct replica *r, const char *name)
{
    struct certificate c = {.roles = ROLE_WRITER | ROLE_ISSUER | ROLE_ADMIN};

    if (crypto_sign_keypair(r->public_key, r->secret_key) != 0)
        bench_fail("no key");
    randombytes_buf(r->incarnation.bytes, INCARNATION_SIZE);
    c.mesh = mesh_id_of(m->authority.public_key);
    memcpy(c.sign_key, r->public_key, sizeof c.sign_key);
    randombytes_buf(c.box_key, sizeof c.box_key);
    (void)snprintf(c.name, sizeof c.name, "%s", name);
    c.prefixes[0] = slice_of_string("");
    c.prefixes_count = 1;
    c.not_after_ms = bench_wall_ms() + UINT64_C(86400000);
    buffer_init(&r->certificate, CERTIFICATE_SIZE_MAX);
    bench_must(certificate_encode(&r->certificate, &c, m->authority.secret_key),
               "certificate");
}

static void replica_open(struct mesh *m, struct replica *r, const char *parent,
                         const char *name)
{
    struct store_identity identity = {
        .incarnation = r->incarnation,
        .certificate = buffer_slice(&r->certificate),
        .generation_order = buffer_slice(&m->order),
        .host = slice_of_string("bench"),
        .ready = true,
    };
    struct cm_detail detail = {{0}};
    int error;

    memcpy(identity.authority_public_key, m->authority.public_key, 32);
    (void)snprintf(r->dir, sizeof r->dir, "%s/%s", parent, name);
    if (mkdir(r->dir, 0700) != 0)
        bench_fail("%s: %s", r->dir, strerror(errno));
    error = store_open(&r->store, r->dir, 0, &detail);
    if (error == 0)
        error = writer_initialise(r->store, &identity, &detail);
    if (error == 0)
        error = writer_open(&r->writer, r->store, r->secret_key, &detail);
    if (error != 0)
        bench_fail("%s: %s", r->dir, detail.text);
}

void mesh_make(struct mesh *m, const char *parent)
{
    uint8_t authority_seed[32];
    struct generation_order order = {.number = 1};

    randombytes_buf(authority_seed, sizeof authority_seed);
    authority_make(&m->authority, authority_seed);
    replica_certify(m, &m->first, "first");
    replica_certify(m, &m->second, "second");
    order.mesh = mesh_id_of(m->authority.public_key);
    order.founder = m->first.incarnation;
    order.founder_certificate = buffer_slice(&m->first.certificate);
    order.created_ms = bench_wall_ms();
    order.founder_level = LEVEL_LAST;
    buffer_init(&m->order, GENERATION_ORDER_SIZE_MAX);
    bench_must(
        generation_order_encode(&m->order, &order, m->authority.secret_key),
        "generation order");
    replica_open(m, &m->first, parent, "first");
    replica_open(m, &m->second, parent, "second");
}

static void replica_close(struct replica *r)
{
    writer_close(r->writer);
    store_close(r->store);
    buffer_release(&r->certificate);
}

void mesh_close(struct mesh *m)
{
    replica_close(&m->first);
    replica_close(&m->second);
    buffer_release(&m->order);
    authority_clear(&m->authority);
}

void replica_reopen(struct replica *r)
{
    struct cm_detail detail = {{0}};
    int error;

    writer_close(r->writer);
    store_close(r->store);
    error = store_open(&r->store, r->dir, 0, &detail);
    if (error == 0)
        error = writer_open(&r->writer, r->store, r->secret_key, &detail);
    if (error != 0)
        bench_fail("%s: %s", r->dir, detail.text);
}

/* ---- commits ---- */

struct commit_result *replica_commit(struct replica *r, struct intent *batch)
{
    struct commit_result *result =
        writer_commit(r->writer, batch, bench_wall_ms());

    if (result == NULL)
        bench_fail("out of memory");
    while (batch != NULL) {
        struct intent *next = batch->next;

        if (batch->result != 0)
            bench_fail("a commit failed: %s: %s", cm_strerror(batch->result),
                       batch->detail.text);
        intent_free(batch);
        batch = next;
    }
    return result;
}

struct intent *intent_of(const struct local_op *op)
{
    struct intent *i = intent_new(INTENT_LOCAL);

    if (i == NULL)
        bench_fail("out of memory");
    bench_must(intent_add_op(i, op), "operation");
    return i;
}
