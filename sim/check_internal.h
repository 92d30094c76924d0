/* The inside of the check, shared by check*.c. */
#ifndef SIM_CHECK_INTERNAL_H
#define SIM_CHECK_INTERNAL_H

#include "backup/snapshot.h"
#include "crdt/base/alloc.h"
#include "sim/check.h"
#include "sim/host.h"
#include "sim/model.h"
#include "sim/model_state.h"

#define CHECK_RECENT_MAX 64 /* contested entries remembered for looks */
#define CHECK_SLICE 32      /* entries of a store that one look compares */
#define CHECK_RATE_US UINT64_C(10000000) /* over which traffic is averaged */
#define CHECK_ENDURE_US                                                        \
    UINT64_C(120000000) /* what waits longer waits for ever */

/* One commit of a host, for whoever watches it. */
struct check_commit {
    uint64_t revision;
    uint64_t wall_ms;
    size_t first; /* in the host's applied */
    size_t count;
};

/* How one host sees another. */
struct check_view {
    uint64_t counter; /* as last seen in this life of the process */
    bool dead;
};

struct check_host {
    unsigned number;
    bool up;    /* between boot and power cut */
    bool dying; /* between power cut and boot */
    bool fresh; /* nothing is demanded of what the disk shows next */
    bool hostile;
    bool unsure;   /* holds what the model cannot tell: a forked event */
    bool doubtful; /* a commit failed: the platter may hold it */
    bool has_identity;
    bool rotten;   /* some of it may be, until the run is judged */
    bool torn;     /* and what can be read may be anything */
    bool harmed;   /* so may it be: LMDB's own pages have rotted */
    bool lapsed;   /* an entry of it is gone, and not mended yet */
    bool rebuilt;  /* its store was set aside; it has not booted since */
    bool restored; /* from a snapshot; it has not booted since */
    struct vv restored_vv;
    bool put_back;    /* an old image; it has not booted since */
    bool rolled_back; /* ever, in this life of the disk */
    bool cloned;   /* a copy of another one's disk; it has not booted since */
    unsigned twin; /* another host has its key: its number + 1 */
    uint64_t apart_since_us; /* from somebody with another event under a name */
    uint32_t actor;
    uint32_t former; /* whom it was before; SIM_MODEL_NO_ACTOR: nobody */

    struct vv vv;   /* as of its last commit */
    uint64_t *seqs; /* owned; the same, by actor */
    size_t seqs_count;
    struct sim_model_state *state; /* owned; what it must show */
    bool returned; /* it may write again what an earlier incarnation wrote */
    bool control;  /* roster, fences or floor may have changed */
    struct floor floor; /* as last seen, in this life of its incarnation */
    hlc_t floor_time;
    uint64_t print[2];  /* names the vector among those seen */
    struct hash digest; /* as of its last commit */
    uint64_t revision;
    uint64_t told_wall_ms; /* its clock at its last commit */
    uint64_t wall_max_ms;  /* and the greatest of all of them */
    hlc_t hlc;             /* the greatest of what it applied */
    size_t pending;
    size_t parked; /* of its unsent writes, as of its last commit */

    struct sim_model_event **applied; /* owned array; since the adoption */
    size_t applied_count;
    size_t applied_capacity;
    struct check_commit *log; /* owned; likewise */
    size_t log_count;
    size_t log_capacity;
    uint64_t adoptions;
    uint64_t adopted_revision; /* log and applied begin after it */
    uint64_t adopted_wall_ms;
    bool joined_cut; /* the last adoption joined a cut to what was there */

    unsigned asked; /* by clients, not answered yet */
    uint64_t asked_since_us;
    uint64_t window_us; /* of traffic */
    uint64_t window_bytes;

    unsigned trouble;
    uint64_t calm_since_us; /* up, and no trouble, since */
    uint64_t down_since_us;
    uint64_t counter;          /* the greatest own alive counter ever seen */
    uint64_t counter_of_life;  /* the last one since its boot; 0: none */
    uint64_t boot_wall_ms;     /* its clock when it booted */
    uint64_t bytes;            /* sent, ever */
    uint64_t rest_bytes;       /* of them, before it came to rest, and what the
                                  events since may cost */
    struct check_view *views;  /* owned; by host */
    uint8_t public_key[32];    /* as last seen */
    struct key_id key_id;      /* of it */
    uint64_t gossip_seen;      /* of its counters, at the last walk */
    struct check_cover *cover; /* owned; NULL: it puts no deltas */
    struct entry_id cursor;    /* where the next look at its store begins */
    struct buffer cursor_bytes;
};

/* So long a state may still be under way that was read before it was mended. */
#define CHECK_LAPSE_US UINT64_C(60000000)
/* Two that hold different events under one name have to know it by then. */
#define CHECK_FORK_US UINT64_C(60000000)

/* Names of this incarnation beyond seq may be given twice: check_forks.c. */
struct check_suspect {
    struct incarnation incarnation;
    uint64_t seq;
};

struct check_name {
    struct dot dot; /* seq 0: free */
    struct hash hash;
    bool tentative; /* a power cut hit its commit */
};

#define CHECK_HOSTS_MAX 256

/* One of the events that bear a name which may be given twice. */
struct check_branch {
    struct dot dot;
    struct hash hash;
    uint64_t holders[CHECK_HOSTS_MAX / 64]; /* bits of hosts */
};

#define CHECK_UNIQUE_KEY_SIZE 40

/* A key that is written once: check_unique.c. */
struct check_unique {
    char key[CHECK_UNIQUE_KEY_SIZE];
    uint64_t holders[CHECK_HOSTS_MAX / 64]; /* bits of hosts */
    unsigned host;                          /* where it was acknowledged */
    bool acknowledged;
    bool lost; /* with the last disk that held it */
};

/* What a host wrote again: check_reissue.c. */
#define CHECK_AGAIN_MAX 256 /* the newest are remembered */

struct check_again {
    unsigned host;
    const struct sim_model_op *origin; /* borrowed: what it was */
};

/* A snapshot that its host called done. */
struct check_snapshot {
    char name[SNAPSHOT_NAME_SIZE];
    struct vv vv;
    uint64_t generation; /* the model's number of it */
};

/* A version vector that some host showed. */
struct check_vector {
    uint64_t print[2]; /* zero: free */
    struct hash digest;
    struct hash standing; /* zero: not known */
    uint64_t generation;  /* that it was shown in: each has its own floor */
    unsigned host;
};

/* What the deps of an actor's events cover; no entry of its own. */
struct check_known {
    uint64_t *seqs; /* owned, by actor */
    size_t count;
};

struct sim_check {
    struct sim_check_options options;
    struct sim_check_violation violation;
    uint64_t violations;
    struct sim_check_counters counters;
    struct sim_model *model;
    struct check_host *hosts;
    struct check_known *known; /* owned, by actor */
    size_t known_count;
    struct check_vector *vectors; /* owned hash table */
    size_t vectors_size;
    size_t vectors_count;
    struct sim_check_watch *watches;
    struct check_snapshot *snapshots; /* owned: those acknowledged */
    size_t snapshots_count;
    struct check_suspect *suspects; /* owned */
    size_t suspects_count;
    struct check_branch *branches; /* owned */
    size_t branches_count;
    struct check_name *names; /* owned hash table; used once forked */
    size_t names_size, names_count;
    struct check_unique *uniques; /* owned */
    size_t uniques_count, uniques_capacity;
    struct check_again again[CHECK_AGAIN_MAX];
    size_t again_count; /* ever */
    bool judging;       /* nothing is excused any more that time alone mends */
    unsigned everybody_troubled;
    bool any_hostile;
    bool lapses;            /* an entry was taken from some store, ever */
    uint64_t lapsed_us;     /* when somebody was last seen to lack it */
    bool any_rolled_back;   /* names may have been given twice */
    bool names_free;        /* an event that was lost may be under way still */
    bool forked;            /* a name was given twice: check_return.c */
    uint64_t rest_since_us; /* 0: not at rest */
    size_t memory_before;   /* in use, before there was a mesh */
    uint64_t next_tick_us;
    unsigned tick_host;
    uint64_t ticked_us;
    double pair_hours; /* of pairs that nothing troubled */
    struct entry_id recent[CHECK_RECENT_MAX]; /* into the model's entries */
    size_t recent_count;                      /* ever; the newest are kept */
};

/* An allocation that the run wants to fail is not meant for the check. */
#define QUIETLY(call)                                                          \
    do {                                                                       \
        uint64_t left = cm_alloc_fail_left();                                  \
                                                                               \
        cm_alloc_fail_after(0);                                                \
        call;                                                                  \
        cm_alloc_fail_after(left);                                             \
    } while (0)

uint64_t check_now(const struct sim_check *c);
/* The invariant was looked at. */
void check_evaluated(struct sim_check *c, enum sim_check_invariant i);
struct sim_model_view check_view_of(const struct check_host *h);
void check_dot_text(char ret_text[DOT_TEXT_SIZE], const struct sim_model *m,
                    uint32_t actor, uint64_t seq);
/* Text of a key for a person: "key" or "key/element". */
#define CHECK_KEY_TEXT_SIZE 80
void check_key_text(char ret_text[CHECK_KEY_TEXT_SIZE],
                    const struct entry_id *id);
struct node *check_node(const struct sim_check *c, const struct check_host *h);
bool check_in_core(const bool *core, unsigned host);
/* Neither the host nor anybody was troubled for so long, and it was up. */
bool check_is_calm(const struct sim_check *c, const struct check_host *h,
                   uint64_t for_us);

/* check_apply.c: events, one by one */
/* An own event is registered; NULL: it cannot be (reported). */
struct sim_model_event *
check_own_event(struct sim_check *c, struct check_host *h, struct slice bytes);
/* The registered one that a foreign event must be; NULL: reported. */
struct sim_model_event *check_foreign_event(struct sim_check *c,
                                            struct check_host *h,
                                            const struct dot *dot,
                                            struct slice bytes);
/* Judges e against what h had applied, then applies it in the model. */
void check_apply(struct sim_check *c, struct check_host *h,
                 struct sim_model_event *e, uint64_t wall_ms);
/* Of what h may send at rest, the events that it takes meanwhile. */
void check_pushes(struct sim_check *c, struct check_host *h,
                  const struct commit_result *r);
/* What it has sent at rest beside them. */
uint64_t check_idle_bytes(const struct check_host *h);
/* Sets h to exactly this vector, whatever was there: an adopted state. false:
 * an event in it is unknown (reported unless the host is fresh). */
bool check_adopt(struct sim_check *c, struct check_host *h, const struct vv *vv,
                 uint64_t revision);
/* Brings h up to vv by events that the model knows or its store holds. */
void check_catch_up(struct sim_check *c, struct check_host *h,
                    const struct vv *vv, uint64_t revision, uint64_t wall_ms);
/* h's vector is vv, its state the model's fold; equal vectors, equal
 * digests. */
void check_state(struct sim_check *c, struct check_host *h, const struct vv *vv,
                 const struct hash *digest);
void check_roster(struct sim_check *c, const struct check_host *h,
                  const struct roster *roster);
/* A generation's founder, at the first sight of it, and everyone's
 * certificates. */
void check_founder(struct sim_check *c, const struct roster *roster);
/* What the deps of its events up to the last one named cover. */
void check_forget_known(struct sim_check *c, uint32_t actor, uint64_t last);
void check_log(struct check_host *h, uint64_t revision, uint64_t wall_ms,
               size_t first);

/* check_standing.c: members, floor, seals */
/* After a commit: what the writer keeps is what the model says. */
void check_standing(struct sim_check *c, struct check_host *h);
/* That of its writer, by the model's numbers. */
uint64_t check_generation(const struct sim_check *c,
                          const struct check_host *h);
/* What its writer says of floor and roster; zero where there is none. */
struct hash check_standing_hash(const struct sim_check *c,
                                const struct check_host *h);
/* Another life: nothing that was seen before binds it. */
void check_standing_anew(struct check_host *h);
/* check_level.c: what programs know. Before h applies e. */
void check_level(struct sim_check *c, const struct check_host *h,
                 const struct sim_model_event *e);
struct standing;
/* What has been announced, against the model. */
void check_levels(struct sim_check *c, const struct check_host *h,
                  const struct standing *s);
void check_levels_quiescent(struct sim_check *c, const bool *core);
/* Before h applies e. */
void check_seals(struct sim_check *c, const struct check_host *h,
                 const struct sim_model_event *e);

/* Before h, which is a member, joins a state with that vector. */
void check_seals_of_cut(struct sim_check *c, const struct check_host *h,
                        const struct vv *vv);

/* check_intents.c: a batch's local intents, and the own events that hold them;
 * these are applied. */
void check_intents(struct sim_check *c, struct check_host *h,
                   const struct commit_result *r, size_t first_own,
                   uint64_t wall_ms);

/* check_store.c: what readers see */
void check_look_at_store(struct sim_check *c, struct check_host *h);
/* The newest so many of the contested entries. */
void check_look_at_contested(struct sim_check *c, struct check_host *h,
                             size_t count);
void check_dump(struct sim_check *c, struct check_host *h);

/* check_members.c: what gossip says */
void check_tick_members(struct sim_check *c);
void check_look_at_members(struct sim_check *c, struct check_host *h);
void check_members_quiescent(struct sim_check *c, const bool *core);
void check_members_down(struct sim_check *c, struct check_host *h);
void check_members_wiped(struct sim_check *c, struct check_host *h);

/* check_snapshot.c */
void check_snapshots_free(struct sim_check *c);
/* The first boot after a restore. */
void check_restored(struct sim_check *c, struct check_host *h,
                    const struct vv *vv);

/* check_return.c */
/* The first boot from an old image, which shows vv. */
void check_put_back(struct sim_check *c, struct check_host *h,
                    const struct vv *vv);
/* Whether a name has been given twice, in r or before. */
bool check_forks(struct sim_check *c, const struct check_host *h,
                 const struct commit_result *r);
/* All that is known of h once that has happened. */
void check_weakly(struct check_host *h, const struct vv *vv,
                  const struct hash *digest, uint64_t revision);
/* h has replaced its state by one with that vector: own events that it lacks
 * are kept. */
void check_return(struct sim_check *c, struct check_host *h,
                  const struct vv *adopted, const struct commit_result *r);

/* check_reissue.c */
/* An own event that no client has asked for in this life; before h applies it.
 */
void check_reissue(struct sim_check *c, const struct check_host *h,
                   const struct sim_model_event *e);
/* After all of the commit. */
void check_reissue_end(struct sim_check *c, struct check_host *h,
                       const struct commit_result *r);

/* The state that a commit adopted; NULL: none. */
const struct intent *check_adoption(const struct check_host *h,
                                    const struct commit_result *r);

/* check_forks.c */
void check_suspect(struct sim_check *c, const struct incarnation *i,
                   uint64_t seq);
bool check_is_suspect(const struct sim_check *c, const struct dot *dot);
/* Once a name was given twice: still, no other one may be. */
void check_names(struct sim_check *c, const struct check_host *h,
                 const struct commit_result *r);
void check_forks_tick(struct sim_check *c);
/* It has another state from now on. */
void check_branches_forget(struct sim_check *c, const struct check_host *h);
/* The first boot of a copy, which shows vv. */
void check_cloned(struct sim_check *c, struct check_host *h,
                  const struct vv *vv);

/* check_converged.c */
void check_converged(struct sim_check *c, const bool *core);

/* check_cover.c */
/* A look at what an uploader has and says; nothing at others. */
void check_cover_look(struct sim_check *c, struct check_host *h);
/* As if it said that all is covered which was ever noted. */
void check_cover_say(struct sim_check *c, struct check_host *h);
void check_cover_restored(struct sim_check *c, const struct vv *vv,
                          bool damaged);
void check_cover_free(struct sim_check *c);

/* check_ends.c */
#define CHECK_ENDS_US                                                          \
    UINT64_C(60000000) /* between comparisons of a watcher                     \
                        */
struct check_ends;
/* Its clock at a commit. */
void check_ends_clock(struct check_host *h, uint64_t wall_ms, bool wrote);
struct check_ends *check_ends_new(void);
void check_ends_free(struct check_ends *e);
/* Nothing was told yet: the watcher has read all at this vector, then or when
 * the host's clock was latest. */
void check_ends_begin(struct check_ends *e, const struct check_host *h,
                      const uint64_t *seqs, size_t count, uint64_t wall_ms);
void check_ends_told(struct check_ends *e, const struct sim_model_entry *entry,
                     const struct change *change);
/* When all was taken, at the vector seqs; false, and the entry: it believes
 * what is not so. Now and then; at once, and of everything, if all. */
bool check_ends_compare(struct check_ends *e, struct sim_check *c,
                        const struct check_host *h, const uint64_t *seqs,
                        size_t count, const char *prefix, bool all,
                        char ret_text[CHECK_KEY_TEXT_SIZE]);

/* check_disk.c */
/* Whether that is no wonder on this disk. */
bool check_excuses(const struct sim_check *c, const struct check_host *h,
                   int error);

/* check_unique.c */
void check_unique_commit(struct sim_check *c, const struct check_host *h,
                         const struct commit_result *r);
void check_unique_write(struct sim_check *c, unsigned host,
                        const struct intent *i);
/* What the host's store holds of them now; nothing while it is down. */
void check_unique_read(struct sim_check *c, const struct check_host *h);
/* Its disk was emptied or is another one from now on. */
void check_unique_rob(struct sim_check *c, const struct check_host *h);
/* Bits of it have rotted; r reads its store (borrowed). */
void check_unique_rot(struct sim_check *c, const struct check_host *h,
                      struct store_reader *r);
void check_unique_quiescent(struct sim_check *c, const bool *core);

/* check_watch.c */
void check_watches_poll(struct sim_check *c); /* a few commits of each */
void check_watches_quiescent(struct sim_check *c, const bool *core);
void check_watches_free(struct sim_check *c);

#endif
