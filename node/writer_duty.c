/* Duties: what an incarnation writes without being asked.
 *
 * "Each one that stays writes a fence", "ack T is an ordinary event, written
 * only by an incarnation that has applied T". Both follow from what has been
 * applied or heard, so they are looked for at the end of every batch, and
 * written in it: nobody else has to remember them. Nothing idle writes acks:
 * without a proposal there is none, and a proposal is made only when the loop
 * asks for one (node/proposals.c). Each duty ends itself: a fence names all
 * that is open, an acknowledgement is given once, and so is what this program
 * knows (writer_level.c). */
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

#define DUTIES_MAX 1024 /* of one batch; the rest is due in the next */

static int write_fence(struct batch *b, bool *ret_wrote)
{
    struct writer *w = b->w;
    struct buffer value;
    bool due = false;
    int error;

    buffer_init(&value, VALUE_SIZE_MAX);
    error = standing_due_fence(w->standing, &w->self, &w->vv, &value, &due);
    if (error == 0 && due) {
        CM_MARK("fence: written");
        error = local_control(b, OP_FENCE,
                              slice_of(w->self.bytes, INCARNATION_SIZE),
                              buffer_slice(&value));
        *ret_wrote = error == 0;
    }
    buffer_release(&value);
    /* One that no event can carry is no reason to refuse everything else. */
    return error == CM_ERR_TOO_LARGE ? 0 : error;
}

static int write_ack(struct batch *b, bool *ret_wrote)
{
    struct writer *w = b->w;
    uint8_t key[PROPOSAL_KEY_SIZE];
    int error;

    if (!standing_due_ack(w->standing, &w->self, key))
        return 0;
    CM_MARK("floor: acknowledged");
    error =
        local_control(b, OP_ACK, slice_of(key, sizeof key), slice_of(NULL, 0));
    *ret_wrote = error == 0;
    return error == CM_ERR_TOO_LARGE ? 0 : error;
}

int duty_run(struct batch *b)
{
    int error = 0;
    bool wrote = true;

    for (unsigned i = 0; i < DUTIES_MAX && wrote && error == 0; i++) {
        wrote = false;
        if (!local_may_write(b))
            break;
        /* The event that gathers local writes is among what they cover. */
        error = local_close_event(b);
        if (error == 0)
            error = level_announce(b, &wrote);
        if (error == 0 && !wrote)
            error = write_fence(b, &wrote);
        if (error == 0 && !wrote)
            error = write_ack(b, &wrote);
        if (error == 0 && wrote)
            error = foreign_drain(b);
    }
    return error;
}

int duty_propose(struct batch *b, struct intent *i)
{
    struct writer *w = b->w;
    struct buffer value;
    bool due = false;
    int error = 0;

    i->revision = w->head.revision;
    if (!local_may_write(b))
        return 0; /* somebody else will */
    error = local_close_event(b);
    buffer_init(&value, VALUE_SIZE_MAX);
    if (error == 0)
        error = standing_propose(w->standing, &w->self, &w->vv, &value, &due);
    if (error == 0 && due) {
        CM_MARK("floor: proposed");
        error =
            local_control(b, OP_ACK, slice_of(NULL, 0), buffer_slice(&value));
        i->wrote = error == 0;
        i->dot = w->own.dot;
    }
    buffer_release(&value);
    i->result = error;
    if (error == CM_ERR_TOO_LARGE)
        return 0;
    return error;
}
