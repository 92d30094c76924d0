/* An event of the scheduler is one line, with the host whose event it is; what
 * is noted within it follows. So the receiver of a packet is the host of the
 * datagram event before. */
#include "sim/html_data.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define KIND_SIZE 24
#define STATE_SLOTS (2 * SIM_HTML_STATES_MAX)

_Static_assert((STATE_SLOTS & (STATE_SLOTS - 1)) == 0, "a power of two");

struct line {
    uint64_t at_us;
    uint64_t node;
    uint64_t number;
    uint64_t body;
    char kind[KIND_SIZE];
};

int sim_html_data_init(struct sim_html_data *d, const struct sim_plan *plan,
                       uint64_t start_us, uint64_t end_us)
{
    CHECK(plan->nodes > 0 && plan->nodes <= SIM_PLAN_HOSTS_MAX);
    CHECK(end_us >= start_us);
    *d = (struct sim_html_data){
        .nodes = plan->nodes,
        .begin_ms = -(int64_t)(start_us / 1000),
        .end_ms = (int64_t)((end_us - start_us) / 1000) + 1,
        .start_us = start_us,
        .arrows_stride = 1,
        .receiver = UINT_MAX,
    };
    d->slice_ms = (uint64_t)(d->end_ms - d->begin_ms) / SIM_HTML_SLICES + 1;
    d->lanes = cm_calloc(d->nodes, sizeof *d->lanes);
    d->states = cm_calloc(STATE_SLOTS, sizeof *d->states);
    d->state_numbers = cm_calloc(STATE_SLOTS, sizeof *d->state_numbers);
    d->arrows = cm_calloc(SIM_HTML_ARROWS_MAX, sizeof *d->arrows);
    d->last = cm_calloc(SIM_HTML_LAST_MAX, sizeof *d->last);
    if (d->lanes == NULL || d->states == NULL || d->state_numbers == NULL ||
        d->arrows == NULL || d->last == NULL) {
        sim_html_data_release(d);
        return CM_ERR_NOMEM;
    }
    for (unsigned h = 0; h < d->nodes; h++) {
        d->lanes[h].state = SIM_HTML_DOWN;
        d->lanes[h].kept = SIM_HTML_NONE;
    }
    return 0;
}

void sim_html_data_release(struct sim_html_data *d)
{
    for (unsigned h = 0; d->lanes != NULL && h < d->nodes; h++)
        cm_free(d->lanes[h].changes);
    cm_free(d->lanes);
    cm_free(d->states);
    cm_free(d->state_numbers);
    cm_free(d->arrows);
    cm_free(d->last);
    *d = (struct sim_html_data){0};
}

size_t sim_html_data_slice(const struct sim_html_data *d, int64_t at_ms)
{
    uint64_t slice;

    if (at_ms <= d->begin_ms)
        return 0;
    slice = (uint64_t)(at_ms - d->begin_ms) / d->slice_ms;
    return slice < SIM_HTML_SLICES ? (size_t)slice : SIM_HTML_SLICES - 1;
}

/* ---- states ---- */

/* Numbers in the order of appearance; beyond the table all are the last. */
static uint32_t state_number(struct sim_html_data *d, uint64_t name)
{
    size_t i = (size_t)name & (STATE_SLOTS - 1);

    name += name == 0; /* 0: a free slot */
    while (d->states[i] != 0 && d->states[i] != name)
        i = (i + 1) & (STATE_SLOTS - 1);
    if (d->states[i] == name)
        return d->state_numbers[i];
    if (d->states_count == SIM_HTML_STATES_MAX)
        return SIM_HTML_STATES_MAX - 1;
    d->states[i] = name;
    d->state_numbers[i] = d->states_count;
    return d->states_count++;
}

static int lane_set(struct sim_html_data *d, struct sim_html_lane *l,
                    int64_t at_ms, uint32_t state)
{
    struct sim_html_change *newest =
        l->count > 0 ? &l->changes[l->count - 1] : NULL;

    if (l->state == state)
        return 0;
    l->state = state;
    /* Within a slice the last one counts; a host that is down always does. */
    if (newest != NULL && state != SIM_HTML_DOWN &&
        newest->state != SIM_HTML_DOWN &&
        sim_html_data_slice(d, newest->at_ms) ==
            sim_html_data_slice(d, at_ms)) {
        newest->state = state;
        return 0;
    }
    if (l->count == l->capacity) {
        size_t capacity = l->capacity > 0 ? 2 * l->capacity : 64;
        struct sim_html_change *grown =
            cm_realloc(l->changes, capacity * sizeof *grown);

        if (grown == NULL)
            return CM_ERR_NOMEM;
        l->changes = grown;
        l->capacity = capacity;
    }
    l->changes[l->count++] =
        (struct sim_html_change){.at_ms = at_ms, .state = state};
    return 0;
}

uint32_t sim_html_data_state(const struct sim_html_lane *lane, int64_t at_ms)
{
    size_t low = 0;
    size_t high = lane->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (lane->changes[middle].at_ms <= at_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? lane->changes[low - 1].state : SIM_HTML_DOWN;
}

/* ---- messages ---- */

static void add_arrow(struct sim_html_data *d, const struct sim_html_arrow *a)
{
    d->last[d->messages % SIM_HTML_LAST_MAX] = *a;
    if (d->messages++ % d->arrows_stride != 0)
        return;
    if (d->arrows_count == SIM_HTML_ARROWS_MAX) {
        /* Every other one goes; so it stays an even sample. */
        for (size_t i = 0; i < SIM_HTML_ARROWS_MAX / 2; i++)
            d->arrows[i] = d->arrows[2 * i];
        d->arrows_count = SIM_HTML_ARROWS_MAX / 2;
        d->arrows_stride *= 2;
        if ((d->messages - 1) % d->arrows_stride != 0)
            return;
    }
    d->arrows[d->arrows_count++] = *a;
}

/* ---- lines ---- */

static bool take_number(const char **at, const char *name, int base,
                        uint64_t *ret)
{
    const char *found = strstr(*at, name);
    char *end;

    if (found == NULL)
        return false;
    found += strlen(name);
    *ret = strtoull(found, &end, base);
    *at = end;
    return end != found;
}

/* "number time kind node=N n=N size=N body=HEX chain=HEX" */
static bool parse(struct line *l, const char *text)
{
    const char *at = text;
    char *end;
    size_t size;

    (void)strtoull(at, &end, 10);
    if (end == at || *end != ' ')
        return false;
    at = end + 1;
    l->at_us = strtoull(at, &end, 10);
    if (end == at || *end != ' ')
        return false;
    at = end + 1;
    size = strcspn(at, " ");
    if (size == 0 || size >= KIND_SIZE || at[size] != ' ')
        return false;
    memcpy(l->kind, at, size);
    l->kind[size] = '\0';
    at += size;
    return take_number(&at, " node=", 10, &l->node) &&
           take_number(&at, " n=", 10, &l->number) &&
           take_number(&at, " body=", 16, &l->body);
}

static int take(struct sim_html_data *d, const struct line *l)
{
    int64_t at_ms = (int64_t)(l->at_us / 1000) - (int64_t)(d->start_us / 1000);
    struct sim_html_lane *lane = &d->lanes[l->node];

    if (strcmp(l->kind, "commit") == 0) {
        lane->commits++;
        lane->kept = state_number(d, l->body);
        return lane_set(d, lane, at_ms, lane->kept);
    }
    if (strcmp(l->kind, "boot") == 0)
        return lane_set(d, lane, at_ms, lane->kept);
    if (strcmp(l->kind, "power-cut") == 0 || strcmp(l->kind, "crash") == 0) {
        lane->power_cuts++;
        return lane_set(d, lane, at_ms, SIM_HTML_DOWN);
    }
    if (strcmp(l->kind, "datagram") == 0) {
        d->receiver = (unsigned)l->node;
    } else if (strcmp(l->kind, "packet") == 0 && d->receiver < d->nodes) {
        struct sim_html_arrow a = {.at_ms = at_ms,
                                   .from = (uint16_t)l->node,
                                   .to = (uint16_t)d->receiver};

        add_arrow(d, &a);
        d->lanes[d->receiver].messages[sim_html_data_slice(d, at_ms)]++;
        d->receiver = UINT_MAX;
    }
    return 0;
}

int sim_html_data_line(struct sim_html_data *d, const char *line)
{
    struct line l;

    d->lines++;
    if (!parse(&l, line)) {
        d->lines_strange++;
        return 0;
    }
    return l.node < d->nodes ? take(d, &l) : 0;
}
