/* Generations: two restores of one manifest with one number, the next that
 * names which of them stands, and old nodes that live on.
 *
 * Nodes 1 and 2 lose their disks and restore the manifest, each as number 1
 * with an order of its own; number 2 is made once somebody has seen both. A
 * node that meets a greater number takes a cut, and writes again whatever the
 * cut lacks. Each node writes at most once in each generation: something new, 3
 * (with ONE_RESTORE 1 too) in the old one and the founders in their own; else only what it has to
 * write again. An operation keeps the name of the event that first had it, so
 * that a set of operations is a mask of events. Node 3's first one puts a key
 * that with ONE_RESTORE the founder of LEFT deletes; all others are about
 * another key, where nothing loses. */
#define REPLICAS 4
#define ORIGINS 4 /* here: generations */
#define SEQS 4    /* here: nodes */
#include "common.pml"

#define OLD 0
#define LEFT 1 /* founded by node 1 */
#define RIGHT 2 /* by node 2 */
#define NEXT 3
#define THE_PUT 3 /* the old event of node 3 */
#define PLAIN 1
#define DELETING 2 /* plain, and deletes the key */
#ifdef ONE_RESTORE
#define FIRST_OF_LEFT DELETING
#else
#define FIRST_OF_LEFT PLAIN
#endif

byte gen[REPLICAS];
int ops[DOTS];        /* operations of an event */
int start_ops[ORIGINS]; /* of the state that a generation was made from */
byte start_deleted[ORIGINS];
int unsent[REPLICAS];
int parked;
byte made;    /* generations, a mask */
byte alarmed; /* somebody has seen two hashes with one number */
byte saved;   /* there is a manifest */
int owed;     /* operations that somebody had and no disk has lost */
byte collapsed[REPLICAS]; /* the tombstone went with the floor */

c_code {
static int number_of(int g)
{
    return g == OLD ? 0 : g == NEXT ? 2 : 1;
}

static int own_dot(int r)
{
    return dot_of(now.gen[r], r);
}

static int content(int r)
{
    int ret = now.start_ops[now.gen[r]];

    for (int d = 0; d < DOTS; d++)
        ret |= has(now.app[r], d) ? now.ops[d] : 0;
    return ret;
}

static int is_deleted(int r)
{
    return now.start_deleted[now.gen[r]] ||
           count_kind(now.app[r], DELETING) > 0;
}

static int everything(void)
{
    int ret = now.parked;

    for (int r = 0; r < REPLICAS; r++)
        ret |= content(r) | now.unsent[r];
    return ret;
}

static int can_write_in(int r)
{
    int fresh = now.gen[r] == OLD ? r == 3 : now.gen[r] == r;

#ifdef ONE_RESTORE
    fresh |= now.gen[r] == OLD && r == 1;
#endif

    return now.kind[own_dot(r)] == 0 && (fresh || now.unsent[r]);
}

/* A fresh operation and all that is to be written again. */
static void write_in(int r, int which)
{
    int d = own_dot(r);
    int again = now.unsent[r] & ~content(r);

#ifndef PLANT_ABSENT_KEY
    if (has(again, THE_PUT) && is_deleted(r)) {
        now.parked |= bit(THE_PUT);
        again &= ~bit(THE_PUT);
    }
#endif
    now.kind[d] = which;
    now.dep[d] = now.app[r];
    now.ops[d] = bit(d) | again;
    now.unsent[r] = 0;
    now.app[r] |= bit(d);
    now.owed |= bit(d);
}

/* Whose old state nothing depends on. */
static int is_fresh(int r)
{
#ifndef ONE_RESTORE
    if (r < 2)
        return 1;
#endif
    return r == 2;
}

/* Between nodes of one generation; events of another are nothing to it. */
static int can_take(int r, int q)
{
    if (r == q || (now.gen[r] == OLD && is_fresh(r)) || within(now.app[q], now.app[r]))
        return 0;
#ifdef PLANT_SEAL_MANIFEST
    if (now.gen[q] == OLD && now.gen[r] != OLD)
        return 1;
#endif
    return now.gen[r] == now.gen[q];
}

static void take(int r, int q)
{
    now.app[r] |= now.app[q];
    now.collapsed[r] |= now.collapsed[q];
}

static int can_save(int r)
{
    return !now.saved && r == 3 && now.gen[r] == OLD;
}

static void save(int r)
{
    now.saved = 1;
    now.start_ops[LEFT] = now.start_ops[RIGHT] = content(r);
}

/* The disk is lost, and with it what only it held. */
static int can_restore(int r)
{
#ifdef ONE_RESTORE
    if (r == 2)
        return 0;
#endif
    return now.saved && (r == 1 || r == 2) && now.gen[r] == OLD;
}

static void restore(int r)
{
    now.gen[r] = r == 1 ? LEFT : RIGHT;
    now.made |= bit(now.gen[r]);
    now.app[r] = now.unsent[r] = 0;
    now.owed &= everything();
}

/* The founder has a floor of its own as long as it is alone. */
static int can_collapse(int r)
{
    for (int q = 0; q < REPLICAS; q++) {
        if (q != r &&
            (now.gen[q] == now.gen[r] || now.kind[dot_of(now.gen[r], q)]))
            return 0;
    }
    return now.gen[r] == r && is_deleted(r) && !now.collapsed[r];
}

static int can_alarm(void)
{
#ifdef PLANT_ALARM
    return 0;
#endif
    return !now.alarmed && has(now.made, LEFT) && has(now.made, RIGHT);
}

/* The authority names the generation of r, with r for its founder. */
static int can_name(int r)
{
    return now.alarmed && !has(now.made, NEXT) &&
           number_of(now.gen[r]) == 1;
}

static void name_next(int r)
{
    now.made |= bit(NEXT);
    now.start_ops[NEXT] = content(r);
    now.start_deleted[NEXT] = is_deleted(r);
    now.gen[r] = NEXT;
    now.app[r] = 0;
}

/* r meets q: the greater number wins; one number with two hashes never mixes. */
static int can_move(int r, int q)
{
#ifdef PLANT_NEVER_MIX
    if (number_of(now.gen[r]) == number_of(now.gen[q]) &&
        now.gen[r] != now.gen[q])
        return 1;
#endif
    return number_of(now.gen[q]) > number_of(now.gen[r]);
}

static void move_to(int r, int q)
{
    int had = content(r) | now.unsent[r];

#ifdef PLANT_UNSENT_OF_OTHERS
    had &= bit(r) | bit(4 + r) | bit(8 + r) | bit(12 + r);
#endif
#ifdef PLANT_KEEP_UNSENT
    had = 0;
#endif
    if (now.gen[r] != now.gen[q])
        now.app[r] = now.app[q];
    now.gen[r] = now.gen[q];
    now.collapsed[r] = now.collapsed[q];
    now.unsent[r] = had & ~content(r);
    if (has(now.parked, THE_PUT))
        now.unsent[r] &= ~bit(THE_PUT);
}

#ifdef PLANT_NEVER_MIX
/* What a join of both would do. */
static void mix(int r, int q)
{
    now.app[r] |= now.app[q];
}
#endif

/* ---- properties ---- */

static int shows_put(int r)
{
    return has(content(r), THE_PUT) &&
           (!is_deleted(r) || (now.collapsed[r] &&
                               !has(now.start_ops[now.gen[r]], THE_PUT)));
}

static int holds_fold(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        if (is_deleted(r) && shows_put(r))
            return 0;
    }
    return 1;
}

static int holds_acknowledged(void)
{
    return within(now.owed, everything());
}

/* Nothing of one generation is in the state of another but what a node has
 * written again there. */
static int holds_equal_vectors(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        for (int d = 0; d < DOTS; d++) {
            if (has(now.app[r], d) && origin_of(d) != now.gen[r])
                return 0;
        }
        for (int q = 0; q < r; q++) {
            if (now.gen[r] == now.gen[q] && now.app[r] == now.app[q] &&
                content(r) != content(q))
                return 0;
        }
    }
    return 1;
}

static int holds_waiting(void)
{
    for (int r = 0; r < REPLICAS; r++) {
        if (now.gen[r] != now.gen[0] || now.app[r] != now.app[0] ||
            now.unsent[r] & ~content(r) & ~now.parked)
            return 0;
    }
    return 1;
}
}

#ifdef PLANT_NEVER_MIX
#define MOVE(r, q) STEP((can_move)(r, q), \
    if (number_of(now.gen[r]) == number_of(now.gen[q])) mix(r, q); \
    else move_to(r, q))
#else
#define MOVE(r, q) STEP((can_move)(r, q), move_to(r, q))
#endif
#define MOVES(r) EACH_OTHER(MOVE, r)
#define TAKE(r, q) STEP((can_take)(r, q), take(r, q))
#define TAKES(r) EACH_OTHER(TAKE, r)
#define STEPS(r) \
    STEP((can_write_in)(r), \
        write_in(r, r == 1 && now.gen[r] == LEFT ? FIRST_OF_LEFT : PLAIN)) \
    STEP((can_save)(r), save(r)) \
    STEP((can_restore)(r), restore(r)) \
    STEP((can_collapse)(r), now.collapsed[r] = 1) \
    STEP((can_name)(r), name_next(r))

WORLD(now.made = bit(OLD),
    EACH_REPLICA(STEPS) EACH_REPLICA(TAKES) EACH_REPLICA(MOVES)
    STEP((can_alarm)(), now.alarmed = 1),
    INVARIANT(equal_vectors, (holds_equal_vectors)());
    INVARIANT(fold, (holds_fold)());
    INVARIANT(acknowledged, (holds_acknowledged)());,
    INVARIANT(waiting, (holds_waiting)()))
