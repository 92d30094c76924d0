/* The operations, the body of an event.
 *
 * Each names the dots that it supersedes: every sibling of its key or element
 * at the origin, losers and tombstones too. */
#ifndef CRDT_OP_H
#define CRDT_OP_H

#include "crdt/base/error.h"
#include "crdt/dot.h"
#include "crdt/hlc.h"
#include "crdt/limits.h"

#define PROPOSAL_KEY_SIZE (INCARNATION_SIZE + 8) /* a dot: seq big-endian */

/* Format levels: an operation may be written only when every rostered
 * incarnation has announced the level at which its type came into being
 * (standing.h). A program knows all levels up to its own; level 1 is what needs
 * no announcement. */
#define LEVEL_FIRST 1
#define LEVEL_REASONS 2          /* revoke and set-revoke that say why */
#define LEVEL_LAST LEVEL_REASONS /* that this program knows */
#define LEVEL_MAX 65535          /* that any program can announce */

/* On the wire; numbers never change their meaning. */
enum op_kind {
    OP_PUT = 1,
    OP_DEL = 2,
    OP_REVOKE = 3,
    OP_SET_ADD = 4,
    OP_SET_REMOVE = 5,
    OP_SET_REVOKE = 6,
    OP_ROSTER_ADD = 7, /* key: incarnation (16 bytes); value: certificate */
    OP_FENCE = 8,      /* key: the writer (16 bytes); value: fence.h */
    OP_ACK = 9,        /* key: dot of the proposal (24 bytes); value: the cut
                          in the proposal, which is its proposer's ack, else
                          empty; standing.h */
    OP_KNOWS = 10,     /* key: the writer (16 bytes); level: what it knows */
};
#define OP_KIND_LAST OP_KNOWS
/* On the wire some have a longer form of their own (event.c): a program that
 * does not know the form takes it for an operation of a later format. Greater
 * ones are unknown here, too. */
#define OP_WIRE_LAST 13

/* Registers and sets live in separate spaces. The roster is kept in the same
 * way as the data: it is a function of the version vector like everything. */
enum space {
    SPACE_REGISTER = 1,
    SPACE_SET = 2,
    SPACE_ROSTER = 3,
    SPACE_FENCE = 4,
    SPACE_PROPOSAL = 5,
};
#define SPACE_LAST SPACE_PROPOSAL
/* Those that clients read and write; what lies above is the mesh's own. */
#define SPACE_CLIENT_LAST SPACE_SET

struct entry_id {
    enum space space;
    struct slice key;     /* borrowed */
    struct slice element; /* borrowed; empty outside of sets */
};

struct op {
    enum op_kind kind;
    struct slice key;             /* borrowed, like all slices here */
    struct slice element;         /* sets only */
    struct slice value;           /* put: the value; revoke, set-revoke: why,
                                     UTF-8, may be empty; others: see enum
                                     op_kind */
    struct slice author;          /* who wrote it, UTF-8; may be empty */
    uint64_t flags;               /* put only */
    hlc_t expires;                /* put and set-add; 0 = never */
    uint32_t level;               /* knows, and roster-add (of whom it adds):
                                     what it knows; 0: not told, LEVEL_FIRST */
    const struct dot *supersedes; /* borrowed, sorted, no duplicates */
    size_t supersedes_count;
};

enum space op_space(enum op_kind kind);
struct entry_id op_entry_id(const struct op *op); /* borrows from op */
/* (space, key, element), bytewise: the order of canonical entries. */
int entry_id_compare(const struct entry_id *a, const struct entry_id *b);

/* Checks a key as a client may name it: 1..480 bytes of UTF-8 without NUL. */
int op_check_key(struct slice key, struct cm_detail *detail);
/* Element: 1.. bytes of UTF-8 without NUL, key plus element at most 480. */
int op_check_element(struct slice key, struct slice element,
                     struct cm_detail *detail);
/* Why something was revoked: at most REASON_SIZE_MAX bytes of UTF-8. */
int op_check_reason(struct slice reason, struct cm_detail *detail);
/* All limits of one operation. */
int op_check(const struct op *op, struct cm_detail *detail);

const char *op_kind_name(enum op_kind kind); /* "put", "set-add", … */
/* The level that who reads it has to know. */
uint32_t op_level(const struct op *op);

#endif
