#include "node/uv_ports.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/uv_queue.h"
#include "node/uv_stream.h"

#define RECEIVE_BUFFER (4 << 20) /* the default loses bursts of 64 packets */
#define DATAGRAMS_MAX 4096       /* waiting in libuv to be sent */
#define BIND_TRIES 16
#define DATAGRAM_READ_MAX 2048 /* bytes; what is longer is not believed */

struct uv_ports {
    uv_loop_t *loop;
    uv_udp_t udp;
    uv_timer_t timer;
    uv_async_t notify; /* from the writer and the lanes */
    uv_prepare_t prepare;
    struct uv_streams streams;
    struct uv_writer writer;
    struct uv_lane lanes[WORK_LANES];
    struct node *node;
    struct store *store;
    uint8_t sign_secret_key[64];
    uint32_t format_level; /* of the writer; 0: its own */
    struct address address;
    struct node_ports ports;
    uint64_t due_ms;
    size_t datagrams; /* under way */
    /* What creating came to: all of it has to be undone. */
    uv_handle_t *handles[4];
    size_t handles_count;
    bool has_writer;
    unsigned lanes_count;
    uv_log_sink sink;
    void *sink_ctx;
    bool stopping;
    /* The datagram that is being read. Not thread-local: every thread of the
     * process would be given its own, and touch it. */
    char input[DATAGRAM_READ_MAX];
};

_Static_assert(DATAGRAM_READ_MAX > GOSSIP_PACKET_MAX,
               "a packet fits, and one that is too long shows");

/* ---- ports ---- */

static uint64_t clock_mono_ms(void *ctx)
{
    (void)ctx;
    return uv_hrtime() / 1000000;
}

static uint64_t clock_wall_ms(void *ctx)
{
    struct timespec now;

    (void)ctx;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void random_fill(void *ctx, void *ret_bytes, size_t size)
{
    (void)ctx;
    randombytes_buf(ret_bytes, size);
}

static void on_timer(uv_timer_t *timer)
{
    struct uv_ports *p = timer->data;

    p->due_ms = UINT64_MAX;
    if (p->node != NULL)
        node_on_timer(p->node);
}

static void timer_arm(void *ctx, uint64_t deadline_ms)
{
    struct uv_ports *p = ctx;
    uint64_t now = clock_mono_ms(NULL);

    if (p->stopping || deadline_ms == p->due_ms)
        return;
    p->due_ms = deadline_ms;
    if (deadline_ms == UINT64_MAX) {
        (void)uv_timer_stop(&p->timer);
        return;
    }
    uv_update_time(p->loop);
    (void)uv_timer_start(&p->timer, on_timer,
                         deadline_ms > now ? deadline_ms - now : 0, 0);
}

struct datagram {
    uv_udp_send_t request;
    struct uv_ports *ports;
    uint8_t bytes[];
};

static void on_sent(uv_udp_send_t *request, int status)
{
    struct datagram *d = (struct datagram *)request;

    (void)status; /* a lost datagram is gossip's business */
    d->ports->datagrams--;
    cm_free(d);
}

static void datagram_send(void *ctx, const struct address *to,
                          struct slice packet)
{
    struct uv_ports *p = ctx;
    struct sockaddr_storage storage;
    struct datagram *d;
    uv_buf_t buf;

    if (p->stopping || p->datagrams >= DATAGRAMS_MAX ||
        to->family != p->address.family)
        return;
    d = cm_alloc(sizeof *d + packet.size);
    if (d == NULL)
        return;
    d->ports = p;
    memcpy(d->bytes, packet.data, packet.size);
    buf = uv_buf_init((char *)d->bytes, (unsigned)packet.size);
    if (uv_udp_send(&d->request, &p->udp, &buf, 1, uv_sockaddr_of(&storage, to),
                    on_sent) != 0) {
        cm_free(d);
        return;
    }
    p->datagrams++;
}

static void stream_connect(void *ctx, uint64_t stream, const struct address *to)
{
    struct uv_ports *p = ctx;

    uv_streams_connect(&p->streams, stream, to);
}

static void stream_write(void *ctx, uint64_t stream, struct slice bytes)
{
    struct uv_ports *p = ctx;

    uv_streams_write(&p->streams, stream, bytes);
}

static void stream_close(void *ctx, uint64_t stream)
{
    struct uv_ports *p = ctx;

    uv_streams_close(&p->streams, stream);
}

static void stream_pause(void *ctx, uint64_t stream, bool paused)
{
    struct uv_ports *p = ctx;

    uv_streams_pause(&p->streams, stream, paused);
}

static int writer_submit(void *ctx, struct intent *intent)
{
    struct uv_ports *p = ctx;

    return uv_writer_submit(&p->writer, intent);
}

static void work_submit(void *ctx, struct work *w)
{
    struct uv_ports *p = ctx;

    CHECK(w->lane < WORK_LANES);
    uv_lane_submit(&p->lanes[w->lane], w);
}

static void log_line(void *ctx, char level, const char *text)
{
    struct uv_ports *p = ctx;

    if (p->sink != NULL)
        p->sink(p->sink_ctx, level, text);
}

static const struct clock_ops clock_ops = {clock_mono_ms, clock_wall_ms};
static const struct random_ops random_ops = {random_fill};
static const struct timer_ops timer_ops = {timer_arm};
static const struct datagram_ops datagram_ops = {datagram_send};
static const struct stream_ops stream_ops = {stream_connect, stream_write,
                                             stream_close, stream_pause};
static const struct writer_ops writer_ops = {writer_submit};
static const struct work_ops work_ops = {work_submit};
static const struct log_ops log_ops = {log_line};

/* ---- inputs ---- */

static void on_datagram_alloc(uv_handle_t *handle, size_t suggested,
                              uv_buf_t *buf)
{
    struct uv_ports *p = handle->data;

    (void)suggested;
    *buf = uv_buf_init(p->input, sizeof p->input);
}

static void on_datagram(uv_udp_t *udp, ssize_t size, const uv_buf_t *buf,
                        const struct sockaddr *from, unsigned flags)
{
    struct uv_ports *p = udp->data;
    struct address address;

    if ((flags & UV_UDP_PARTIAL) != 0 || size <= 0 || from == NULL ||
        p->node == NULL)
        return;
    uv_address_of(&address, from);
    node_on_datagram(p->node, &address, slice_of(buf->base, (size_t)size));
}

/* A joiner has been certified: its store gets an identity and a writer. */
static void give_identity(struct uv_ports *p)
{
    struct store_identity identity;
    struct commit_result *first = NULL;
    struct writer *w = NULL;
    struct cm_detail detail = {""};
    int error;

    if (!node_wants_identity(p->node, &identity))
        return;
    error = writer_initialise(p->store, &identity, &detail);
    if (error == 0)
        error = writer_open(&w, p->store, p->sign_secret_key, &detail);
    if (error == 0 && p->format_level != 0)
        error = writer_limit_level(w, p->format_level, &detail);
    if (error == 0)
        error = writer_snapshot(w, &first);
    if (error == 0)
        error = uv_writer_start(&p->writer, w);
    if (error != 0) {
        writer_close(w);
        if (first != NULL)
            commit_result_free(first);
        node_refuse_identity(
            p->node, detail.text[0] != '\0' ? detail.text : cm_strerror(error));
        return;
    }
    node_set_identity(p->node, first);
}

static void take_finished(struct uv_ports *p)
{
    struct commit_result *r;
    struct work *w;
    unsigned i;

    bool more = true;

    while (more) {
        more = false;
        while ((r = uv_writer_take(&p->writer)) != NULL)
            node_on_commit(p->node, r);
        for (i = 0; i < WORK_LANES; i++)
            while ((w = uv_lane_take(&p->lanes[i])) != NULL) {
                node_on_work(p->node, w);
                more = p->stopping; /* nobody notifies any more */
            }
    }
}

static void on_notify(uv_async_t *async)
{
    struct uv_ports *p = async->data;

    if (p->node != NULL)
        take_finished(p);
}

/* Once per loop iteration, after all inputs: see node.h. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct uv_ports *p = prepare->data;

    if (p->node != NULL && !p->stopping)
        give_identity(p);
}

/* ---- life ---- */

static int probe(int type, const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, type | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, address, size) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* One number has to be free for datagrams and for streams, which the kernel
 * chooses apart: with port 0, one that is free for both is looked for first. */
static void choose_port(struct sockaddr_storage *storage)
{
    struct sockaddr *address = (struct sockaddr *)storage;
    struct sockaddr_storage chosen;
    int tries;

    for (tries = 0; tries < BIND_TRIES; tries++) {
        socklen_t size = sizeof chosen;
        int stream = probe(SOCK_STREAM, address, sizeof *storage);
        int datagram = -1;

        if (stream >= 0 &&
            getsockname(stream, (struct sockaddr *)&chosen, &size) == 0)
            datagram = probe(SOCK_DGRAM, (struct sockaddr *)&chosen, size);
        if (stream >= 0)
            (void)close(stream);
        if (datagram < 0)
            continue;
        (void)close(datagram);
        *storage = chosen;
        return;
    }
}

static int bind_sockets(struct uv_ports *p, struct sockaddr_storage *storage)
{
    struct sockaddr *address = (struct sockaddr *)storage;
    int size = sizeof *storage;
    int wanted = RECEIVE_BUFFER;
    int error = uv_udp_bind(&p->udp, address, 0);

    if (error == 0)
        error = uv_udp_getsockname(&p->udp, address, &size);
    if (error == 0)
        error = uv_streams_listen(&p->streams, address);
    if (error == 0)
        error = uv_udp_recv_start(&p->udp, on_datagram_alloc, on_datagram);
    if (error == 0)
        (void)uv_recv_buffer_size((uv_handle_t *)&p->udp, &wanted);
    uv_address_of(&p->address, address);
    return error;
}

static void init_ops(struct uv_ports *p)
{
    p->ports = (struct node_ports){
        .ctx = p,
        .clock = &clock_ops,
        .random = &random_ops,
        .timer = &timer_ops,
        .datagram = &datagram_ops,
        .stream = &stream_ops,
        .writer = &writer_ops,
        .work = &work_ops,
        .log = &log_ops,
    };
}

static bool made(struct uv_ports *p, int error, void *handle)
{
    if (error != 0)
        return false;
    CHECK(p->handles_count < sizeof p->handles / sizeof *p->handles);
    ((uv_handle_t *)handle)->data = p;
    p->handles[p->handles_count++] = handle;
    return true;
}

static int init_handles(struct uv_ports *p, uv_loop_t *loop)
{
    if (!made(p, uv_udp_init(loop, &p->udp), &p->udp) ||
        !made(p, uv_timer_init(loop, &p->timer), &p->timer) ||
        !made(p, uv_prepare_init(loop, &p->prepare), &p->prepare) ||
        !made(p, uv_async_init(loop, &p->notify, on_notify), &p->notify) ||
        uv_prepare_start(&p->prepare, on_prepare) != 0)
        return CM_ERR_NOMEM;
    return 0;
}

static int init_threads(struct uv_ports *p)
{
    int error = uv_writer_init(&p->writer, &p->notify);

    p->has_writer = error == 0;
    while (error == 0 && p->lanes_count < WORK_LANES) {
        struct uv_lane *lane = &p->lanes[p->lanes_count];

        /* Most nodes upload nothing. */
        error = p->lanes_count >= WORK_LANE_UPLOAD
                    ? uv_lane_init_later(lane, &p->notify)
                    : uv_lane_init(lane, &p->notify,
                                   p->lanes_count == WORK_LANE_VERIFY);
        lane->background = p->lanes_count == WORK_LANE_SNAPSHOT ||
                           (p->lanes_count >= WORK_LANE_UPLOAD &&
                            (p->lanes_count - WORK_LANE_UPLOAD) % 2 == 0);
        p->lanes_count += error == 0;
    }
    return error;
}

int uv_ports_create(struct uv_ports **ret_ports, uv_loop_t *loop,
                    const char *bind, uv_log_sink sink, void *sink_ctx,
                    struct cm_detail *detail)
{
    struct uv_ports *p = cm_calloc(1, sizeof *p);
    struct sockaddr_storage storage;
    struct address wanted;
    int error;

    if (p == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    *ret_ports = p; /* the loop may know its handles from here on */
    p->loop = loop;
    p->due_ms = UINT64_MAX;
    p->sink = sink;
    p->sink_ctx = sink_ctx;
    uv_streams_init(&p->streams, loop);
    init_ops(p);
    if (init_handles(p, loop) != 0 || init_threads(p) != 0)
        return cm_fail(detail, CM_ERR_NOMEM,
                       "out of memory, descriptors or threads: see ulimit -n "
                       "and ulimit -u");
    if (address_parse(&wanted, bind) != 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "--bind %s: say HOST:PORT with a numeric host, for "
                       "example 127.0.0.1:7946",
                       bind);
    (void)uv_sockaddr_of(&storage, &wanted);
    if (wanted.port == 0)
        choose_port(&storage);
    error = bind_sockets(p, &storage);
    if (error != 0)
        return cm_fail(detail, CM_ERR_IO,
                       "--bind %s: %s; choose another port, or stop what uses "
                       "it",
                       bind, uv_strerror(error));
    return 0;
}

struct address uv_ports_address(const struct uv_ports *p)
{
    return p->address;
}

const struct node_ports *uv_ports_ports(struct uv_ports *p)
{
    return &p->ports;
}

void uv_ports_attach(struct uv_ports *p, struct node *n, struct store *s,
                     const uint8_t sign_secret_key[64], uint32_t format_level)
{
    p->node = n;
    p->format_level = format_level;
    p->store = s;
    p->streams.node = n;
    memcpy(p->sign_secret_key, sign_secret_key, sizeof p->sign_secret_key);
}

int uv_ports_start_writer(struct uv_ports *p, struct writer *w)
{
    return uv_writer_start(&p->writer, w);
}

void uv_ports_stop(struct uv_ports *p)
{
    size_t i;

    p->stopping = true;
    for (i = 0; i < p->lanes_count; i++)
        uv_lane_stop(&p->lanes[i]);
    if (p->has_writer)
        uv_writer_stop(&p->writer);
    if (p->node != NULL)
        take_finished(p);
    p->node = NULL;
    uv_streams_stop(&p->streams);
    for (i = 0; i < p->handles_count; i++)
        uv_close(p->handles[i], NULL);
}

void uv_ports_free(struct uv_ports *p)
{
    unsigned i;

    if (p == NULL)
        return;
    if (p->has_writer)
        uv_writer_release(&p->writer);
    for (i = 0; i < p->lanes_count; i++)
        uv_lane_release(&p->lanes[i]);
    sodium_memzero(p, sizeof *p);
    cm_free(p);
}
