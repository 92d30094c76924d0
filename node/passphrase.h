/* Passphrases: from the terminal without echo, or from a file. */
#ifndef NODE_PASSPHRASE_H
#define NODE_PASSPHRASE_H

#include <stdbool.h>
#include <stddef.h>

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define PASSPHRASE_SIZE_MAX 1024 /* bytes */

/* Fixed memory, so that no copy stays behind in a freed block. */
struct passphrase {
    char text[PASSPHRASE_SIZE_MAX + 1];
    size_t size; /* bytes; 0 = none */
};

/* What the flags --passphrase-file and --no-passphrase said. */
struct passphrase_source {
    const char *file; /* NULL: ask on the terminal */
    bool none;        /* no passphrase at all */
};

/* CM_ERR_INVALID when both are given. */
int passphrase_source_check(const struct passphrase_source *source,
                            struct cm_detail *detail);
/* From source; with confirm (for a new one) the terminal asks twice. what names
 * the thing for the prompt. CM_ERR_NOT_FOUND when there is no terminal to ask
 * on, CM_ERR_INVALID when empty or unequal, CM_ERR_TOO_LARGE, CM_ERR_IO. With
 * source->none the result is empty. */
int passphrase_read(struct passphrase *ret_passphrase,
                    const struct passphrase_source *source, const char *what,
                    bool confirm, struct cm_detail *detail);
struct slice passphrase_slice(const struct passphrase *p);
void passphrase_clear(struct passphrase *p); /* wipes */

#endif
