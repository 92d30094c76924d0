/* The floor: proposals, acknowledgements as events, implied acknowledgements
 * of a newcomer, floor time, collapse; cuts joined at any moment.
 *
 * Two members and a newcomer that either of them may sponsor; two keys, a
 * register and one element of a set. */
#define REPLICAS 3
#define SEQS 5
#ifndef DATA_MAX
#define DATA_MAX 3
#endif
#ifndef PROPOSALS_MAX
#define PROPOSALS_MAX 1
#endif
#include "common.pml"

#define NEWCOMER 2
#ifdef JOINER
#define FOUNDERS 3 /* replicas 0 and 1 */
#else
#define FOUNDERS 7
#endif

#define PUT 1
#define EXPIRING 2 /* a put that expires TTL later */
#define DEL 3
#define REVOKE 4
#define SET_ADD 5
#define SET_REMOVE 6
#define PROPOSE 7
#define ACK 8        /* arg: the proposal */
#define ROSTER_ADD 9 /* of the newcomer */
#define TTL 1
#define KEYS 2 /* arg of data: its key; 0 a register, 1 an element */

int sup[DOTS]; /* what it supersedes */
int sib[REPLICAS];
int base[REPLICAS]; /* the floor */
byte floor_time[REPLICAS];
int passed[REPLICAS]; /* proposals */

c_code {
static int is_data(int d)
{
    return now.kind[d] >= PUT && now.kind[d] <= SET_REMOVE;
}

static int on_key(int set, int key)
{
    int ret = 0;

    for (int d = 0; d < DOTS; d++)
        ret |= has(set, d) && is_data(d) && now.arg[d] == key ? bit(d) : 0;
    return ret;
}

static int is_deleted(int winner, int at)
{
    return winner < 0 || now.kind[winner] == DEL ||
           (now.kind[winner] == EXPIRING && now.stamp[winner] + TTL <= at);
}

static int winner_of(int set)
{
    int winner = -1;

    for (int d = 0; d < DOTS; d++)
        winner = has(set, d) ? later(winner, d) : winner;
    return winner;
}

/* The winner's dot; for an element of a set 1; -1: deleted. */
static int resolve(int set, int key, int at)
{
    int winner = winner_of(set);

    if (count_kind(set, REVOKE) > 0)
        return -1;
    if (key == 1)
        return winner < 0 ? -1 : 1;
    return is_deleted(winner, at) ? -1 : winner;
}

static int revokes_in(int set)
{
    int ret = 0;

    for (int d = 0; d < DOTS; d++)
        ret |= has(set, d) && now.kind[d] == REVOKE ? bit(d) : 0;
    return ret;
}

static int collapsed(int r, int set, int key)
{
    int at = now.floor_time[r];
    int winner = winner_of(set);

#ifdef PLANT_ALL_SIBLINGS
    int below = set & now.base[r];

    for (int d = 0; d < DOTS; d++) {
        if (has(below, d) && (now.kind[d] == DEL || d != winner))
            set &= ~(now.kind[d] == REVOKE ? 0 : bit(d));
    }
    return set;
#endif
#ifdef PLANT_EXPIRED_ALONE
    if (winner >= 0 && has(now.base[r], winner) &&
        now.kind[winner] == EXPIRING && is_deleted(winner, at))
        return set & ~bit(winner);
#endif
    if (set == 0 || !within(set, now.base[r]))
        return set;
#ifdef PLANT_REVOKE_COLLECTED
    if (revokes_in(set))
        return 0;
#endif
    if (revokes_in(set))
        return revokes_in(set);
    if (key == 0 && is_deleted(winner, at))
        return 0;
    return bit(winner);
}

static int members(int set)
{
    return has(FOUNDERS, NEWCOMER) ? FOUNDERS : FOUNDERS | (count_kind(set, ROSTER_ADD) > 0 ? bit(NEWCOMER) : 0);
}

/* The dot by which m has acknowledged t, as far as set tells; or -1. */
static int ack_in(int set, int t, int m)
{
    int ret = -1;

    if (origin_of(t) == m)
        return t;
    for (int d = 0; d < DOTS; d++) {
        if (!has(set, d))
            continue;
        if (now.kind[d] == ACK && now.arg[d] == t && origin_of(d) == m)
            return d;
#ifndef PLANT_INHERIT_ACKS
        if (now.kind[d] == ROSTER_ADD && m == NEWCOMER &&
            has(now.dep[d], t) && ack_in(now.dep[d], t, origin_of(d)) >= 0)
            ret = d;
#endif
    }
    return ret;
}

static int has_passed(int r, int t)
{
    int set = now.app[r];
    int who = members(set);
    int ret = 1;

#ifdef PLANT_ACKS_OUTSIDE_LOG
    set = exists();
#endif
#ifdef PLANT_NEWCOMER_UNCOUNTED
    who = FOUNDERS;
#endif
#ifdef PLANT_ALL_MEMBERS_ACK
    who = 0;
    for (int m = 0; m < REPLICAS; m++)
        who += ack_in(set, t, m) >= 0;
    return who >= 2;
#endif
    for (int m = 0; m < REPLICAS; m++)
        ret = ret && (!has(who, m) || ack_in(set, t, m) >= 0);
    return ret;
}

static void settle(int r)
{
    for (int t = 0; t < DOTS; t++) {
        int least = 255;

        if (!has(now.app[r], t) || now.kind[t] != PROPOSE ||
            has(now.passed[r], t) || !has_passed(r, t))
            continue;
        for (int m = 0; m < REPLICAS; m++) {
            int ack = ack_in(now.app[r], t, m);

            least = ack >= 0 && now.stamp[ack] < least ? now.stamp[ack] : least;
        }
        now.passed[r] |= bit(t);
        now.base[r] |= now.dep[t];
        if (least > now.floor_time[r])
            now.floor_time[r] = least;
#ifdef PLANT_LOCAL_EXPIRY
        now.floor_time[r] = clock_of(now.app[r]);
#endif
    }
    for (int key = 0; key < KEYS; key++) {
        int set = on_key(now.sib[r], key);

        now.sib[r] = (now.sib[r] & ~set) | collapsed(r, set, key);
    }
}

static void apply(int r, int d)
{
    now.app[r] |= bit(d);
    if (is_data(d)) {
        now.sib[r] &= ~now.sup[d];
        if (now.kind[d] != SET_REMOVE)
            now.sib[r] |= bit(d);
    }
    settle(r);
}

/* ---- steps ---- */

static int is_live(int r)
{
    return has(FOUNDERS, r) || now.app[r] != 0;
}

static int can_deliver(int r, int origin)
{
    return is_live(r) && ready(r, origin);
}

static void deliver(int r, int origin)
{
    apply(r, next_dot(r, origin));
}

static int can_data(int r, int which)
{
    int key = which >= SET_ADD;

    if (!is_live(r) || !can_write(r, r) ||
        written(PUT, SET_REMOVE) >= DATA_MAX)
        return 0;
    /* What would do nothing is not written; a revoke is lifted by name only,
     * and then by a put (--unrevoke). */
    if (which == SET_REMOVE || which == DEL)
        return resolve(on_key(now.sib[r], key), key, 0) >= 0;
    return 1;
}

static void data(int r, int which)
{
    int d = new_event(r, r, which, which >= SET_ADD);

    now.sup[d] = on_key(now.sib[r], now.arg[d]);
#ifdef PLANT_NAME_EVERY_SIBLING
    if (now.sup[d])
        now.sup[d] = bit(winner_of(now.sup[d]));
#endif
    apply(r, d);
}

static int can_propose(int r)
{
    return is_live(r) && can_write(r, r) && now.app[r] != 0 &&
           written(PROPOSE, PROPOSE) < PROPOSALS_MAX;
}

/* The next open proposal that r has to acknowledge, or -1. */
static int due_ack(int r)
{
    int known = now.app[r];

#ifdef PLANT_ACK_UNAPPLIED
    known = exists();
#endif
    for (int t = 0; is_live(r) && can_write(r, r) && t < DOTS; t++) {
        if (has(known, t) && now.kind[t] == PROPOSE &&
            !has(now.passed[r], t) && ack_in(now.app[r], t, r) < 0)
            return t;
    }
    return -1;
}

static int can_add(int r)
{
    return !has(FOUNDERS, NEWCOMER) && r != NEWCOMER && can_write(r, r) &&
           written(ROSTER_ADD, ROSTER_ADD) == 0;
}

static void copy(int to, int from)
{
    now.app[to] = now.app[from];
    now.sib[to] = now.sib[from];
    now.base[to] = now.base[from];
    now.floor_time[to] = now.floor_time[from];
    now.passed[to] = now.passed[from];
}

static int can_adopt(int from)
{
    int add = -1;

    for (int d = 0; d < DOTS; d++)
        add = now.kind[d] == ROSTER_ADD ? d : add;
    return !is_live(NEWCOMER) && add >= 0 && origin_of(add) == from;
}

static int can_join(int to, int from)
{
    return to != from && is_live(to) && is_live(from) &&
           !within(now.app[from], now.app[to]);
}

static void join(int to, int from)
{
    int a = now.sib[to];
    int b = now.sib[from];

    now.sib[to] = (a & b) | (a & ~now.app[from]) | (b & ~now.app[to]);
#ifdef PLANT_JOIN_KEEPS_SEEN
    now.sib[to] = a | b;
#endif
    now.app[to] |= now.app[from];
#ifndef PLANT_CUT_WITHOUT_FLOOR
    now.base[to] |= now.base[from];
    now.passed[to] |= now.passed[from];
    if (now.floor_time[from] > now.floor_time[to])
        now.floor_time[to] = now.floor_time[from];
#else
    now.passed[to] |= now.passed[from];
#endif
    settle(to);
}

/* ---- properties ---- */

static int holds_equal_vectors(void)
{
    for (int p = 0; p < REPLICAS; p++) {
        for (int q = 0; q < p; q++) {
            if (now.app[p] == now.app[q] &&
                (now.sib[p] != now.sib[q] || now.base[p] != now.base[q] ||
                 now.floor_time[p] != now.floor_time[q] ||
                 now.passed[p] != now.passed[q]))
                return 0;
        }
    }
    return 1;
}

/* Siblings by true causal past, never collapsed: what nothing later names. */
static int ideal(int set, int key)
{
    int ret = on_key(set, key);

    for (int d = 0; d < DOTS; d++) {
        if (has(set, d) && is_data(d) && now.arg[d] == key)
            ret &= ~now.dep[d] & ~(now.kind[d] == SET_REMOVE ? bit(d) : 0);
    }
    return ret;
}

static int holds_fold(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int key = 0; key < KEYS; key++) {
            int held = on_key(now.sib[r], key);
            int wanted = ideal(now.app[r], key);
            int at = now.floor_time[r];

            if (resolve(held, key, at) != resolve(wanted, key, at) ||
                resolve(held, key, 255) != resolve(wanted, key, 255))
                return 0;
        }
    }
    return 1;
}

static int holds_revoke_stays(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        if (!within(revokes_in(ideal(now.app[r], 0)), now.sib[r]))
            return 0;
    }
    return 1;
}

static int holds_covers(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int m = 0; m < REPLICAS; m++) {
            if (has(members(now.app[r]), m) && is_live(m) &&
                !within(now.base[r], now.app[m]))
                return 0;
        }
    }
    return 1;
}

static int holds_waiting(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        if (is_live(r) && (now.app[r] != exists() ||
                           count_kind(now.passed[r], PROPOSE) !=
                               written(PROPOSE, PROPOSE)))
            return 0;
    }
    return 1;
}
}

#define DELIVER(r, o) STEP((can_deliver)(r, o), deliver(r, o))
#define DELIVERS(r) EACH_ORIGIN(DELIVER, r)
#define DATUM(r, which) STEP((can_data)(r, which), data(r, which))
#if defined(EXPIRY)
#define DATA(r) DATUM(r, PUT) DATUM(r, EXPIRING)
#elif defined(DELS)
#define DATA(r) DATUM(r, PUT) DATUM(r, DEL)
#elif defined(MIXED)
#define DATA(r) DATUM(r, PUT) DATUM(r, DEL) DATUM(r, SET_ADD) \
    DATUM(r, SET_REMOVE)
#elif defined(REVOKES)
#define DATA(r) DATUM(r, PUT) DATUM(r, REVOKE)
#else
#define DATA(r) DATUM(r, SET_ADD) DATUM(r, SET_REMOVE)
#endif
#define CONTROL(r) \
    STEP((can_propose)(r), apply(r, new_event(r, r, PROPOSE, 0))) \
    STEP((due_ack)(r) >= 0, apply(r, new_event(r, r, ACK, due_ack(r)))) \
    STEP((can_add)(r), apply(r, new_event(r, r, ROSTER_ADD, NEWCOMER))) \
    STEP((can_adopt)(r), copy(NEWCOMER, r))
#define JOIN(to, from) STEP((can_join)(to, from), join(to, from))
#define JOINS(r) EACH_OTHER(JOIN, r)

WORLD(settle(0),
    EACH_REPLICA(DELIVERS) EACH_REPLICA(DATA) EACH_REPLICA(CONTROL)
    EACH_REPLICA(JOINS),
    INVARIANT(equal_vectors, (holds_equal_vectors)());
    INVARIANT(fold, (holds_fold)());
    INVARIANT(revoke_stays, (holds_revoke_stays)());
    INVARIANT(covers, (holds_covers)());,
    INVARIANT(waiting, (holds_waiting)()))
