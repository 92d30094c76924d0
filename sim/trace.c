/* The hash chain of a run: see trace.h. */
#include "sim/trace.h"

#include <inttypes.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/memory.h"

#define KIND_SIZE_MAX 16

void sim_trace_init(struct sim_trace *t)
{
    CHECK(t != NULL);
    *t = (struct sim_trace){.capacity = 0};
}

void sim_trace_release(struct sim_trace *t)
{
    sim_free(t->links);
    *t = (struct sim_trace){.capacity = 0};
}

static void trace_keep_link(struct sim_trace *t)
{
    if (t->count >= SIM_TRACE_LINKS_MAX)
        return;
    if (t->count == t->capacity) {
        size_t wanted = t->capacity == 0 ? 4096 : 2 * t->capacity;
        uint64_t *links = sim_realloc(t->links, wanted * sizeof *links);
        CHECK(links != NULL);
        t->links = links;
        t->capacity = wanted;
    }
    t->links[t->count] = get_be64(t->chain.bytes);
}

void sim_trace_fold(struct sim_trace *t, uint64_t at_us, const char *kind,
                    unsigned node, uint64_t number, struct slice payload)
{
    uint8_t record[HASH_SIZE + KIND_SIZE_MAX + 24 + HASH_SIZE] = {0};
    size_t length = strlen(kind);
    uint8_t *p = record;

    CHECK(length > 0 && length <= KIND_SIZE_MAX);
    struct hash body = hash_of("confmesh sim payload v1", payload);
    memcpy(p, t->chain.bytes, HASH_SIZE);
    p += HASH_SIZE;
    memcpy(p, kind, length);
    p += KIND_SIZE_MAX;
    put_be64(p, at_us);
    put_be64(p + 8, node);
    put_be64(p + 16, number);
    memcpy(p + 24, body.bytes, HASH_SIZE);
    t->chain =
        hash_of("confmesh sim trace v1", slice_of(record, sizeof record));
    trace_keep_link(t);
    if (t->text != NULL) {
        (void)fprintf(t->text,
                      "%" PRIu64 " %" PRIu64 " %s node=%u n=%" PRIu64
                      " size=%zu body=%016" PRIx64 " chain=%016" PRIx64 "\n",
                      t->count, at_us, kind, node, number, payload.size,
                      get_be64(body.bytes), get_be64(t->chain.bytes));
    }
    t->count++;
}

uint64_t sim_trace_difference(const struct sim_trace *a,
                              const struct sim_trace *b)
{
    uint64_t common = a->count < b->count ? a->count : b->count;

    if (a->count == b->count && hash_equal(&a->chain, &b->chain))
        return SIM_TRACE_SAME;
    for (uint64_t i = 0; i < common && i < SIM_TRACE_LINKS_MAX; i++)
        if (a->links[i] != b->links[i])
            return i;
    return common;
}
