/* A node: gossip, repair, joining and snapshots composed over ports. One thread
 * owns it (the loop); nothing here waits for a disk or a socket.
 *
 * Truth lives with the writer (writer.h): the node's version vector, digest
 * and roster are copies as of the last commit result. Every answer to a client
 * is made from one store reader, never from these copies. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "gossip/gossip.h"
#include "node/drills.h"
#include "node/frame.h"
#include "node/heal.h"
#include "node/port.h"
#include "node/store.h"
#include "node/writer.h"

#define NODE_STREAMS_MAX 1024
#define NODE_WAITERS_MAX 65536

/* A named fact of the store: the address that peers reached it at last. */
#define META_BIND "bind"

struct node;

struct node_config {
    struct store *store;         /* borrowed */
    const char *spool_dir;       /* for snapshot spools; copied */
    const char *name;            /* as certified, or wished by a joiner */
    uint8_t sign_secret_key[64]; /* Ed25519 of node.key */
    struct address address;      /* that peers reach it at */
    uint8_t host[32];            /* fingerprint, datadir.h; zeroes: unknown */
    const char *join_token;      /* NULL: restart of a joined directory */
    const char *introduction;    /* NULL, or a token: a member that knows
                                    nobody any more contacts its addresses */
    const char *renew_token;     /* of a joined one, if it needs it to return */
    const char *const *snapshot_to; /* targets; copied */
    size_t snapshot_to_count;       /* at most UPLOAD_TARGETS_MAX */
    uint64_t snapshot_interval_ms;  /* 0: only on demand */
    /* Snapshots are encrypted to these recovery keys: 64 hex digits each, or
     * "authority"; at most SEALED_RECIPIENTS_MAX. Borrowed until created. */
    const char *const *snapshot_recipients;
    size_t snapshot_recipients_count;
    uint64_t snapshot_drill_ms;  /* between drills; 0: none */
    uint64_t snapshot_delta_ms;  /* events are put so often; 0: never */
    uint64_t snapshot_bandwidth; /* bytes per second of all uploads, at least
                                    16384; 0: no bound */
    const char *snapshot_hook;   /* command or URL called after a good upload,
                                    or NULL */
    uint64_t probe_interval_ms;  /* 0: gossip's default */
    uint64_t floor_interval_ms;  /* quiet time before a floor is proposed;
                                    0: this node proposes none, and retires
                                    nothing */
    /* A cut that changes more entries is staged (stage.h); 0: the default,
     * UINT64_MAX: none is. */
    uint64_t cut_stage_entries;
    uint64_t floor_keep_ms; /* event bytes stay that long after a floor,
                               for watches; 0: FLOOR_KEEP_MS */
    /* Plain deletes of keys and elements under these prefixes become revokes,
     * when written here; copied. */
    const char *const *revoke_deletes;
    size_t revoke_deletes_count; /* at most NODE_REVOKE_DELETES_MAX */
    /* Where a copy of identity and peers is kept (heal_facts.h); NULL: none. */
    const char *facts_path;
    uint64_t scrub_interval_ms; /* 0: every day; UINT64_MAX: never by itself */
    uint32_t
        format_level; /* the writer's (writer_limit_level); 0: LEVEL_LAST */
};
#define NODE_REVOKE_DELETES_MAX 64

/* Starts from first, the writer's state (NULL for a joiner without identity,
 * whose store has no incarnation yet). */
int node_create(struct node **ret_node, const struct node_config *config,
                const struct node_ports *ports, struct commit_result *first,
                struct cm_detail *detail);
void node_free(struct node *n);
/* Tells the peers; drain the ports afterwards. */
void node_leave(struct node *n);

/* Inputs from the ports. */
void node_on_timer(struct node *n);
void node_on_datagram(struct node *n, const struct address *from,
                      struct slice packet);
void node_on_accepted(struct node *n, uint64_t stream,
                      const struct address *from);
void node_on_connected(struct node *n, uint64_t stream);
void node_on_stream_bytes(struct node *n, uint64_t stream, struct slice bytes);
void node_on_stream_drained(struct node *n, uint64_t stream);
/* End, error or refused connection; the id is dead. */
void node_on_stream_closed(struct node *n, uint64_t stream, int error);
/* Takes the result and its intents (whose done is called here). */
void node_on_commit(struct node *n, struct commit_result *result);
void node_on_work(struct node *n, struct work *w);

/* A joiner has received its certificate: the composer (which owns the writer)
 * is asked to initialise the store and open the writer, then calls
 * node_set_identity. Polled after every input. */
bool node_wants_identity(struct node *n, struct store_identity *ret_identity);
void node_set_identity(struct node *n, struct commit_result *first);
/* The store could not be initialised: joining has failed, reason says why. */
void node_refuse_identity(struct node *n, const char *reason);

/* For the API. intent is taken if 0 is returned. CM_ERR_BUSY, CM_ERR_FULL. */
int node_submit(struct node *n, struct intent *intent);
struct store *node_store(struct node *n);
bool node_is_ready(const struct node *n);
/* Joining has failed for good, or the store can neither be read any more nor
 * mended while the node runs: the process should end, and be started again. The
 * reason is node_not_ready_reason. */
bool node_has_failed(const struct node *n);
/* Why it is not ready, in words. */
const char *node_not_ready_reason(const struct node *n);
uint64_t node_revision(const struct node *n); /* of the last result */

/* Called after each commit that wrote: watches look for changes. */
typedef void (*node_commit_listener)(void *ctx, uint64_t revision);
void node_set_commit_listener(struct node *n, node_commit_listener listener,
                              void *ctx);

/* What became of cuts since the start. */
struct cut_counters {
    uint64_t served; /* sent whole */
    uint64_t resumed;
    uint64_t adopted;
    uint64_t refused_damaged; /* truncated, altered */
    uint64_t refused_generation;
    uint64_t refused_sealed;
    uint64_t refused_fork;
    uint64_t refused_order; /* of another chain of eviction orders */
    uint64_t refused_fence; /* beyond what fences let in */
    uint64_t failed;        /* for want of a source, memory, disk */
    uint64_t held_clock;    /* waited: dated ahead of the clocks */
    uint64_t held_deletion; /* waited: would delete much */
};

struct cut_status {
    const char *phase;  /* of catching up, or joining, by one; "" if not */
    struct key_id from; /* its source */
    uint64_t messages, messages_total;
    uint64_t bytes, bytes_total; /* 0: not told yet */
    const char *waits;           /* what a verified one waits for; "" */
    uint64_t present, removed;   /* by the one that waits */
    bool unconfirmed;
    size_t serving;                     /* peers that get one */
    uint64_t sent_bytes, sent_of_bytes; /* to all of them */
    size_t spools;
    uint64_t spool_bytes;
    const char *last_refusal;
    uint64_t last_refused_ms; /* wall clock; 0: none was */
    struct cut_counters counters;
};

struct node_status {
    const char *name;
    struct mesh_id mesh;
    struct generation_id generation;
    struct incarnation incarnation;
    struct key_id key_id;
    struct address address;
    bool ready;
    bool reader;            /* it only reads, and is in no roster */
    uint32_t program_level; /* format level of this program (op.h) */
    uint64_t revision;
    struct hash digest;
    size_t vv_entries;
    size_t roster_count;
    size_t members_alive; /* this node included */
    size_t members_total;
    size_t members_in_sync; /* peers whose last digest equals ours */
    size_t pending_events;
    size_t pending_bytes;
    const char *const *revoke_deletes; /* the node's */
    size_t revoke_deletes_count;
    size_t awaits; /* waits for events under way */
    size_t streams;
    uint64_t commits; /* since the start */
    uint64_t local_intents;
    uint64_t own_events;
    uint64_t foreign_events;
    struct refusals refused;       /* what peers sent, by reason */
    uint32_t waits[REFUSAL_KINDS]; /* pending events, by what they wait for */
    uint64_t wall_ms;              /* of this node, now */
    struct held_events held;       /* among the pending ones */
    int64_t clock_offset_ms; /* of the median of the mesh less this node's */
    size_t clocks;           /* that it is of, this node's included */
    bool clock_ahead;        /* local writes are refused because of it */
    uint64_t repairs;        /* anti-entropy sessions */
    uint64_t disk_full;      /* batches refused for want of space */
    /* The floor. */
    uint64_t above_floor; /* events that the vector covers, it does not */
    hlc_t floor_time;     /* 0: there has been none */
    uint64_t floors;      /* moves since the start */
    const struct standing_view *standing; /* borrowed until the next input;
                                             NULL: not known yet */
    uint64_t orders_heard;
    uint64_t orders_refused;     /* forged, malformed, of another mesh */
    uint64_t orders_conflicting; /* another one has their epoch */
    bool alarm_conflict;         /* two orders of one epoch */
    bool alarm_generation;       /* a peer's has this one's number */
    bool alarm_overrun;          /* holds something beyond a seal */
    bool alarm_evicted;          /* this incarnation is out, or on its way */
    bool alarm_dropped;          /* acted on an order that was dropped */
    bool alarm_fork;             /* two events bear one name */
    bool alarm_full;             /* no room on the disk: see full_alarm.h */
    bool alarm_disk;             /* the disk refused the last commit */
    bool alarm_hazard;         /* a peer knows events of this node that its own
                                  disk does not hold */
    const char *return_reason; /* one word: why it is returning; "": not */
    const char *return_text;   /* likewise, for a person */
    const char *return_phase;
    const char *return_waits; /* what for; "" */
    uint64_t returns;         /* since the start */
    struct unsent_counts unsent;
    uint64_t snapshot_sequence;
    uint64_t snapshot_wall_ms; /* of the last verified one, 0 = none */
    uint64_t snapshot_failures;
    uint64_t snapshot_covered_wall_ms; /* all from before is at the target;
                                          0: unknown */
    uint64_t snapshot_interval_ms;     /* 0: none are taken by themselves */
    uint64_t snapshot_age_ms;          /* since covered, or since the start */
    uint64_t snapshot_deltas;          /* put since the start */
    uint64_t snapshot_delta_bytes;     /* heartbeats included */
    uint64_t drill_interval_ms;        /* 0: none */
    struct drill_status drills[UPLOAD_TARGETS_MAX]; /* as snapshot_targets */
    uint64_t snapshot_hook_calls;
    uint64_t snapshot_hook_failures;
    char snapshot_hook_error[256];           /* of the last call */
    struct upload_status snapshot_elsewhere; /* under way on demand, or its url
                                                is NULL */
    struct upload_status snapshot_targets[UPLOAD_TARGETS_MAX];
    size_t snapshot_targets_count;
    char snapshot_error[256];
    char not_ready[256];
    struct gossip_counters gossip;
    struct heal_status heal;
    struct cut_status cuts;
};
void node_status_read(const struct node *n, struct node_status *ret_status);
/* Members other than this node; see gossip.h. */
const struct gossip *node_gossip(const struct node *n);

/* ---- waiting for an event ---- */

#define NODE_AWAITS_MAX 4096 /* waits at a time */
#define NODE_AWAIT_MS_MAX FRAME_ASK_MS_MAX

/* How many members must have committed it. Rostered writers count, this node
 * among them, each node once; readers never do. */
struct node_quorum {
    enum { QUORUM_COUNT, QUORUM_MAJORITY, QUORUM_ALL } kind;
    size_t count; /* QUORUM_COUNT */
};
/* "3", "majority", "all". CM_ERR_INVALID with detail. */
int node_quorum_parse(struct node_quorum *ret, const char *text,
                      struct cm_detail *detail);
/* How many members count now, and how many q asks for. */
size_t node_quorum_members(const struct node *n);
size_t node_quorum_wanted(const struct node *n, const struct node_quorum *q);

struct node_await_member {
    const char *name;
    bool confirmed;
    const char *state; /* "alive", …, "unknown" */
};
struct node_await_report {
    int error; /* 0; CM_ERR_TIMEOUT, CM_ERR_CLOSED */
    size_t wanted;
    size_t confirmed;
    const struct node_await_member *members; /* none when waiting here alone */
    size_t members_count;
};
/* The report is borrowed for the call. */
typedef void (*node_await_done)(void *ctx,
                                const struct node_await_report *report);
/* Waits until this node (q NULL) or as many members as q wants have committed
 * the event; no polling: commits here and confirmations of others wake it. A
 * confirmation is the member's version vector as it is on its disk, asked for
 * over a channel. done is called once, perhaps before this returns. CM_ERR_BUSY
 * when NODE_AWAITS_MAX wait; then done is not called. */
int node_await(struct node *n, const struct dot *dot,
               const struct node_quorum *q, uint64_t timeout_ms,
               node_await_done done, void *ctx);
bool node_has_room_to_await(const struct node *n);
/* Highest seq of that incarnation committed here, 0 = none. */
uint64_t node_committed_seq(const struct node *n, const struct incarnation *i);

/* ---- orders ---- */

/* An INTENT_ORDER is about to be submitted for an operator: what it brings is
 * passed on to peers at once. */
void node_order_expected(struct node *n);
/* Retires every earlier incarnation of this node; how many orders that were. */
size_t node_retire_earlier(struct node *n);

/* Makes a join token of uses redemptions, valid for ttl_ms. done is called with
 * the token's text after its record is durable, or with an error
 * (CM_ERR_AUTHORITY: this node is no issuer). */
typedef void (*node_token_done)(void *ctx, int error, const char *token,
                                const char *detail);
/* rights NULL: to write everything. Readers never count. */
struct token_rights;
void node_token_create(struct node *n, unsigned uses, uint64_t ttl_ms,
                       const struct token_rights *rights, node_token_done done,
                       void *ctx);

/* This node's own, encoded; borrowed. */
struct slice node_certificate(const struct node *n);
/* Whether it may make join tokens. */
bool node_is_issuer(const struct node *n);
/* The authority makes it one: certificate names this node's keys and is signed
 * by the authority itself (else CM_ERR_AUTHORITY). done is called when it is
 * durable, or with an error and what a person should know of it. */
typedef void (*node_issuer_done)(void *ctx, int error, const char *detail);
void node_issuer_set(struct node *n, struct slice certificate,
                     node_issuer_done done, void *ctx);

/* The operator agrees to the cut that waits for a confirmation, or that was
 * adopted without one. False: nothing waits for that. */
bool node_adopt_confirm(struct node *n);

/* Compares this node's state with that of the member of that name; done is
 * called once, later. 0; CM_ERR_NOT_FOUND, CM_ERR_TIMEOUT (it does not answer),
 * CM_ERR_BUSY, with detail: then done is not called. */
int node_compare(struct node *n, const char *name, node_compare_done done,
                 void *ctx, struct cm_detail *detail);
/* The operator says that this member's state is right, where it differs. */
int node_adopt_from(struct node *n, const char *name, struct cm_detail *detail);
/* A reader of this node's store met a damaged record. */
void node_note_damage(struct node *n);

/* Takes a snapshot now; to NULL = to all configured targets, of which the
 * report is the first one's or the first failure's. */
struct snapshot_report {
    int error;
    char detail[256];
    char name[192];
    uint64_t sequence;
    uint64_t entries;
    uint64_t chunks;
    uint64_t chunks_new;
    uint64_t bytes;
    uint64_t bytes_new;
};
typedef void (*node_snapshot_done)(void *ctx,
                                   const struct snapshot_report *report);
void node_snapshot_now(struct node *n, const char *to, node_snapshot_done done,
                       void *ctx);

/* The name that a certificate in the roster gives to an incarnation; ""
 * if unknown. */
const char *node_name_of(const struct node *n, const struct incarnation *i);
/* The format level that the node of that key has announced; 0: it is in no
 * roster. */
uint32_t node_level_of(const struct node *n, const struct key_id *key);

#endif
