/* A host's ports: what its node asks of the world; see host.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/check.h"
#include "sim/host_internal.h"

#define LOG_LINE_MAX 1024 /* folded into the trace */

/* Nobody hears it any more. */
static bool is_silent(const struct sim_host *h)
{
    return h->dying || sim_disk_is_doomed(h->disk);
}

static uint64_t port_mono_ms(void *ctx)
{
    const struct sim_host *h = ctx;
    return sim_clock_mono_ms(&h->clock);
}

static uint64_t port_wall_ms(void *ctx)
{
    const struct sim_host *h = ctx;
    return sim_clock_wall_ms(&h->clock);
}

static void port_fill(void *ctx, void *ret_bytes, size_t size)
{
    struct sim_host *h = ctx;
    random_bytes_draw(&h->random, ret_bytes, size);
}

void sim_host_arm(void *ctx, uint64_t deadline_ms)
{
    struct sim_host *h = ctx;
    uint64_t at = sim_clock_when_us(&h->clock, deadline_ms);

    h->deadline_ms = deadline_ms;
    if (h->dying || at == UINT64_MAX)
        sim_sched_cancel(h->place.sched, &h->timer);
    else if (h->timer.place == 0 || h->timer.at_us != at)
        sim_sched_at(h->place.sched, &h->timer, at);
}

static void port_send(void *ctx, const struct address *to, struct slice packet)
{
    struct sim_host *h = ctx;
    sim_check_on_send(h->place.check, h->number, packet.size, true);
    if (!is_silent(h))
        sim_net_send(h->place.net, h->number, to, packet);
}

static void port_connect(void *ctx, uint64_t stream, const struct address *to)
{
    struct sim_host *h = ctx;
    if (!is_silent(h))
        sim_net_connect(h->place.net, h->number, stream, to);
}

static void port_write(void *ctx, uint64_t stream, struct slice bytes)
{
    struct sim_host *h = ctx;
    sim_check_on_send(h->place.check, h->number, bytes.size, false);
    if (!is_silent(h))
        sim_net_write(h->place.net, h->number, stream, bytes);
}

static void port_close(void *ctx, uint64_t stream)
{
    struct sim_host *h = ctx;
    if (!is_silent(h))
        sim_net_close(h->place.net, h->number, stream);
}

static void port_pause(void *ctx, uint64_t stream, bool paused)
{
    struct sim_host *h = ctx;
    if (!is_silent(h))
        sim_net_pause(h->place.net, h->number, stream, paused);
}

static int port_submit(void *ctx, struct intent *intent)
{
    struct sim_host *h = ctx;
    size_t size = intent_size(intent);

    if (h->writer == NULL)
        return CM_ERR_NOT_READY;
    if (is_silent(h))
        return CM_ERR_CLOSED;
    if (h->queue_count >= INTENT_QUEUE_MAX ||
        h->queue_bytes + size > INTENT_QUEUE_BYTES_MAX)
        return CM_ERR_BUSY;
    intent->next = NULL;
    *h->queue_last = intent;
    h->queue_last = &intent->next;
    h->queue_count++;
    h->queue_bytes += size;
    sim_host_set_gathering(h);
    return 0;
}

static void port_work(void *ctx, struct work *w)
{
    struct sim_host *h = ctx;

    CHECK(w->lane < WORK_LANES);
    struct lane *l = &h->lanes[w->lane];
    w->next = NULL;
    *l->last = w;
    l->last = &w->next;
    sim_host_set_stepping(l);
}

/* The directory's name differs from run to run: the trace says "@" instead. */
static void note_line(struct sim_host *h, char level, const char *text)
{
    const char *end = strrchr(h->directory, '/');
    size_t length = end != NULL ? (size_t)(end - h->directory) : 0;
    char line[LOG_LINE_MAX];
    size_t size = 0;

    while (*text != 0 && size < sizeof line) {
        if (*text == '/' && length > 0 &&
            strncmp(text, h->directory, length) == 0) {
            line[size++] = '@';
            text += length;
        } else {
            line[size++] = *text++;
        }
    }
    sim_sched_note(h->place.sched, "log", h->number, (uint64_t)level,
                   slice_of(line, size));
}

void sim_host_log(void *ctx, char level, const char *text)
{
    struct sim_host *h = ctx;
    const struct sim_place *p = &h->place;

    note_line(h, level, text);
    if (p->log != NULL)
        (void)fprintf(p->log, "%10" PRIu64 " us %s %c%s %s\n", p->sched->now_us,
                      h->name, level, h->dying ? " (dying)" : "", text);
}

static const struct clock_ops clock_port = {
    .mono_ms = port_mono_ms,
    .wall_ms = port_wall_ms,
};
static const struct random_ops random_port = {.fill = port_fill};
static const struct timer_ops timer_port = {.arm = sim_host_arm};
static const struct datagram_ops datagram_port = {.send = port_send};
static const struct stream_ops stream_port = {
    .connect = port_connect,
    .write = port_write,
    .close = port_close,
    .pause = port_pause,
};
static const struct writer_ops writer_port = {.submit = port_submit};
static const struct work_ops work_port = {.submit = port_work};
static const struct log_ops log_port = {.line = sim_host_log};

struct node_ports sim_host_ports(struct sim_host *h)
{
    return (struct node_ports){
        .ctx = h,
        .clock = &clock_port,
        .random = &random_port,
        .timer = &timer_port,
        .datagram = &datagram_port,
        .stream = &stream_port,
        .writer = &writer_port,
        .work = &work_port,
        .log = &log_port,
    };
}
