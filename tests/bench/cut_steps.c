/* Where the time of a cut goes: the steps that two nodes take, one after the
 * other in one process, by processor time.
 *
 *   cut_steps DIR [COUNT]      an empty directory, on the disk that is meant
 *
 * scan: the source's; verify: each message as it comes; stage: the comparison,
 * with blocks being made; put: the writer's transactions, their syncs apart
 * from what they cost the processor; flip. Between nodes scan, verify and put
 * have threads of their own. One line of JSON. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "node/cut_diff.h"
#include "node/snapshot_source.h"
#include "tests/bench/support.h"
#include "tests/bench/support_replica.h"

#define COUNT 1000000
#define FILL_OPS 1000
#define VALUE_SIZE 210

struct clocks {
    uint64_t cpu_ns;
    uint64_t wall_ns;
};

static struct clocks now(void)
{
    struct clocks ret = {.wall_ns = bench_now_ns()};
    struct timespec used;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0)
        bench_fail("no clock of the process");
    ret.cpu_ns = (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
    return ret;
}

static void add_since(struct clocks *sum, struct clocks begun)
{
    struct clocks end = now();

    sum->cpu_ns += end.cpu_ns - begun.cpu_ns;
    sum->wall_ns += end.wall_ns - begun.wall_ns;
}

static void fill(struct replica *r, uint64_t count)
{
    uint64_t random = 88172645463325252;

    for (uint64_t first = 0; first < count; first += FILL_OPS) {
        struct intent *i = intent_new(INTENT_LOCAL);

        if (i == NULL)
            bench_fail("out of memory");
        for (uint64_t j = first; j < first + FILL_OPS; j++) {
            struct local_op op = {.kind = OP_PUT};
            uint64_t value[(VALUE_SIZE + 7) / 8];
            char key[32];

            (void)snprintf(key, sizeof key, "bench/%07" PRIu64, j);
            for (size_t k = 0; k < sizeof value / sizeof *value; k++)
                value[k] = bench_random(&random);
            op.key = slice_of_string(key);
            op.value = slice_of(value, VALUE_SIZE);
            bench_must(intent_add_op(i, &op), "operation");
        }
        commit_result_free(replica_commit(r, i));
    }
}

static struct snapshot_source *scan(struct replica *r, struct clocks *sum)
{
    struct clocks begun = now();
    struct snapshot_source *source;
    struct cm_detail detail = {""};
    int error = snapshot_source_create(&source, r->store, r->secret_key, r->dir,
                                       bench_wall_ms(), &detail);

    while (error == 0 || error == SNAPSHOT_MORE) {
        error = snapshot_source_step(source, &detail);
        if (error == SNAPSHOT_DONE)
            break;
    }
    if (error < 0)
        bench_fail("scan: %s", detail.text);
    add_since(sum, begun);
    return source;
}

static struct snapshot_sink *
verify(struct mesh *m, struct snapshot_source *source, struct clocks *sum)
{
    struct snapshot_sink *sink;
    struct cm_detail detail = {""};
    int error = snapshot_sink_create(&sink, m->authority.public_key,
                                     m->second.dir, &detail);

    bench_must(error, "sink");
    error = SNAPSHOT_MORE;
    while (error == SNAPSHOT_MORE) {
        struct slice message;
        struct clocks begun;

        bench_must(snapshot_source_next(source, &message, &detail), "read");
        begun = now();
        error = snapshot_sink_feed(sink, message, &detail);
        add_since(sum, begun);
    }
    if (error != SNAPSHOT_DONE)
        bench_fail("verify: %s", detail.text);
    return sink;
}

static uint64_t run_intent(struct replica *r, enum intent_kind kind, void *what,
                           struct clocks *sum)
{
    struct intent *i = intent_new(kind);
    struct clocks begun = now();
    uint64_t took;

    if (i == NULL)
        bench_fail("out of memory");
    if (kind == INTENT_ADOPTING)
        i->adopting = what;
    else
        i->replacement = what;
    commit_result_free(replica_commit(r, i));
    took = bench_now_ns() - begun.wall_ns;
    add_since(sum, begun);
    return took;
}

static uint64_t run_step(struct replica *r, struct stage *s, struct clocks *sum)
{
    uint64_t ret;

    if (s == NULL)
        bench_fail("out of memory");
    ret = run_intent(r, INTENT_STAGE, s, sum);
    stage_free(s);
    return ret;
}

struct result {
    struct clocks scan, verify, stage, put, flip;
    uint64_t longest_ns; /* that the writer was held at a time */
    uint64_t blocks;
    uint64_t bytes;
};

static void adopt(struct replica *r, struct snapshot_sink *sink,
                  struct result *ret)
{
    struct stage *s = stage_new(STAGE_BEGIN);
    struct cm_detail detail = {""};
    struct replacement replacement;
    struct cut_diff *d;
    uint64_t took;
    int error = SNAPSHOT_MORE;

    (void)run_intent(r, INTENT_ADOPTING,
                     (void *)(uintptr_t)&snapshot_sink_manifest(sink)->vv,
                     &ret->put);
    s->vv = &snapshot_sink_manifest(sink)->vv;
    (void)run_step(r, s, &ret->put);
    bench_must(
        cut_diff_create(&d, r->store, sink, r->dir, bench_wall_ms(), &detail),
        "comparison");
    cut_diff_stage(d, snapshot_sink_digest(sink));
    while (error == SNAPSHOT_MORE) {
        struct clocks begun = now();

        s = stage_new(STAGE_BLOCK);
        if (s == NULL)
            bench_fail("out of memory");
        do
            error = cut_diff_fill(d, &s->block, &detail);
        while (error == SNAPSHOT_MORE && s->block.size < STAGE_BLOCK_BYTES);
        if (error < 0)
            bench_fail("comparison: %s", detail.text);
        s->bank = cut_diff_bank(d);
        add_since(&ret->stage, begun);
        took = run_step(r, s, &ret->put);
        ret->longest_ns = took > ret->longest_ns ? took : ret->longest_ns;
        ret->blocks++;
    }
    cut_diff_replacement(d, &replacement);
    took = run_intent(r, INTENT_REPLACE, &replacement, &ret->flip);
    ret->longest_ns = took > ret->longest_ns ? took : ret->longest_ns;
    cut_diff_free(d);
}

static void print_step(const char *name, const struct clocks *c)
{
    (void)printf("\"%s_cpu_s\":%.2f,\"%s_s\":%.2f,", name,
                 (double)c->cpu_ns / 1e9, name, (double)c->wall_ns / 1e9);
}

int main(int argc, char **argv)
{
    uint64_t count = argc == 3 ? bench_number(argv[2], "COUNT") : COUNT;
    struct snapshot_source *source;
    struct snapshot_sink *sink;
    struct mesh mesh = {0};
    struct result r = {0};

    if (argc < 2 || argc > 3 || count % FILL_OPS != 0)
        bench_fail("usage: cut_steps DIR [COUNT]; COUNT in thousands");
    if (sodium_init() < 0)
        bench_fail("libsodium does not start");
    mesh_make(&mesh, argv[1]);
    fill(&mesh.first, count);
    source = scan(&mesh.first, &r.scan);
    r.bytes = snapshot_source_bytes(source);
    sink = verify(&mesh, source, &r.verify);
    adopt(&mesh.second, sink, &r);
    snapshot_sink_free(sink);
    snapshot_source_free(source);
    mesh_close(&mesh);
    (void)printf("{\"count\":%" PRIu64 ",\"spool_bytes\":%" PRIu64 ",", count,
                 r.bytes);
    print_step("scan", &r.scan);
    print_step("verify", &r.verify);
    print_step("stage", &r.stage);
    print_step("put", &r.put);
    print_step("flip", &r.flip);
    (void)printf("\"blocks\":%" PRIu64 ",\"longest_ms\":%.1f}\n", r.blocks,
                 (double)r.longest_ns / 1e6);
    return 0;
}
