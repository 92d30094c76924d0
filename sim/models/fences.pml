/* Fences, seals and the floor as crdt/standing.h has them, for the models that
 * include this file after common.pml. Each function names the one that it
 * stands for. Every set of incarnations is a mask of origins. */
#define DATA 1
#define FENCE 2      /* arg: whom it names; covers what is in dep */
#define ROSTER_ADD 3 /* arg: whom */
#define PROPOSE 4    /* of dep */
#define ACK 5        /* arg: the proposal */

byte self[REPLICAS];  /* the incarnation that runs there; NOBODY: none yet */
byte heard[REPLICAS]; /* named by orders and retirements that it has heard */
byte gone[REPLICAS];  /* sealed */
int lasts[REPLICAS];  /* events at or below the seals of those */
int base[REPLICAS];   /* the floor */
byte floor_time[REPLICAS];
int passed[REPLICAS];

c_code {
static int is_fence(int set, int d)
{
    return has(set, d) && now.kind[d] == FENCE;
}

/* An add counts unless its sponsor has fenced the newcomer (add_reason). */
static int fenced(int set, int w, int x);

static int is_add(int set, int d)
{
    return has(set, d) && now.kind[d] == ROSTER_ADD &&
           !fenced(now.dep[d], origin_of(d), now.arg[d]);
}

/* standing_fenced: 0, or 1 + the greatest seq of x that w has covered. An add
 * takes over what its sponsor had fenced before. */
static int fenced(int set, int w, int x)
{
    int ret = 0;

    for (int d = 0; d < DOTS; d++) {
        int seq = 0;

        if (is_fence(set, d) && origin_of(d) == w && has(now.arg[d], x))
#ifdef PLANT_COVER_ALL
            seq = 1;
#else
            seq = 1 + seq_in(now.dep[d], x);
#endif
#ifndef PLANT_INHERIT_FENCE
        else if (has(set, d) && now.kind[d] == ROSTER_ADD &&
                 now.arg[d] == w && origin_of(d) != w)
            seq = fenced(now.dep[d], origin_of(d), x);
#endif
        ret = seq > ret ? seq : ret;
    }
    return ret;
}

static int members(int r)
{
    int ret = FOUNDERS;

    for (int d = 0; d < DOTS; d++)
        ret |= is_add(now.app[r], d) ? bit(now.arg[d]) : 0;
    return ret & ~now.gone[r];
}

static int named_by_fences(int r)
{
    int ret = 0;
    int who = members(r);

    for (int w = 0; w < ORIGINS; w++) {
        for (int x = 0; x < ORIGINS && has(who, w); x++)
            ret |= fenced(now.app[r], w, x) ? bit(x) : 0;
    }
    return ret & ~now.gone[r];
}

/* standing_is_evictee */
static int evictees(int r)
{
    return (named_by_fences(r) | now.heard[r]) & ~now.gone[r];
}

static int stays(int r, int i)
{
    return has(members(r) & ~evictees(r), i);
}

/* standing_judge: the next event of x, at r. Whether a fence is announced is
 * left open: any that is written may be. */
static int admits_event(int r, int x)
{
    int d = next_dot(r, x);
    int seq = 1 + seq_in(now.app[r], x);
    int own;

    if (has(now.gone[r], x))
        return has(now.lasts[r], d);
    if (!has(members(r), x))
        return 0;
    own = fenced(now.app[r], now.self[r], x);
#ifdef PLANT_OWN_FENCE
    return 1;
#endif
    if (!own || seq < own)
        return 1;
    for (int f = 0; f < DOTS; f++) {
        if (now.kind[f] == FENCE && origin_of(f) != now.self[r] &&
            has(now.arg[f], x) && seq <= seq_in(now.dep[f], x) &&
            stays(r, origin_of(f)))
            return 1;
    }
    return 0;
}

/* ---- what follows from all fences together: standing_settle.c ---- */

/* shrink: takes out whom some member outside has not fenced. */
static int to_seal(int r)
{
    int in = named_by_fences(r);
    int all = members(r);
    int before = 0;

    while (in != before) {
        before = in;
        for (int m = 0; m < ORIGINS; m++) {
            for (int x = 0; x < ORIGINS; x++) {
                if (!has(all & ~in, m) || !has(in, x))
                    continue;
#ifdef PLANT_ALL_AT_ONCE
                /* One by one: of those that do not stay nobody is asked. */
                if (has(evictees(r), m))
                    continue;
#endif
                if (!fenced(now.app[r], m, x))
                    in &= ~bit(x);
            }
        }
    }
    return all & ~in ? in : 0;
}

static void seal(int r, int in)
{
    int outside = members(r) & ~in;

    for (int x = 0; x < ORIGINS; x++) {
        int last = 0;

        for (int m = 0; m < ORIGINS && has(in, x); m++) {
            int seq = has(outside, m) ? fenced(now.app[r], m, x) : 0;

#ifdef PLANT_LAST_IS_GREATEST
            last = seq && (!last || seq < last) ? seq : last;
#else
            last = seq > last ? seq : last;
#endif
        }
        for (int k = 0; k + 1 < last; k++)
            now.lasts[r] |= bit(dot_of(x, k));
    }
    now.gone[r] |= in;
}

/* The dot by which m has acknowledged t, as far as set tells; or -1. */
static int ack_in(int set, int t, int m)
{
    int ret = -1;

    if (origin_of(t) == m)
        return t;
    for (int d = 0; d < DOTS; d++) {
        if (has(set, d) && now.kind[d] == ACK && now.arg[d] == t &&
            origin_of(d) == m)
            return d;
        if (has(set, d) && now.kind[d] == ROSTER_ADD && now.arg[d] == m &&
            has(now.dep[d], t) && ack_in(now.dep[d], t, origin_of(d)) >= 0)
            ret = d;
    }
    return ret;
}

static void pass(int r, int t)
{
    int least = 255;

    for (int m = 0; m < ORIGINS; m++) {
        int ack = ack_in(now.app[r], t, m);

#ifdef PLANT_EVICTEES_ACKS
        ack = has(members(r), m) ? ack : -1;
#endif
        least = ack >= 0 && now.stamp[ack] < least ? now.stamp[ack] : least;
    }
    now.passed[r] |= bit(t);
    now.base[r] |= now.dep[t];
    if (least > now.floor_time[r])
        now.floor_time[r] = least;
}

static int has_passed(int r, int t)
{
    int who = members(r);

#ifdef PLANT_ROSTER_OUTSIDE_LOG
    who &= ~now.heard[r]; /* an order counts as soon as it is heard */
#endif
    for (int m = 0; m < ORIGINS; m++) {
        if (has(who, m) && ack_in(now.app[r], t, m) < 0)
            return 0;
    }
    return 1;
}

/* standing_due */
static void settle(int r)
{
    int in;

    while ((in = to_seal(r)) != 0)
        seal(r, in);
    for (int t = 0; t < DOTS; t++) {
        if (has(now.app[r], t) && now.kind[t] == PROPOSE &&
            !has(now.passed[r], t) && has_passed(r, t))
            pass(r, t);
    }
}

static void apply(int r, int d)
{
    now.app[r] |= bit(d);
    settle(r);
}

/* ---- duties: standing_duty.c ---- */

/* Whom the fence names that self has to write; 0: none is due. */
static int due_fence(int r)
{
    int open = evictees(r);
    int due = 0;

    if (now.self[r] == NOBODY || !stays(r, now.self[r]) ||
        !can_write(r, now.self[r]))
        return 0;
    for (int x = 0; x < ORIGINS; x++) {
        if (has(open, x) && !fenced(now.app[r], now.self[r], x))
            due = open;
    }
#ifdef PLANT_FENCE_ANEW
    for (int x = 0; x < ORIGINS; x++)
        due = fenced(now.app[r], now.self[r], x) ? 0 : due;
#endif
#ifndef PLANT_NAME_SEALED
    /* Whoever is sealed here may be open elsewhere, by fences of somebody who
     * is on the way out himself by now. */
    due |= due ? now.gone[r] : 0;
#endif
    return due;
}

static int due_ack(int r)
{
    int t = 0;

    if (now.self[r] == NOBODY || !has(members(r), now.self[r]) ||
        !can_write(r, now.self[r]))
        return -1;
    while (t < DOTS &&
           (!has(now.app[r], t) || now.kind[t] != PROPOSE ||
            has(now.passed[r], t) || ack_in(now.app[r], t, now.self[r]) >= 0))
        t++;
    return t < DOTS ? t : -1;
}

static void write_own(int r, int which, int argument)
{
    apply(r, new_event(r, now.self[r], which, argument));
}

/* ---- cuts ---- */

/* Something at r lies beyond a seal that q knows. */
static int is_beyond(int r, int q)
{
    for (int d = 0; d < DOTS; d++) {
        if (has(now.app[r], d) && has(now.gone[q], origin_of(d)) &&
            !has(now.lasts[q], d))
            return 1;
    }
    return 0;
}

/* let_in: how much of x the fences of others let in, by what the cut knows. A
 * seal in it proves nothing: whoever wrote its fences may be a member only by
 * an event beyond the true seal. */
static int let_in(int r, int q, int x)
{
    int ret = 0;

#ifdef PLANT_TRUST_NO_SEAL
    if (has(now.gone[q], x))
        return seq_in(now.lasts[q], x);
#endif
    for (int m = 0; m < ORIGINS; m++) {
        int seq = fenced(now.app[q], m, x);

        if (m == now.self[r] || !has(members(r), m) ||
            has(evictees(r) | evictees(q), m))
            continue;
        ret = seq - 1 > ret ? seq - 1 : ret;
    }
    for (int f = 0; f < DOTS; f++) {
        int seq = seq_in(now.dep[f], x);

        if (now.kind[f] == FENCE && has(now.arg[f], x) &&
            origin_of(f) != now.self[r] && stays(r, origin_of(f)))
            ret = seq > ret ? seq : ret;
    }
    return ret;
}

/* standing_admits: r is to join the cut of q. */
static int admits_cut(int r, int q)
{
    if (is_beyond(r, q) || is_beyond(q, r))
        return 0;
#ifdef PLANT_ADMIT_BY_FENCES
    return 1;
#endif
    for (int x = 0; x < ORIGINS; x++) {
        if (seq_in(now.app[q], x) > seq_in(now.app[r], x) &&
            fenced(now.app[r], now.self[r], x) &&
            seq_in(now.app[q], x) > let_in(r, q, x))
            return 0;
    }
    return 1;
}

static void join(int r, int q)
{
    now.app[r] |= now.app[q];
    now.gone[r] |= now.gone[q];
    now.lasts[r] |= now.lasts[q];
    now.base[r] |= now.base[q];
    now.passed[r] |= now.passed[q];
    if (now.floor_time[q] > now.floor_time[r])
        now.floor_time[r] = now.floor_time[q];
    settle(r);
}

/* A cut in place of what was there. */
static void replace(int r, int q)
{
    now.app[r] = now.app[q];
    now.gone[r] = now.gone[q];
    now.lasts[r] = now.lasts[q];
    now.base[r] = now.base[q];
    now.passed[r] = now.passed[q];
    now.floor_time[r] = now.floor_time[q];
}

/* ---- properties ---- */

static int holds_equal_vectors(void)
{
    for (int p = 0; p < REPLICAS; p++) {
        for (int q = 0; q < p; q++) {
            if (now.app[p] == now.app[q] &&
                (now.gone[p] != now.gone[q] || now.lasts[p] != now.lasts[q] ||
                 now.base[p] != now.base[q] ||
                 now.floor_time[p] != now.floor_time[q] ||
                 now.passed[p] != now.passed[q] ||
                 members(p) != members(q)))
                return 0;
        }
    }
    return 1;
}
}

#define DELIVER(r, o) \
    STEP((can_deliver)(r, o), apply(r, next_dot(r, o)))
#define DELIVERS(r) EACH_ORIGIN(DELIVER, r)
