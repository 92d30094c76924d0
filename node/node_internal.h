/* The inside of a node, shared by the files that make it up: node.c (inputs,
 * status), link.c (streams), intake.c (events from peers), repair.c
 * (anti-entropy), clocks.c, joiner.c, sponsor.c, cut_*.c, snapshots.c. One
 * thread owns all of it.
 */
#ifndef NODE_NODE_INTERNAL_H
#define NODE_FORKED_MAX 16 /* forked names that are remembered */
#define NODE_NODE_INTERNAL_H

#include "gossip/channel.h"
#include "node/cut_pull.h"
#include "node/frame.h"
#include "node/full_alarm.h"
#include "node/heal.h"
#include "node/node.h"
#include "node/return_flow.h"
#include "node/sealed_keys.h"
#include "node/snapshot_delta.h"
#include "node/snapshot_job.h"
#include "node/snapshot_sink.h"
#include "node/snapshot_source.h"
#include "node/token.h"
#include "node/upload_target.h"

#define LINK_HANDSHAKE_MS 5000        /* until established, or it is closed */
#define LINK_STALL_MS 30000           /* a write that is not taken */
#define LINK_IDLE_MS 30000            /* an unused link is closed */
#define LINK_WRITE_BYTES (256u << 10) /* handed to the port at a time */
#define LINK_OUTBOX_BYTES_MAX (4u << 20) /* frames waiting for a handshake */
#define LINK_SERVE_LOW (1u << 20) /* repair refills below this much output */
#define INFLIGHT_MAX 8192         /* foreign events being checked or written */
#define INFLIGHT_BYTES_MAX (64u << 20)
#define INFLIGHT_PAUSE_BYTES (16u << 20) /* streams stop being read above */
#define RELAYED_MAX 16384                /* dots remembered as relayed */
#define REPAIRS_MAX 3                    /* sessions asked for at a time */
#define REPAIR_TIMEOUT_MS 10000
#define JOIN_RETRY_MS 500 /* doubled up to JOIN_RETRY_MS_MAX */
#define JOIN_RETRY_MS_MAX 5000
#define SPONSORED_MAX 8   /* joiners brought up at a time */
#define PEERS_SAVE_MS 500 /* changed addresses are stored after */
#define PEERS_MAX 256     /* addresses stored */
#define SNAPSHOT_INTERVAL_MS_MAX (UINT64_C(10) * 365 * 86400 * 1000)

#define FLOOR_KEEP_MS 60000 /* events below a floor are kept for watches */
#define BARRED_MAX MANIFEST_EVICTED_MAX /* evicted peers, remembered */
#define CLOCKS_EVERY_MS 1000            /* between looks at the peers' clocks */
#define CLOCKS_TELL_MS 50 /* the writer is told of a change so large */
#define CLOCKS_MEMBERS 32 /* so many, and each look is as much later again */
/* One incarnation that a peer waits for. */
struct confirm_ask {
    struct dot wanted;
    uint64_t told; /* seq that it knows of, 0: none */
};

/* One stream to another node. */
#define LINK_BUCKETS 64 /* by which a stream's link is found */

struct link {
    struct link *next;
    struct link *bucket_next;
    uint64_t stream;
    bool connecting;         /* TCP not there yet */
    struct channel *channel; /* NULL while connecting */
    bool initiator;
    bool writing;        /* the port holds a write of ours */
    uint64_t written_ms; /* since when */
    bool closing;        /* close once the output has been written */
    bool paused;         /* not read from, the intake is full */
    bool established;    /* hello sent */
    bool peer_known;     /* peer is what we connect to, or what it proved */
    struct key_id peer;
    struct address address;
    uint64_t deadline_ms; /* handshake, then idle */
    struct buffer outbox; /* [length be32, frame]… before establishment */
    /* Repair. */
    bool asked; /* our SYNC is under way here */
    uint64_t asked_ms;
    bool serving;          /* their SYNC is being answered */
    bool other_generation; /* the peer is of another one: its cut is none for
                              this node, its seals say nothing about it */
    bool newer_generation; /* and with a greater number */
    bool missing;          /* bytes that they lack were not here */
    struct vv theirs;      /* what they have, advanced as we send */
    /* What the peer wants to hear when it is committed here. */
    struct confirm_ask asks[FRAME_DOTS_MAX]; /* sorted by incarnation */
    size_t asks_count;
    uint64_t asks_until_ms;  /* both ways: the link is kept that long */
    struct hash orders_told; /* of what was open when it was told last */
    uint64_t trusted_epoch;  /* of orders, plus 1, in which it was trusted */
    /* Joining. */
    bool joins;              /* the joiner's own link */
    bool sponsors;           /* SPONSOR or CUT_ASK is being answered here */
    bool redeems;            /* a JOIN was taken here: there is no second */
    bool pulls;              /* our CUT_ASK is being answered here */
    bool returns;            /* our SPONSOR is being answered here */
    struct cut_serving *cut; /* what is sent here */
};

enum join_phase {
    JOIN_NONE = 0,     /* founded, or long joined */
    JOIN_REDEEM = 1,   /* the token is being redeemed */
    JOIN_IDENTITY = 2, /* granted: the composer initialises the store */
    JOIN_SPONSOR = 3,  /* asking to be rostered and brought up */
    JOIN_APPLY = 4,    /* the writer adopts the cut */
    JOIN_RENAME = 5,   /* a further incarnation is being stored */
    JOIN_HELD = 6,     /* the cut waits for the clocks */
};

struct peer_address {
    struct key_id peer;
    struct address address;
};

/* A foreign event between receipt and commit; open addressing by dot. */
struct inflight {
    struct dot dot; /* seq 0: free */
};

struct joiner {
    enum join_phase phase;
    struct token token;
    size_t address_index; /* next one to try */
    uint64_t retry_ms;    /* monotonic: when to try again */
    uint64_t backoff_ms;
    bool failed; /* for good: the reason stands in not_ready */
    struct buffer certificate;
    struct buffer generation_order;
    uint8_t authority_public_key[32];
    struct incarnation incarnation;
    struct address sponsor;
    struct key_id sponsor_key;
    struct cut_receiver *receiver; /* of the sponsor's cut */
    struct snapshot_sink *sink;    /* received whole; waits for the clocks */
    uint64_t messages_before;      /* at the last try */
    /* Who else may sponsor, when the first one is gone. */
    struct address others[FRAME_ADDRESSES_MAX];
    size_t others_count;
    size_t others_next;
    unsigned failures; /* of this sponsor, without a message between them */
    bool asked;        /* it may have rostered this incarnation */
    bool was_asked;    /* so had another one before */
    bool renews;       /* a member gets another certificate */
    bool has_token;    /* that this process has not redeemed */
    bool recertifies;  /* it does, because the certificate was refused… */
    char refusal[FRAME_TEXT_MAX]; /* …for this reason */
};

/* When a floor is proposed, and when what lies below it goes. */
struct floor_policy {
    uint64_t interval_ms; /* quiet time before a proposal; 0: never */
    uint64_t keep_ms;     /* event bytes are kept after a floor */
    uint64_t since_ms;    /* there is something to collect; 0: there is not */
    uint64_t rank;        /* members whose turn comes before */
    uint64_t retry_ms;
    bool asked; /* an intent is under way */
    /* As of the last result. */
    uint64_t above; /* events above the floor */
    uint64_t bytes; /* of events since it moved */
    uint64_t collect_wall_ms;
    uint64_t moved_wall_ms; /* 0: not since the start */
    bool prune_due;
    bool pruning;      /* an intent is under way */
    uint64_t prune_ms; /* 0: not set */
};

/* What the writer was told of the clocks. */
struct clocks {
    uint64_t looked_ms; /* monotonic; 0: never */
    int64_t lead_ms;    /* of the own wall clock then, over the monotonic one */
    uint64_t every_ms;
    int64_t offset_ms;
    size_t count;
};

struct node {
    struct node_ports ports;
    struct store *store;
    struct store_reader *reader; /* kept; renewed for repair */
    char name[NAME_SIZE_MAX + 1];
    uint8_t host[32];
    uint32_t level;        /* format level of this program */
    uint64_t level_due_ms; /* when it is to be announced; 0: not */
    uint8_t sign_secret_key[64];
    uint8_t sign_public_key[32];
    uint8_t box_secret_key[32];
    uint8_t box_public_key[32];
    struct address address;
    uint64_t probe_interval_ms;
    struct random_stream random;

    /* Identity; absent in a joiner before its grant. */
    bool has_identity;
    bool ready;
    struct buffer certificate;
    struct certificate own; /* decoded, slices into certificate */
    uint8_t authority_public_key[32];
    uint8_t authority_hash[32];
    struct buffer generation_order;
    struct mesh_id mesh;
    struct generation_id generation;
    struct incarnation incarnation;
    struct key_id key_id;

    /* As of the last commit result. */
    struct vv vv;
    struct hash digest;
    struct roster *roster;
    struct standing_view *standing;
    bool certify_again; /* memory was short when gossip was told of it */
    uint64_t revision;
    size_t pending_events;
    size_t pending_bytes;
    struct vv received; /* vv, and the pending events that follow on it; empty
                           when that is the same */
    struct held_events held;
    bool store_failed; /* only another start mends it */
    struct incarnation forked[NODE_FORKED_MAX]; /* the last that were shown */
    size_t forked_count;                        /* ever */

    struct gossip *gossip; /* NULL until ready */
    struct {
        bool known;       /* since roster and gossip are these */
        uint64_t changes; /* gossip_member_changes then */
        bool is;
    } outnumbered; /* what orders_outnumbered said last */
    struct link *links;
    size_t links_count;
    struct link *link_buckets[LINK_BUCKETS];
    uint64_t links_due_ms;     /* no later than the first link_due */
    bool links_changed;        /* several have: it is to be looked up again */
    struct link *link_touched; /* only this one has; NULL: none */
    bool links_paused;         /* perhaps */
    uint64_t next_stream;

    struct inflight *inflight; /* INFLIGHT_MAX * 2 slots */
    size_t inflight_count;
    size_t inflight_bytes;
    struct dot *relayed; /* ring of RELAYED_MAX, indexed by relayed_set */
    size_t relayed_next;
    uint32_t *relayed_set; /* open addressing: index + 1 into relayed */

    struct joiner joiner;
    struct returning returning;
    enum return_reason found_reason; /* by the writer, as of its last result */
    bool lost_branch;                /* likewise: of a fork, by the fences */
    struct unsent_counts unsent;
    struct full_alarm full;
    uint64_t order_epoch;  /* of the last eviction order that was seen… */
    uint64_t order_ms;     /* …and when it was made, or seen first */
    bool generation_clash; /* told already */
    struct token_table tokens;
    struct buffer issuer; /* certificate to issue with, beside the own one */
    struct cuts cuts;
    struct heal heal;
    struct clocks clocks;
    struct floor_policy floor;
    struct key_id barred[BARRED_MAX]; /* no incarnation of theirs stays */
    size_t barred_count;
    bool barred_changed; /* since they were stored */
    size_t orders_inflight;
    bool tell_orders;  /* what is heard next comes from here */
    bool told_evicted; /* a member said so */

    struct peer_address peers[PEERS_MAX];
    size_t peers_count;
    uint64_t peers_save_ms; /* 0: nothing to store */
    uint64_t parts_due_ms;  /* the first deadline but for gossip's */

    struct upload_target targets[UPLOAD_TARGETS_MAX];
    size_t targets_count;
    uint64_t snapshot_interval_ms; /* 0: none by themselves */
    uint64_t delta_interval_ms;    /* 0: none */
    struct object_rate rate;       /* of all uploads together */
    bool has_rate;
    char *snapshot_hook; /* owned; NULL: none */
    uint64_t hook_due_ms;
    bool hook_running;
    /* Zeroes: the authority, which a joiner does not know at first. */
    uint8_t snapshot_recipients[SEALED_RECIPIENTS_MAX][32];
    size_t snapshot_recipients_count;
    bool snapshot_running; /* on demand, to another target */
    bool scanning;         /* for the configured ones */
    bool merging;          /* merge.c */
    struct drills drills;
    uint64_t snapshot_begun_wall_ms; /* when this process began */
    uint64_t snapshot_sequence;      /* of the last manifest anywhere */
    uint64_t snapshot_wall_ms;
    _Atomic uint64_t snapshot_numbers; /* the last one given to a manifest */
    struct upload_target elsewhere;    /* its job, of what is on demand */
    struct snapshot_memory snapshot_foreign; /* the last one elsewhere */
    bool snapshot_summed; /* a scan has added up what the store keeps… */
    uint64_t snapshot_summed_ms; /* …then */
    char *spool_dir;             /* owned: where snapshot spools live */

    uint64_t rest_seen;   /* store_large when it was last looked at */
    uint64_t rest_due_ms; /* when the store is to rest; UINT64_MAX: not */

    uint64_t expiry_wall_ms;  /* when the writer wants to tell the next */
    uint64_t expiry_retry_ms; /* not before; the last try failed */
    bool expiry_asked;        /* an intent is under way */

    char *revoke_deletes[NODE_REVOKE_DELETES_MAX]; /* owned */
    size_t revoke_deletes_count;

    struct await *awaits; /* list; awaits.c */
    size_t awaits_count;
    uint64_t awaits_due_ms;   /* first deadline; UINT64_MAX: none */
    uint64_t awaits_retry_ms; /* when members are asked again; UINT64_MAX */

    node_commit_listener listener;
    void *listener_ctx;
    struct node_status status; /* counters and texts */
};

static inline uint64_t node_now(const struct node *n)
{
    return n->ports.clock->mono_ms(n->ports.ctx);
}

static inline uint64_t node_wall(const struct node *n)
{
    return n->ports.clock->wall_ms(n->ports.ctx);
}

void node_log(struct node *n, char level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void node_set_not_ready(struct node *n, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Sends what gossip has to send, acts on its events, arms the timer. To be
 * called at the end of every input. */
void node_drain(struct node *n);
void node_alarm_fork(struct node *n);
/* The same, and what name it is: see struct replacement. */
void node_note_fork(struct node *n, const struct incarnation *name);
void node_alarm_hazard(struct node *n);
/* Nothing can be committed any more until the node is started anew. */
void node_store_failed(struct node *n);
/* Tells once when commits fail for want of room or for the disk, and when one
 * goes through again. */
void node_note_disk(struct node *n, const struct commit_result *r);
void node_become_ready(struct node *n);
int node_load_identity(struct node *n, struct cm_detail *detail);
void node_take_result(struct node *n, struct commit_result *result);
/* With the certificate as it is now. */
void node_restart_gossip(struct node *n);
/* Used from now on; stored by whoever asked for it. */
void node_renew_certificate(struct node *n, struct slice certificate);

/* link.c */
struct link *link_by_stream(struct node *n, uint64_t stream);
/* An established or connecting link to the peer, or a new one to address. NULL
 * when NODE_STREAMS_MAX are open. */
struct link *link_to(struct node *n, const struct key_id *peer,
                     const struct address *address);
struct link *link_connect(struct node *n, const struct address *address);
void link_accept(struct node *n, uint64_t stream, const struct address *from);
/* Sends now or after the handshake. CM_ERR_BUSY when too much waits. */
int link_send(struct node *n, struct link *l, const struct buffer *frame);
void link_pump(struct node *n, struct link *l);
/* Closes and frees; l is gone. */
void link_close(struct node *n, struct link *l);
/* The port has closed the stream already; l is gone afterwards. */
void link_gone(struct node *n, struct link *l, const char *reason);
void link_close_after_output(struct node *n, struct link *l);
void link_on_connected(struct node *n, struct link *l);
/* Something that a link waits for has changed: its deadline has, perhaps. */
void link_changed(struct node *n);
void link_on_bytes(struct node *n, struct link *l, struct slice bytes);
void link_check_deadlines(struct node *n, uint64_t now);
uint64_t link_next_deadline(struct node *n);
void link_resume_reading(struct node *n);
size_t link_output_size(const struct link *l);

/* intake.c: an event from a peer on its way to the writer. */
int intake_init(struct node *n);
void intake_release(struct node *n);
/* relay: it was pushed, and is passed on once. from names the peer. */
void intake_event(struct node *n, struct slice bytes, const struct key_id *from,
                  bool relay);
void intake_forget(struct node *n, const struct dot *dot, size_t size);
bool intake_is_full(const struct node *n);

/* repair.c */
void repair_ask(struct node *n, const struct key_id *peer,
                const struct address *address);
void repair_on_sync(struct node *n, struct link *l, struct frame *f);
void repair_on_events(struct node *n, struct link *l, struct frame *f);
void repair_on_end(struct node *n, struct link *l, const struct frame *f);
void repair_serve(struct node *n, struct link *l); /* refill the output */

/* joiner.c */
int joiner_begin(struct node *n, const char *token, struct cm_detail *detail);
/* A member's token is redeemed; returning_renewed is told. */
int joiner_renew(struct node *n, const char *token, struct cm_detail *detail);
void joiner_resume(struct node *n); /* certified, not brought up yet */
void joiner_on_established(struct node *n, struct link *l);
/* True if the frame was the joiner's; l may be gone. */
bool joiner_on_frame(struct node *n, struct link *l, const struct frame *f);
void joiner_on_link_gone(struct node *n, const struct link *l,
                         const char *reason);
/* Contacts whom the issuer named: a member that knows nobody else. */
void joiner_introduce(struct node *n);
void joiner_tick(struct node *n, uint64_t now);
uint64_t joiner_deadline(const struct node *n);
void joiner_release(struct node *n);

/* sponsor.c */
void sponsor_on_join(struct node *n, struct link *l, const struct frame *f);
void sponsor_on_request(struct node *n, struct link *l, const struct frame *f);
int sponsor_load_tokens(struct node *n);
void sponsor_store_tokens(struct node *n); /* as they are in memory */

/* sponsor_order.c: who may not come back by itself */
void sponsor_order_load(struct node *n);
void sponsor_note_order(struct node *n);
void sponsor_store_order(struct node *n); /* as it is in memory */
/* Whether it is refused; why is REFUSAL_ENTRY_…, written then. */
bool sponsor_refuses(const struct node *n, const struct certificate *c,
                     enum refusal *ret_why);
/* Whether anything is to be told to it: a member, or certified by an issuer who
 * was not evicted. */
bool sponsor_trusts(const struct node *n, const struct certificate *c);
/* Whether that node signed this one's certificate. */
bool sponsor_signed_own(const struct node *n, const struct key_id *peer);
#define SPONSOR_ISSUER_TEXT                                                    \
    "whoever signed its certificate was evicted: redeem a fresh token of "     \
    "another issuer (confmesh node --data DIR --join TOKEN)"

/* issuer.c */
int issuer_load(struct node *n);
/* To be put into those that this node signs; empty: it may sign none. */
struct slice issuer_certificate(const struct node *n);

/* cut_serve.c */
void cut_on_ask(struct node *n, struct link *l, const struct frame *f);
/* Whether one can be given on l; else it has been refused, with the reason. */
bool cut_may_serve(struct node *n, struct link *l);
/* l's, until its link is gone. NULL when memory is short. */
struct cut_serving *cut_serve_begin(struct node *n, struct link *l,
                                    const struct frame *f);
/* Finds or scans what is to be sent, and sends it. l may be gone. */
void cut_serve_source(struct node *n, struct link *l);
void cut_serve(struct node *n, struct link *l); /* refill the output */
void cut_serve_scanned(struct node *n, struct cut_source *source);
void cut_refuse(struct node *n, struct link *l, int code, const char *text);
void cut_serve_link_gone(struct link *l);
void cut_serve_tick(struct node *n, uint64_t now);
uint64_t cut_serve_deadline(const struct node *n);

/* cut_pull.c */
/* The peer at l does not hold bytes that are missing here. */
void cut_pull_missing(struct node *n, const struct link *l);
void cut_pull_begin(struct node *n, const struct key_id *peer,
                    const struct address *address);
bool cut_pull_busy(const struct node *n);
/* In place of this node's state, which is wrong. */
void cut_pull_replace(struct node *n, const struct key_id *peer,
                      const struct address *address);
/* True if the frame was of a cut. */
bool cut_pull_on_frame(struct node *n, struct link *l, const struct frame *f);
void cut_pull_link_gone(struct node *n, struct link *l);
void cut_pull_tick(struct node *n, uint64_t now);
uint64_t cut_pull_deadline(const struct node *n);
void cut_pull_release(struct node *n);
/* What cut_stage.c tells: every block has been put; what was written meanwhile
 * is settled; it failed; an attempt that was given up has let go. */
void cut_pull_staged(struct node *n);
void cut_pull_settled(struct node *n);
void cut_pull_stage_failed(struct node *n, int error, const char *text);
void cut_pull_forget(struct node *n);
const char *cut_pull_phase_name(const struct cut_pull *p);
/* Counts and tells a refusal. */
void cut_refused(struct node *n, int error, const char *text);

/* cut_stage.c */
void cut_stage_begin(struct node *n);
void cut_stage_settle(struct node *n);
void cut_stage_tick(struct node *n, uint64_t now);
uint64_t cut_stage_deadline(const struct node *n);

/* cut_confirm.c */
void cut_status_read(const struct node *n, struct cut_status *ret);
/* The fact to be set with the adoption of a cut of source; 0 or 1 of them. It
 * borrows from source. */
size_t cut_unconfirmed_fact(const struct node *n, const struct key_id *source,
                            struct meta_fact *ret_fact);
void cut_note_adopted(struct node *n, const struct key_id *source);
void cut_confirm_load(struct node *n);
void cut_confirm_tick(struct node *n, uint64_t now);
uint64_t cut_confirm_deadline(const struct node *n);

/* snapshots.c */
int snapshots_init(struct node *n, const struct node_config *config);
void snapshots_release(struct node *n);
void snapshots_ready(struct node *n);
int snapshots_data_key(struct node *n, struct data_key *ret_key,
                       struct cm_detail *detail);
void snapshots_load(struct node *n);
void snapshots_tick(struct node *n, uint64_t now);
/* The next one is due now, whether anything has changed or not. */
void snapshots_owe_one(struct node *n);
uint64_t snapshots_deadline(const struct node *n);
void snapshots_status(const struct node *n, struct node_status *s);
/* One more failure at that target, told and counted. */
void snapshots_failed(struct node *n, struct upload_target *t, const char *what,
                      const struct cm_detail *detail);
/* deltas.c */
int deltas_begin_chain(struct upload_target *t, uint64_t sequence,
                       const struct hash *manifest, const struct vv *vv);
void deltas_tick(struct node *n, uint64_t now);
uint64_t deltas_deadline(const struct node *n);
/* How often something of an uploader changes at a target; 0: no promise. */
uint64_t deltas_beat_ms(const struct node *n);
/* upload_hook.c: an upload went well. */
void upload_hook_call(struct node *n);
/* uploaders.c */
void uploaders_tick(struct node *n, uint64_t now);
/* When somebody should look at t; UINT64_MAX: not at all. */
uint64_t uploaders_look_ms(const struct node *n, const struct upload_target *t);
/* Announces and looks, on the lane of small objects. */
void uploaders_look(struct node *n, struct upload_target *t);

/* rest.c */
void rest_note(struct node *n); /* after each commit */
void rest_tick(struct node *n, uint64_t now);

/* expiry.c */
void expiry_tick(struct node *n, uint64_t now);
uint64_t expiry_deadline(const struct node *n);

/* clocks.c */
/* Before anything is given to gossip; true if the own clock was set. */
bool clocks_input(struct node *n);
void clocks_tick(struct node *n, uint64_t now);
uint64_t clocks_deadline(const struct node *n);

/* proposals.c */
void proposals_take(struct node *n, struct commit_result *r);
void proposals_tick(struct node *n, uint64_t now);
uint64_t proposals_deadline(const struct node *n);

/* levels.c */
void levels_tick(struct node *n, uint64_t now);
uint64_t levels_deadline(const struct node *n);

/* orders.c */
/* Whether an incarnation of that key is rostered and stays. */
bool orders_key_stays(const struct node *n, const struct key_id *peer);
/* Whether nothing but returning is listened to from that peer. */
bool orders_refuse(const struct node *n, const struct key_id *peer);
/* Likewise from that link's peer, for who signed its certificate; l is
 * established and certified. */
bool orders_distrust(const struct node *n, struct link *l);
/* Gossip speaks no more to those that orders_distrust is true of. */
void orders_forget_distrusted(struct node *n);
void orders_load_barred(struct node *n);
/* From whoever gives a cut: whose word is taken for the state is taken for who
 * was evicted from it. By the state alone nobody knows them. */
void orders_take_barred(struct node *n, struct slice keys);
/* before: the roster until now, or NULL. */
void orders_members_changed(struct node *n, const struct roster *before);
void orders_view_changed(struct node *n);
/* Once on each link for each set of open orders. */
void orders_tell(struct node *n, struct link *l);
void orders_on_frame(struct node *n, const struct link *l, struct frame *f);
void orders_send_refusal(struct node *n, struct link *l);
/* Fewer than half of the others live, as far as gossip knows: whoever was
 * evicted may still have one like himself. */
bool orders_outnumbered(struct node *n);
/* A member says that who signed this node's certificate was evicted. */
void orders_told_distrusted(struct node *n, const struct key_id *by,
                            const char *text);
/* If the peer's vector goes beyond a seal. */
void orders_refuse_beyond(struct node *n, struct link *l,
                          const struct vv *theirs);
void orders_told_evicted(struct node *n, const struct key_id *by,
                         const char *text);

/* awaits.c */
void awaits_committed(struct node *n); /* after every commit result */
void awaits_roster_changed(struct node *n);
void awaits_on_ask(struct node *n, struct link *l, const struct frame *f);
void awaits_on_committed(struct node *n, const struct link *l,
                         const struct frame *f);
/* What was asked over it is forgotten there. */
void awaits_link_gone(struct node *n, const struct link *l);
void awaits_member_alive(struct node *n, const struct key_id *peer);
void awaits_tick(struct node *n, uint64_t now);
uint64_t awaits_deadline(const struct node *n);
void awaits_close(struct node *n); /* ends all: CM_ERR_CLOSED */

/* peers.c */
void peers_load(struct node *n);
void peers_remember(struct node *n, const struct key_id *peer,
                    const struct address *address);
void peers_tick(struct node *n, uint64_t now);
/* What has changed is stored at the next tick, or is submitted at once. */
void peers_hurry(struct node *n);
void peers_flush(struct node *n);
void peers_contact(struct node *n);

#endif
