/* What all models share: events as they stand in a log, and their delivery.
 *
 * An event is a dot (origin, seq) with a kind, an argument, a stamp and the set
 * of dots that its origin had applied. Sets of dots are bit masks; the set of
 * applied dots of a replica is its version vector, because events of an origin
 * apply in order. Nothing is lost for ever and nothing has an order but the
 * causal one: any event ever written may reach anyone at any time, so channels
 * would add nothing. Every step only adds, so that every run ends; what holds
 * in the last state of each run is what holds at quiescence.
 *
 * Before this file is included: REPLICAS, SEQS (events of one origin at most).
 * Incarnation i is written by replica i, unless the model says otherwise. */
#ifndef ORIGINS
#define ORIGINS REPLICAS
#endif
#define DOTS (ORIGINS * SEQS)
#define NOBODY 255

/* One line for each property; the names are those of sim/check.h (with _ for -)
 * and of crdt/standing.h. A violation is reported as "assertion violated
 * NAME". */
#define INVARIANT(name, holds) \
    if :: c_expr { holds } :: else -> c_code { tell(); STORY }; assert(name) fi
#ifndef STORY
#define STORY /* more for a person, by the model */
#endif
hidden byte equal_vectors; /* equal version vectors show equal state */
hidden byte fold;          /* state is the fold of the events applied */
hidden byte revoke_stays;  /* what is revoked stays so */
hidden byte acknowledged;  /* an acknowledged write is not undone or lost */
hidden byte transaction_whole;
hidden byte one_event_per_dot;
hidden byte causal_order;
hidden byte hlc_order; /* what is held never enters the clock */
hidden byte waiting;   /* nothing waits for ever */
hidden byte covers;    /* standing_covers: everyone has what is below a floor */
hidden byte overrun;   /* nobody who stays holds anything beyond a seal */
hidden byte sealed;    /* standing_is_sealed: one last seq for each evictee */

byte kind[DOTS];  /* 0: not written yet */
byte arg[DOTS];
byte stamp[DOTS]; /* a Lamport clock in place of the hybrid one */
int dep[DOTS];    /* what its origin had applied */
int app[REPLICAS];

c_code {
/* \#include is of no use here: the verifier has what it needs. */
static int bit(int d) { return 1 << d; }
static int has(int set, int d) { return set >> d & 1; }
static int within(int a, int b) { return (a & ~b) == 0; }
static int dot_of(int origin, int index) { return origin * SEQS + index; }
static int origin_of(int d) { return d / SEQS; }

static int own_events(int origin)
{
    return ((1 << SEQS) - 1) << origin * SEQS;
}

/* How many events of origin are in a set: its entry of the version vector. */
static int seq_in(int set, int origin)
{
    int seq = 0;

    while (seq < SEQS && has(set, dot_of(origin, seq)))
        seq++;
    return seq;
}

static int count_kind(int set, int which)
{
    int count = 0;

    for (int d = 0; d < DOTS; d++)
        count += has(set, d) && now.kind[d] == which;
    return count;
}

static int exists(void)
{
    int set = 0;

    for (int d = 0; d < DOTS; d++)
        set |= now.kind[d] ? bit(d) : 0;
    return set;
}

/* Events of those kinds that anybody has written: budgets. */
static int written(int from, int to)
{
    int count = 0;

    for (int d = 0; d < DOTS; d++)
        count += now.kind[d] >= from && now.kind[d] <= to;
    return count;
}

/* The next dot of origin at replica r, or -1 when it is used up. */
static int next_dot(int r, int origin)
{
    int seq = seq_in(now.app[r], origin);

    return seq < SEQS ? dot_of(origin, seq) : -1;
}

static int can_write(int r, int origin)
{
    int d = next_dot(r, origin);

    return d >= 0 && now.kind[d] == 0;
}

static int clock_of(int set)
{
    int last = 0;

    for (int d = 0; d < DOTS; d++) {
        if (has(set, d) && now.stamp[d] > last)
            last = now.stamp[d];
    }
    return last;
}

static int new_event(int r, int origin, int which, int argument)
{
    int d = next_dot(r, origin);

    now.kind[d] = which;
    now.arg[d] = argument;
    now.dep[d] = now.app[r];
    now.stamp[d] = clock_of(now.app[r]) + 1;
    return d;
}

/* For a person: who wrote what, and who has it. Origins are letters. */
static void tell_set(int set)
{
    for (int d = 0; d < DOTS; d++) {
        if (has(set, d))
            printf(" %c%d", 'a' + origin_of(d), 1 + d % SEQS);
    }
    printf("\n");
}

static void tell(void)
{
    for (int d = 0; d < DOTS; d++) {
        if (now.kind[d] == 0)
            continue;
        printf("  %c%d: kind %d, arg %d, stamp %d, after", 'a' + origin_of(d),
               1 + d % SEQS, now.kind[d], now.arg[d], now.stamp[d]);
        tell_set(now.dep[d]);
    }
    for (int r = 0; r < REPLICAS; r++) {
        printf("  replica %c has", 'A' + r);
        tell_set(now.app[r]);
    }
}

/* The next event of origin exists, is new to r, and all that it depends on is
 * there. */
static int ready(int r, int origin)
{
    int d = next_dot(r, origin);

    return d >= 0 && now.kind[d] != 0 && within(now.dep[d], now.app[r]);
}

/* The greater of two events, as registers resolve. */
static int later(int a, int b)
{
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    if (now.stamp[a] != now.stamp[b])
        return now.stamp[a] > now.stamp[b] ? a : b;
    return a > b ? a : b;
}
}

/* A step: a question and a deed, both functions of the model. */
#define STEP(can, do) :: c_expr { can } -> c_code { do; };

#if REPLICAS == 2
#define EACH_REPLICA(X) X(0) X(1)
#elif REPLICAS == 3
#define EACH_REPLICA(X) X(0) X(1) X(2)
#else
#define EACH_REPLICA(X) X(0) X(1) X(2) X(3)
#endif
#if ORIGINS == 2
#define EACH_ORIGIN(X, r) X(r, 0) X(r, 1)
#elif ORIGINS == 3
#define EACH_ORIGIN(X, r) X(r, 0) X(r, 1) X(r, 2)
#elif ORIGINS == 4
#define EACH_ORIGIN(X, r) X(r, 0) X(r, 1) X(r, 2) X(r, 3)
#elif ORIGINS == 5
#define EACH_ORIGIN(X, r) X(r, 0) X(r, 1) X(r, 2) X(r, 3) X(r, 4)
#else
#define EACH_ORIGIN(X, r) X(r, 0) X(r, 1) X(r, 2) X(r, 3) X(r, 4) X(r, 5)
#endif
#define EACH_OTHER(X, r) EACH_OTHER_(X, r)
#if REPLICAS == 2
#define EACH_OTHER_(X, r) X(r, 0) X(r, 1)
#elif REPLICAS == 3
#define EACH_OTHER_(X, r) X(r, 0) X(r, 1) X(r, 2)
#else
#define EACH_OTHER_(X, r) X(r, 0) X(r, 1) X(r, 2) X(r, 3)
#endif

/* The whole of every model: any step at any time, the properties after each,
 * and those of quiescence when no step is left. */
#define WORLD(init, steps, always, finally) \
active proctype world() \
{ \
    c_code { init; }; \
again: \
    atomic { \
        if \
        steps \
        :: else -> goto rest \
        fi; \
        always \
        goto again \
    } \
rest: \
    atomic { finally } \
}
