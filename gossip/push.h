/* Payload and member lists: what goes out in numbers.
 *
 * Events go to every living member in a small mesh and to a few at random in a
 * larger one; each first receiver pushes on. Member lists are answered in
 * chunks, a few packets at a time, so that one newcomer in a big mesh does not
 * fill the queue. */
#ifndef GOSSIP_PUSH_H
#define GOSSIP_PUSH_H

#include "crdt/base/buffer.h"
#include "crdt/certificate.h"

#define STATE_JOBS_MAX 16        /* lists being given at one time */
#define STATE_PACKETS_PER_RUN 16 /* packets of each list in one run */
#define STATE_RUN_MS 10          /* between two runs */
#define STATE_GIVE_EVERY_MS 500  /* per peer that asks */

struct gossip;
struct member;

struct state_job {
    struct key_id peer;
    struct key_id from; /* the next record is of this key id or above */
};

struct state_jobs {
    struct state_job jobs[STATE_JOBS_MAX];
    size_t count;
    uint64_t run_ms; /* the next run; MEMBER_NEVER: none */
};

int push_event(struct gossip *g, struct slice event,
               const struct key_id *except);
/* m asked for the list. */
void push_state_begin(struct gossip *g, struct member *m);
void push_state_run(struct gossip *g);
/* Asks m for its list, and gives it the own record. */
void push_state_ask(struct gossip *g, struct member *m);
/* The same if m's members are other ones than ours, not too often. */
void push_state_compare(struct gossip *g, struct member *m, uint64_t members);
/* One round of news to a few members at random. */
void push_news(struct gossip *g);
/* Tells the leave to many at once: this node will not be there to repeat it. */
void push_leave(struct gossip *g);

#endif
