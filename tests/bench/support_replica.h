/* Replicas without network or threads, for the programs that measure the
 * writer: an authority, two certified replicas on disk, and commits that must
 * succeed. */
#ifndef TESTS_BENCH_SUPPORT_REPLICA_H
#define TESTS_BENCH_SUPPORT_REPLICA_H

#include "crdt/authority.h"
#include "node/writer.h"

struct replica {
    char dir[256];
    struct store *store;
    struct writer *writer;
    struct incarnation incarnation;
    uint8_t public_key[32];
    uint8_t secret_key[64];
    struct buffer certificate;
};

struct mesh {
    struct authority authority;
    struct buffer order;
    struct replica first; /* its founder */
    struct replica second;
};

/* Ends the program unless error is 0. */
void bench_must(int error, const char *what);
uint64_t bench_wall_ms(void);

/* Both below parent, which exists. */
void mesh_make(struct mesh *m, const char *parent);
void mesh_close(struct mesh *m);
/* The store and its writer once more, as after a restart. */
void replica_reopen(struct replica *r);

/* Takes the batch. Every intent must succeed; the caller frees the result. */
struct commit_result *replica_commit(struct replica *r, struct intent *batch);

/* Of one operation, or NULL and a message that ends the program. */
struct intent *intent_of(const struct local_op *op);

#endif
