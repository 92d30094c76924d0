/* The handlers of the API's paths. Each answers its request or parks it. */
#ifndef NODE_HTTP_HANDLERS_H
#define NODE_HTTP_HANDLERS_H

#include "node/heal.h"
#include "node/http_request.h"
#include "node/intent.h"
#include "node/unsent.h"

void http_kv(struct http_request *r);
void http_revoke(struct http_request *r);
void http_set(struct http_request *r);
void http_txn(struct http_request *r);
void http_watch(struct http_request *r);
void http_status(struct http_request *r);
void http_members(struct http_request *r);
void http_token(struct http_request *r);
void http_snapshot(struct http_request *r);
void http_merge(struct http_request *r);
void http_sets(struct http_request *r);
void http_conflicts(struct http_request *r);
void http_explain(struct http_request *r);
void http_resolve(struct http_request *r);
void http_adopt(struct http_request *r);
void http_roster(struct http_request *r);
void http_issuer(struct http_request *r);
void http_orders(struct http_request *r);
void http_retire(struct http_request *r);
void http_compare(struct http_request *r);
void http_unsent(struct http_request *r);
void http_unsent_drop(struct http_request *r);
void http_unsent_apply(struct http_request *r);
void http_metrics(struct http_request *r);
void http_healthz(struct http_request *r);
void http_readyz(struct http_request *r);

/* The member "heal" of the status. */
/* The member "drills" of a status. */
void http_put_drills(struct buffer *out, const struct node_status *s);
/* "snapshot": {...} of a status, and metrics of each target. */
void http_put_snapshots(struct buffer *out, const struct node_status *s);
void http_put_snapshot_metrics(struct buffer *out, const struct node_status *s);
void http_put_heal(struct buffer *out, const struct heal_status *h);

/* ---- shared by the writing ones ---- */

/* A new local intent with the request's author; NULL after having answered. */
struct intent *http_intent(struct http_request *r);
/* Adds op; false after having answered and freed the intent. */
bool http_intent_add(struct http_request *r, struct intent *intent,
                     const struct local_op *op);
/* Done with a JSON answer: token, revision, wrote; or the error's. */
void http_written_json(struct http_request *r, struct intent *intent);
/* An unsent write as an object. */
void http_put_unsent(struct buffer *out, const struct unsent *u);
/* Those that would change the entry, as elements of an array. */
int http_put_parked(struct buffer *out, struct store_reader *reader,
                    const struct entry_id *id);
/* A sibling as an object; its value in base64, or null beyond value_max. */
void http_put_sibling(struct buffer *out, struct http_request *r,
                      const struct sibling *s, bool winner, size_t value_max);
/* The rest of the path behind prefix, decoded into ret_bytes; false after
 * having refused. */
bool http_read_key(struct http_request *r, const char *prefix,
                   uint8_t ret_bytes[KEY_SIZE_MAX], struct slice *ret_key);
/* Of a transaction: what it read, and every failure; members of an object. */
void http_put_results(struct buffer *out, const struct intent *intent);
void http_put_failures(struct buffer *out, const struct intent *intent);
/* Refuses parameters that are not in the NULL-terminated list: then false. */
bool http_only_parameters(struct http_request *r, const char *const *known);
/* What clients of Consul's dialect send along: dc is looked at, the others mean
 * nothing here. For lists of http_only_parameters. */
#define HTTP_CONSUL_PARAMETERS                                                 \
    "dc", "stale", "pretty", "token", "ns", "partition", "near", "filter",     \
        "hash", "cached", "default"
/* Refuses, with the reason, what a mesh cannot give (locks, a quorum) and the
 * dc of another mesh: then false. Goes before http_only_parameters. */
bool http_consul_allowed(struct http_request *r);
/* Refuses whatever is no GET, and one with parameters: who gave one means to be
 * shown something else than what this would show. */
bool http_only_view(struct http_request *r);
/* Refuses whatever is no POST, and one with parameters: what was meant by them
 * would be passed over, and the order carried out. */
bool http_only_order(struct http_request *r);
/* ttl (a duration from now) or expires (a time), as texts or NULL; 0 in
 * *ret_expires when there is neither. CM_ERR_INVALID with detail. */
int http_expiry(const char *ttl, const char *expires, hlc_t *ret_expires,
                struct cm_detail *detail);
/* The same from the query; false after having refused. */
bool http_read_expiry(struct http_request *r, hlc_t *ret_expires);
/* Why an entry's write was refused, with the revoke's author and time. */
void http_describe_revoke(struct http_request *r, const struct entry_id *id,
                          char *ret_text, size_t size);

#endif
