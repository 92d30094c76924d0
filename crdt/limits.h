/* Limits of the protocol. An origin refuses what exceeds them; a decoder
 * refuses it again. Changing one changes the format. */
#ifndef CRDT_LIMITS_H
#define CRDT_LIMITS_H

#define KEY_SIZE_MAX 480          /* bytes; key plus element of a set too */
#define VALUE_SIZE_MAX 1000000    /* bytes */
#define AUTHOR_SIZE_MAX 64        /* bytes of UTF-8 */
#define REASON_SIZE_MAX 256       /* why something was revoked, UTF-8 */
#define EVENT_OPS_MAX 4096        /* operations in one event */
#define EVENT_SIZE_MAX (1u << 20) /* encoded bytes of one event */
#define EVENT_DEPS_MAX 65536
#define OP_SUPERSEDES_MAX 65536 /* dots named by one operation */
#define NAME_SIZE_MAX 64        /* bytes of a node's name */

#endif
