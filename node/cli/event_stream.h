/* Server-sent events (WHATWG HTML, section 9.2), decoded from bytes as they
 * come: what /v1/watch speaks. No I/O here. */
#ifndef NODE_CLI_EVENT_STREAM_H
#define NODE_CLI_EVENT_STREAM_H

#include "crdt/base/buffer.h"
#include "crdt/base/error.h"

#define EVENT_STREAM_EVENT_MAX (512u << 20) /* bytes of one event */
#define EVENT_STREAM_ID_MAX 128
#define EVENT_STREAM_NAME_MAX 64

struct event_stream {
    struct buffer input; /* bytes not decoded yet: append here */
    size_t scanned;      /* of it without a line end */
    struct buffer data;  /* of the event under way */
    char name[EVENT_STREAM_NAME_MAX];
    char id[EVENT_STREAM_ID_MAX]; /* of the last complete event that had one */
    char next_id[EVENT_STREAM_ID_MAX];
};

struct event_stream_event {
    const char *name;  /* "" if none was given */
    const char *id;    /* the last one seen, "" if none */
    struct slice data; /* until the next call */
};

void event_stream_init(struct event_stream *e);
void event_stream_release(struct event_stream *e);
/* After a reconnect: drops the half of an event, keeps the id. */
void event_stream_restart(struct event_stream *e);
/* The next complete event of the input: 0; CM_ERR_NOT_FOUND when more bytes
 * are needed; CM_ERR_TOO_LARGE, CM_ERR_NOMEM. */
int event_stream_next(struct event_stream *e,
                      struct event_stream_event *ret_event);

#endif
