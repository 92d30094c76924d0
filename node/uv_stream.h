/* Streams over libuv's TCP: the stream port and the listening socket. */
#ifndef NODE_UV_STREAM_H
#define NODE_UV_STREAM_H

#include <uv.h>

#include "node/node.h"

struct uv_streams {
    uv_loop_t *loop;
    uv_tcp_t listener;
    bool listening;
    struct uv_stream_item *items; /* living ones, linked */
    size_t count;
    uint64_t next_accepted;
    struct node *node; /* NULL: nothing is told */
    char *input;       /* what is being read; NULL before anything was */
};

void uv_streams_init(struct uv_streams *s, uv_loop_t *loop);
/* 0 or libuv's error. */
int uv_streams_listen(struct uv_streams *s, const struct sockaddr *address);
void uv_streams_connect(struct uv_streams *s, uint64_t stream,
                        const struct address *to);
void uv_streams_write(struct uv_streams *s, uint64_t stream,
                      struct slice bytes);
void uv_streams_close(struct uv_streams *s, uint64_t stream);
void uv_streams_pause(struct uv_streams *s, uint64_t stream, bool paused);
/* Closes everything; the loop has to run once more. */
void uv_streams_stop(struct uv_streams *s);

void uv_address_of(struct address *ret_address, const struct sockaddr *from);
/* Room for any; returns it as a sockaddr. */
const struct sockaddr *uv_sockaddr_of(struct sockaddr_storage *ret_storage,
                                      const struct address *a);

#endif
