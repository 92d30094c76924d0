/* What an evicted node does with its unsent operations: replace, replay onto a
 * scratch copy, re-issue or park (set-removes after a collapse among them).
 *
 * Replica 0 writes as incarnation a and is evicted; 1 and 2 stay. It comes back
 * as incarnation d with a cut of 1 or 2. Two keys: a register and one element
 * of a set. Fences are what seal.pml is about: here the seal is one step, taken
 * once both that stay have the same of a. So are acknowledgements (floor.pml):
 * here one step says that all have acknowledged a cut, after which it passes at
 * each of them at a moment of its own. */
#define REPLICAS 3
#define ORIGINS 4
#define SEQS 3
#ifndef OTHERS_MAX
#define OTHERS_MAX 2 /* events of those that stay */
#endif
#define OWN_MAX 2 /* events of the one that is evicted */
#include "common.pml"

#define PUT 1
#define DEL 2
#define ADD 3
#define REMOVE 4
#define PUT_REMOVE 5 /* a transaction: puts the register, removes the element */
#define KEYS 2
#define RETURNED 3 /* the new incarnation */

int sib[REPLICAS * KEYS];
int sup[DOTS * KEYS];
byte orig[DOTS];  /* of what is re-issued: 1 + the dot of its original */
byte part[DOTS];  /* of what is re-issued: which keys of it, a mask */
int acked;          /* the cut that all have acknowledged */
int base[REPLICAS]; /* the floor */
int low[DOTS];      /* the floor of its origin: acks that it depends on */
byte is_sealed;
int lasts; /* of a, at or below the seal */
byte parked[DOTS]; /* keys, of unsent operations */
byte state;       /* of replica 0: 0 works, 1 has its cut, 2 has re-issued */
byte wrong;       /* a re-issue that should not have been */

c_code {
#define OF_A ((1 << SEQS) - 1)

static int *at(int r, int key)
{
    return &now.sib[r * KEYS + key];
}

static int keys_of(int d)
{
    if (now.orig[d])
        return now.part[d];
    return now.kind[d] == PUT_REMOVE ? 3 : now.kind[d] >= ADD ? 2 : 1;
}

static int removes(int d)
{
    return now.kind[d] == REMOVE || now.kind[d] == PUT_REMOVE;
}

/* What d does to the siblings of one key. */
static int effect(int set, int d, int key)
{
    if (!has(keys_of(d), key))
        return set;
    set &= ~now.sup[d * KEYS + key];
    return key == 1 && removes(d) ? set : set | bit(d);
}

static int winner_of(int set)
{
    int winner = -1;

    for (int d = 0; d < DOTS; d++)
        winner = has(set, d) ? later(winner, d) : winner;
    return winner;
}

static int is_present(int set)
{
    int winner = winner_of(set);

    return winner >= 0 && now.kind[winner] != DEL;
}

static void apply(int r, int d)
{
    now.app[r] |= bit(d);
    for (int key = 0; key < KEYS; key++)
        *at(r, key) = effect(*at(r, key), d, key);
}

/* Beyond the seal. */
static int unsent(void)
{
    return now.is_sealed ? exists() & own_events(0) & ~now.lasts : 0;
}

static int floor_time(int r)
{
    return clock_of(now.base[r]) + (now.base[r] ? 1 : 0); /* acks are later */
}

/* Sealed and not back yet: nobody talks to it. */
static int is_out(int r)
{
    return r == 0 && now.is_sealed && now.state == 0;
}

static int can_deliver(int r, int origin)
{
    int d = next_dot(r, origin);

    if ((d >= 0 && has(unsent(), d)) || is_out(r))
        return 0;
    return ready(r, origin) && within(now.low[d], now.base[r]);
}

/* ---- ordinary writes ---- */

static int can_data(int r, int which)
{
    int key = which >= ADD;

    if (r == 0 && (now.state != 0 || seq_in(now.app[0], 0) >= OWN_MAX))
        return 0;
    if (r != 0 && written(PUT, PUT_REMOVE) -
                          seq_in(exists(), 0) - seq_in(exists(), RETURNED) >=
                      OTHERS_MAX)
        return 0;
    if (which == PUT_REMOVE && (r != 0 || !is_present(*at(r, 1))))
        return 0;
    if ((which == DEL || which == REMOVE) && !is_present(*at(r, key)))
        return 0;
    return can_write(r, r);
}

static void data(int r, int which)
{
    int d = new_event(r, r, which, 0);

    now.low[d] = now.base[r];
    for (int key = 0; key < KEYS; key++) {
        if (has(keys_of(d), key))
            now.sup[d * KEYS + key] = *at(r, key);
    }
    apply(r, d);
}

/* ---- floor and seal ---- */

static int stable(void)
{
    int ret = now.app[1] & now.app[2];

    if (!now.is_sealed || now.state >= 1)
        ret &= now.app[0];
    return ret;
}

/* Whoever passes a floor has what each member wrote before its ack; what names
 * all that it saw may as well have been written after it. */
static int can_acknowledge(void)
{
    int floor = stable();

    for (int d = 0; d < DOTS; d++) {
        if (now.kind[d] && !has(floor, d) && !has(unsent(), d) &&
            (now.orig[d] || !within(floor, now.dep[d])))
            return 0;
    }
    for (int r = 0; r < REPLICAS; r++) {
        if (!is_out(r) && !within(now.acked, now.base[r]))
            return 0;
    }
    return !within(floor, now.acked);
}

static int can_pass(int r)
{
    return !is_out(r) && !within(now.acked, now.base[r]);
}

static void pass(int r)
{
    now.base[r] = now.acked;
    for (int key = 0; key < KEYS; key++) {
        int set = *at(r, key);
        int winner = winner_of(set);

        if (set && within(set, now.base[r]))
            *at(r, key) = now.kind[winner] == DEL ? 0 : bit(winner);
    }
}

static int can_seal(void)
{
    return !now.is_sealed && seq_in(now.app[1], 0) == seq_in(now.app[2], 0);
}

static void seal(void)
{
    now.is_sealed = 1;
    now.lasts = own_events(0) & now.app[1];
}

/* ---- returning ---- */

/* It replaces its state; what it wrote stays listed. */
static int can_adopt(int from)
{
#ifdef PLANT_SEAL_FIRST
    return from != 0 && now.state == 0;
#endif
    return from != 0 && now.state == 0 && now.is_sealed;
}

static void adopt(int from)
{
    now.app[0] = now.app[from];
    now.base[0] = now.base[from];
    for (int key = 0; key < KEYS; key++)
        *at(0, key) = *at(from, key);
    now.state = 1;
}

static int superseded(int set, int t, int key);

/* Siblings by true causal past, with the originals in place of re-issues. */
static int ideal(int set, int key)
{
    int ret = 0;

    for (int d = 0; d < DOTS; d++) {
        if (has(set, d) && has(keys_of(d), key) &&
            !(key == 1 && removes(d)) && !superseded(set, d, key))
            ret |= bit(d);
    }
    return ret;
}

static int past_of(int d, int key)
{
    /* A remove takes away what its original had seen; a put, all that the
     * node saw when it wrote it again. */
    if (now.orig[d] && key == 1 && removes(d))
        return now.dep[now.orig[d] - 1] | bit(now.orig[d] - 1);
    return now.dep[d];
}

static int superseded(int set, int t, int key)
{
    for (int d = 0; d < DOTS; d++) {
        if (has(set, d) && has(keys_of(d), key) && has(past_of(d, key), t))
            return 1;
    }
    return 0;
}

/* What a remove takes away: its own dots; for those that are unsent adds of its
 * own, what these had superseded. */
static int named_by(int o)
{
    int ret = now.sup[o * KEYS + 1];

#ifndef PLANT_OWN_CHAIN
    for (int d = o - 1; d >= 0; d--) {
        if (has(ret & unsent(), d))
            ret |= now.sup[d * KEYS + 1];
    }
#endif
    return ret;
}

/* May one key of operation o be written again? scratch: the adopted state with
 * all unsent operations applied. */
static int wins(int o, int key, int scratch)
{
    int named = named_by(o);

#ifdef PLANT_IN_ORDER
    scratch = effect(*at(0, key), o, key);
#endif
    if (key == 1 && removes(o)) {
#ifndef PLANT_REMOVE_BELOW_FLOOR
        if (named & now.base[0])
            return 0;
        /* Others may pass, and collapse, before they see the re-issue. */
#ifndef PLANT_REMOVE_BELOW_ACK
        if (named & now.acked)
            return 0;
#endif
#endif
        return 1;
    }
    if (key == 1)
        return has(scratch, o);
#ifndef PLANT_ABSENT_KEY
    if (now.kind[o] != DEL && !is_present(*at(0, 0)) &&
        now.stamp[o] <= floor_time(0))
        return 0;
#endif
    return winner_of(scratch) == o;
}

static void issue(int o, int keys)
{
    int d = new_event(0, RETURNED, now.kind[o], 0);

    now.low[d] = now.base[0];
    now.orig[d] = 1 + o;
    now.part[d] = keys;
    for (int key = 0; key < KEYS; key++) {
        if (!has(keys, key))
            continue;
        now.sup[d * KEYS + key] = *at(0, key);
#ifndef PLANT_REMOVE_ORDINARY
        if (key == 1 && removes(o)) /* its own dots only */
            now.sup[d * KEYS + key] = named_by(o) & now.app[0];
#endif
    }
    apply(0, d);
}

static int own_unsent(void)
{
#ifdef PLANT_SEAL_FIRST
    return exists() & own_events(0) & ~now.app[0];
#else
    return unsent();
#endif
}

/* The seal holds in the adopted state, so all of a at or below it is there;
 * and what the unsent operations had seen of others has arrived again, so that
 * what a remove names is among what its re-issue depends on. */
static int can_reissue(void)
{
    int seen = 0;

    for (int o = 0; o < SEQS; o++)
        seen |= has(own_unsent(), o) ? now.dep[o] & ~own_events(0) : 0;
#ifdef PLANT_DEPS_FIRST
    seen = 0;
#endif
    return now.state == 1 && within(seen, now.app[0]);
}

static void reissue(void)
{
    int todo = own_unsent();
    int scratch[KEYS];
    int whole = now.app[0] | todo;
    int ok[DOTS] = {0};

    for (int key = 0; key < KEYS; key++) {
        scratch[key] = *at(0, key);
        for (int o = 0; o < SEQS; o++) {
            if (has(todo, o))
                scratch[key] = effect(scratch[key], o, key);
        }
    }
    for (int o = 0; o < SEQS; o++) {
        for (int key = 0; has(todo, o) && key < KEYS; key++) {
            if (has(keys_of(o), key) && wins(o, key, scratch[key]))
                ok[o] |= bit(key);
        }
#ifndef PLANT_PARKED_WHOLE
        if (ok[o] != keys_of(o))
            ok[o] = 0;
#endif
        now.parked[o] = has(todo, o) ? keys_of(o) & ~ok[o] : 0;
        /* Nothing wins here that would lose had nothing been collapsed. */
        if (has(ok[o], 0) && winner_of(ideal(whole, 0)) != o &&
            (now.kind[o] != DEL || is_present(ideal(whole, 0))))
            now.wrong = 1;
    }
    for (int o = 0; o < SEQS; o++) {
        if (ok[o])
            issue(o, ok[o]);
    }
    now.state = 2;
}

/* ---- properties ---- */

/* Elements: what nobody who removes has seen is there; what was seen is not.
 * Registers: what its own writer had replaced does not come back. */
static int holds_acknowledged(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        int winner = winner_of(*at(r, 0));

        if (is_present(*at(r, 1)) != is_present(ideal(now.app[r], 1)))
            return 0;
        for (int e = 0; e < SEQS && winner >= 0 && now.orig[winner]; e++) {
            if (has(now.app[r], e) && has(keys_of(e), 0) &&
                has(now.dep[e], now.orig[winner] - 1))
                return 0;
        }
    }
    return !now.wrong;
}

static int holds_transaction_whole(void)
{
    for (int o = 0; o < SEQS; o++) {
        if (now.kind[o] == PUT_REMOVE && now.parked[o] &&
            now.parked[o] != keys_of(o))
            return 0;
    }
    return 1;
}

static int holds_equal_vectors(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int q = 0; q < r; q++) {
            if (now.app[r] == now.app[q] && !is_out(q) &&
                now.base[r] == now.base[q] &&
                (*at(r, 0) != *at(q, 0) || *at(r, 1) != *at(q, 1)))
                return 0;
        }
    }
    return 1;
}

/* At rest every operation is everywhere, written again, or parked. */
static int holds_waiting(void)
{
    for (int o = 0; o < SEQS; o++) {
        int again = 0;

        for (int d = 0; d < DOTS; d++)
            again |= now.orig[d] == 1 + o;
        if (now.kind[o] && !has(now.app[1], o) && !again && !now.parked[o])
            return 0;
    }
    return now.state == 2 && now.app[0] == now.app[1] &&
           now.app[1] == now.app[2];
}
}

#define DELIVER(r, o) STEP((can_deliver)(r, o), apply(r, next_dot(r, o)))
#define DELIVERS(r) EACH_ORIGIN(DELIVER, r)
#define DATUM(r, which) STEP((can_data)(r, which), data(r, which))
#if defined(REGISTERS)
#define DATA(r) DATUM(r, PUT) DATUM(r, DEL)
#elif defined(SETS)
#define DATA(r) DATUM(r, ADD) DATUM(r, REMOVE)
#else
#define DATA(r) DATUM(r, PUT) DATUM(r, ADD) DATUM(r, PUT_REMOVE)
#endif
#define STEPS(r) \
    STEP((can_adopt)(r), adopt(r)) STEP((can_pass)(r), pass(r))

WORLD(now.state = 0,
    EACH_REPLICA(DELIVERS) EACH_REPLICA(DATA) EACH_REPLICA(STEPS)
    STEP((can_acknowledge)(), now.acked = stable())
    STEP((can_seal)(), seal())
    STEP((can_reissue)(), reissue()),
    INVARIANT(acknowledged, (holds_acknowledged)());
    INVARIANT(transaction_whole, (holds_transaction_whole)());
    INVARIANT(equal_vectors, (holds_equal_vectors)());,
    INVARIANT(waiting, (holds_waiting)()))
