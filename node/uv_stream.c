#include "node/uv_stream.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "gossip/channel.h"

#define LISTEN_BACKLOG 128
#define READ_SIZE (64u << 10)

/* A stream outlives its closing: the handle is freed by libuv's callback. */
struct uv_stream_item {
    uv_tcp_t tcp; /* first: handle and item are one address */
    uv_connect_t connect;
    uv_write_t write;
    struct uv_stream_item *next;
    struct uv_streams *streams;
    uint64_t id;
    bool dead;            /* closed by the node, or told to it as closed */
    struct buffer output; /* of the write under way */
};

void uv_address_of(struct address *ret_address, const struct sockaddr *from)
{
    memset(ret_address, 0, sizeof *ret_address);
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;

        ret_address->family = 4;
        memcpy(ret_address->ip, &in->sin_addr, 4);
        ret_address->port = ntohs(in->sin_port);
    } else if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;

        ret_address->family = 6;
        memcpy(ret_address->ip, &in6->sin6_addr, 16);
        ret_address->port = ntohs(in6->sin6_port);
    }
}

const struct sockaddr *uv_sockaddr_of(struct sockaddr_storage *ret_storage,
                                      const struct address *a)
{
    memset(ret_storage, 0, sizeof *ret_storage);
    if (a->family == 6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_storage;

        in6->sin6_family = AF_INET6;
        memcpy(&in6->sin6_addr, a->ip, 16);
        in6->sin6_port = htons(a->port);
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)ret_storage;

        in->sin_family = AF_INET;
        memcpy(&in->sin_addr, a->ip, 4);
        in->sin_port = htons(a->port);
    }
    return (const struct sockaddr *)ret_storage;
}

void uv_streams_init(struct uv_streams *s, uv_loop_t *loop)
{
    *s = (struct uv_streams){.loop = loop};
}

static void on_item_closed(uv_handle_t *handle)
{
    struct uv_stream_item *item = (struct uv_stream_item *)handle;

    buffer_release(&item->output);
    cm_free(item);
}

static void item_close(struct uv_stream_item *item)
{
    struct uv_stream_item **at = &item->streams->items;

    item->dead = true;
    while (*at != item) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = item->next;
    item->streams->count--;
    uv_close((uv_handle_t *)&item->tcp, on_item_closed);
}

static void item_failed(struct uv_stream_item *item, int error)
{
    struct node *node = item->streams->node;
    uint64_t id = item->id;

    if (item->dead)
        return;
    item_close(item);
    if (node != NULL)
        node_on_stream_closed(node, id, error);
}

static struct uv_stream_item *item_find(struct uv_streams *s, uint64_t id)
{
    struct uv_stream_item *item;

    for (item = s->items; item != NULL; item = item->next)
        if (item->id == id)
            return item;
    return NULL;
}

static struct uv_stream_item *item_new(struct uv_streams *s, uint64_t id)
{
    struct uv_stream_item *item = cm_calloc(1, sizeof *item);

    if (item == NULL)
        return NULL;
    if (uv_tcp_init(s->loop, &item->tcp) != 0) {
        cm_free(item);
        return NULL;
    }
    item->streams = s;
    item->id = id;
    buffer_init(&item->output, CHANNEL_OUTPUT_MAX);
    item->next = s->items;
    s->items = item;
    s->count++;
    (void)uv_tcp_nodelay(&item->tcp, 1);
    return item;
}

/* One buffer for all: libuv reads into it and the callback consumes it before
 * anything else is read. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct uv_streams *s = ((struct uv_stream_item *)handle)->streams;

    (void)suggested;
    if (s->input == NULL)
        s->input = cm_alloc(READ_SIZE); /* NULL: the read fails */
    *buf = uv_buf_init(s->input, s->input != NULL ? READ_SIZE : 0);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct uv_stream_item *item = (struct uv_stream_item *)stream;

    if (size == 0 || item->dead)
        return;
    if (size < 0)
        item_failed(item, CM_ERR_CLOSED);
    else if (item->streams->node != NULL)
        node_on_stream_bytes(item->streams->node, item->id,
                             slice_of(buf->base, (size_t)size));
}

static void on_connect(uv_connect_t *request, int status)
{
    struct uv_stream_item *item = (struct uv_stream_item *)request->handle;

    if (item->dead)
        return;
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&item->tcp, on_alloc, on_read);
    if (status != 0)
        item_failed(item, CM_ERR_IO);
    else if (item->streams->node != NULL)
        node_on_connected(item->streams->node, item->id);
}

void uv_streams_connect(struct uv_streams *s, uint64_t stream,
                        const struct address *to)
{
    struct uv_stream_item *item = item_new(s, stream);
    struct sockaddr_storage storage;

    if (item == NULL)
        return; /* the node's handshake deadline cleans up */
    if (uv_tcp_connect(&item->connect, &item->tcp, uv_sockaddr_of(&storage, to),
                       on_connect) != 0)
        item_close(item); /* likewise: no call back from within a port */
}

static void on_written(uv_write_t *request, int status)
{
    struct uv_stream_item *item = (struct uv_stream_item *)request->handle;

    if (item->dead)
        return;
    if (status != 0)
        item_failed(item, CM_ERR_CLOSED);
    else if (item->streams->node != NULL)
        node_on_stream_drained(item->streams->node, item->id);
}

void uv_streams_write(struct uv_streams *s, uint64_t stream, struct slice bytes)
{
    struct uv_stream_item *item = item_find(s, stream);
    uv_buf_t buf;

    if (item == NULL)
        return;
    buffer_clear(&item->output);
    buffer_append_slice(&item->output, bytes);
    if (item->output.error != 0)
        return; /* memory: the peer's or our deadline ends the stream */
    buf = uv_buf_init((char *)item->output.data, (unsigned)item->output.size);
    (void)uv_write(&item->write, (uv_stream_t *)&item->tcp, &buf, 1,
                   on_written);
}

void uv_streams_close(struct uv_streams *s, uint64_t stream)
{
    struct uv_stream_item *item = item_find(s, stream);

    if (item != NULL)
        item_close(item);
}

void uv_streams_pause(struct uv_streams *s, uint64_t stream, bool paused)
{
    struct uv_stream_item *item = item_find(s, stream);

    if (item == NULL)
        return;
    if (paused)
        (void)uv_read_stop((uv_stream_t *)&item->tcp);
    else
        (void)uv_read_start((uv_stream_t *)&item->tcp, on_alloc, on_read);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct uv_streams *s = listener->data;
    struct sockaddr_storage storage;
    struct uv_stream_item *item;
    struct address from = {0};
    int size = sizeof storage;

    if (status != 0)
        return;
    item = item_new(s, STREAM_ACCEPTED | ++s->next_accepted);
    if (item == NULL)
        return;
    if (uv_accept(listener, (uv_stream_t *)&item->tcp) != 0 ||
        uv_tcp_getpeername(&item->tcp, (struct sockaddr *)&storage, &size) !=
            0 ||
        uv_read_start((uv_stream_t *)&item->tcp, on_alloc, on_read) != 0 ||
        s->node == NULL || s->count > NODE_STREAMS_MAX) {
        item_close(item);
        return;
    }
    uv_address_of(&from, (const struct sockaddr *)&storage);
    node_on_accepted(s->node, item->id, &from);
}

int uv_streams_listen(struct uv_streams *s, const struct sockaddr *address)
{
    int error = uv_tcp_init(s->loop, &s->listener);

    if (error != 0)
        return error;
    s->listening = true;
    s->listener.data = s;
    error = uv_tcp_bind(&s->listener, address, 0);
    if (error == 0)
        error = uv_listen((uv_stream_t *)&s->listener, LISTEN_BACKLOG,
                          on_connection);
    return error;
}

void uv_streams_stop(struct uv_streams *s)
{
    s->node = NULL;
    while (s->items != NULL)
        item_close(s->items);
    if (s->listening)
        uv_close((uv_handle_t *)&s->listener, NULL);
    s->listening = false;
    cm_free(s->input);
    s->input = NULL;
}
