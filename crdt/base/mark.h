/* Marks: named places in the code that a run of the simulator has to reach.
 *
 * A test that passes proves nothing of code that it never ran. A mark says: a
 * mesh in trouble comes by here, and the simulator's default seeds must too. In
 * the build that counts them (CM_MARKS, `make marks`) each place has a record
 * in a section of its own, so that all are known, those too that were never
 * hit. In any other build a mark is nothing: its condition is not evaluated and
 * no code is made. */
#ifndef CRDT_BASE_MARK_H
#define CRDT_BASE_MARK_H

#include <stddef.h>

#ifdef CM_MARKS

struct cm_mark {
    const char *name;
};

/* What counts; NULL: nobody does. */
extern void (*cm_mark_counter)(const struct cm_mark *mark);

/* name is a literal; several places may share one. */
#define CM_MARK(literal)                                                       \
    do {                                                                       \
        static const struct cm_mark cm_mark_here                               \
            __attribute__((section("cm_marks"), used)) = {literal};            \
        if (cm_mark_counter != NULL)                                           \
            cm_mark_counter(&cm_mark_here);                                    \
    } while (0)
#define CM_MARK_IF(condition, literal)                                         \
    do {                                                                       \
        if (condition)                                                         \
            CM_MARK(literal);                                                  \
    } while (0)

#else

#define CM_MARK(literal) ((void)0)
#define CM_MARK_IF(condition, literal) ((void)0)

#endif

#endif
