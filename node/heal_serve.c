/* The answering side of a comparison: everything from one read transaction, or
 * a refusal. Walks are a worker's, one at a time whoever asks; entries are
 * bounded by one message. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

static void send(struct node *n, struct link *l, const struct buffer *message)
{
    struct buffer frame;

    buffer_init(&frame, CHANNEL_FRAME_MAX);
    frame_compare(&frame, buffer_slice(message));
    if (message->error == 0)
        (void)link_send(n, l, &frame); /* else it asks again */
    buffer_release(&frame);
}

static void refuse(struct node *n, struct link *l, uint64_t id, int code)
{
    struct hash vv = vv_hash(&n->vv);
    struct buffer out;

    n->heal.counters.refused += code == CM_ERR_BUSY;
    buffer_init(&out, 256);
    compare_message_refused(&out, id, &vv, code);
    send(n, l, &out);
    buffer_release(&out);
}

/* The vector of the kept reader's snapshot. */
static int reader_vv(struct node *n, struct hash *ret_hash)
{
    struct vv vv;
    int error;

    vv_init(&vv);
    error = store_vv(n->reader, &vv);
    if (error == 0)
        *ret_hash = vv_hash(&vv);
    vv_release(&vv);
    return error;
}

/* The lanes are two kilobytes: nobody gets them to whom they say nothing. */
static int pack_state(struct node *n, struct buffer *out,
                      const struct compare_message *m)
{
    struct hash mine = vv_hash(&n->vv);
    struct digest lanes;
    struct hash vv;
    int error = reader_vv(n, &vv);

    if (error == 0)
        error = store_digest(n->reader, &lanes);
    if (error == 0 && !hash_equal(&vv, &mine))
        error = CM_ERR_BUSY; /* a commit is on its way to the loop */
    if (error == 0 && !m->any_vv && !hash_equal(&vv, &m->vv))
        error = CM_ERR_CONDITION;
    if (error == 0)
        compare_message_state(out, m->id, &vv, &n->digest, &lanes);
    return error;
}

static int pack_entry(struct node *n, struct buffer *entries,
                      struct buffer *packed, const struct schema_key *key)
{
    struct entry entry;
    struct entry_id id;
    int error = schema_parse_entry(&id, schema_key_slice(key));

    if (error != 0)
        return CM_ERR_MALFORMED;
    entry_init(&entry);
    buffer_clear(packed);
    error = store_get(n->reader, &id, &entry, NULL);
    if (error == 0)
        entry_pack(packed, &id, &entry);
    entry_release(&entry);
    if (error == CM_ERR_NOT_FOUND)
        compare_message_put_entry(entries, COMPARE_ENTRY_ABSENT,
                                  slice_of(NULL, 0));
    else if (error == CM_ERR_DAMAGED)
        compare_message_put_entry(entries, COMPARE_ENTRY_DAMAGED,
                                  slice_of(NULL, 0));
    else if (error != 0)
        return error;
    else if (packed->error != 0 || packed->size > COMPARE_ENTRIES_BYTES_MAX)
        compare_message_put_entry(entries, COMPARE_ENTRY_TOO_LARGE,
                                  slice_of(NULL, 0));
    else
        compare_message_put_entry(entries, COMPARE_ENTRY_THERE,
                                  buffer_slice(packed));
    if (error == CM_ERR_DAMAGED)
        heal_note_damage(n);
    return 0;
}

static int pack_entries(struct node *n, struct buffer *out,
                        const struct compare_message *m)
{
    struct buffer entries, packed;
    struct hash vv;
    size_t count = 0;
    int error = reader_vv(n, &vv);

    if (error == 0 && !m->any_vv && !hash_equal(&vv, &m->vv))
        error = CM_ERR_CONDITION;
    buffer_init(&entries, COMPARE_MESSAGE_MAX);
    buffer_init(&packed, SCHEMA_RECORD_MAX);
    while (error == 0 && count < m->keys_count) {
        size_t before = entries.size;

        error = pack_entry(n, &entries, &packed, &m->keys[count]);
        if (error == 0 && count > 0 &&
            entries.size > COMPARE_ENTRIES_BYTES_MAX) {
            entries.size = before; /* with the next question */
            break;
        }
        count++;
    }
    if (error == 0)
        error = entries.error;
    if (error == 0)
        compare_message_entries(out, m->id, &vv, buffer_slice(&entries), count);
    buffer_release(&entries);
    buffer_release(&packed);
    return error != 0 ? error : out->error;
}

static void answer_now(struct node *n, struct link *l,
                       const struct compare_message *m)
{
    struct buffer out;
    int error = store_reader_renew(n->reader);

    buffer_init(&out, COMPARE_MESSAGE_MAX);
    if (error == 0) {
        error = m->kind == COMPARE_ASK_STATE ? pack_state(n, &out, m)
                                             : pack_entries(n, &out, m);
        store_reader_reset(n->reader);
    }
    if (error == 0)
        send(n, l, &out);
    else
        refuse(n, l, m->id, error);
    buffer_release(&out);
}

/* ---- walks ---- */

static bool serve_step(struct work *w)
{
    struct heal_serving *s = (struct heal_serving *)w;

    s->error = compare_scan_step(s->scan);
    return s->error > 0;
}

static void serve_done(struct work *w)
{
    struct heal_serving *s = (struct heal_serving *)w;
    struct node *n = s->node;
    struct link *l = link_by_stream(n, s->stream);
    int error = s->error;

    s->busy = false;
    if (l != NULL && s->id != 0) {
        struct buffer out;

        buffer_init(&out, COMPARE_MESSAGE_MAX);
        if (error == 0) {
            const struct compare_result *r = compare_scan_result(s->scan);

            if (!s->any_vv && !hash_equal(&r->vv, &s->vv))
                error = CM_ERR_CONDITION;
            else if (s->kind == COMPARE_ASK_PARTS)
                compare_message_parts(&out, s->id, r);
            else
                compare_message_keys(&out, s->id, r);
        }
        if (error == 0)
            send(n, l, &out);
        else
            refuse(n, l, s->id, error);
        buffer_release(&out);
    }
    compare_scan_free(s->scan);
    s->scan = NULL;
    s->id = 0;
}

void heal_serve_ask(struct node *n, struct link *l,
                    const struct compare_message *m)
{
    struct heal_serving *s = &n->heal.serving;
    int error = n->ready ? 0 : CM_ERR_NOT_READY;

    if (error == 0 &&
        (m->kind == COMPARE_ASK_STATE || m->kind == COMPARE_ASK_ENTRIES)) {
        answer_now(n, l, m);
        return;
    }
    if (error == 0 && s->busy)
        error = CM_ERR_BUSY;
    if (error == 0)
        error = compare_scan_create(
            &s->scan, n->store,
            m->kind == COMPARE_ASK_PARTS ? COMPARE_BOUNDS : COMPARE_LIST,
            m->keys, m->keys_count);
    if (error != 0) {
        refuse(n, l, m->id, error);
        return;
    }
    CM_MARK("compare: a peer's question");
    s->node = n;
    s->busy = true;
    s->stream = l->stream;
    s->id = m->id;
    s->kind = m->kind;
    s->vv = m->vv;
    s->any_vv = m->any_vv;
    s->work = (struct work){
        .step = serve_step, .done = serve_done, .lane = WORK_LANE_CUT};
    n->ports.work->submit(n->ports.ctx, &s->work);
}

void heal_serve_gone(struct node *n, const struct link *l)
{
    if (n->heal.serving.busy && n->heal.serving.stream == l->stream)
        n->heal.serving.id = 0; /* nobody waits any more */
}
