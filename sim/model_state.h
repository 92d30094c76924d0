/* Model state: what a replica has to show that has applied these events in
 * this order.
 *
 * model.h says what stands in a set of events. That is not all: acknowledged
 * floors make members forget, and fences make the roster smaller. This is the
 * rest of the design, said once more and as simply as possible: who is a
 * member, what is proposed, acknowledged, fenced, sealed, where the floor is,
 * and which operations a floor has taken away. Nothing of crdt/standing*.c,
 * floor.c or collapse.c is used, only formats: events, fences, orders,
 * certificates, siblings.
 *
 * By the law all of that is a function of the version vector, whatever the
 * order; equal vectors are compared elsewhere (check_apply.c). Here one order
 * is followed: the host's own, or for an adopted state the one in which the
 * events were first committed anywhere. */
#ifndef SIM_MODEL_STATE_H
#define SIM_MODEL_STATE_H

#include "crdt/floor.h"
#include "sim/model.h"

struct sim_model_state;

struct sim_model_state *sim_model_state_create(struct sim_model *m);
void sim_model_state_free(struct sim_model_state *s); /* NULL is fine */
/* Nothing is applied. */
void sim_model_state_clear(struct sim_model_state *s);

/* e is later than its actor's last one. ret_control: it may have changed
 * roster, fences or floor. */
void sim_model_state_apply(struct sim_model_state *s,
                           const struct sim_model_event *e, bool *ret_control);
/* From nothing to all events of seqs, then that generation (0: whichever they
 * are of). */
void sim_model_state_replay(struct sim_model_state *s, const uint64_t *seqs,
                            size_t count, uint64_t generation);

/* What is applied and not taken away; valid until the next change of s. */
struct sim_model_view sim_model_state_view(const struct sim_model_state *s);
/* Of all siblings, those of the mesh's own spaces included. */
struct digest sim_model_state_digest(const struct sim_model_state *s);
/* Without those. */
const struct digest *
sim_model_state_client_digest(const struct sim_model_state *s);
/* How many entries those spaces hold. */
size_t sim_model_state_controls(const struct sim_model_state *s);
/* Operations that floors have taken away, ever. */
size_t sim_model_state_taken(const struct sim_model_state *s);

size_t sim_model_state_members(const struct sim_model_state *s);
bool sim_model_state_is_member(const struct sim_model_state *s, uint32_t actor);
/* The format level that it has announced, or that its add tells; 0: neither. */
uint32_t sim_model_state_level(const struct sim_model_state *s, uint32_t actor);
/* Nothing of it beyond ret_last counts. */
bool sim_model_state_is_sealed(const struct sim_model_state *s, uint32_t actor,
                               uint64_t *ret_last);
/* Fences of writer name actor; up to ret_seq they cover it. */
bool sim_model_state_is_fenced(const struct sim_model_state *s, uint32_t writer,
                               uint32_t actor, uint64_t *ret_seq);
/* Some member's fence names it. */
bool sim_model_state_is_evictee(const struct sim_model_state *s,
                                uint32_t actor);
uint64_t sim_model_state_floor(const struct sim_model_state *s, uint32_t actor);
hlc_t sim_model_state_floor_time(const struct sim_model_state *s);

#endif
