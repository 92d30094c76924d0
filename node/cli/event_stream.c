#include "node/cli/event_stream.h"

#include <string.h>

#include "crdt/base/check.h"

void event_stream_init(struct event_stream *e)
{
    CHECK(e != NULL);
    memset(e, 0, sizeof(*e));
    buffer_init(&e->input, EVENT_STREAM_EVENT_MAX);
    buffer_init(&e->data, EVENT_STREAM_EVENT_MAX);
}

void event_stream_release(struct event_stream *e)
{
    buffer_release(&e->input);
    buffer_release(&e->data);
}

void event_stream_restart(struct event_stream *e)
{
    CHECK(e != NULL);
    buffer_clear(&e->input);
    buffer_clear(&e->data);
    e->scanned = 0;
    e->name[0] = 0;
    memcpy(e->next_id, e->id, sizeof(e->id));
}

/* Too long ones are dropped: an id that we could not send back is none. */
static void keep_text(char *to, size_t room, struct slice text)
{
    if (text.size >= room ||
        (text.size > 0 && memchr(text.data, 0, text.size) != NULL))
        return;
    if (text.size > 0)
        memcpy(to, text.data, text.size);
    to[text.size] = 0;
}

/* One line that is not empty: "field: value", or a comment. */
static void line_take(struct event_stream *e, struct slice line)
{
    const uint8_t *colon = memchr(line.data, ':', line.size);
    size_t name_size = colon == NULL ? line.size : (size_t)(colon - line.data);
    struct slice name = slice_of(line.data, name_size);
    struct slice value = slice_of(NULL, 0);
    if (colon != NULL)
        value = slice_of(colon + 1, line.size - name_size - 1);
    if (value.size > 0 && value.data[0] == ' ')
        value = slice_of(value.data + 1, value.size - 1);
    if (slice_equal(name, slice_of_string("data"))) {
        if (e->data.size > 0)
            buffer_append_byte(&e->data, '\n');
        buffer_append_slice(&e->data, value);
    } else if (slice_equal(name, slice_of_string("event"))) {
        keep_text(e->name, sizeof(e->name), value);
    } else if (slice_equal(name, slice_of_string("id"))) {
        keep_text(e->next_id, sizeof(e->next_id), value);
    }
}

int event_stream_next(struct event_stream *e,
                      struct event_stream_event *ret_event)
{
    CHECK(e != NULL && ret_event != NULL);
    /* What the call before handed out ends here. */
    if (e->scanned == SIZE_MAX) {
        buffer_clear(&e->data);
        e->name[0] = 0;
        e->scanned = 0;
    }
    size_t at = 0;
    int ret = CM_ERR_NOT_FOUND;
    while (ret == CM_ERR_NOT_FOUND && at < e->input.size) {
        size_t from = at + e->scanned;
        const uint8_t *end =
            from < e->input.size
                ? memchr(e->input.data + from, '\n', e->input.size - from)
                : NULL;
        if (end == NULL) {
            e->scanned = e->input.size - at;
            break;
        }
        e->scanned = 0;
        size_t size = (size_t)(end - (e->input.data + at));
        struct slice line = slice_of(e->input.data + at, size);
        at += size + 1;
        if (line.size > 0 && line.data[line.size - 1] == '\r')
            line.size--;
        if (line.size > 0) {
            line_take(e, line);
        } else {
            memcpy(e->id, e->next_id, sizeof(e->id));
            if (e->data.size > 0 || e->name[0] != 0)
                ret = 0;
        }
    }
    if (at > 0)
        buffer_consume(&e->input, at);
    if (e->data.error != 0)
        return e->data.error;
    if (ret == 0) {
        *ret_event = (struct event_stream_event){
            .name = e->name, .id = e->id, .data = buffer_slice(&e->data)};
        e->scanned = SIZE_MAX;
    }
    return ret;
}
