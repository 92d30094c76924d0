/* Goal: no body of a transaction crashes what reads it, and every refusal says
 * why. Method: the input as the body of POST /v1/txn; what is accepted is an
 * intent within the limits. */
#include "node/http_txn_read.h"

#include "crdt/base/check.h"
#include "node/http_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_intent(const struct intent *i)
{
    size_t k;

    CHECK(i->ops_count >= 1 && i->ops_count <= EVENT_OPS_MAX);
    CHECK(i->author.size <= AUTHOR_SIZE_MAX);
    for (k = 0; k < i->ops_count; k++) {
        const struct local_op *op = &i->ops[k];

        CHECK(op->kind >= OP_PUT && op->kind <= OP_SET_REVOKE);
        CHECK(op->value.size == 0 || op->kind == OP_PUT);
        CHECK(op->condition != CONDITION_VERSION || op->version.seq > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_detail detail = {""};
    struct intent *intent;
    json_t *object;
    size_t failed = 0;

    if (http_json_parse_any(&object, slice_of(data, size), &detail) != 0) {
        CHECK(detail.text[0] != '\0');
        return 0;
    }
    intent = intent_new(INTENT_LOCAL);
    CHECK(intent != NULL);
    if (http_txn_read(intent, object, 7, &detail, &failed) == 0)
        check_intent(intent);
    else
        CHECK(detail.text[0] != '\0');
    intent_free(intent);
    json_decref(object);
    return 0;
}
