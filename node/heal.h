/* Healing: what a node does when its state is not what its version vector says,
 * or cannot be read.
 *
 * Three things begin it: equal vectors with different digests (the law), a
 * record that cannot be read (damage, found by a reader or by the scrub), the
 * operator (`confmesh compare`, `confmesh adopt --from`). All of them compare
 * this state with a peer's: a fingerprint of every key range, narrower and
 * narrower, then keys one by one. One comparison at a time, one question under
 * way, each bounded in bytes; a link that breaks costs the question, not the
 * comparison.
 *
 * Who is wrong is decided by the digests heard on probes: a state that more
 * living members have than have the other stands; a node whose own entries do
 * not add up to its own digest is wrong whatever the others have. Of two
 * halves, when nobody else lives who could say more, the one that merely lacks
 * entries takes them: states are given away meanwhile, and a loss must not
 * become the greater part by its copies. Else the operator decides. Whoever is
 * wrong takes the entries that differ from a peer of the same vector, or, if
 * they are too many or the vectors never meet, a whole cut in place of its
 * state. */
#ifndef NODE_HEAL_H
#define NODE_HEAL_H

#include "crdt/base/error.h"
#include "crdt/certificate.h"
#include "gossip/address.h"
#include "node/compare_message.h"
#include "node/heal_change.h"
#include "node/port.h"

#define HEAL_RANGES_MAX 512       /* that wait to be looked into */
#define HEAL_DIFFERENCES_MAX 1024 /* entries; beyond: a whole cut */
#define HEAL_TOLD_MAX 16          /* named in an alarm's log lines */
#define HEAL_ANSWER_MS 10000      /* a question's time */
#define HEAL_RETRY_MS 500
#define HEAL_ATTEMPTS_FEW 6
#define HEAL_ATTEMPTS_MAX 20      /* of one comparison, without progress */
#define HEAL_REBUILD_MS 60000     /* a whole cut's time */
#define HEAL_CALM_MS 5000         /* between two that the law begins */
#define HEAL_SCRUB_STEP_MS 20     /* between steps: at most 50 MiB a second */
#define HEAL_SCRUB_SOON_MS 200    /* after damage was met */
#define HEAL_SCRUB_AGAIN_MS 60000 /* while damage is there */
#define HEAL_SCRUB_INTERVAL_MS (UINT64_C(24) * 3600 * 1000)
#define HEAL_FACTS_MS 1000 /* changed facts are copied after */

enum heal_purpose {
    HEAL_LAW = 1,     /* equal vectors, different digests */
    HEAL_DAMAGE = 2,  /* entries here cannot be read, or are too few */
    HEAL_COMPARE = 3, /* only looks */
    HEAL_ADOPT = 4,   /* the operator says that the peer is right */
};

enum heal_phase {
    HEAL_NONE = 0,
    HEAL_STATE = 1, /* the peer's vector and digest were asked for */
    HEAL_SPLIT = 2, /* a worker splits a range of the own state */
    HEAL_PARTS = 3, /* worker and peer: a print of each part */
    HEAL_KEYS = 4,  /* worker and peer: keys of a small range */
    HEAL_FETCH = 5, /* entries were asked for */
    HEAL_APPLY = 6, /* the writer mends */
};

enum heal_side { HEAL_ABSENT, HEAL_THERE, HEAL_DAMAGED };

struct heal_difference {
    struct schema_key key;
    enum heal_side here, there;
};

struct heal_range {
    struct schema_key from, to; /* size 0: beginning, end */
};

/* What a comparison found. */
struct heal_report {
    int error; /* 0, CM_ERR_TIMEOUT, CM_ERR_NOT_FOUND (no such member), … */
    char detail[256];
    char peer[NAME_SIZE_MAX + 1];
    bool same_vector;
    bool same_digest;
    const struct heal_difference *differences;
    size_t count;
    bool more; /* there are others */
};
typedef void (*node_compare_done)(void *ctx, const struct heal_report *report);

struct heal_counters {
    uint64_t comparisons;
    uint64_t divergences; /* equal vectors, different states: proved */
    uint64_t healed;      /* entries and records written again */
    uint64_t rebuilds;    /* cuts asked for in place of the state */
    uint64_t scrubs;      /* finished */
    uint64_t scrub_records;
    uint64_t refused; /* comparisons of peers, because one was under way */
};

/* Answers to a peer's questions: one at a time. */
struct heal_serving {
    struct work work;
    struct node *node;
    bool busy;
    uint64_t stream;
    uint64_t id;
    bool any_vv;
    struct hash vv;
    enum compare_kind kind;
    struct compare_scan *scan;
    int error;
};

struct heal_scrub {
    struct work work;
    struct node *node;
    struct compare_scan *scan;
    bool busy;
    int error;
    uint64_t due_ms;  /* next step, or next scrub */
    uint64_t wall_ms; /* when the last one ended; 0: none did */
    uint64_t records, bytes;
    uint64_t damaged;     /* records that the last one could not read */
    uint64_t interval_ms; /* 0: never by itself */
    bool inconsistent;    /* entries do not add up to the digest */
    bool looked_again;    /* soon after records were made again */
    int pages;            /* what store_check_open said */
    struct cm_detail pages_detail;
};

struct heal {
    enum heal_phase phase;
    enum heal_purpose purpose;
    struct key_id peer;
    char peer_name[NAME_SIZE_MAX + 1];
    struct address address;
    uint64_t id; /* of the question under way */
    uint64_t stream;
    uint64_t due_ms; /* answer, or next attempt */
    bool waiting;    /* for an answer */
    unsigned attempts;
    bool rebuilding;     /* a whole cut is on its way */
    uint64_t rebuild_ms; /* when it is asked for again */
    struct hash vv;
    bool any_vv;
    struct hash peer_digest;
    struct digest peer_lanes;
    bool same_vector, same_digest;

    struct work work;
    struct node *node;
    struct compare_scan *scan;
    bool busy; /* the worker holds scan */
    bool abandoned;
    int scan_error;
    bool own_there;                 /* the worker's answer of PARTS, KEYS */
    struct compare_message *answer; /* the peer's; scratch, owned */
    bool answer_there;
    struct heal_range range; /* being looked into */
    struct schema_key bounds[COMPARE_PARTS_MAX + 1];
    size_t bounds_count;
    struct heal_range *ranges; /* owned stack */
    size_t ranges_count;
    struct heal_difference *differences; /* owned */
    size_t differences_count;
    bool more;
    size_t fetched; /* differences answered */
    struct heal_change *change;

    node_compare_done done;
    void *done_ctx;

    /* Alarms and what is known of damage. */
    bool alarm_law; /* a peer of the same vector has another state */
    bool undecided; /* and nobody can tell whose is right */
    struct key_id law_peer;
    char law_text[320];
    uint64_t calm_ms;
    bool noted;     /* a reader met damage: scrub soon */
    size_t damaged; /* records that cannot be read, as of the last scrub */
    struct schema_key damaged_keys[COMPARE_DAMAGED_MAX];
    size_t damaged_keys_count;
    char damage_text[256];
    struct key_id refused_peers[4]; /* that could not help this time */
    size_t refused_count;

    struct heal_serving serving;
    struct heal_scrub scrub;
    struct heal_counters counters;

    /* heal_facts.c */
    char *facts_path; /* owned; NULL: no copy is kept */
    uint64_t facts_ms;
    bool facts_busy;
    struct hash facts_hash;
};

struct heal_status {
    const char *phase;
    bool alarm_law;
    bool undecided;
    const char *law_text;
    size_t damaged;
    const char *damage_text;
    uint64_t scrub_wall_ms, scrub_records, scrub_interval_ms;
    bool inconsistent;
    struct heal_counters counters;
};

struct node;
struct link;
struct frame;

int heal_init(struct node *n, const char *facts_path,
              uint64_t scrub_interval_ms);
void heal_release(struct node *n);
void heal_on_frame(struct node *n, struct link *l, const struct frame *f);
void heal_link_gone(struct node *n, const struct link *l);
/* A peer's version vector came over l, and is this node's. */
void heal_on_same_vector(struct node *n, const struct link *l);
/* The node became ready, with this configuration. */
void heal_ready(struct node *n);
/* A cut was adopted in place of the state. */
void heal_replaced(struct node *n);
/* Something here could not be read. */
void heal_note_damage(struct node *n);
void heal_tick(struct node *n, uint64_t now);
uint64_t heal_deadline(const struct node *n);
void heal_status_read(const struct node *n, struct heal_status *ret_status);

/* heal_serve.c: the answering side */
void heal_serve_ask(struct node *n, struct link *l,
                    const struct compare_message *m);
void heal_serve_gone(struct node *n, const struct link *l);

/* heal_compare.c: the walk through the ranges */
void heal_compare_begin(struct node *n);
void heal_compare_answer(struct node *n);
void heal_compare_next(struct node *n);
void heal_compare_again(struct node *n); /* the question that broke */

/* heal.c, for the others */
int heal_ask(struct node *n, enum compare_kind kind,
             const struct schema_key *keys, size_t count);
void heal_compared(struct node *n); /* everything was looked into */
void heal_fail(struct node *n, int error, const char *text);
void heal_wait(struct node *n); /* tries the phase again in a moment */

/* heal_scrub.c */
void heal_scrub_tick(struct node *n, uint64_t now);
uint64_t heal_scrub_deadline(const struct node *n);
void heal_scrub_release(struct node *n);

/* heal_named.c: named facts among what cannot be read */
/* What the loop remembers of them goes with the change… */
void heal_named_give(struct node *n, struct heal_change *c);
/* …or is stored as ever, once the change is on disk. */
void heal_named_store(struct node *n, const struct heal_change *c);

/* heal_facts.c */
void heal_facts_changed(struct node *n);
void heal_facts_tick(struct node *n, uint64_t now);
uint64_t heal_facts_deadline(const struct node *n);

#endif
