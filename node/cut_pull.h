/* What a node has under way with cuts; the code is in cut_*.c. */
#ifndef NODE_CUT_PULL_H
#define NODE_CUT_PULL_H

#include "node/cut_diff.h"
#include "node/cut_receiver.h"
#include "node/cut_source.h"
#include "node/node.h"

#define PULL_MISSING_MAX 4 /* peers asked for bytes before a cut is */

enum pull_phase {
    PULL_NONE = 0,
    PULL_ASK = 1,
    PULL_RECEIVE = 2,
    PULL_WAIT = 3,
    PULL_ANNOUNCE = 4,
    PULL_COMPARE = 5,
    PULL_APPLY = 6,
    PULL_STAGE = 7,
};

struct cut_pull;

/* The cut on its way into the other bank (cut_stage.c). */
struct cut_staging {
    struct work work; /* first: makes a block */
    struct cut_pull *pull;
    struct stage *block; /* the worker's */
    uint64_t serial;     /* of the attempt */
    size_t writing;      /* blocks that the writer has */
    bool filled;         /* the last block was made */
    int error;
    struct cm_detail detail;
};

/* Catch-up by a cut: one at a time. */
struct cut_pull {
    struct work work; /* the comparison */
    struct node *node;
    enum pull_phase phase;
    struct key_id peer; /* its source */
    struct address address;
    uint64_t retry_ms;
    unsigned attempts;
    uint64_t messages_before; /* at the last attempt */
    struct cut_receiver *receiver;
    struct snapshot_sink *sink; /* received whole */
    struct cut_diff *diff;
    bool comparing; /* the worker holds sink and diff */
    int compare_error;
    struct cm_detail compare_detail;
    uint64_t compare_wall_ms;
    uint64_t compare_entries; /* a difference of more is staged */
    struct store *store;
    const char *spool_dir;
    struct cut_diff_counts counts;
    struct cut_staging stage;
    bool unstaged; /* the disk has no room for two banks */
    bool checked;  /* counts are there */
    bool announced;
    bool operator_agrees;
    struct hash proof; /* what a probe of a member with that state carries */
    /* Whose cut would have deleted much before this one, and what. */
    struct key_id vouched_by; /* zeroes: nobody's */
    struct hash vouched;
    uint64_t other_ms;         /* another member is asked then */
    uint64_t other_backoff_ms; /* and so much later again */
    bool replaces; /* this state is wrong: the cut comes in its place */
    uint64_t wait_since_ms;
    char waits[256]; /* what for */
    /* Peers that do not hold the bytes that are missing here. */
    struct key_id missing[PULL_MISSING_MAX];
    size_t missing_count;
    uint64_t missing_since_ms;
    uint64_t calm_ms; /* no new one before */
};

struct cuts {
    struct cut_source *sources; /* newest first */
    size_t sources_count;
    size_t serving; /* links that one is sent on */
    struct cut_pull pull;
    struct cut_counters counters;
    char last_refusal[384];   /* "" once one was adopted after it */
    uint64_t last_refused_ms; /* wall clock; 0: never */
    uint64_t stage_entries;   /* a difference of more is staged */
    bool shadow;              /* something is left in the other bank… */
    bool sweeping;            /* …and on its way out */
    uint64_t sweep_ms;
    bool unconfirmed;
    struct key_id unconfirmed_source;
    bool confirming; /* the fact's deletion is under way */
    uint64_t confirm_ms;
};

/* A cut on its way out, owned by its link. */
struct cut_serving {
    struct node *node;
    struct link *link; /* NULL: nobody waits any more */
    bool busy;         /* the roster-add is under way */
    enum cut_purpose purpose;
    struct incarnation incarnation; /* to be rostered */
    uint32_t level;                 /* that it knows */
    struct cut_source *source;      /* NULL: not yet */
    uint64_t asked_cut;
    uint64_t asked_messages;
    bool head_sent;
    uint64_t next;         /* message */
    struct buffer message; /* being sent */
    size_t sent;           /* bytes of it */
    uint64_t bytes;        /* in all */
    uint64_t keepalive_ms;
};

#endif
