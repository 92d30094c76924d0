/* Roster-adds, fences and acknowledgements: whether they count, and what they
 * change. Everything here has to come out the same whatever the causal order
 * in which the events came, so a rule asks only for what an event's own past
 * decides, or for what the siblings together decide later (standing_settle.c).
 */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/standing_internal.h"

#define ACK_FIELDS 2

static struct incarnation incarnation_of(struct slice key)
{
    struct incarnation ret;

    CHECK(key.size == INCARNATION_SIZE); /* op_check */
    memcpy(ret.bytes, key.data, INCARNATION_SIZE);
    return ret;
}

/* ---- dependencies ---- */

static bool covers_all(const struct vv *vv, const struct fence_cover *covers,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (covers[i].seq > vv_seq(vv, &covers[i].incarnation))
            return false;
    }
    return true;
}

/* "Of two branches of a fork that fences cover": a fence of one that this
 * replica does not hold is not applied here, else both would be sealed as
 * one. */
static bool holds_branches(const struct vv *vv, const struct fence *f)
{
    for (size_t i = 0; i < f->covered_count; i++) {
        const struct fence_cover *c = &f->covered[i];
        const struct vv_entry *e = vv_find(vv, &c->incarnation);

        if (e != NULL && !STANDING_OFF(RULE_COVER_HASH) &&
            !fence_cover_agrees(c->seq, &c->head, e->seq, &e->head))
            return false;
    }
    return true;
}

static int fence_ready(const struct op *op, const struct vv *vv,
                       bool *ret_ready)
{
    struct fence f;
    int error = fence_decode(&f, op->value);

    if (error == 0) {
        *ret_ready = covers_all(vv, f.covered, f.covered_count) &&
                     holds_branches(vv, &f);
        fence_release(&f);
    }
    return error == CM_ERR_NOMEM ? error : 0;
}

/* The cut of a proposal; its bytes are the whole value. */
static int read_cut(struct slice value, struct fence_cover **ret_cut,
                    size_t *ret_count)
{
    struct unpacker u;
    int error;

    unpack_init(&u, value);
    error = standing_cut_unpack(&u, ret_cut, ret_count);
    if (error == 0 && unpack_finish(&u) < 0) {
        error = u.error;
        cm_free(*ret_cut);
    }
    if (error == 0 && *ret_count == 0)
        error = CM_ERR_MALFORMED;
    return error;
}

static int ack_ready(const struct op *op, const struct dot *dot,
                     const struct vv *vv, bool *ret_ready)
{
    struct dot proposal = standing_proposal_dot(op->key.data);
    struct fence_cover *cut;
    size_t count;
    int error;

    if (!dot_equal(&proposal, dot)) {
        *ret_ready = vv_covers(vv, &proposal);
        return 0;
    }
    error = read_cut(op->value, &cut, &count);
    if (error == 0) {
        *ret_ready = covers_all(vv, cut, count);
        cm_free(cut);
    }
    return error == CM_ERR_NOMEM ? error : 0;
}

int standing_ready(const struct op *op, const struct dot *dot,
                   const struct vv *vv, bool *ret_ready)
{
    bool ready = true; /* what is malformed is void, which waits for nothing */
    int error = 0;

    if (op->kind == OP_FENCE)
        error = fence_ready(op, vv, &ready);
    else if (op->kind == OP_ACK)
        error = ack_ready(op, dot, vv, &ready);
    if (error == 0)
        *ret_ready = ready;
    return error;
}

/* ---- what counts ---- */

enum standing_verdict standing_judge(const struct standing *s,
                                     const struct incarnation *self,
                                     const struct dot *dot,
                                     const struct hash *hash)
{
    const struct incarnation *i = &dot->incarnation;
    uint64_t seq;

    if (floor_is_sealed(&s->floor, i, &seq))
        return dot->seq > seq ? STANDING_BEYOND : STANDING_APPLY;
    if (!standing_is_member(s, i))
        return STANDING_UNKNOWN;
    if (self == NULL || STANDING_OFF(RULE_OWN_FENCE) ||
        !standing_fenced(s, self, i, &seq) || dot->seq <= seq)
        return STANDING_APPLY;
    for (size_t k = 0; k < s->announced.count; k++) {
        const struct standing_fence *f = &s->announced.items[k];
        const struct standing_name *n = standing_fence_name(f, i);

        if (n != NULL && dot->seq <= n->seq &&
            (STANDING_OFF(RULE_COVER_HASH) ||
             fence_cover_agrees(dot->seq, hash, n->seq, &n->head)) &&
            !incarnation_equal(&f->writer, self) &&
            standing_stays(s, &f->writer))
            return STANDING_APPLY;
    }
    /* One that is applied here and covers it came in a cut, with it. */
    return STANDING_WAIT;
}

static const char *add_reason(const struct standing *s, const struct op *op,
                              const struct dot *dot)
{
    struct incarnation who = incarnation_of(op->key);
    struct certificate c;

    if (op->supersedes_count > 0)
        return "it supersedes something";
    if (incarnation_equal(&who, &s->founder))
        return "the founder is rostered from the start";
    if (incarnation_equal(&who, &dot->incarnation))
        return "nobody sponsors itself";
    if (floor_is_sealed(&s->floor, &who, NULL))
        return "the incarnation is sealed";
    if (standing_fenced(s, &dot->incarnation, &who, NULL))
        return "its sponsor has fenced the incarnation";
    if (certificate_decode(&c, op->value, s->authority) != 0)
        return "its certificate is not one of this mesh";
    return NULL;
}

static int judge_fence(const struct standing *s, const struct op *op,
                       const struct dot *dot, const char **ret_reason)
{
    struct incarnation writer = incarnation_of(op->key);
    struct fence_reading r;
    int error;

    *ret_reason = NULL;
    if (!incarnation_equal(&writer, &dot->incarnation)) {
        *ret_reason = "a fence of somebody else";
        return 0;
    }
    error = standing_read_fence(s, op->value, &r);
    if (error == CM_ERR_NOMEM)
        return error;
    if (error < 0) {
        *ret_reason = "the fence names somebody without a right to, or is "
                      "malformed";
        return 0;
    }
    if (fence_find(&r.fence, &writer) != NULL)
        *ret_reason = "the fence names its own writer";
    else
        error = standing_check_links(s, &r);
    standing_reading_release(&r);
    return error;
}

static int judge_ack(const struct standing *s, const struct op *op,
                     const struct dot *dot, const char **ret_reason)
{
    struct dot proposal = standing_proposal_dot(op->key.data);
    const struct standing_proposal *p = standing_proposal_find(s, op->key);
    struct fence_cover *cut;
    size_t count;
    int error;

    *ret_reason = NULL;
    if (dot_equal(&proposal, dot)) {
        error = read_cut(op->value, &cut, &count);
        if (error == CM_ERR_NOMEM)
            return error;
        if (error == 0)
            cm_free(cut);
        else
            *ret_reason = "the proposal is malformed";
        return 0;
    }
    if (op->value.size > 0)
        *ret_reason = "an acknowledgement brings no cut";
    else if (p == NULL)
        *ret_reason = "the proposal has passed already";
    else if (standing_ack_find(p, &dot->incarnation) != NULL)
        *ret_reason = "acknowledged already";
    return 0;
}

static const char *knows_reason(const struct op *op, const struct dot *dot)
{
    struct incarnation who = incarnation_of(op->key);

    return incarnation_equal(&who, &dot->incarnation)
               ? NULL
               : "an announcement of somebody else";
}

int standing_allows(const struct standing *s, const struct op *op,
                    const struct dot *dot, bool alone, bool *ret_counts,
                    const char **ret_reason)
{
    const char *reason = NULL;
    int error = 0;

    CHECK(op->kind >= OP_ROSTER_ADD);
    if (!alone)
        reason = "it does not stand alone in its event";
    else if (op->kind == OP_ROSTER_ADD)
        reason = add_reason(s, op, dot);
    else if (op->kind == OP_FENCE)
        error = judge_fence(s, op, dot, &reason);
    else if (op->kind == OP_KNOWS)
        reason = knows_reason(op, dot);
    else
        error = judge_ack(s, op, dot, &reason);
    if (error < 0)
        return error;
    *ret_counts = reason == NULL;
    if (ret_reason != NULL)
        *ret_reason = reason;
    return 0;
}

/* ---- entries ---- */

/* An entry as the store has it, and as it will be. */
struct change {
    const struct standing_store *store;
    struct entry_id id;
    struct entry before; /* siblings owned here; slices borrowed */
    struct entry after;
};

static int copy_siblings(struct entry *to, const struct entry *from)
{
    int error = 0;

    for (size_t i = 0; i < from->count && error == 0; i++)
        error = entry_add_sibling(to, &from->siblings[i]);
    return error;
}

static int change_begin(struct change *c, const struct standing_store *store,
                        enum space space, struct slice key)
{
    struct entry found;
    int error;

    *c = (struct change){.store = store, .id = {.space = space, .key = key}};
    entry_init(&found);
    error = store->get(store->ctx, &c->id, &found);
    if (error == CM_ERR_NOT_FOUND)
        error = 0;
    if (error == 0)
        error = copy_siblings(&c->before, &found);
    if (error == 0)
        error = copy_siblings(&c->after, &found);
    entry_release(&found);
    return error;
}

static bool is_changed(const struct change *c)
{
    bool same = c->before.count == c->after.count;

    for (size_t i = 0; i < c->before.count && same; i++)
        same = dot_equal(&c->before.siblings[i].dot, &c->after.siblings[i].dot);
    return !same;
}

/* Writes if error is 0 and there is anything to write, and releases. */
static int change_end(struct change *c, int error)
{
    if (error == 0 && is_changed(c))
        error = c->store->put(c->store->ctx, &c->id, &c->before, &c->after);
    entry_release(&c->before);
    entry_release(&c->after);
    return error;
}

static bool has_dot(const struct entry *e, const struct dot *dot)
{
    for (size_t i = 0; i < e->count; i++) {
        if (dot_equal(&e->siblings[i].dot, dot))
            return true;
    }
    return false;
}

static int add_sibling(const struct standing_store *store, enum space space,
                       struct slice key, const struct sibling *added)
{
    struct change c;
    int error = change_begin(&c, store, space, key);

    if (error == 0 && !has_dot(&c.after, &added->dot))
        error = entry_add_sibling(&c.after, added);
    return change_end(&c, error);
}

int standing_entry_remove(const struct standing_store *store, enum space space,
                          struct slice key)
{
    struct change c;
    int error = change_begin(&c, store, space, key);

    c.after.count = 0;
    return change_end(&c, error);
}

/* The writer's siblings become those that the memory still has, and added. */
int standing_entry_fences(const struct standing *s,
                          const struct standing_store *store,
                          const struct incarnation *writer,
                          const struct sibling *added)
{
    struct slice key = slice_of(writer->bytes, INCARNATION_SIZE);
    struct change c;
    size_t kept = 0;
    int error = change_begin(&c, store, SPACE_FENCE, key);

    if (error == 0 && added != NULL && !has_dot(&c.after, &added->dot))
        error = entry_add_sibling(&c.after, added);
    for (size_t i = 0; i < c.after.count && error == 0; i++) {
        bool known = false;

        for (size_t k = 0; k < s->fences.count && !known; k++)
            known =
                incarnation_equal(&s->fences.items[k].writer, writer) &&
                dot_equal(&s->fences.items[k].dot, &c.after.siblings[i].dot);
        if (known)
            c.after.siblings[kept++] = c.after.siblings[i];
    }
    if (error == 0)
        c.after.count = kept;
    return change_end(&c, error);
}

/* ---- acknowledgements ---- */

static int store_ack(const struct standing_store *store,
                     const struct standing_proposal *p,
                     const struct standing_ack *ack, bool with_cut)
{
    struct sibling s = {.kind = SIBLING_ACK, .dot = ack->dot, .hlc = ack->hlc};
    struct buffer value;
    int error;

    buffer_init(&value, VALUE_SIZE_MAX + 64);
    pack_array(&value, ACK_FIELDS);
    pack_bytes(&value, ack->acker.bytes, INCARNATION_SIZE);
    standing_cut_pack(&value, p->cut, with_cut ? p->cut_count : 0);
    error = value.error;
    s.value = buffer_slice(&value);
    if (error == 0)
        error = add_sibling(store, SPACE_PROPOSAL,
                            slice_of(p->key, PROPOSAL_KEY_SIZE), &s);
    buffer_release(&value);
    return error;
}

static int new_proposal(struct standing *s, const struct op *op)
{
    struct standing_proposal p = {.acks_count = 0};
    int error = STANDING_GROW(&s->proposals);

    if (error == 0)
        error = read_cut(op->value, &p.cut, &p.cut_count);
    if (error < 0)
        return error;
    memcpy(p.key, op->key.data, PROPOSAL_KEY_SIZE);
    s->proposals.items[s->proposals.count++] = p;
    return 0;
}

static int apply_ack(struct standing *s, const struct standing_store *store,
                     const struct op *op, const struct dot *dot, hlc_t hlc)
{
    struct dot named = standing_proposal_dot(op->key.data);
    struct standing_ack ack = {
        .acker = dot->incarnation, .dot = *dot, .hlc = hlc};
    bool proposes = dot_equal(&named, dot);
    struct standing_proposal *p;
    int error = proposes ? new_proposal(s, op) : 0;

    if (error < 0)
        return error;
    p = standing_proposal_find(s, op->key);
    CHECK(p != NULL); /* standing_allows */
    error = standing_ack_add(p, &ack);
    return error < 0 ? error : store_ack(store, p, &ack, proposes);
}

/* ---- fences ---- */

static void extend_chain(struct standing *s, const struct fence_reading *r)
{
    for (size_t i = 0; i < r->fence.orders_count; i++) {
        if (r->links[i].epoch <= s->epoch)
            continue;
        CHECK(r->links[i].epoch == s->epoch + 1); /* standing_check_links */
        standing_chain_extend(s, &r->links[i].hash);
    }
}

/* A fence of writer that counts, be it its own or its sponsor's. */
static int take_fence(struct standing *s, const struct standing_store *store,
                      const struct incarnation *writer,
                      const struct sibling *added)
{
    struct fence_reading r;
    int error = standing_read_fence(s, added->value, &r);

    if (error < 0)
        return error;
    error = standing_hear_fence(s, &r.fence);
    if (error == 0)
        extend_chain(s, &r);
    if (error == 0)
        error = standing_add_fence(s, writer, &added->dot, added->hlc, &r.names,
                                   r.fence.covered_count);
    standing_reading_release(&r);
    if (error == 0)
        error = standing_entry_fences(s, store, writer, added);
    return error;
}

static int apply_fence(struct standing *s, const struct standing_store *store,
                       const struct op *op, const struct dot *dot, hlc_t hlc)
{
    struct sibling added = {.kind = SIBLING_FENCE,
                            .dot = *dot,
                            .hlc = hlc,
                            .author = op->author,
                            .value = op->value};

    return take_fence(s, store, &dot->incarnation, &added);
}

/* ---- adds ---- */

/* The sponsor's own latest fence, or else the one that its add gave it. */
static const struct standing_fence *latest_fence(const struct standing *s,
                                                 const struct incarnation *i)
{
    const struct standing_fence *ret = NULL;

    for (size_t k = 0; k < s->fences.count; k++) {
        const struct standing_fence *f = &s->fences.items[k];
        bool own = incarnation_equal(&f->dot.incarnation, i);

        if (!incarnation_equal(&f->writer, i))
            continue;
        if (ret == NULL ||
            (own && (!incarnation_equal(&ret->dot.incarnation, i) ||
                     f->dot.seq > ret->dot.seq)))
            ret = f;
    }
    return ret;
}

static int read_sibling(const struct standing_store *store,
                        const struct incarnation *writer, const struct dot *dot,
                        struct buffer *ret_value)
{
    struct change c;
    int error = change_begin(&c, store, SPACE_FENCE,
                             slice_of(writer->bytes, INCARNATION_SIZE));

    for (size_t i = 0; i < c.before.count && error == 0; i++) {
        if (dot_equal(&c.before.siblings[i].dot, dot))
            buffer_append_slice(ret_value, c.before.siblings[i].value);
    }
    entry_release(&c.before);
    entry_release(&c.after);
    if (error == 0 && ret_value->size == 0)
        error = CM_ERR_DAMAGED;
    return error < 0 ? error : ret_value->error;
}

static int inherit_fence(struct standing *s, const struct standing_store *store,
                         const struct incarnation *who, const struct dot *dot,
                         hlc_t hlc)
{
    const struct standing_fence *f = latest_fence(s, &dot->incarnation);
    struct sibling added = {.kind = SIBLING_FENCE, .dot = *dot, .hlc = hlc};
    struct buffer value;
    int error;

    if (f == NULL || STANDING_OFF(RULE_INHERIT_FENCE))
        return 0;
    buffer_init(&value, VALUE_SIZE_MAX);
    error = read_sibling(store, &f->writer, &f->dot, &value);
    added.value = buffer_slice(&value);
    if (error == 0)
        error = take_fence(s, store, who, &added);
    buffer_release(&value);
    return error;
}

static int inherit_acks(struct standing *s, const struct standing_store *store,
                        const struct incarnation *who, const struct dot *dot,
                        hlc_t hlc)
{
    int error = 0;

    for (size_t i = 0; i < s->proposals.count && error == 0; i++) {
        struct standing_proposal *p = &s->proposals.items[i];
        const struct standing_ack *sponsor =
            standing_ack_find(p, &dot->incarnation);
        struct standing_ack ack = {.acker = *who, .dot = *dot, .hlc = hlc};

        if (sponsor == NULL || standing_ack_find(p, who) != NULL ||
            STANDING_OFF(RULE_INHERIT_ACKS))
            continue;
        if (sponsor->hlc > ack.hlc)
            ack.hlc = sponsor->hlc;
        error = standing_ack_add(p, &ack);
        if (error == 0)
            error = store_ack(store, p, &ack, false);
    }
    return error;
}

static int member_of(const struct standing *s, struct slice certificate,
                     const struct dot *dot, hlc_t hlc,
                     struct standing_member *ret_member)
{
    struct certificate c;
    int error = certificate_decode(&c, certificate, s->authority);

    if (error == 0) {
        ret_member->node = c.key_id;
        ret_member->hlc = hlc;
        ret_member->dot = *dot;
    }
    return error;
}

static int apply_add(struct standing *s, const struct standing_store *store,
                     const struct op *op, const struct dot *dot, hlc_t hlc)
{
    struct standing_member m = {.incarnation = incarnation_of(op->key)};
    struct sibling added = {.kind = SIBLING_MEMBER,
                            .dot = *dot,
                            .hlc = hlc,
                            .author = op->author,
                            .value = op->value};
    int error = member_of(s, op->value, dot, hlc, &m);

    if (error == 0)
        error = standing_member_add(s, &m);
    if (error == 0)
        error = standing_level_raise(s, &m.incarnation, op->level);
    if (error == 0)
        error = add_sibling(store, SPACE_ROSTER, op->key, &added);
    if (error == 0)
        error = inherit_acks(s, store, &m.incarnation, dot, hlc);
    if (error == 0)
        error = inherit_fence(s, store, &m.incarnation, dot, hlc);
    return error;
}

int standing_apply(struct standing *s, const struct standing_store *store,
                   const struct vv *vv, const struct op *op,
                   const struct dot *dot, hlc_t hlc,
                   struct standing_changes *ret_changes)
{
    int error;

    CHECK(op->kind >= OP_ROSTER_ADD && dot->seq >= 1);
    *ret_changes = (struct standing_changes){0};
    if (op->kind == OP_ROSTER_ADD)
        error = apply_add(s, store, op, dot, hlc);
    else if (op->kind == OP_FENCE)
        error = apply_fence(s, store, op, dot, hlc);
    else if (op->kind == OP_KNOWS)
        error = standing_level_raise(s, &dot->incarnation, op->level);
    else
        error = apply_ack(s, store, op, dot, hlc);
    if (error == 0 && (op->kind == OP_ROSTER_ADD || op->kind == OP_FENCE))
        error = standing_due(s, store, vv, ret_changes);
    else if (error == 0)
        error = standing_due_pass(s, store, ret_changes);
    if (op->kind == OP_ROSTER_ADD)
        ret_changes->roster = true;
    return error;
}

/* ---- loading ---- */

static int load_ack(struct standing_proposal *p, const struct sibling *s)
{
    struct standing_ack ack = {.dot = s->dot, .hlc = s->hlc};
    struct fence_cover *cut;
    struct unpacker u;
    size_t count;
    int error;

    unpack_init(&u, s->value);
    unpack_array_of(&u, ACK_FIELDS);
    unpack_bytes(&u, ack.acker.bytes, INCARNATION_SIZE);
    error = standing_cut_unpack(&u, &cut, &count);
    if (error == 0 && (unpack_finish(&u) < 0 || (count > 0 && p->cut != NULL)))
        error = CM_ERR_DAMAGED;
    if (error < 0) {
        cm_free(cut);
        return error == CM_ERR_NOMEM ? error : CM_ERR_DAMAGED;
    }
    if (count > 0) {
        p->cut = cut;
        p->cut_count = count;
    }
    return standing_ack_add(p, &ack);
}

/* Without the proposer's own, which has the cut, it has passed on the other
 * side of a join: standing_settle removes it. */
static int load_proposal(struct standing *s, struct slice key,
                         const struct entry *e)
{
    struct standing_proposal p = {.acks_count = 0};
    int error = STANDING_GROW(&s->proposals);

    for (size_t i = 0; i < e->count && error == 0; i++)
        error = load_ack(&p, &e->siblings[i]);
    if (error < 0) {
        standing_proposal_release(&p);
        return error;
    }
    memcpy(p.key, key.data, PROPOSAL_KEY_SIZE);
    s->proposals.items[s->proposals.count++] = p;
    return 0;
}

/* Its orders are in the record: the chain does not grow by loading. */
static int load_fence(struct standing *s, const struct incarnation *writer,
                      const struct sibling *added)
{
    struct fence_reading r;
    int error = standing_read_fence(s, added->value, &r);

    if (error < 0)
        return error == CM_ERR_NOMEM ? error : CM_ERR_DAMAGED;
    error = standing_hear_fence(s, &r.fence);
    if (error == 0)
        error = standing_add_fence(s, writer, &added->dot, added->hlc, &r.names,
                                   r.fence.covered_count);
    standing_reading_release(&r);
    return error;
}

int standing_load(struct standing *s, const struct entry_id *id,
                  const struct entry *e)
{
    struct incarnation who;
    int error = 0;

    if (id->space == SPACE_PROPOSAL)
        return id->key.size == PROPOSAL_KEY_SIZE ? load_proposal(s, id->key, e)
                                                 : CM_ERR_DAMAGED;
    if (id->key.size != INCARNATION_SIZE ||
        (id->space != SPACE_ROSTER && id->space != SPACE_FENCE))
        return CM_ERR_DAMAGED;
    who = incarnation_of(id->key);
    for (size_t i = 0; i < e->count && error == 0; i++) {
        const struct sibling *x = &e->siblings[i];
        struct standing_member m = {.incarnation = who};

        if (id->space == SPACE_FENCE) {
            error = load_fence(s, &who, x);
            continue;
        }
        error = member_of(s, x->value, &x->dot, x->hlc, &m);
        if (error == 0)
            error = standing_member_add(s, &m);
    }
    return error;
}
