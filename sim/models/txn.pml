/* Transactions over two keys: relayed, in cuts, in joins.
 *
 * Three replicas; each event writes one key or both. A cut is scanned to a
 * spool; its receiver compares the spool with its own state at one revision,
 * goes on writing meanwhile, and flips in one transaction that joins again what
 * has changed since. Two cuts at most, one at a time. */
#define REPLICAS 3
#define SEQS 2
#ifndef DATA_MAX
#define DATA_MAX 4
#endif
#ifndef CUTS_MAX
#define CUTS_MAX 1
#endif
#include "common.pml"

#define PUT 1
#define KEYS 2
#define BOTH 3 /* arg: which keys, a mask */

/* Siblings and what an event supersedes, for each key. */
int sib[REPLICAS * KEYS];
int sup[DOTS * KEYS];

/* Of the cut: IDLE, SCANNED, COMPARED; FIRST only for planted mistakes. */
#define IDLE 0
#define FIRST 1
#define SCANNED 2
#define COMPARED 3
#define FLIPPING 4
byte phase;
byte source;
byte target;
byte cuts;
int spool_app;
int spool[KEYS];
int joined[KEYS]; /* what the comparison found */
byte dirty;       /* keys written at the target since */
byte half[REPLICAS]; /* 1 + a dot of which one key is applied */

c_code {
static int *at(int r, int key)
{
    return &now.sib[r * KEYS + key];
}

static void apply_key(int r, int d, int key)
{
    if (!has(now.arg[d], key))
        return;
    *at(r, key) = (*at(r, key) & ~now.sup[d * KEYS + key]) | bit(d);
    if (now.phase == COMPARED && now.target == r)
        now.dirty |= bit(key);
}

static void apply(int r, int d)
{
#ifdef PLANT_APPLY_WHOLE
    if (!now.half[r] && now.arg[d] == BOTH && origin_of(d) != r) {
        apply_key(r, d, 0);
        now.half[r] = 1 + d;
        return;
    }
#endif
    now.app[r] |= bit(d);
    for (int key = now.half[r] ? 1 : 0; key < KEYS; key++)
        apply_key(r, d, key);
    now.half[r] = 0;
}

static int can_deliver(int r, int origin)
{
    return ready(r, origin) &&
           (!now.half[r] || now.half[r] == 1 + next_dot(r, origin));
}

static int can_put(int r)
{
    return can_write(r, r) && written(PUT, PUT) < DATA_MAX && !now.half[r] &&
           now.phase != FLIPPING;
}

static void put(int r, int keys)
{
    int d = new_event(r, r, PUT, keys);

    for (int key = 0; key < KEYS; key++)
        now.sup[d * KEYS + key] = has(keys, key) ? *at(r, key) : 0;
    apply(r, d);
}

/* ---- cuts ---- */

static int can_scan(int from, int to)
{
    if (now.phase == FIRST)
        return from == now.source && to == now.target;
    return now.phase == IDLE && now.cuts < CUTS_MAX && from != to &&
           !now.half[from] && !within(now.app[from], now.app[to]);
}

/* One read transaction, for all keys and the vector. */
static void scan(int from, int to)
{
    int first = now.phase == FIRST ? 1 : 0;
    int end = KEYS;

#ifdef PLANT_SCAN_IN_ONE
    end = first + 1;
#endif
    if (!first)
        now.spool_app = now.app[from];
    for (int key = first; key < end; key++)
        now.spool[key] = *at(from, key);
    now.source = from;
    now.target = to;
    now.phase = end == KEYS ? SCANNED : FIRST;
}

static int join_of(int r, int key)
{
    int a = *at(r, key);
    int b = now.spool[key];

#ifdef PLANT_JOIN_BY_VECTOR
    return a | b;
#endif
    return (a & b) | (a & ~now.spool_app) | (b & ~now.app[r]);
}

/* A worker's walk over the cut and its own snapshot. */
static void compare(int r)
{
    for (int key = 0; key < KEYS; key++)
        now.joined[key] = join_of(r, key);
    now.dirty = 0;
    now.phase = COMPARED;
}

static void flip_key(int r, int key)
{
#ifndef PLANT_JOIN_AGAIN
    if (has(now.dirty, key))
        now.joined[key] = join_of(r, key);
#endif
    *at(r, key) = now.joined[key];
}

static void flip(int r)
{
#ifdef PLANT_FLIP_WHOLE
    if (now.phase == COMPARED) {
        flip_key(r, 0);
        now.phase = FLIPPING;
        return;
    }
    flip_key(r, 1);
#else
    for (int key = 0; key < KEYS; key++)
        flip_key(r, key);
#endif
    now.app[r] |= now.spool_app;
    now.phase = IDLE;
    now.cuts++;
    now.spool_app = now.dirty = now.source = now.target = 0;
    now.spool[0] = now.spool[1] = now.joined[0] = now.joined[1] = 0;
}

/* ---- properties ---- */

static int superseded(int set, int t, int key)
{
    for (int d = 0; d < DOTS; d++) {
        if (has(set, d) && has(now.arg[d], key) && has(now.dep[d], t))
            return 1;
    }
    return 0;
}

/* Of each transaction a reader sees every operation, or what came after it,
 * or no operation at all. */
static int holds_transaction_whole(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int t = 0; t < DOTS; t++) {
            int seen = 0;

            if (now.kind[t] == 0 || now.arg[t] != BOTH)
                continue;
            for (int key = 0; key < KEYS; key++) {
                int all = now.app[r] | *at(r, 0) | *at(r, 1);

                seen += has(*at(r, key), t) || superseded(all, t, key);
            }
            if (seen == 1)
                return 0;
        }
    }
    return 1;
}

static int ideal(int set, int key)
{
    int ret = 0;

    for (int d = 0; d < DOTS; d++) {
        if (has(set, d) && has(now.arg[d], key) && !superseded(set, d, key))
            ret |= bit(d);
    }
    return ret;
}

static int holds_fold(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int key = 0; key < KEYS; key++) {
            if (*at(r, key) != ideal(now.app[r], key))
                return 0;
        }
    }
    return 1;
}

static int holds_equal_vectors(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int q = 0; q < r; q++) {
            if (now.app[r] == now.app[q] &&
                (*at(r, 0) != *at(q, 0) || *at(r, 1) != *at(q, 1)))
                return 0;
        }
    }
    return 1;
}

static int holds_waiting(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        if (now.app[r] != exists() || now.phase != IDLE)
            return 0;
    }
    return 1;
}
}

#define DELIVER(r, o) STEP((can_deliver)(r, o), apply(r, next_dot(r, o)))
#define DELIVERS(r) EACH_ORIGIN(DELIVER, r)
#define PUTS(r) STEP((can_put)(r), put(r, 1)) STEP((can_put)(r), put(r, 2)) \
    STEP((can_put)(r), put(r, BOTH))
#define SCAN(to, from) STEP((can_scan)(from, to), scan(from, to))
#define SCANS(r) EACH_OTHER(SCAN, r)
#define STEPS(r) \
    STEP(now.phase == SCANNED && now.target == r, compare(r)) \
    STEP(now.phase >= COMPARED && now.target == r && !now.half[r], flip(r))

WORLD(now.phase = IDLE,
    EACH_REPLICA(DELIVERS) EACH_REPLICA(PUTS) EACH_REPLICA(SCANS)
    EACH_REPLICA(STEPS),
    INVARIANT(transaction_whole, (holds_transaction_whole)());
    INVARIANT(equal_vectors, (holds_equal_vectors)());
    INVARIANT(fold, (holds_fold)());,
    INVARIANT(waiting, (holds_waiting)()))
