/* One list of error codes for every layer.
 *
 * Functions that can fail return int: 0 on success, one of these negative
 * codes otherwise. Wire and disk input yields codes, never an assertion:
 * peers are not programmers. */
#ifndef CRDT_BASE_ERROR_H
#define CRDT_BASE_ERROR_H

#define CM_ERROR_MAP(X)                                                        \
    X(CM_ERR_NOMEM, -1, "out of memory")                                       \
    X(CM_ERR_INVALID, -2, "invalid argument")                                  \
    X(CM_ERR_MALFORMED, -3, "malformed bytes")                                 \
    X(CM_ERR_NONCANONICAL, -4, "not in canonical form")                        \
    X(CM_ERR_TOO_LARGE, -5, "too large")                                       \
    X(CM_ERR_LIMIT, -6, "a bounded table is full")                             \
    X(CM_ERR_SIGNATURE, -7, "signature does not verify")                       \
    X(CM_ERR_AUTHORITY, -8, "not permitted by the certificate")                \
    X(CM_ERR_WRONG_MESH, -9, "belongs to another mesh")                        \
    X(CM_ERR_WRONG_GENERATION, -10, "belongs to another generation")           \
    X(CM_ERR_FORMAT_VERSION, -11, "unknown format version")                    \
    X(CM_ERR_NOT_FOUND, -12, "not found")                                      \
    X(CM_ERR_EXISTS, -13, "exists already")                                    \
    X(CM_ERR_CONDITION, -14, "condition is false")                             \
    X(CM_ERR_REVOKED, -15, "revoked")                                          \
    X(CM_ERR_PENDING, -16, "waits for an event that it depends on")            \
    X(CM_ERR_DUPLICATE, -17, "already applied")                                \
    X(CM_ERR_FORK, -18, "two events bear one name")                            \
    X(CM_ERR_DAMAGED, -19, "stored bytes are damaged")                         \
    X(CM_ERR_IO, -20, "input or output failed")                                \
    X(CM_ERR_FULL, -21, "no space left")                                       \
    X(CM_ERR_LOCKED, -22, "in use by another process")                         \
    X(CM_ERR_BUSY, -23, "too busy, try again")                                 \
    X(CM_ERR_CLOSED, -24, "closed")                                            \
    X(CM_ERR_TIMEOUT, -25, "timed out")                                        \
    X(CM_ERR_NOT_READY, -26, "not ready")                                      \
    X(CM_ERR_EXPIRED, -27, "expired")                                          \
    X(CM_ERR_USED_UP, -28, "used up")                                          \
    X(CM_ERR_UNKNOWN_PEER, -29, "unknown peer")                                \
    X(CM_ERR_PASSPHRASE, -30, "wrong passphrase")                              \
    X(CM_ERR_NEEDS_CUT, -31, "event bytes are gone, a whole cut is needed")    \
    X(CM_ERR_SEALED, -32, "beyond the seal of its incarnation")                \
    X(CM_ERR_HELD, -33, "dated too far ahead of the clocks")                   \
    X(CM_ERR_EVICTION_CONFLICT, -34, "another order has this epoch already")   \
    X(CM_ERR_CLOCK, -35, "this node's clock is too far ahead")                 \
    X(CM_ERR_LEVEL, -36, "not every member knows this operation yet")

enum cm_error {
#define CM_ERROR_ENUM(name, code, text) name = code,
    CM_ERROR_MAP(CM_ERROR_ENUM)
#undef CM_ERROR_ENUM
};

/* The English text of a code; "success" for 0. Never NULL, static. */
const char *cm_strerror(int code);

/* The symbolic name ("CM_ERR_REVOKED"); "CM_OK" for 0. Never NULL, static. */
const char *cm_error_name(int code);

/* Room for one sentence that tells a person what was wrong with which field
 * and what to do. Written only on failure; always terminated. A NULL detail
 * pointer is accepted everywhere and means "not wanted". */
struct cm_detail {
    char text[256];
};

/* Formats into detail (if not NULL) and returns code, so that a failing branch
 * is one statement. */
int cm_fail(struct cm_detail *detail, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
