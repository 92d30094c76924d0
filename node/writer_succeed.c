/* "A roster holding only incarnations of this node lets it succeed itself":
 * nobody else is there to sponsor its next life, so this one does, and ends in
 * the same transaction. */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/writer_internal.h"

static const struct meta_fact *fact_of(const struct intent *i, const char *name)
{
    for (size_t j = 0; j < i->facts_count; j++) {
        if (strcmp(i->facts[j].name, name) == 0)
            return &i->facts[j];
    }
    return NULL;
}

static bool is_alone(const struct writer *w)
{
    const struct roster_member *self = roster_find(w->roster, &w->self);

    for (size_t i = 0; self != NULL && i < w->roster->count; i++) {
        if (!key_id_equal(&w->roster->members[i].certificate.key_id,
                          &self->certificate.key_id))
            return false;
    }
    return self != NULL;
}

/* The add, as an event of its own. */
static int add_next(struct batch *b, struct intent *i,
                    const struct meta_fact *incarnation)
{
    const struct roster_member *self = roster_find(b->w->roster, &b->w->self);
    struct local_op op = {
        .kind = OP_ROSTER_ADD,
        .key = incarnation->value,
        .value = roster_certificate(self),
    };
    struct intent *add = intent_new(INTENT_LOCAL);
    int error = add == NULL ? CM_ERR_NOMEM : intent_add_op(add, &op);

    if (error == 0)
        error = local_close_event(b);
    if (error == 0)
        error = local_intent(b, add);
    if (error == 0) {
        i->result = add->result;
        i->detail = add->detail;
    }
    if (error == 0)
        error = local_close_event(b);
    intent_free(add);
    return error;
}

int succeed_intent(struct batch *b, struct intent *i)
{
    const struct meta_fact *incarnation = fact_of(i, META_INCARNATION);
    int error;

    CHECK(i->kind == INTENT_SUCCEED && incarnation != NULL &&
          incarnation->value.size == INCARNATION_SIZE);
    i->revision = b->w->head.revision;
    if (!b->ready || !is_alone(b->w)) {
        i->result = cm_fail(&i->detail, CM_ERR_AUTHORITY,
                            "others are in the roster: one of them has to "
                            "sponsor this node");
        return 0;
    }
    error = add_next(b, i, incarnation);
    if (error != 0 || i->result != 0)
        return error;
    for (size_t j = 0; j < i->facts_count && error == 0; j++)
        error = state_put_meta(b, i->facts[j].name, i->facts[j].value);
    CM_MARK("return: a lone node succeeded itself");
    b->renamed = true;
    i->wrote = true;
    i->revision = b->revision;
    return error;
}
