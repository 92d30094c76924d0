/* Assertions that stay on in release builds.
 *
 * CHECK guards what only a programmer can break: a violated invariant stops
 * the process, because going on would write what is not true. Bytes that come
 * from a peer or a disk are never CHECKed, they yield error codes. */
#ifndef CRDT_BASE_CHECK_H
#define CRDT_BASE_CHECK_H

__attribute__((noreturn)) void cm_check_failed(const char *expression,
                                               const char *file, int line);

/* File and line lead to the expression: where a program has to be small, they
 * have to do. */
#ifdef CM_CHECK_BRIEF
#define CM_CHECK_TEXT(expression) "check"
#else
#define CM_CHECK_TEXT(expression) #expression
#endif

#define CHECK(expression)                                                      \
    (__builtin_expect(!(expression), 0)                                        \
         ? cm_check_failed(CM_CHECK_TEXT(expression), __FILE__, __LINE__)      \
         : (void)0)

#endif
