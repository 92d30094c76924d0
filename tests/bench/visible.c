/* How long until a write on one node is visible on others: writes one key after
 * the other through the first port and waits, each time, until a watch on each
 * of the other ports has told it.
 *
 *   visible COUNT WRITER-PORT READER-PORT...
 *
 * The clock runs from before the request is sent until the last reader's watch
 * has delivered the change: the commit on both sides, the way between them and
 * the events' HTTP are all in it. One line of JSON. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/support.h"

#define STREAM_SIZE 65536
#define WARM_UP 20
#define LOST_MS 10000
/* So that no timer of the nodes is in step with us. */
#define PAUSE_US_MAX 8000

struct reader {
    int fd;
    bool seen;
    size_t size;
    char bytes[STREAM_SIZE + 1];
};

struct run {
    int writer;
    struct reader *readers;
    size_t readers_count;
    struct pollfd *polls; /* the readers, then the writer */
    char answer[STREAM_SIZE + 1];
    size_t answer_size;
    bool answered;
};

/* HTTP/1.0, so that the events come without chunks between them. */
static void reader_open(struct reader *r, uint16_t port)
{
    static const char request[] =
        "GET /v1/watch?prefix=bench/visible/ HTTP/1.0\r\n"
        "Host: 127.0.0.1\r\n\r\n";

    r->fd = bench_connect(port);
    bench_send(r->fd, request, sizeof request - 1);
    while (memmem(r->bytes, r->size, "event: hello", 12) == NULL) {
        ssize_t got = recv(r->fd, r->bytes + r->size, STREAM_SIZE - r->size, 0);

        if (got <= 0)
            bench_fail("the watch on port %u does not begin: %.*s", port,
                       (int)r->size, r->bytes);
        r->size += (size_t)got;
    }
}

static void reader_take(struct reader *r, const char *mark)
{
    ssize_t got;
    size_t keep = 512; /* a mark may be cut in two */

    if (r->size > STREAM_SIZE / 2) {
        memmove(r->bytes, r->bytes + r->size - keep, keep);
        r->size = keep;
    }
    got = recv(r->fd, r->bytes + r->size, STREAM_SIZE - r->size, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        bench_fail("a watch ended");
    r->size += (size_t)got;
    r->seen = r->seen || memmem(r->bytes, r->size, mark, strlen(mark)) != NULL;
}

static void writer_take(struct run *run)
{
    struct bench_answer a;
    ssize_t got = recv(run->writer, run->answer + run->answer_size,
                       STREAM_SIZE - run->answer_size, MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        bench_fail("the writing node closed the connection");
    run->answer_size += (size_t)got;
    run->answer[run->answer_size] = '\0';
    if (!bench_answer_parse(run->answer, run->answer_size, &a))
        return;
    if (a.status != 200)
        bench_fail("the write was refused: %s", run->answer);
    run->answer_size = 0;
    run->answered = true;
}

static bool all_seen(const struct run *run)
{
    for (size_t i = 0; i < run->readers_count; i++) {
        if (!run->readers[i].seen)
            return false;
    }
    return run->answered;
}

struct result {
    struct bench_samples first; /* microseconds */
    struct bench_samples last;
    struct bench_samples answer;
};

static void write_one(struct run *run, size_t number, struct result *ret)
{
    char request[256];
    char mark[64];
    uint64_t begun;
    uint64_t first = 0;
    int size;

    (void)snprintf(mark, sizeof mark, "\"bench/visible/%zu\"", number);
    size = snprintf(request, sizeof request,
                    "PUT /v1/kv/bench/visible/%zu HTTP/1.1\r\n"
                    "Host: 127.0.0.1\r\nContent-Length: 5\r\n\r\nvalue",
                    number);
    for (size_t i = 0; i < run->readers_count; i++)
        run->readers[i].seen = false;
    run->answered = false;
    begun = bench_now_ns();
    bench_send(run->writer, request, (size_t)size);
    while (!all_seen(run)) {
        bool before = run->answered;
        int count = poll(run->polls, run->readers_count + 1, LOST_MS);
        uint64_t now = bench_now_ns();

        if (count <= 0)
            bench_fail("write %zu is not visible after %d ms", number, LOST_MS);
        for (size_t i = 0; i < run->readers_count; i++) {
            if (run->polls[i].revents != 0)
                reader_take(&run->readers[i], mark);
            if (run->readers[i].seen && first == 0)
                first = now;
        }
        if (run->polls[run->readers_count].revents != 0)
            writer_take(run);
        if (run->answered && !before)
            bench_samples_add(&ret->answer, (now - begun) / 1000);
    }
    bench_samples_add(&ret->first, (first - begun) / 1000);
    bench_samples_add(&ret->last, (bench_now_ns() - begun) / 1000);
}

static void print(const char *name, struct bench_samples *s, const char *end)
{
    (void)printf("\"%s\":{\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64
                 ",\"max_us\":%" PRIu64 "}%s",
                 name, bench_samples_at(s, 500), bench_samples_at(s, 990),
                 bench_samples_at(s, 1000), end);
}

int main(int argc, char **argv)
{
    struct result result = {0};
    struct run run = {0};
    uint64_t seed = 2463534242;
    size_t count;

    if (argc < 4)
        bench_fail("usage: visible COUNT WRITER-PORT READER-PORT...");
    count = (size_t)bench_number(argv[1], "COUNT");
    run.readers_count = (size_t)argc - 3;
    run.readers = calloc(run.readers_count, sizeof *run.readers);
    run.polls = calloc(run.readers_count + 1, sizeof *run.polls);
    if (run.readers == NULL || run.polls == NULL)
        bench_fail("out of memory");
    run.writer = bench_connect((uint16_t)bench_number(argv[2], "WRITER-PORT"));
    for (size_t i = 0; i < run.readers_count; i++) {
        reader_open(&run.readers[i],
                    (uint16_t)bench_number(argv[i + 3], "READER-PORT"));
        run.polls[i] =
            (struct pollfd){.fd = run.readers[i].fd, .events = POLLIN};
    }
    run.polls[run.readers_count] =
        (struct pollfd){.fd = run.writer, .events = POLLIN};
    for (size_t i = 0; i < WARM_UP + count; i++) {
        if (i == WARM_UP) {
            bench_samples_clear(&result.first);
            bench_samples_clear(&result.last);
            bench_samples_clear(&result.answer);
        }
        write_one(&run, i, &result);
        (void)usleep((useconds_t)(bench_random(&seed) % PAUSE_US_MAX));
    }
    (void)printf("{\"writes\":%zu,\"readers\":%zu,", count, run.readers_count);
    print("answer", &result.answer, ",");
    print("first", &result.first, ",");
    print("last", &result.last, "}\n");
    return 0;
}
