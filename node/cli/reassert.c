/* confmesh snapshot diff and confmesh restore: a living node against a snapshot
 * of the past, and back to it. What was is written anew, as ordinary writes: it
 * wins everywhere, and nobody's history is undone. Registers only. */
#include <string.h>
#include <time.h>

#include "crdt/base/check.h"
#include "node/authority_file.h"
#include "node/cli/cli.h"
#include "node/cli/text.h"
#include "node/sealed_keys.h"
#include "node/snapshot_listing.h"
#include "node/snapshot_packs.h"
#include "node/snapshot_pull.h"

#define BATCH_OPS 100
#define BATCH_BYTES (256u << 10)

struct reassert {
    struct cli *c;
    const char *prefix;
    json_t *live; /* owned: key -> entry of what the node has under prefix */
    json_t *ops;  /* owned: the batch under way */
    size_t ops_bytes;
    bool apply;
    uint64_t differences;
    int code;
};

static void flush(struct reassert *r)
{
    if (json_array_size(r->ops) == 0 || r->code != 0)
        return;
    r->code = cli_transact(r->c, r->ops, true);
    r->ops = json_array();
    r->ops_bytes = 0;
    CHECK(r->ops != NULL);
}

/* value NULL: the key goes. */
static void differ(struct reassert *r, char sign, struct slice key,
                   const struct sibling *value)
{
    json_t *op;

    r->differences++;
    if (r->c->json) {
        json_t *o = json_pack("{s:s%, s:s}", "key", (const char *)key.data,
                              key.size, "difference",
                              sign == '+'   ? "absent"
                              : sign == '-' ? "new"
                                            : "changed");
        if (o != NULL && !r->apply)
            cli_print_json(o);
        json_decref(o);
    } else {
        (void)printf("%c ", sign);
        cli_print_escaped(stdout, key);
        (void)fputc('\n', stdout);
    }
    if (!r->apply)
        return;
    op = cli_op(value != NULL ? "put" : "del", key, NULL);
    if (op != NULL && value != NULL) {
        cli_json_value(op, value->value);
        (void)json_object_set_new(op, "flags",
                                  json_integer((json_int_t)value->flags));
    }
    CHECK(op != NULL && json_array_append_new(r->ops, op) == 0);
    r->ops_bytes += key.size + (value != NULL ? value->value.size : 0);
    if (json_array_size(r->ops) >= BATCH_OPS || r->ops_bytes >= BATCH_BYTES)
        flush(r);
}

/* One visible register of the snapshot. */
static void compare(struct reassert *r, struct slice key,
                    const struct sibling *then)
{
    json_t *now = json_object_getn(r->live, (const char *)key.data, key.size);
    const char *text = json_string_value(json_object_get(now, "Value"));
    struct buffer value;
    bool same;

    if (now == NULL) {
        differ(r, '+', key, then);
        return;
    }
    buffer_init(&value, CLIENT_BODY_MAX);
    same = (text == NULL || cli_base64_decode(text, &value) == 0) &&
           slice_equal(buffer_slice(&value), then->value) &&
           (uint64_t)json_integer_value(json_object_get(now, "Flags")) ==
               then->flags;
    buffer_release(&value);
    (void)json_object_deln(r->live, (const char *)key.data, key.size);
    if (!same)
        differ(r, '~', key, then);
}

static int load_live(struct reassert *r)
{
    struct client_response response;
    struct client_request request = {.method = "GET"};
    struct buffer target;
    json_t *list = NULL;
    int code;

    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/kv/");
    client_percent_encode(&target, slice_of_string(r->prefix), false);
    buffer_append_string(&target, "?recurse");
    code = cli_call(r->c, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    if (response.status == 200)
        list = cli_json_body(r->c, &response);
    else if (response.status != 404)
        code = cli_refused(r->c, &response);
    if (response.status == 200 && list == NULL)
        code = CLI_FAILED;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *entry = json_array_get(list, i);
        const json_t *key = json_object_get(entry, "Key");
        if (json_is_string(key))
            (void)json_object_setn(r->live, json_string_value(key),
                                   json_string_length(key), entry);
    }
    json_decref(list);
    client_response_release(&response);
    return code;
}

static int walk(struct reassert *r, struct snapshot_pull *pull)
{
    hlc_t now = hlc_make((uint64_t)time(NULL) * 1000, 0);
    struct slice prefix = slice_of_string(r->prefix);
    const struct entry *entry;
    struct entry_id id;
    int error = 0;

    while (r->code == 0 &&
           (error = snapshot_pull_next(pull, &id, &entry)) == 0) {
        struct resolution shown = entry_resolve(entry, now);

        if (id.space == SPACE_REGISTER && shown.present &&
            slice_starts_with(id.key, prefix))
            compare(r, id.key, shown.winner);
    }
    if (r->code != 0)
        return r->code;
    return error == CM_ERR_NOT_FOUND
               ? 0
               : cli_failed(r->c, "%s", pull->detail.text);
}

static int keys_of(struct cli *c, const struct manifest *m,
                   struct snapshot_keys *ret_keys)
{
    const char *file = cli_value(c, "recovery-key");
    struct passphrase_source source = {
        .file = cli_value(c, "passphrase-file"),
        .none = cli_has(c, "no-passphrase"),
    };
    struct cm_detail detail = {""};
    struct authority key;
    uint8_t data_key[32];
    int error;

    if (m->sealed.size == 0)
        return 0;
    if (file == NULL)
        return cli_failed(c, "the snapshot is encrypted: give --recovery-key "
                             "FILE");
    error = authority_file_read(&key, file, &source, &detail);
    if (error != 0)
        return cli_failed(c, "%s", detail.text);
    error = sealed_keys_open(data_key, &m->mesh, m->sealed, &key, &detail);
    authority_clear(&key);
    if (error != 0)
        return cli_failed(c, "%s", detail.text);
    snapshot_keys_derive_encrypted(ret_keys, &m->mesh, data_key);
    memset(data_key, 0, sizeof(data_key));
    return 0;
}

static int with_manifest(struct reassert *r, struct object_store *store,
                         const struct manifest *m)
{
    struct snapshot_keys keys;
    struct cm_detail detail = {""};
    struct snapshot_packs packs;
    struct snapshot_pull pull;
    int code = keys_of(r->c, m, &keys);
    if (code != 0)
        return code;
    if (snapshot_packs_open(&packs, store, m, &detail) != 0)
        return cli_failed(r->c, "%s", detail.text);
    if (snapshot_pull_begin(&pull, m, m->sealed.size > 0 ? &keys : NULL,
                            snapshot_packs_get, &packs) != 0)
        code = cli_failed(r->c, "out of memory");
    else
        code = walk(r, &pull);
    snapshot_pull_release(&pull);
    snapshot_packs_close(&packs);
    memset(&keys, 0, sizeof(keys));
    return code;
}

/* The named snapshot, or the newest good one, wholly checked first: what is
 * damaged in its last chunk must not be found after a half was written. */
static int with_target(struct reassert *r, const char *target, const char *name)
{
    struct cm_detail detail = {""};
    struct snapshot_listed listed = {.error = 0};
    struct object_store store;
    struct buffer bytes;
    struct manifest m;
    int code;
    if (snapshot_verify(target, name, NULL, NULL, NULL, &listed, &detail) !=
            0 ||
        object_store_open(&store, target, OBJECT_STORE_MAY_EXEC, &detail) != 0)
        return cli_failed(r->c, "%s", detail.text);
    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    if (snapshot_manifest_load(&store, listed.name, NULL, &bytes, &m,
                               &detail) != 0) {
        code = cli_failed(r->c, "%s", detail.text);
    } else {
        cli_note("snapshot %s by %s", listed.name, listed.signer);
        code = with_manifest(r, &store, &m);
        manifest_release(&m);
    }
    buffer_release(&bytes);
    object_store_close(&store);
    return code;
}

static int run(struct cli *c, bool apply)
{
    const char *prefix = cli_value(c, "prefix");
    struct reassert r = {.c = c, .apply = apply};
    const char *key;
    json_t *entry;
    r.prefix = prefix != NULL ? prefix : "";
    int code = cli_check_prefix(c, r.prefix);
    if (code != 0)
        return code;
    r.live = json_object();
    r.ops = json_array();
    CHECK(r.live != NULL && r.ops != NULL);
    code = load_live(&r);
    if (code == 0)
        code = with_target(&r, c->words[0],
                           c->words_count > 1 ? c->words[1] : NULL);
    if (code == 0)
        json_object_foreach(r.live, key, entry)
            differ(&r, '-', slice_of_string(key), NULL);
    if (code == 0) {
        flush(&r);
        code = r.code;
    }
    json_decref(r.live);
    json_decref(r.ops);
    if (code != 0)
        return code;
    if (apply)
        cli_note("%llu keys are as they were",
                 (unsigned long long)r.differences);
    return r.differences > 0 && !apply ? CLI_FALSE : CLI_DONE;
}

int cli_verb_snapshot_diff(struct cli *c)
{
    return run(c, false);
}

int cli_verb_restore(struct cli *c)
{
    const char *mode = cli_value(c, "mode");
    if (cli_has(c, "merge") || (mode != NULL && strcmp(mode, "merge") == 0))
        return cli_merge(c);
    if (c->words_count > 2)
        return cli_usage_error(c, "'%.80s' is a word too many", c->words[2]);
    if (mode != NULL && strcmp(mode, "reassert") != 0)
        return cli_usage_error(c, "a living node knows --mode reassert and "
                                  "--mode merge; a lost mesh is brought back "
                                  "by confmesh-restore");
    if (cli_value(c, "prefix") == NULL)
        return cli_usage_error(c, "--prefix PREFIX is needed ('' for all)");
    if (cli_has(c, "yes"))
        return run(c, true);
    int code = run(c, false);
    if (code == CLI_FALSE)
        cli_note("nothing was written; --yes writes what was (+ and ~) and "
                 "deletes what is new (-)");
    return code;
}
