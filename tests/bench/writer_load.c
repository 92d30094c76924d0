/* The writer without the network: pages that LMDB writes for a commit of one
 * operation, and how fast events of others are applied; besides, what
 * signatures cost.
 *
 *   writer_load DIR      an empty directory, on the disk that is meant
 *
 * Pages are counted where they leave the process: the growth of wchar in
 * /proc/self/io (write_bytes there counts whole folios, many times too much),
 * which nothing else in this program moves. One line of JSON. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/support.h"
#include "tests/bench/support_replica.h"

#define KEYS 100000
#define VALUE_SIZE 100
#define FILL_OPS 1000
#define COMMITS 400
#define PAGE 4096
#define EVENT_OPS 100
#define EVENTS 400
#define EVENTS_PER_COMMIT 50
#define SIGNATURES 4000
#define HEADER_SIZE 250 /* about that of an event with few dependencies */

struct kept_event {
    uint8_t *bytes;
    size_t size;
};

static uint64_t seed = 521288629;
static char value[VALUE_SIZE];

static struct intent *intent_puts(size_t count, uint64_t first, bool random)
{
    struct intent *i = intent_new(INTENT_LOCAL);
    char key[32];

    if (i == NULL)
        bench_fail("out of memory");
    for (size_t j = 0; j < count; j++) {
        uint64_t number = random ? bench_random(&seed) % KEYS : first + j;
        struct local_op op = {.kind = OP_PUT, .key = slice_of(key, 0)};

        (void)snprintf(key, sizeof key, "bench/key%06" PRIu64, number);
        op.key = slice_of_string(key);
        op.value = slice_of(value, sizeof value);
        bench_must(intent_add_op(i, &op), "operation");
    }
    return i;
}

static uint64_t written_bytes(void)
{
    unsigned long long bytes = 0;
    char line[128];
    FILE *f = fopen("/proc/self/io", "r");

    if (f == NULL)
        bench_fail("/proc/self/io: %s", strerror(errno));
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "wchar: %llu", &bytes) == 1)
            break;
    }
    (void)fclose(f);
    return bytes;
}

struct result {
    double pages;     /* of a commit that overwrites one of the keys */
    double pages_new; /* of one that adds a key */
    double commits_per_s;
    double fill_ops_per_s;
    double apply_ops_per_s; /* durable; signatures apart */
    double sign_per_s;
    double verify_per_s;
};

static double seconds_since(uint64_t begun_ns)
{
    return (double)(bench_now_ns() - begun_ns) / 1e9;
}

static double pages_of(struct replica *r, bool random, uint64_t first)
{
    uint64_t before = written_bytes();

    for (uint64_t i = 0; i < COMMITS; i++)
        commit_result_free(
            replica_commit(r, intent_puts(1, first + i, random)));
    return (double)(written_bytes() - before) / PAGE / COMMITS;
}

static void run_local(struct mesh *m, struct result *ret)
{
    uint64_t begun = bench_now_ns();

    for (uint64_t i = 0; i < KEYS; i += FILL_OPS)
        commit_result_free(
            replica_commit(&m->first, intent_puts(FILL_OPS, i, false)));
    ret->fill_ops_per_s = KEYS / seconds_since(begun);
    begun = bench_now_ns();
    ret->pages = pages_of(&m->first, true, 0);
    ret->commits_per_s = COMMITS / seconds_since(begun);
    ret->pages_new = pages_of(&m->first, false, KEYS);
}

/* ---- events of others ---- */

/* Every event of the commit, copied. */
static size_t keep(struct kept_event *events, size_t count, size_t max,
                   const struct commit_result *r)
{
    for (size_t i = 0; i < r->events_count; i++) {
        struct kept_event *e = &events[count];

        if (count == max)
            bench_fail("more events than expected");
        e->size = r->events[i].bytes.size;
        e->bytes = malloc(e->size);
        if (e->bytes == NULL)
            bench_fail("out of memory");
        memcpy(e->bytes, r->events[i].bytes.data, e->size);
        count++;
    }
    return count;
}

static struct intent *intent_foreign(const struct kept_event *e)
{
    struct intent *i = intent_new(INTENT_FOREIGN);

    if (i == NULL)
        bench_fail("out of memory");
    bench_must(intent_set_event(i, slice_of(e->bytes, e->size)), "event");
    i->verified = true;
    return i;
}

/* The first replica's events go to the second, which has them verified. */
static void run_foreign(struct mesh *m, struct result *ret)
{
    struct kept_event *events = calloc(EVENTS, sizeof *events);
    size_t count = 0;
    uint64_t begun;

    if (events == NULL)
        bench_fail("out of memory");
    for (uint64_t i = 0; i < EVENTS; i++) {
        struct commit_result *r = replica_commit(
            &m->first, intent_puts(EVENT_OPS, i * EVENT_OPS % KEYS, false));

        count = keep(events, count, EVENTS, r);
        commit_result_free(r);
    }
    if (count != EVENTS)
        bench_fail("fewer events than expected");
    begun = bench_now_ns();
    for (size_t i = 0; i < count; i += EVENTS_PER_COMMIT) {
        struct intent *batch = NULL;

        for (size_t j = i + EVENTS_PER_COMMIT; j-- > i;) {
            struct intent *one = intent_foreign(&events[j]);

            one->next = batch;
            batch = one;
        }
        commit_result_free(replica_commit(&m->second, batch));
    }
    ret->apply_ops_per_s = EVENTS * EVENT_OPS / seconds_since(begun);
    for (size_t i = 0; i < count; i++)
        free(events[i].bytes);
    free(events);
}

static void run_signatures(const struct replica *r, struct result *ret)
{
    uint8_t header[HEADER_SIZE];
    uint8_t signature[crypto_sign_BYTES];
    uint64_t begun = bench_now_ns();

    randombytes_buf(header, sizeof header);
    for (int i = 0; i < SIGNATURES; i++) {
        header[0] = (uint8_t)i;
        (void)crypto_sign_detached(signature, NULL, header, sizeof header,
                                   r->secret_key);
    }
    ret->sign_per_s = SIGNATURES / seconds_since(begun);
    begun = bench_now_ns();
    for (int i = 0; i < SIGNATURES; i++) {
        if (crypto_sign_verify_detached(signature, header, sizeof header,
                                        r->public_key) != 0)
            bench_fail("a good signature is refused");
    }
    ret->verify_per_s = SIGNATURES / seconds_since(begun);
}

int main(int argc, char **argv)
{
    struct mesh m = {0};
    struct result result = {0};

    if (argc != 2)
        bench_fail("usage: writer_load DIR");
    if (sodium_init() < 0)
        bench_fail("libsodium does not start");
    memset(value, 'v', sizeof value);
    mesh_make(&m, argv[1]);
    run_foreign(&m, &result);
    run_local(&m, &result);
    run_signatures(&m.first, &result);
    (void)printf("{\"pages\":%.2f,\"pages_new\":%.2f,\"commits_per_s\":%.0f,"
                 "\"fill_ops_per_s\":%.0f,\"apply_ops_per_s\":%.0f,"
                 "\"sign_per_s\":%.0f,\"verify_per_s\":%.0f}\n",
                 result.pages, result.pages_new, result.commits_per_s,
                 result.fill_ops_per_s, result.apply_ops_per_s,
                 result.sign_per_s, result.verify_per_s);
    mesh_close(&m);
    return 0;
}
