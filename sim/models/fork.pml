/* Forks: an evicted incarnation has signed two events with one seq, and those
 * that stay have built on different ones.
 *
 * Three nodes stay, FORKED incarnations (1 or 2) are evicted by one order. For
 * each of these a node has applied nothing, the branch with the lower hash (1)
 * or the other (2). Its fence says which. A fence that covers the branch that
 * one lacks can never be applied there, but it is announced all the same, and
 * that decides. (Of what a fence written anew covers everybody hears at once
 * who had heard of the earlier one.) The two incarnations stand for the keys here. */
#define REPLICAS 3
#define ORIGINS 3
#define SEQS 1
#ifndef FORKED
#define FORKED 1
#endif
#if FORKED == 1
#define LIVES_MAX 4 /* more than are ever needed: else something waits */
#else
#define LIVES_MAX 3 /* runs with more returns of one node are not followed */
#endif
#define STORY tell_more();
#include "common.pml"

byte branch[REPLICAS * FORKED]; /* applied: 0 none, 1 lower, 2 higher */
byte cover[REPLICAS * FORKED];  /* of the fence of who runs there now */
byte fenced[REPLICAS];
byte current; /* whose fences name everybody who is on the way out; a mask */
byte knows[REPLICAS]; /* whose fences are announced there; a mask */
byte done[REPLICAS];  /* has sealed */
byte lives[REPLICAS]; /* times that the node has returned */

c_code {
static int at(int r, int k)
{
    return r * FORKED + k;
}

/* Whether the branches that r holds stand, by the fences that it knows. Forked
 * incarnations are gone through in order, and who loses one has no say about
 * those that follow: decided each by itself, everybody may lose some. */
static int loses_by(int r, int voices)
{
#ifdef PLANT_LOWER_STANDS
    return 0;
#endif
    for (int k = 0; k < FORKED; k++) {
        int lowest = 3;

        for (int q = 0; q < REPLICAS; q++) {
            if (has(voices, q) && now.cover[at(q, k)] &&
                now.cover[at(q, k)] < lowest)
                lowest = now.cover[at(q, k)];
        }
        if (now.branch[at(r, k)] > lowest)
            return 1;
#ifndef PLANT_ONE_AFTER_ANOTHER
        for (int q = 0; q < REPLICAS; q++) {
            if (now.cover[at(q, k)] > lowest)
                voices &= ~bit(q);
        }
#endif
    }
    return 0;
}

static int loses(int r)
{
    return loses_by(r, now.knows[r] | (now.fenced[r] ? bit(r) : 0));
}

static int can_apply(int r, int k, int b)
{
    if (now.branch[at(r, k)] || now.done[r])
        return 0;
#ifdef PLANT_OWN_FENCE
    return 1;
#endif
    if (!now.fenced[r])
        return 1;
    for (int q = 0; q < REPLICAS; q++) {
        if (q != r && has(now.knows[r], q) && now.cover[at(q, k)] == b)
            return 1;
    }
    return 0;
}

static void let_in(int r, int k, int b)
{
    now.branch[at(r, k)] = b;
#ifndef PLANT_FENCE_GROWN
    now.current &= ~bit(r); /* its fence has to say so */
#endif
}

static void fence(int r)
{
    now.fenced[r] = 1;
    now.current |= bit(r);
    for (int k = 0; k < FORKED; k++)
        now.cover[at(r, k)] = now.branch[at(r, k)];
}

/* The fence of q can be applied at r: what it covers is there. */
static int fits(int r, int q)
{
    for (int k = 0; k < FORKED; k++) {
        if (now.cover[at(q, k)] &&
            now.cover[at(q, k)] != now.branch[at(r, k)])
            return 0;
    }
    return 1;
}

static int can_seal(int r)
{
    if (now.done[r] || !now.fenced[r] || loses(r))
        return 0;
#ifdef PLANT_ALL_FENCES
    return 1;
#endif
    for (int q = 0; q < REPLICAS; q++) {
        if (!has(now.current, q) ||
            (q != r && (!has(now.knows[r], q) || !fits(r, q))))
            return 0;
    }
    return 1;
}

/* r returns: a cut of q in place of its state, and a further incarnation that
 * q sponsors and that takes over its fence. What the old one said is void. It
 * forgets no announced fence: a cut that loses by what r itself knows is none
 * to come back to. */
static int can_return(int r, int q)
{
    int both = (now.knows[r] | now.knows[q] | bit(q)) & ~bit(r);

#ifdef PLANT_FORGET_NOTHING
    both = now.knows[q] | bit(q);
#endif
    return r != q && loses(r) && !loses(q) && now.fenced[q] &&
           !loses_by(q, both) && now.lives[r] < LIVES_MAX;
}

static void come_back(int r, int q)
{
    for (int k = 0; k < FORKED; k++) {
        now.branch[at(r, k)] = now.branch[at(q, k)];
        now.cover[at(r, k)] = now.cover[at(q, k)];
    }
    for (int p = 0; p < REPLICAS; p++)
        now.knows[p] &= ~bit(r);
#ifdef PLANT_FORGET_NOTHING
    now.knows[r] = 0;
#endif
    now.knows[r] = (now.knows[r] | now.knows[q] | bit(q)) & ~bit(r);
    now.fenced[r] = 1;
#ifndef PLANT_FENCE_ANEW
    now.current = 0; /* all name the one given up, in a fence written anew */
#endif
    now.done[r] = now.done[q];
    now.lives[r]++;
}

static void tell_more(void)
{
    for (int r = 0; r < REPLICAS * FORKED; r++) {
        int q = r / FORKED;

        printf("  %c: branch %d of %d, fence %d covers %d, knows %d, done %d, "
               "lives %d\n", 'A' + q, now.branch[r], r % FORKED,
               now.fenced[q], now.cover[r], now.knows[q], now.done[q],
               now.lives[q]);
    }
}

/* ---- properties ---- */

static int holds_one_event_per_dot(void)
{
    for (int r = 0; r < REPLICAS * REPLICAS * FORKED; r++) {
        int p = r / FORKED % REPLICAS;
        int q = r / FORKED / REPLICAS;

        if (now.done[p] && now.done[q] &&
            now.branch[at(p, r % FORKED)] != now.branch[at(q, r % FORKED)])
            return 0;
    }
    return 1;
}

/* Who has sealed never has to undo anything. */
static int holds_overrun(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        if (now.done[r] && loses(r))
            return 0;
    }
    return 1;
}

static int holds_waiting(void)
{
    int ret = 1;

    for (int r = 0; r < REPLICAS; r++) {
        if (FORKED == 2 && now.lives[r] == LIVES_MAX)
            return 1;
        ret = ret && now.done[r];
    }
    return ret;
}
}

#define FORK(r, k) \
    STEP((can_apply)(r, k, 1), let_in(r, k, 1)) \
    STEP((can_apply)(r, k, 2), let_in(r, k, 2))
#if FORKED == 2
#define FORKS(r) FORK(r, 0) FORK(r, 1)
#else
#define FORKS(r) FORK(r, 0)
#endif
#define STEPS(r) FORKS(r) \
    STEP((has)(now.current, r) == 0, fence(r)) \
    STEP((can_seal)(r), now.done[r] = 1)
#define LEARN(r, q) \
    STEP(r != q && now.fenced[q] && (has)(now.knows[r], q) == 0, \
        now.knows[r] |= bit(q)) \
    STEP((can_return)(r, q), come_back(r, q))
#define LEARNS(r) EACH_OTHER(LEARN, r)

WORLD(now.kind[0] = 0,
    EACH_REPLICA(STEPS) EACH_REPLICA(LEARNS),
    INVARIANT(one_event_per_dot, (holds_one_event_per_dot)());
    INVARIANT(overrun, (holds_overrun)());,
    INVARIANT(waiting, (holds_waiting)()))
