/* Command-line arguments: long flags anywhere, in one table per program.
 *
 * `--flag VALUE` and `--flag=VALUE` mean the same; `--` ends the flags; a lone
 * `-` is a word (standard input); `-h` is --help where the table has it. Shared
 * by confmesh and confmesh-restore so that both read alike. */
#ifndef NODE_ARGS_H
#define NODE_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crdt/base/error.h"

#define ARGS_VALUES_MAX 64 /* values of one repeatable flag */

enum args_kind {
    ARGS_SWITCH = 0, /* no value */
    ARGS_VALUE = 1,  /* one value; given twice is an error */
    ARGS_LIST = 2,   /* repeatable, up to ARGS_VALUES_MAX */
    /* --flag, or --flag=VALUE; never the word behind it. values[0] is NULL
     * without one. */
    ARGS_OPTIONAL = 3,
};

struct args_flag {
    const char *name; /* without dashes; static */
    enum args_kind kind;
    /* Filled in by args_parse; all borrow from argv. */
    size_t count;                        /* times given; 0: absent */
    const char *values[ARGS_VALUES_MAX]; /* values[0] for ARGS_VALUE */
};

struct args {
    char **words; /* what is not a flag, in order; inside of argv */
    size_t words_count;
};

/* Reads argv[1..argc - 1], moving the words to the front of argv + 1 (so argv
 * is permuted, nothing is allocated). flags' results are reset first.
 * CM_ERR_INVALID with detail (unknown flag with the nearest one, missing or
 * unwanted value, given twice, too many). */
int args_parse(struct args *ret_args, struct args_flag *flags,
               size_t flags_count, int argc, char **argv,
               struct cm_detail *detail);

/* By name; CHECKs that the table has it. */
const struct args_flag *args_flag_find(const struct args_flag *flags,
                                       size_t flags_count, const char *name);
bool args_given(const struct args_flag *flags, size_t flags_count,
                const char *name);
/* The value, or fallback (may be NULL) when the flag was not given. */
const char *args_value(const struct args_flag *flags, size_t flags_count,
                       const char *name, const char *fallback);

/* Decimal digits only, at most max. CM_ERR_INVALID with detail naming field. */
int args_number(uint64_t *ret_number, const char *text, uint64_t max,
                const char *field, struct cm_detail *detail);
/* "500ms", "30s", "5m", "2h", "7d"; a bare number is seconds. At most 10
 * years. */
int args_duration_ms(uint64_t *ret_ms, const char *text, const char *field,
                     struct cm_detail *detail);

/* "2026-11-21T10:00:00Z" (RFC 3339, with Z or an offset like +01:00) or seconds
 * since 1970. CM_ERR_INVALID with detail naming field. */
int args_time_ms(uint64_t *ret_ms, const char *text, const char *field,
                 struct cm_detail *detail);

/* The candidate with the smallest edit distance to word, NULL when none is
 * near enough to be meant. For "did you mean". */
const char *args_nearest(const char *word, const char *const *candidates,
                         size_t count);

#endif
