/* Held events under fences: an evictee has dated an event too far ahead; one
 * node, whose clock is ahead too, has built on it before it is fenced.
 *
 * Four nodes (with YEARS the first three): 0 is evicted, 2 has the bad clock, 1
 * and 3 hold what is dated ahead and all that comes after it. Their clocks catch
 * up; or, with YEARS, do not: then 2 is told that its events are held, gives its
 * incarnation up and comes back with a cut of 1 as incarnation 4. */
#define REPLICAS 4
#define ORIGINS 5
#define SEQS 3
#ifdef YEARS
#define FOUNDERS 7 /* without 3 */
#else
#define FOUNDERS 15
#endif
#define AGAIN 4
#define BAD 2
#include "common.pml"
#include "fences.pml"

#define AHEAD 1 /* the dots that are dated ahead: the evictee's first */

byte caught[REPLICAS]; /* its clock has caught up */
byte retired;

c_code {
static void start(void)
{
    for (int r = 0; r < REPLICAS; r++)
        now.self[r] = has(FOUNDERS, r) ? r : NOBODY;
    now.caught[0] = now.caught[BAD] = 1;
#ifdef YEARS
    /* What comes first is the other run's business. */
    write_own(0, DATA, 0);
    apply(BAD, dot_of(0, 0));
    now.heard[BAD] = 1;
    write_own(BAD, FENCE, 1);
    now.heard[1] = now.heard[3] = 1;
#endif
}

static int runs(int r)
{
    return now.self[r] != NOBODY;
}

/* What the bad clock's node hears before it gives up goes with its state. */
static int listens(int r)
{
#ifdef YEARS
    if (now.self[r] == BAD)
        return 0;
#endif
    return r != 0 && runs(r);
}

static int holds_back(int r, int set)
{
    return (set & AHEAD) && !now.caught[r];
}

static int can_deliver(int r, int origin)
{
    int d = next_dot(r, origin);

    if (!listens(r) || !ready(r, origin) || !admits_event(r, origin))
        return 0;
#ifdef PLANT_KEEP_HELD
    if (r != BAD && ((now.dep[d] | bit(d)) & AHEAD))
        return 0; /* dropped, not held */
#endif
    return !holds_back(r, now.dep[d] | bit(d));
}

static int can_catch_up(int r)
{
#ifdef YEARS
    return 0;
#endif
    return !now.caught[r];
}

static int can_hear(int r, int name)
{
    return listens(r) && !has(now.heard[r], name) &&
           (name == 0 || has(now.retired, name));
}

static int can_join(int r, int q)
{
#ifdef NO_JOINS
    return 0;
#endif
    if (r == q || r == 0 || !runs(r) || !runs(q) ||
        within(now.app[q], now.app[r]) || !admits_cut(r, q))
        return 0;
#ifdef PLANT_HOLD_CUTS
    return 1;
#endif
#ifdef PLANT_KEEP_HELD
    if (now.app[q] & AHEAD)
        return 0;
#endif
    return !holds_back(r, now.app[q]);
}

/* ---- a node that is told that its events are held ---- */

static int can_remint(int r)
{
#if !defined(YEARS) || defined(PLANT_REMINT)
    return 0;
#endif
    return r == BAD && now.self[r] == BAD && (now.app[r] & AHEAD);
}

static int can_add(int r)
{
    return r == 1 && now.self[BAD] == NOBODY && can_write(r, r) &&
           written(ROSTER_ADD, ROSTER_ADD) == 0;
}

static int can_adopt(int from)
{
    int add = -1;

    for (int d = 0; d < DOTS; d++)
        add = now.kind[d] == ROSTER_ADD ? d : add;
    return add >= 0 && origin_of(add) == from && now.self[BAD] == NOBODY;
}

static void adopt(int from)
{
    int had = now.app[BAD];

    replace(BAD, from);
#ifdef PLANT_LEAVE_STATE
    now.app[BAD] |= had;
#endif
    now.heard[BAD] = 0;
    now.self[BAD] = AGAIN;
    now.caught[BAD] = 0; /* it has repaired its clock */
    settle(BAD);
}

/* ---- properties ---- */

static int is_core(int r)
{
    return r == 1 || r == 3 || (r == BAD && runs(r) &&
                                !has(now.retired, now.self[r]));
}

static int holds_hlc_order(void)
{
    return !(holds_back(1, now.app[1]) || holds_back(3, now.app[3]));
}

static int holds_overrun(void)
{
    return !(is_beyond(1, 3) || is_beyond(3, 1));
}

static int holds_waiting(void)
{
    for (int r = 1; r < REPLICAS && has(FOUNDERS, r); r++) {
        if (!is_core(r) || now.app[r] != now.app[1] || evictees(r) ||
            !within(1 | now.retired, now.gone[r]))
            return 0;
    }
    return 1;
}
}

#define STEPS(r) \
    STEP(r == 0 && (seq_in)(now.app[0], 0) == 0, write_own(r, DATA, 0)) \
    STEP((due_fence)(r), write_own(r, FENCE, due_fence(r))) \
    STEP((can_catch_up)(r), now.caught[r] = 1) \
    STEP((can_hear)(r, 0), now.heard[r] |= 1) \
    STEP((can_hear)(r, BAD), now.heard[r] |= bit(BAD)) \
    STEP((can_remint)(r), now.retired |= bit(BAD); now.self[r] = NOBODY) \
    STEP((can_add)(r), write_own(r, ROSTER_ADD, AGAIN)) \
    STEP((can_adopt)(r), adopt(r))
#define JOIN(r, q) STEP((can_join)(r, q), join(r, q))
#define JOINS(r) EACH_OTHER(JOIN, r)

WORLD(start(),
    EACH_REPLICA(DELIVERS) EACH_REPLICA(STEPS) EACH_REPLICA(JOINS),
    INVARIANT(equal_vectors, (holds_equal_vectors)());
    INVARIANT(overrun, (holds_overrun)());
    INVARIANT(hlc_order, (holds_hlc_order)());,
    INVARIANT(waiting, (holds_waiting)()))
