/* Objects behind a command: exec:COMMAND is run by /bin/sh -c and answers
 * requests on its standard input with replies on its standard output, one after
 * the other (docs/TARGETS.md has the protocol).
 *
 * The command runs with this process's rights. Hence only who could start it
 * anyway may name it: the operator on a command line of his own, never a
 * client of the API. A command that dies, hangs or talks nonsense is killed
 * with its process group and started anew for another attempt. */
#ifndef NODE_OBJECT_EXEC_H
#define NODE_OBJECT_EXEC_H

#include <stdatomic.h>

#include "node/object_name.h"

#define OBJECT_EXEC_COMMAND_MAX 4096
#define OBJECT_EXEC_IDLE_MS 300000 /* without a byte from or to the command */
#define OBJECT_EXEC_BUDGET_MS 600000u /* for all attempts of one call */
#define OBJECT_EXEC_LIST_MAX (64u * 1024 * 1024) /* bytes of one listing */

struct object_exec;
struct object_rate;

/* Starts nothing yet. stopping is borrowed: once true, calls end soon. */
int object_exec_open(struct object_exec **ret_exec, const char *command,
                     const atomic_bool *stopping, struct cm_detail *detail);
/* Closes its input, ends it and waits for it. NULL is fine. */
void object_exec_close(struct object_exec *e);
/* What is put keeps to this rate, and sent says how much of it has left; both
 * borrowed. */
void object_exec_limit(struct object_exec *e, struct object_rate *rate,
                       _Atomic uint64_t *sent);

/* As the calls of object_store.h. One thread at a time. */
int object_exec_put(struct object_exec *e, const char *name, struct slice bytes,
                    struct cm_detail *detail);
int object_exec_get(struct object_exec *e, const char *name,
                    struct buffer *ret_bytes, struct cm_detail *detail);
int object_exec_list(struct object_exec *e, const char *prefix,
                     struct object_list *ret_list, struct cm_detail *detail);
int object_exec_delete(struct object_exec *e, const char *name,
                       struct cm_detail *detail);

#endif
