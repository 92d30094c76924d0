/* The last eviction order that was signed with an authority's key, kept beside
 * it: FILE.epoch. One line: "confmesh-epoch-1 GENERATION HASH16 EPOCH HASH32
 * ORDER", everything but the numbers in hex. */
#ifndef NODE_CLI_EPOCH_FILE_H
#define NODE_CLI_EPOCH_FILE_H

#include "crdt/eviction.h"
#include "node/paths.h"

#define EPOCH_PATH_MAX (PATHS_SIZE_MAX + 16)
#define EPOCH_FILE_SIZE_MAX (2 * EVICTION_SIZE_MAX + 512)

struct epoch_file {
    struct generation_id generation;
    uint64_t epoch; /* 0: nothing was ever signed */
    struct hash hash;
    struct buffer order; /* owned: the order's bytes */
};

/* CM_ERR_TOO_LARGE with detail. */
int epoch_file_path(char ret_path[EPOCH_PATH_MAX], const char *authority_path,
                    struct cm_detail *detail);
/* A missing file is epoch 0. CM_ERR_IO, CM_ERR_MALFORMED: a damaged one is not
 * passed over, because the order in it would be signed twice. Release in any
 * case. */
int epoch_file_read(struct epoch_file *ret_file, const char *path,
                    struct cm_detail *detail);
/* Durably, in place of the former. */
int epoch_file_write(const char *path, const struct eviction_order *order,
                     struct slice bytes, struct cm_detail *detail);
void epoch_file_release(struct epoch_file *f);

#endif
