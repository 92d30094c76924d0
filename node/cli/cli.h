/* What the verbs of `confmesh` share: flags, the node to talk to, messages
 * and exit codes. One file per verb; main.c has the table. */
#ifndef NODE_CLI_CLI_H
#define NODE_CLI_CLI_H

#include <jansson.h>
#include <stdio.h>

#include "crdt/base/buffer.h"
#include "crdt/limits.h"
#include "node/args.h"
#include "node/cli/http_client.h"
#include "node/cli/text.h"

enum cli_exit {
    CLI_DONE = 0,
    CLI_FALSE = 1,  /* absent key, condition false; nothing on stdout */
    CLI_FAILED = 2, /* node unreachable or request failed */
    /* What reads snapshots tells why, as confmesh-restore does. */
    CLI_INTEGRITY = 3, /* damaged */
    CLI_TRUST = 4,     /* another authority or mesh, a key that does not open */
    CLI_TRANSPORT = 5, /* cannot be read or written, or nothing is there */
    CLI_PARTIAL = 6,   /* good, but not all of it */
    CLI_USAGE = 64,
};

struct cli;
typedef int (*cli_run)(struct cli *c); /* the exit code */

/* One verb, perhaps of two words ("set add"). */
struct cli_verb {
    const char *name;
    const char *words;   /* for the usage line: "KEY VALUE" */
    const char *flags;   /* names of its own flags, between blanks */
    const char *summary; /* one line */
    const char *help;    /* what it does, then examples */
    size_t words_min, words_max;
    cli_run run;
};
extern const struct cli_verb cli_verbs[];
extern const size_t cli_verbs_count;

struct cli {
    const struct cli_verb *verb;
    char **words; /* after the verb */
    size_t words_count;
    struct args_flag *flags; /* every flag of the program */
    size_t flags_count;
    bool json;
};

/* Flags of this call. */
bool cli_has(const struct cli *c, const char *flag);
const char *cli_value(const struct cli *c, const char *flag); /* or NULL */

/* Say what is wrong on standard error, and what to do; return the code. */
int cli_usage_error(const struct cli *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int cli_failed(const struct cli *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same with one of the codes of what reads snapshots. */
int cli_failed_as(const struct cli *c, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int cli_exit_of(int error); /* that code, of a cm_error */
/* {"error":…,"exit":…} on standard output, of what was said last; nothing if
 * the verb has printed an object of its own. */
void cli_print_failure(int code);
/* One of the list of /v1/mesh/unsent, for a person. */
void cli_print_unsent(const json_t *u);
/* A remark on standard error. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --format-level; leaves *ret_level alone where it is not given. */
int cli_format_level(const struct cli *c, uint32_t *ret_level);
/* --reason, of revokes: CLI_DONE, or the usage error's code. */
int cli_check_reason(const struct cli *c);
void cli_op_reason(const struct cli *c, json_t *op);
/* 0, or CLI_USAGE after saying which limit text breaks: keys and elements are
 * 1..480 bytes of UTF-8, key and element together too. */
int cli_check_key(const struct cli *c, const char *field, const char *text);
/* Appends "?name=value" or "&name=value" (value NULL: the name alone). */
void cli_query_add(struct buffer *target, const char *name, const char *value);
/* --after, --wait and --timeout into the query, and the time that the call may
 * take then. 0, or CLI_USAGE after saying what is wrong. */
int cli_query_wait(const struct cli *c, struct buffer *target,
                   uint64_t *ret_timeout_ms);
/* --ttl and --expires-at: 0, or CLI_USAGE after saying what is wrong. */
int cli_check_expiry(const struct cli *c);
int cli_check_prefix(const struct cli *c, const char *text);

/* The whole of standard input (path "-") or of a file, at most max bytes,
 * appended to out (whose limit must exceed max). 0 or an exit code, said. */
int cli_read_input(const struct cli *c, const char *path, const char *what,
                   size_t max, struct buffer *out);

/* Which node: --api, the socket of --data, CONFMESH_API, the socket of the
 * user. 0 or an exit code, said. */
int cli_endpoint(const struct cli *c, struct client_endpoint *ret_endpoint);

/* Makes the call; target is taken as it is. 0 with an answer whatever its
 * status (release it), or an exit code, said. A request without method fields
 * is zero-initialised by the caller. */
int cli_call(const struct cli *c, struct client_request *request,
             const struct buffer *target, struct client_response *ret_response);
/* Says what the node answered and returns CLI_FAILED. */
int cli_refused(const struct cli *c, const struct client_response *r);
/* Parses a JSON body; NULL after saying so. The caller decrefs. */
json_t *cli_json_body(const struct cli *c, const struct client_response *r);
/* The same of a 200, which it releases; another status is reported. 0 or the
 * exit code. */
int cli_json_answer(const struct cli *c, struct client_response *r,
                    json_t **ret_json);

/* POST of a JSON body (borrowed) to a path, or GET when it is NULL. */
int cli_call_json(const struct cli *c, const char *path, const json_t *body,
                  uint64_t timeout_ms, struct client_response *ret_response);
/* The same, for an answer of 200 with a JSON object or array; else CLI_… . */
int cli_get_json(const struct cli *c, const char *path, const json_t *body,
                 uint64_t timeout_ms, json_t **ret_json);

/* The node's working directory is another one: a target with its path made
 * absolute, into ret. 0 or an exit code, said. */
int cli_absolute_target(const struct cli *c, const char *field, const char *to,
                        char *ret, size_t room);
/* One transaction: ops is given away. Prints the answer with --json; exit code
 * (CLI_FALSE when a condition was false). */
int cli_transact(const struct cli *c, json_t *ops, bool quiet);
int cli_verb_init(struct cli *c);
int cli_verb_node(struct cli *c);
int cli_verb_token_create(struct cli *c);
int cli_verb_adopt(struct cli *c);
int cli_verb_compare(struct cli *c);
int cli_verb_unsent(struct cli *c);
int cli_verb_unsent_drop(struct cli *c);
int cli_verb_unsent_apply(struct cli *c);
int cli_verb_put(struct cli *c);
int cli_verb_get(struct cli *c);
int cli_verb_del(struct cli *c);
int cli_verb_revoke(struct cli *c);
int cli_verb_list(struct cli *c);
int cli_verb_watch(struct cli *c);
int cli_verb_set_add(struct cli *c);
int cli_verb_set_remove(struct cli *c);
int cli_verb_set_revoke(struct cli *c);
int cli_verb_set_members(struct cli *c);
int cli_verb_txn(struct cli *c);
int cli_verb_conflicts(struct cli *c);
int cli_verb_explain(struct cli *c);
int cli_verb_resolve(struct cli *c);
int cli_verb_import(struct cli *c);
int cli_verb_export(struct cli *c);
int cli_verb_members(struct cli *c);
int cli_verb_roster(struct cli *c);
#define EVICT_WORDS_MAX 64 /* nodes that one call names */
int cli_verb_evict(struct cli *c);
int cli_verb_issuer(struct cli *c);
int cli_verb_retire(struct cli *c);
int cli_verb_status(struct cli *c);
int cli_verb_doctor(struct cli *c);
int cli_verb_recovery_key_new(struct cli *c);
int cli_verb_snapshot_now(struct cli *c);
int cli_verb_snapshot_diff(struct cli *c);
int cli_verb_snapshot_prune(struct cli *c);
int cli_verb_restore(struct cli *c);
int cli_merge(struct cli *c); /* restore --merge */
int cli_verb_snapshot_list(struct cli *c);
int cli_verb_snapshot_verify(struct cli *c);
int cli_verb_snapshot_inspect(struct cli *c);
int cli_verb_snapshot_drill(struct cli *c);
int cli_verb_version(struct cli *c);
int cli_verb_help(struct cli *c);

/* For help and errors. */
const struct cli_verb *cli_verb_find(char **words, size_t count,
                                     size_t *ret_words);
int cli_unknown_verb(const char *word, const char *second);
void cli_print_usage(FILE *to, const struct cli_verb *v);

#endif
