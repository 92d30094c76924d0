/* The state of one watch: where it stands and what has not been sent yet. */
#ifndef NODE_HTTP_WATCH_H
#define NODE_HTTP_WATCH_H

#include "crdt/base/buffer.h"

#define HTTP_WATCH_EVENT_MAX                                                   \
    (96u << 20)                      /* text of one commit; beyond: reset      \
                                      */
#define HTTP_WATCH_BATCH (32u << 10) /* commits are gathered up to this */
#define HTTP_WATCH_COMMITS 64        /* looked at in one go */
#define HTTP_WATCH_COMMENT_MS 15000
/* Text being sent to all watchers together; others wait their turn. */
#define HTTP_WATCH_BYTES_MAX (256u << 20)

struct http_request;

struct http_watch {
    struct http_request *request;
    uint8_t prefix[480]; /* KEY_SIZE_MAX */
    size_t prefix_size;
    bool sets;
    bool reset_first;  /* the position asked for is not of this replica */
    uint64_t revision; /* everything up to here was delivered */
    uint64_t tag;      /* of the incarnation it counts in */
    bool open;         /* an event's text is under way */
    struct buffer out;
    size_t sent;    /* of out */
    size_t counted; /* of out, in the server's sum */
};

void http_watch_free(struct http_request *r);

#endif
