/* Who may certify others: the founder, a restored node, and every member that
 * the authority made one since.
 *
 * The right to issue is no right to write, so it needs no new incarnation: the
 * authority signs a second certificate of the same key, which this node keeps
 * beside its own and puts into those that it signs. Whether it counts is looked
 * at by sponsors (sponsor_order.c), never by the roster. Without this a mesh
 * whose founder is lost or was evicted could let in nobody. */
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/mark.h"
#include "node/node_internal.h"

int issuer_load(struct node *n)
{
    struct slice bytes;
    int error = store_reader_renew(n->reader);

    if (error != 0)
        return error;
    buffer_release(&n->issuer);
    buffer_init(&n->issuer, CERTIFICATE_SIZE_MAX);
    error = store_meta(n->reader, META_ISSUER, &bytes);
    if (error == 0) {
        buffer_append_slice(&n->issuer, bytes);
        error = n->issuer.error;
    } else if (error == CM_ERR_NOT_FOUND) {
        error = 0;
    } else if (error == CM_ERR_DAMAGED) {
        node_log(n, 'E',
                 "damage: the certificate by which this node issues others "
                 "cannot be read any more: make it an issuer again (confmesh "
                 "issuer --authority FILE)");
        error = 0;
    }
    store_reader_reset(n->reader);
    return error;
}

struct slice issuer_certificate(const struct node *n)
{
    if (n->issuer.size > 0)
        return buffer_slice(&n->issuer);
    return (n->own.roles & ROLE_ISSUER) != 0 ? buffer_slice(&n->certificate)
                                             : slice_of(NULL, 0);
}

struct slice node_certificate(const struct node *n)
{
    CHECK(n->has_identity);
    return buffer_slice(&n->certificate);
}

bool node_is_issuer(const struct node *n)
{
    return issuer_certificate(n).size > 0;
}

static const char *reason_against(const struct node *n, struct slice bytes)
{
    struct certificate c;
    int error = certificate_decode(&c, bytes, n->authority_public_key);

    if (error == CM_ERR_WRONG_MESH || error == CM_ERR_SIGNATURE)
        return "this mesh's authority did not sign that certificate";
    if (error != 0)
        return "these bytes are no certificate of this mesh";
    if (c.issuer.size > 0 || (c.roles & ROLE_ISSUER) == 0)
        return "that certificate lets nobody issue others";
    if (memcmp(c.sign_key, n->sign_public_key, 32) != 0 ||
        memcmp(c.box_key, n->box_public_key, 32) != 0 ||
        strcmp(c.name, n->name) != 0)
        return "that certificate is another node's";
    return NULL;
}

struct issuing {
    struct node *node;
    node_issuer_done done;
    void *ctx;
};

static void stored(void *context, struct intent *i)
{
    struct issuing *s = context;

    if (i->result == 0 && issuer_load(s->node) == 0) {
        CM_MARK("issuer: a member was made one");
        s->done(s->ctx, 0, NULL);
    } else {
        s->done(s->ctx, i->result != 0 ? i->result : CM_ERR_IO, i->detail.text);
    }
    cm_free(s);
    intent_free(i);
}

void node_issuer_set(struct node *n, struct slice certificate,
                     node_issuer_done done, void *ctx)
{
    const char *against = n->ready ? reason_against(n, certificate)
                                   : "the node is not ready: wait until "
                                     "readyz answers 200";
    struct issuing *s = NULL;
    struct intent *i = NULL;
    int error;

    if (against != NULL) {
        done(ctx, n->ready ? CM_ERR_AUTHORITY : CM_ERR_NOT_READY, against);
        return;
    }
    s = cm_calloc(1, sizeof *s);
    i = intent_new(INTENT_META);
    error = s == NULL || i == NULL ? CM_ERR_NOMEM : 0;
    if (error == 0)
        error = intent_add_fact(i, META_ISSUER, certificate);
    if (error == 0) {
        *s = (struct issuing){n, done, ctx};
        i->done = stored;
        i->context = s;
        error = n->ports.writer->submit(n->ports.ctx, i);
    }
    if (error != 0) {
        cm_free(s);
        intent_free(i);
        done(ctx, error, cm_strerror(error));
    }
    node_drain(n);
}
