/* The authority's key file on disk: written once with mode 0600, never
 * overwritten, because it is the one secret that makes a mesh. */
#ifndef NODE_AUTHORITY_FILE_H
#define NODE_AUTHORITY_FILE_H

#include "crdt/authority.h"
#include "node/passphrase.h"

/* Mints an authority (kernel randomness), asks source for its passphrase and
 * writes the file durably. Refuses before it asks when the file exists
 * (CM_ERR_EXISTS). Otherwise the errors of passphrase_read, CM_ERR_IO,
 * CM_ERR_FULL. Clear ret_authority with authority_clear after success. */
int authority_file_create(struct authority *ret_authority, const char *path,
                          const struct passphrase_source *source,
                          struct cm_detail *detail);
/* Writes an authority that exists already, under passphrase (empty: in clear).
 * CM_ERR_EXISTS, CM_ERR_IO, CM_ERR_FULL. */
int authority_file_write(const char *path, const struct authority *authority,
                         struct slice passphrase, struct cm_detail *detail);
/* Asks for the passphrase only if the file is protected by one. CM_ERR_IO,
 * CM_ERR_NOT_FOUND (no such file), CM_ERR_MALFORMED, CM_ERR_PASSPHRASE. */
int authority_file_read(struct authority *ret_authority, const char *path,
                        const struct passphrase_source *source,
                        struct cm_detail *detail);

#endif
