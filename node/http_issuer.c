/* /v1/mesh/issuer: this node's certificate, and the one that the authority
 * signed so that it may make join tokens. */
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/http_pending.h"

#define ANSWER_SIZE_MAX (4 * CERTIFICATE_SIZE_MAX)

static void answer(struct http_request *r)
{
    const struct node *n = r->context->node;
    struct slice certificate = node_certificate(n);
    struct buffer out;
    uint8_t *digits;

    buffer_init(&out, ANSWER_SIZE_MAX);
    buffer_append_string(&out, "{\"issuer\":");
    http_json_bool(&out, node_is_issuer(n));
    buffer_append_string(&out, ",\"certificate\":\"");
    digits = buffer_extend(&out, 2 * certificate.size + 1);
    if (digits != NULL) {
        hex_encode((char *)digits, certificate);
        out.size--; /* the zero behind them */
    }
    buffer_append_string(&out, "\"}\n");
    if (out.error != 0)
        http_refuse_code(r, out.error, NULL);
    else
        http_answer(r, 200, HTTP_TYPE_JSON, buffer_slice(&out));
    buffer_release(&out);
}

static void on_issuer(void *ctx, int error, const char *detail)
{
    struct http_request *r = http_pending_finish(ctx);

    if (r == NULL)
        return;
    if (error != 0)
        http_refuse_code(r, error, detail);
    else
        answer(r);
    http_pending_wake(r);
}

void http_issuer(struct http_request *r)
{
    struct http_pending *p;

    if (r->method == HTTP_GET) {
        if (http_only_view(r))
            answer(r);
        return;
    }
    if (r->method != HTTP_POST) {
        http_refuse(r, 405, CM_ERR_INVALID,
                    "a certificate is read by GET and given by POST");
        return;
    }
    if (!http_only_order(r))
        return;
    p = http_pending_new(r);
    if (p == NULL)
        return;
    node_issuer_set(r->context->node, buffer_slice(&r->body), on_issuer, p);
    http_pending_park(r);
}
