/* The hash chain of a run: see trace.h. */
#include "sim/trace.h"

#include <endian.h>
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

/* ---- the hash ----
 *
 * It has to tell runs apart, not to withstand an attacker, and is computed for
 * every event and over every byte that is sent or written: xxHash64's rounds
 * (Y. Collet) for payloads, two lanes of its mixing for the chain. */

#define PRIME_1 UINT64_C(0x9e3779b185ebca87)
#define PRIME_2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define PRIME_3 UINT64_C(0x165667b19e3779f9)
#define LANES 4

static uint64_t rotate(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

static uint64_t absorb(uint64_t lane, uint64_t word)
{
    return rotate(lane + word * PRIME_2, 31) * PRIME_1;
}

static uint64_t finish(uint64_t v)
{
    v = (v ^ v >> 33) * PRIME_2;
    v = (v ^ v >> 29) * PRIME_3;
    return v ^ v >> 32;
}

/* Little-endian everywhere: the trace is the same on any machine. */
static uint64_t word_at(const uint8_t *bytes, size_t size)
{
    uint64_t word = 0;

    memcpy(&word, bytes, size);
    return le64toh(word);
}

static uint64_t hash_payload(struct slice payload)
{
    uint64_t lanes[LANES] = {PRIME_1, PRIME_2, PRIME_3, ~PRIME_1};
    const uint8_t *p = payload.data;
    size_t left = payload.size;

    while (left >= LANES * sizeof *lanes) {
        for (unsigned i = 0; i < LANES; i++)
            lanes[i] = absorb(lanes[i], word_at(p + 8 * i, 8));
        p += LANES * sizeof *lanes;
        left -= LANES * sizeof *lanes;
    }
    for (unsigned i = 0; left > 0; i++) {
        size_t size = left < 8 ? left : 8;
        lanes[i] = absorb(lanes[i], word_at(p, size));
        p += size;
        left -= size;
    }
    uint64_t all = payload.size;
    for (unsigned i = 0; i < LANES; i++)
        all = absorb(all, lanes[i]);
    return finish(all);
}

void sim_trace_fold(struct sim_trace *t, uint64_t at_us, const char *kind,
                    unsigned node, uint64_t number, struct slice payload)
{
    size_t length = strlen(kind);
    uint8_t padded[KIND_SIZE_MAX] = {0};
    uint64_t a = get_be64(t->chain.bytes);
    uint64_t b = get_be64(t->chain.bytes + 8);

    CHECK(length > 0 && length <= KIND_SIZE_MAX);
    memcpy(padded, kind, length);
    uint64_t body = hash_payload(payload);
    const uint64_t words[] = {
        word_at(padded, 8), word_at(padded + 8, 8), at_us, node, number, body};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        a = absorb(a, words[i]);
        b = absorb(b ^ a, rotate(words[i], 17));
    }
    put_be64(t->chain.bytes, finish(a));
    put_be64(t->chain.bytes + 8, finish(b));
    trace_keep_link(t);
    if (t->text != NULL) {
        (void)fprintf(t->text,
                      "%" PRIu64 " %" PRIu64 " %s node=%u n=%" PRIu64
                      " size=%zu body=%016" PRIx64 " chain=%016" PRIx64 "\n",
                      t->count, at_us, kind, node, number, payload.size, body,
                      get_be64(t->chain.bytes));
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
