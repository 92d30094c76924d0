/* A mesh of one signer and states of a few hundred entries, for the tests of
 * backup/ and of what node/ builds on it. */
#ifndef TESTS_UNIT_SNAPSHOT_FIXTURE_H
#define TESTS_UNIT_SNAPSHOT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "backup/snapshot.h"
#include "crdt/authority.h"
#include "crdt/base/alloc.h"

#define FIXTURE_OBJECTS_MAX 2000

struct fixture_mesh {
    struct authority authority;
    struct mesh_id mesh;
    uint8_t sign_key[32];
    uint8_t sign_secret_key[64];
    uint8_t box_key[32];
    struct buffer certificate;
    struct buffer order;
    struct incarnation incarnation;
    struct vv vv;
};

static inline void fixture_mesh_make(struct fixture_mesh *f, uint8_t tag)
{
    uint8_t seed[32] = {tag};
    struct certificate c = {0};
    struct generation_order order = {0};
    struct hash head = {{1}};

    memset(f, 0, sizeof *f);
    authority_make(&f->authority, seed);
    f->mesh = mesh_id_of(f->authority.public_key);
    seed[1] = 1;
    crypto_sign_seed_keypair(f->sign_key, f->sign_secret_key, seed);
    seed[1] = 2;
    crypto_scalarmult_base(f->box_key, seed);
    c.mesh = f->mesh;
    memcpy(c.sign_key, f->sign_key, 32);
    memcpy(c.box_key, f->box_key, 32);
    (void)snprintf(c.name, sizeof c.name, "node-%u", tag);
    c.roles = ROLE_WRITER | ROLE_ISSUER | ROLE_ADMIN;
    c.prefixes[0] = slice_of("", 0);
    c.prefixes_count = 1;
    c.not_after_ms = UINT64_C(4000000000000);
    buffer_init(&f->certificate, CERTIFICATE_SIZE_MAX);
    assert_int_equal(
        certificate_encode(&f->certificate, &c, f->authority.secret_key), 0);
    f->incarnation.bytes[0] = tag;
    f->incarnation.bytes[15] = 7;
    order.mesh = f->mesh;
    order.number = 1;
    order.founder = f->incarnation;
    order.founder_certificate = buffer_slice(&f->certificate);
    order.created_ms = 1700000000000;
    order.founder_level = LEVEL_LAST;
    buffer_init(&f->order, GENERATION_ORDER_SIZE_MAX);
    assert_int_equal(
        generation_order_encode(&f->order, &order, f->authority.secret_key), 0);
    vv_init(&f->vv);
    assert_int_equal(vv_set(&f->vv, &f->incarnation, 100000, &head), 0);
}

static inline void fixture_mesh_release(struct fixture_mesh *f)
{
    buffer_release(&f->certificate);
    buffer_release(&f->order);
    vv_release(&f->vv);
}

/* One register with one value. */
struct fixture_entry {
    char key[40];
    uint8_t value[400];
    size_t value_size;
    uint64_t seq;
};

static inline int fixture_entry_compare(const void *a, const void *b)
{
    return strcmp(((const struct fixture_entry *)a)->key,
                  ((const struct fixture_entry *)b)->key);
}

/* count entries of pseudo-random values, sorted. Free with free. */
static inline struct fixture_entry *fixture_entries(size_t count)
{
    struct fixture_entry *all = calloc(count, sizeof *all);
    size_t i;

    assert_non_null(all);
    for (i = 0; i < count; i++) {
        uint8_t seed[32] = {0};

        put_be64(seed, i);
        (void)snprintf(all[i].key, sizeof all[i].key, "config/%05zu/name",
                       i * 7919 % count);
        all[i].value_size = 20 + i * 37 % (sizeof all[i].value - 20);
        randombytes_buf_deterministic(all[i].value, all[i].value_size, seed);
        all[i].seq = i + 1;
    }
    qsort(all, count, sizeof *all, fixture_entry_compare);
    return all;
}

static inline int fixture_add(struct snapshot_writer *w,
                              const struct fixture_mesh *f,
                              const struct fixture_entry *from)
{
    struct sibling s = {
        .kind = SIBLING_PUT,
        .dot = {.incarnation = f->incarnation, .seq = from->seq},
        .hlc = hlc_make(1700000000000 + from->seq, 0),
        .value = slice_of(from->value, from->value_size),
    };
    struct entry e = {.siblings = &s, .count = 1, .capacity = 1};
    struct entry_id id = {.space = SPACE_REGISTER,
                          .key = slice_of_string(from->key),
                          .element = slice_of(NULL, 0)};

    return snapshot_writer_add(w, &id, &e);
}

/* A whole snapshot in memory. */
struct fixture_snapshot {
    struct {
        char name[SNAPSHOT_NAME_SIZE];
        enum snapshot_object_kind kind;
        uint8_t *data;
        size_t size;
    } objects[FIXTURE_OBJECTS_MAX];
    size_t count;
    struct buffer manifest;
};

static inline void fixture_snapshot_release(struct fixture_snapshot *s)
{
    size_t i;

    for (i = 0; i < s->count; i++)
        free(s->objects[i].data);
    buffer_release(&s->manifest);
    memset(s, 0, sizeof *s);
}

static inline void fixture_drain(struct snapshot_writer *w,
                                 struct fixture_snapshot *s)
{
    struct snapshot_object o;

    while (snapshot_writer_next_object(w, &o)) {
        assert_true(s->count < FIXTURE_OBJECTS_MAX);
        memcpy(s->objects[s->count].name, o.name, sizeof o.name);
        s->objects[s->count].kind = o.kind;
        s->objects[s->count].data = malloc(o.bytes.size);
        assert_non_null(s->objects[s->count].data);
        memcpy(s->objects[s->count].data, o.bytes.data, o.bytes.size);
        s->objects[s->count].size = o.bytes.size;
        s->count++;
    }
}

static inline struct manifest fixture_manifest(const struct fixture_mesh *f)
{
    struct manifest m = {
        .mesh = f->mesh,
        .generation_order = buffer_slice(&f->order),
        .certificate = buffer_slice(&f->certificate),
        .sequence = 1,
        .vv = f->vv,
        .hlc_max = hlc_make(1800000000000, 0),
        .created_ms = 1800000000000,
    };

    memcpy(m.authority_public_key, f->authority.public_key, 32);
    return m;
}

/* 0 or the first error; s may be partly filled then. */
static inline int fixture_take(struct fixture_snapshot *s,
                               const struct fixture_mesh *f,
                               const struct fixture_entry *entries,
                               size_t count)
{
    struct manifest m = fixture_manifest(f);
    struct snapshot_writer *w;
    size_t i;
    int error;

    memset(s, 0, sizeof *s);
    buffer_init(&s->manifest, SNAPSHOT_MANIFEST_MAX);
    error = snapshot_writer_create(&w, &f->mesh, NULL);
    if (error != 0)
        return error;
    for (i = 0; i < count && error == 0; i++) {
        error = fixture_add(w, f, &entries[i]);
        fixture_drain(w, s);
    }
    if (error == 0)
        error = snapshot_writer_end(w);
    fixture_drain(w, s);
    if (error == 0)
        error =
            snapshot_writer_manifest(w, &m, f->sign_secret_key, &s->manifest);
    snapshot_writer_free(w);
    return error;
}

static inline const void *fixture_find(const struct fixture_snapshot *s,
                                       const char *name, size_t *ret_size)
{
    size_t i;

    for (i = 0; i < s->count; i++) {
        if (strcmp(s->objects[i].name, name) == 0) {
            *ret_size = s->objects[i].size;
            return s->objects[i].data;
        }
    }
    return NULL;
}

/* Reads it all; entries (may be NULL) are compared. 0 or the first error. */
static inline int fixture_read(const struct fixture_snapshot *s,
                               const struct fixture_mesh *f,
                               const struct fixture_entry *entries,
                               size_t count)
{
    char name[SNAPSHOT_NAME_SIZE];
    struct cm_detail detail;
    struct manifest m;
    struct snapshot_reader *r;
    size_t seen = 0;
    int error;

    error = manifest_decode(&m, buffer_slice(&s->manifest),
                            f->authority.public_key, &detail);
    if (error != 0)
        return error;
    error = snapshot_reader_create(&r, &m, NULL);
    manifest_release(&m);
    if (error != 0)
        return error;
    while (error == 0 && snapshot_reader_wants(r, name)) {
        const struct entry *e;
        struct entry_id id;
        size_t size = 0;
        const void *data = fixture_find(s, name, &size);

        error = data == NULL
                    ? CM_ERR_NOT_FOUND
                    : snapshot_reader_feed(r, slice_of(data, size), &detail);
        while (error == 0 && snapshot_reader_next_entry(r, &id, &e)) {
            if (entries != NULL) {
                assert_true(seen < count);
                assert_true(
                    slice_equal(id.key, slice_of_string(entries[seen].key)));
                assert_int_equal(e->count, 1);
                assert_true(slice_equal(
                    e->siblings[0].value,
                    slice_of(entries[seen].value, entries[seen].value_size)));
            }
            seen++;
        }
    }
    if (error == 0)
        error = snapshot_reader_finish(r, &detail);
    if (error == 0)
        assert_int_equal(seen, count);
    snapshot_reader_free(r);
    return error;
}

#endif
