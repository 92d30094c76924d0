/* Eviction: orders heard in any order, fences, all of a set sealed at once, the
 * last seqs found by the fences; with cuts, a floor and a newcomer.
 *
 * Four replicas. 0 is evicted by the first order; 2 by the second (ORDERS 2).
 * JOINER: 3 is no founder, any of the others sponsors it. FLOOR: one floor is
 * proposed while all this goes on, among three. */
#define REPLICAS 4
#ifndef SEQS
#define SEQS 3
#endif
#ifndef ORDERS
#define ORDERS 1
#endif
#ifndef DATA_MAX
#define DATA_MAX 2
#endif
#ifdef FLOOR
#define PROPOSALS_MAX 1
#else
#define PROPOSALS_MAX 0
#endif
#if defined(JOINER) || defined(FLOOR)
#define FOUNDERS 7
#else
#define FOUNDERS 15
#endif
#define NEWCOMER 3
#define NAMED (ORDERS == 2 ? 5 : 1) /* by orders */
#include "common.pml"
#include "fences.pml"

byte retired; /* given up by their nodes */

c_code {
static void start(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        now.self[r] = has(FOUNDERS, r) ? r : NOBODY;
        settle(r);
    }
}

static int runs(int r)
{
    return now.self[r] != NOBODY;
}

/* The evictee needs to receive something only if it is to acknowledge. */
static int can_deliver(int r, int origin)
{
    return runs(r) && (r != 0 || PROPOSALS_MAX > 0) && ready(r, origin) &&
           admits_event(r, origin);
}

static int can_data(int r)
{
    return r == 0 && can_write(r, r) && written(DATA, DATA) < DATA_MAX;
}

static int can_hear(int r, int name)
{
    return runs(r) && has(NAMED | now.retired, name) &&
           !has(now.heard[r], name) && r != 0 &&
           (name != 2 || has(now.heard[r], 0)); /* the chain of orders */
}

static int can_propose(int r)
{
    return runs(r) && can_write(r, r) && now.app[r] != 0 &&
           written(PROPOSE, PROPOSE) < PROPOSALS_MAX;
}

static int can_add(int r)
{
#ifndef JOINER
    return 0;
#endif
    return !has(FOUNDERS, NEWCOMER) && r != NEWCOMER && can_write(r, r) &&
           !fenced(now.app[r], r, NEWCOMER) &&
           written(ROSTER_ADD, ROSTER_ADD) == 0;
}

static int can_adopt(int from)
{
    int add = -1;

    for (int d = 0; d < DOTS; d++)
        add = now.kind[d] == ROSTER_ADD ? d : add;
    return !has(FOUNDERS, NEWCOMER) && !runs(NEWCOMER) && add >= 0 &&
           origin_of(add) == from && !now.retired;
}

static void adopt(int from)
{
    replace(NEWCOMER, from);
    now.heard[NEWCOMER] = 0;
    now.self[NEWCOMER] = NEWCOMER;
}

static int can_join(int r, int q)
{
#ifdef NO_JOINS
    return 0;
#endif
    return r != q && r != 0 && runs(r) && runs(q) &&
           !within(now.app[q], now.app[r]) && admits_cut(r, q);
}

/* Those that nobody evicts and that are what a member takes for a member: not
 * a newcomer whose add lies beyond a seal, nor one that holds such a thing. */
static int is_core(int r)
{
    int add = 0;

    if (has(NAMED, r) || !runs(r))
        return 0;
    if (has(FOUNDERS, r))
        return 1;
    for (int q = 0; q < REPLICAS; q++) {
        if (!has(FOUNDERS, q) || has(NAMED, q))
            continue;
        add |= has(members(q), r);
        if (is_beyond(r, q))
            return 0;
    }
    return add;
}

/* A newcomer that holds what a member proves to be beyond a seal returns: it
 * retires, and would enter under another name. */
static int can_return(int r)
{
    if (r != NEWCOMER || has(FOUNDERS, r) || !runs(r) || has(now.retired, r))
        return 0;
    for (int q = 0; q < REPLICAS; q++) {
        if (has(FOUNDERS & ~NAMED, q) && is_beyond(r, q))
            return 1;
    }
    return 0;
}

static void give_up(int r)
{
    now.retired |= bit(now.self[r]);
    now.self[r] = NOBODY;
    now.app[r] = now.gone[r] = now.lasts[r] = 0;
    now.base[r] = now.passed[r] = now.floor_time[r] = now.heard[r] = 0;
}

/* ---- properties ---- */

static int holds_overrun(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int q = 0; q < REPLICAS; q++) {
            if (has(FOUNDERS, r) && is_core(r) && has(FOUNDERS, q) &&
                is_core(q) && is_beyond(r, q))
                return 0;
        }
    }
    return 1;
}

static int holds_sealed(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int q = 0; q < r; q++) {
            for (int x = 0; x < ORIGINS; x++) {
                if (is_core(r) && is_core(q) &&
                    has(now.gone[r] & now.gone[q], x) &&
                    seq_in(now.lasts[r], x) != seq_in(now.lasts[q], x))
                    return 0;
            }
        }
    }
    return 1;
}

static int holds_covers(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int m = 0; m < REPLICAS; m++) {
            if (is_core(r) && is_core(m) && has(members(r), m) &&
                !within(now.base[r], now.app[m]))
                return 0;
        }
    }
    return 1;
}

/* At rest all of the core have the same, and whoever was named is sealed. */
static int holds_waiting(void)
{
    int first = -1;

    for (int r = 0; r < REPLICAS; r++) {
        if (!is_core(r))
            continue;
        first = first < 0 ? r : first;
        if (now.app[r] != now.app[first] ||
            !within(NAMED | now.retired, now.gone[r]) || evictees(r) != 0)
            return 0;
        for (int t = 0; t < DOTS; t++) {
            if (has(now.app[r], t) && now.kind[t] == PROPOSE &&
                !has(now.passed[r], t))
                return 0;
        }
    }
    return 1;
}
}

#define STEPS(r) \
    STEP((can_data)(r), write_own(r, DATA, 0)) \
    STEP((due_fence)(r), write_own(r, FENCE, due_fence(r))) \
    STEP((can_propose)(r), write_own(r, PROPOSE, 0)) \
    STEP((due_ack)(r) >= 0, write_own(r, ACK, due_ack(r))) \
    STEP((can_add)(r), write_own(r, ROSTER_ADD, NEWCOMER)) \
    STEP((can_adopt)(r), adopt(r)) \
    STEP((can_return)(r), give_up(r))
#define HEAR(r, name) \
    STEP((can_hear)(r, name), now.heard[r] |= bit(name); settle(r))
#define HEARS(r) HEAR(r, 0) HEAR(r, 2) HEAR(r, NEWCOMER)
#define JOIN(r, q) STEP((can_join)(r, q), join(r, q))
#define JOINS(r) EACH_OTHER(JOIN, r)

WORLD(start(),
    EACH_REPLICA(DELIVERS) EACH_REPLICA(STEPS) EACH_REPLICA(HEARS)
    EACH_REPLICA(JOINS),
    INVARIANT(equal_vectors, (holds_equal_vectors)());
    INVARIANT(overrun, (holds_overrun)());
    INVARIANT(sealed, (holds_sealed)());
    INVARIANT(covers, (holds_covers)());,
    INVARIANT(waiting, (holds_waiting)()))
