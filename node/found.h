/* Founding a mesh: the first node of the first generation, in a new data
 * directory. The authority's key is needed for this moment only. */
#ifndef NODE_FOUND_H
#define NODE_FOUND_H

#include "crdt/authority.h"
#include "crdt/base/error.h"

/* Certificates of founders and of the nodes that issuers certify. */
#define FOUND_CERTIFICATE_VALID_MS (UINT64_C(10) * 365 * 86400 * 1000)

/* level: op.h, of the program that will run it; LEVEL_LAST.
 * Makes dir (or takes an empty one), its key, its certificate (writer of every
 * key, issuer, admin) and its store. CM_ERR_EXISTS when dir holds a node
 * already; then nothing is changed. */
int found_mesh(const char *dir, const char *name,
               const struct authority *authority, uint32_t level,
               uint64_t wall_ms, struct cm_detail *detail);

#endif
