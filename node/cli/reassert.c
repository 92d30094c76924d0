/* confmesh snapshot diff and confmesh restore: a living node, or a second
 * snapshot, against a snapshot of the past, and back to it. What was is written
 * anew, as ordinary writes: it wins everywhere, and nobody's history is undone.
 *
 *   +  was there, is not         -  was not there, is
 *   ~  has another value         !  was revoked, is not any more
 *   x  was there, and was revoked since: comes back with --unrevoke only
 *
 * Of another mesh (--adopt) + and ~ alone: nothing that is here goes. */
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crdt/authority.h"
#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/cli/recovery.h"
#include "node/cli/text.h"
#include "node/snapshot_listing.h"
#include "node/snapshot_packs.h"
#include "node/snapshot_pull.h"
#include "node/snapshot_state.h"

#define BATCH_OPS 100
#define BATCH_BYTES (256u << 10)

struct reassert {
    struct cli *c;
    const char *prefix;
    uint64_t at_ms;      /* the state as of then; 0: as the snapshot has it */
    uint64_t sequence;   /* of the snapshot, or one before; 0: the newest */
    bool stored;         /* what is there now comes from a second snapshot... */
    bool taking;         /* ...which is being read */
    struct mesh_id mesh; /* of that */
    /* What is there now under prefix; all owned. */
    json_t *live;     /* key -> entry */
    json_t *elements; /* name -> {key, element}; see element_name */
    json_t *revoked;  /* likewise */
    json_t *ops;      /* owned: the batch under way */
    size_t ops_bytes;
    bool apply;
    bool adopt;
    uint64_t differences;
    uint64_t revoked_since;
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

/* ---- names ---- */

/* One string of key and element (NULL: a register), for an object's member. */
struct element_name {
    char text[2 * KEY_SIZE_MAX + 8];
    size_t size;
};

static struct element_name element_name(struct slice key,
                                        const struct slice *element)
{
    struct element_name n = {.size = 0};
    int length = snprintf(n.text, sizeof n.text,
                          "%c%zu:", element != NULL ? 's' : 'r', key.size);
    size_t all = key.size + (element != NULL ? element->size : 0);

    CHECK(length > 0 && (size_t)length + all <= sizeof n.text);
    memcpy(n.text + length, key.data, key.size);
    if (element != NULL)
        memcpy(n.text + length + key.size, element->data, element->size);
    n.size = (size_t)length + all;
    return n;
}

static json_t *find(const json_t *in, const struct element_name *n)
{
    return json_object_getn(in, n->text, n->size);
}

static void forget(json_t *in, const struct element_name *n)
{
    (void)json_object_deln(in, n->text, n->size);
}

/* ---- differences ---- */

static const char *word_of(char sign)
{
    switch (sign) {
    case '+':
        return "absent";
    case '-':
        return "new";
    case '!':
        return "unrevoked";
    case 'x':
        return "revoked since";
    default:
        return "changed";
    }
}

static void show(const struct reassert *r, char sign, struct slice key,
                 const struct slice *element)
{
    json_t *o;

    if (!r->c->json) {
        (void)printf("%c ", sign);
        cli_print_escaped(stdout, key);
        if (element != NULL) {
            (void)fputc('\t', stdout);
            cli_print_escaped(stdout, *element);
        }
        (void)fputc('\n', stdout);
        return;
    }
    o = json_pack("{s:s%, s:s}", "key", (const char *)key.data, key.size,
                  "difference", word_of(sign));
    if (o != NULL && element != NULL)
        (void)json_object_set_new(
            o, "element",
            json_stringn((const char *)element->data, element->size));
    if (o != NULL && !r->apply)
        cli_print_json(o);
    json_decref(o);
}

static const char *op_of(char sign, bool set)
{
    switch (sign) {
    case '-':
        return set ? "set-remove" : "del";
    case '!':
        return set ? "set-revoke" : "revoke";
    default:
        return set ? "set-add" : "put";
    }
}

static void set_new(json_t *op, const char *name, json_t *value)
{
    CHECK(value != NULL && json_object_set_new(op, name, value) == 0);
}

/* then NULL: the key goes, or is revoked. */
static void differ(struct reassert *r, char sign, struct slice key,
                   const struct slice *element, const struct sibling *then)
{
    json_t *op;

    r->differences++;
    show(r, sign, key, element);
    if (!r->apply)
        return;
    op = cli_op(op_of(sign, element != NULL), key, NULL);
    if (element != NULL)
        set_new(op, "element",
                json_stringn((const char *)element->data, element->size));
    if (then != NULL && element == NULL) {
        cli_json_value(op, then->value);
        set_new(op, "flags", json_integer((json_int_t)then->flags));
    }
    if (then != NULL && then->expires != 0) {
        char text[32];

        /* In whole seconds, not earlier. */
        (void)snprintf(text, sizeof text, "%" PRIu64,
                       (hlc_wall_ms(then->expires) + 999) / 1000);
        set_new(op, "expires", json_string(text));
    }
    if (then != NULL && cli_has(r->c, "unrevoke"))
        set_new(op, "unrevoke", json_true());
    CHECK(json_array_append_new(r->ops, op) == 0);
    r->ops_bytes += key.size + (then != NULL ? then->value.size : 0);
    if (json_array_size(r->ops) >= BATCH_OPS || r->ops_bytes >= BATCH_BYTES)
        flush(r);
}

/* Was there, is not. */
static void absent(struct reassert *r, const struct entry_id *id,
                   const struct slice *element, const struct sibling *then)
{
    struct element_name n = element_name(id->key, element);

    if (find(r->revoked, &n) == NULL || cli_has(r->c, "unrevoke")) {
        differ(r, '+', id->key, element, then);
        return;
    }
    r->revoked_since++;
    show(r, 'x', id->key, element);
}

static bool is_same(const json_t *now, const struct sibling *then)
{
    const char *text = json_string_value(json_object_get(now, "Value"));
    struct buffer value;
    bool same;

    buffer_init(&value, CLIENT_BODY_MAX);
    same = (text == NULL || cli_base64_decode(text, &value) == 0) &&
           slice_equal(buffer_slice(&value), then->value) &&
           (uint64_t)json_integer_value(json_object_get(now, "Flags")) ==
               then->flags;
    buffer_release(&value);
    return same;
}

/* One register or element of the snapshot, present or revoked. */
static void compare(struct reassert *r, const struct entry_id *id,
                    const struct resolution *shown)
{
    bool set = id->space == SPACE_SET;
    const struct slice *element = set ? &id->element : NULL;
    struct element_name n = element_name(id->key, element);
    json_t *now = set ? find(r->elements, &n)
                      : json_object_getn(r->live, (const char *)id->key.data,
                                         id->key.size);
    bool changed =
        now != NULL && !set && shown->present && !is_same(now, shown->winner);
    bool there = now != NULL;

    if (set)
        forget(r->elements, &n);
    else
        (void)json_object_deln(r->live, (const char *)id->key.data,
                               id->key.size);
    if (!shown->present) {
        if (find(r->revoked, &n) == NULL && !r->adopt)
            differ(r, '!', id->key, element, NULL);
    } else if (!there) {
        absent(r, id, element, shown->winner);
    } else if (changed) {
        differ(r, '~', id->key, element, shown->winner);
    }
}

/* ---- a second snapshot in the node's place ---- */

/* As /v1/kv has it. */
static json_t *live_of(const struct sibling *winner)
{
    size_t room = sodium_base64_ENCODED_LEN(winner->value.size,
                                            sodium_base64_VARIANT_ORIGINAL);
    char *text = cm_alloc(room);
    json_t *ret;

    CHECK(text != NULL);
    (void)sodium_bin2base64(text, room, winner->value.data, winner->value.size,
                            sodium_base64_VARIANT_ORIGINAL);
    ret = json_pack("{s:s, s:I}", "Value", text, "Flags",
                    (json_int_t)winner->flags);
    cm_free(text);
    CHECK(ret != NULL);
    return ret;
}

/* One register or element that is there now, or is revoked. */
static void take(struct reassert *r, const struct entry_id *id,
                 const struct resolution *shown)
{
    bool set = id->space == SPACE_SET;
    struct element_name n = element_name(id->key, set ? &id->element : NULL);
    json_t *one;

    if (!set && shown->present) {
        (void)json_object_setn_new(r->live, (const char *)id->key.data,
                                   id->key.size, live_of(shown->winner));
        return;
    }
    one = json_pack("{s:s%, s:s%}", "key", (const char *)id->key.data,
                    id->key.size, "element",
                    set ? (const char *)id->element.data : "",
                    set ? id->element.size : (size_t)0);
    CHECK(one != NULL);
    (void)json_object_setn_new(shown->present ? r->elements : r->revoked,
                               n.text, n.size, one);
}

/* What is left was not there. */
static void differ_new(struct reassert *r)
{
    const char *name;
    json_t *one;
    size_t size;

    json_object_keylen_foreach(r->live, name, size, one)
        differ(r, '-', slice_of(name, size), NULL, NULL);
    json_object_keylen_foreach(r->elements, name, size, one)
    {
        const json_t *key = json_object_get(one, "key");
        const json_t *element = json_object_get(one, "element");
        struct slice e =
            slice_of(json_string_value(element), json_string_length(element));

        differ(r, '-',
               slice_of(json_string_value(key), json_string_length(key)), &e,
               NULL);
    }
}

/* ---- the node ---- */

static int load_keys(struct reassert *r)
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

static void take_names(json_t *to, const json_t *list)
{
    size_t i;
    json_t *one;

    json_array_foreach((json_t *)(uintptr_t)list, i, one)
    {
        const json_t *key = json_object_get(one, "key");
        const json_t *element = json_object_get(one, "element");
        struct slice e =
            slice_of(json_string_value(element), json_string_length(element));
        struct element_name n;

        if (!json_is_string(key) || json_string_length(key) > KEY_SIZE_MAX ||
            e.size > KEY_SIZE_MAX)
            continue;
        n = element_name(
            slice_of(json_string_value(key), json_string_length(key)),
            json_is_string(element) ? &e : NULL);
        (void)json_object_setn(to, n.text, n.size, one);
    }
}

static int load_sets(struct reassert *r)
{
    struct buffer target;
    json_t *answer = NULL;
    char path[CLIENT_TARGET_MAX];
    int code;

    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/mesh/sets");
    cli_query_add(&target, "prefix", r->prefix);
    (void)snprintf(path, sizeof path, "%.*s", (int)target.size,
                   (const char *)target.data);
    buffer_release(&target);
    code = cli_get_json(r->c, path, NULL, CLIENT_CALL_TIMEOUT_MS, &answer);
    if (code != 0)
        return code;
    take_names(r->elements, json_object_get(answer, "elements"));
    take_names(r->revoked, json_object_get(answer, "revoked"));
    json_decref(answer);
    return 0;
}

/* "Another mesh's snapshot is refused without --adopt." */
static int check_mesh(struct reassert *r, const struct manifest *m)
{
    char theirs[MESH_ID_TEXT_SIZE];
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];
    const char *own;
    char second[MESH_ID_TEXT_SIZE];
    json_t *status = NULL;
    bool same;
    int code = 0;

    if (r->taking) {
        r->mesh = m->mesh;
        return 0;
    }
    if (!r->stored)
        code = cli_get_json(r->c, "/v1/mesh/status", NULL,
                            CLIENT_CALL_TIMEOUT_MS, &status);
    if (code != 0)
        return code;
    mesh_id_format(second, &r->mesh);
    own =
        r->stored ? second : json_string_value(json_object_get(status, "mesh"));
    mesh_id_format(theirs, &m->mesh);
    same = own != NULL && strcmp(own, theirs) == 0;
    json_decref(status);
    r->adopt = cli_has(r->c, "adopt") && !same;
    if (same || r->adopt)
        return 0;
    authority_fingerprint(fingerprint, m->authority_public_key);
    return cli_failed_as(r->c, CLI_TRUST,
                         "the snapshot is of another mesh, %s (authority %s); "
                         "--adopt takes its keys and values as new writes of "
                         "this one",
                         theirs, fingerprint);
}

/* ---- the snapshot ---- */

/* Its own entries, or with what its deltas made of them. */
struct source {
    struct snapshot_pull *pull; /* one of these is NULL */
    struct snapshot_state *state;
};

static int next_of(const struct source *from, struct entry_id *ret_id,
                   const struct entry **ret_entry)
{
    return from->state != NULL
               ? snapshot_state_next(from->state, ret_id, ret_entry)
               : snapshot_pull_next(from->pull, ret_id, ret_entry);
}

static int walk(struct reassert *r, const struct source *from)
{
    hlc_t now = hlc_make((uint64_t)time(NULL) * 1000, 0);
    struct slice prefix = slice_of_string(r->prefix);
    const struct entry *entry;
    struct entry_id id;
    const char *what;
    int error = 0;

    while (r->code == 0 && (error = next_of(from, &id, &entry)) == 0) {
        struct resolution shown = entry_resolve(entry, now);

        if (id.space > SPACE_CLIENT_LAST ||
            (!shown.present && shown.revoke == NULL) ||
            !slice_starts_with(id.key, prefix))
            continue;
        if (r->taking)
            take(r, &id, &shown);
        else
            compare(r, &id, &shown);
    }
    if (r->code != 0)
        return r->code;
    if (error == CM_ERR_NOT_FOUND)
        return 0;
    what = from->state != NULL ? snapshot_state_detail(from->state)
                               : from->pull->detail.text;
    return cli_failed_as(r->c, cli_exit_of(error), "%s",
                         what != NULL ? what : cm_strerror(error));
}

/* Beside which directories of deltas are made. */
static void scratch_of(char ret[PATH_MAX])
{
    const char *temporary = getenv("TMPDIR");

    (void)snprintf(ret, PATH_MAX, "%.4000s/confmesh-restore",
                   temporary != NULL && temporary[0] != '\0' ? temporary
                                                             : "/tmp");
}

/* As of --at: the snapshot, and of its deltas what was written by then. */
static int with_deltas(struct reassert *r, struct object_store *store,
                       const struct manifest *m, struct cli_recovery *recovery)
{
    char name[SNAPSHOT_NAME_SIZE];
    char scratch[PATH_MAX];
    struct cm_detail detail = {""};
    struct snapshot_state *state = NULL;
    struct snapshot_state_config config = {
        .store = store,
        .name = name,
        .scratch = scratch,
        .hlc_limit = hlc_make(r->at_ms, UINT16_MAX),
        .unlock = cli_recovery_unlock,
        .context = recovery,
    };
    int code;
    int error;

    manifest_name(name, &m->mesh, &m->signer, m->sequence);
    scratch_of(scratch);
    error = snapshot_state_open(&state, &config, &detail);
    if (error == 0 && state->lost > 0)
        error = cm_fail(&detail, CM_ERR_DAMAGED,
                        "deltas behind it are missing or damaged; without "
                        "--at, it is taken as it is");
    if (error == 0)
        error = snapshot_state_begin(state, &detail);
    code = error == 0 ? walk(r, &(struct source){.state = state})
                      : cli_failed_as(r->c, cli_exit_of(error), "%.110s: %s",
                                      name, detail.text);
    snapshot_state_close(state);
    return code;
}

/* Wholly checked first: what is damaged in its last chunk must not be found
 * after a half was written. */
static int with_keys(struct reassert *r, struct object_store *store,
                     const struct manifest *m, const struct snapshot_keys *keys)
{
    struct cm_detail detail = {""};
    struct snapshot_packs packs;
    struct snapshot_pull pull;
    int code = 0;
    int error = snapshot_objects_verify(store, m, keys, NULL, NULL, &detail);

    if (error == 0)
        error = snapshot_packs_open(&packs, store, m, &detail);
    if (error != 0) {
        code = cli_failed_as(r->c, cli_exit_of(error), "%s", detail.text);
        if (code == CLI_INTEGRITY)
            cli_note("nothing was compared or written; another one can be "
                     "named behind the URL: 'confmesh snapshot list %s'",
                     r->c->words[0]);
        return code;
    }
    if (snapshot_pull_begin(&pull, m, keys, snapshot_packs_get, &packs) != 0)
        code = cli_failed(r->c, "out of memory");
    else
        code = walk(r, &(struct source){.pull = &pull});
    snapshot_pull_release(&pull);
    snapshot_packs_close(&packs);
    return code;
}

static int with_manifest(struct reassert *r, struct object_store *store,
                         const struct manifest *m)
{
    struct snapshot_keys keys = {.encrypted = false};
    bool encrypted = m->sealed.size > 0;
    struct cm_detail detail = {""};
    struct cli_recovery recovery;
    int code = check_mesh(r, m);
    int error = 0;

    if (code == 0)
        code = cli_recovery_open(r->c, &recovery);
    if (code != 0)
        return code;
    if (r->at_ms > 0) {
        code = with_deltas(r, store, m, &recovery);
        cli_recovery_close(&recovery);
        return code;
    }
    if (encrypted)
        error = cli_recovery_unlock(&recovery, m, &keys, &detail);
    if (error != 0)
        code = cli_failed_as(r->c, cli_exit_of(error), "%s", detail.text);
    else
        code = with_keys(r, store, m, encrypted ? &keys : NULL);
    cli_recovery_close(&recovery);
    sodium_memzero(&keys, sizeof keys);
    return code;
}

/* The newest that --at and --seq permit. */
static int choose_bounded(struct reassert *r, const struct snapshot_listing *l,
                          char ret_name[SNAPSHOT_NAME_SIZE])
{
    for (size_t i = 0; i < l->count; i++) {
        if (l->items[i].error != 0)
            cli_note("damaged: %s: %s", l->items[i].name, l->items[i].verdict);
    }
    for (size_t i = 0; i < l->count; i++) {
        const struct snapshot_listed *one = &l->items[i];

        if (one->error != 0 ||
            (r->at_ms > 0 && hlc_wall_ms(one->hlc_max) > r->at_ms) ||
            (r->sequence > 0 && one->sequence > r->sequence))
            continue;
        (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "%s", one->name);
        return 0;
    }
    return cli_failed_as(r->c, CLI_TRANSPORT,
                         "%s holds no whole snapshot as old as --at or --seq "
                         "asks for; 'confmesh snapshot list' tells what there "
                         "is",
                         r->c->words[0]);
}

/* The named snapshot, or the newest one; a damaged one that may be newer is not
 * passed over. */
static int choose(struct reassert *r, struct object_store *store,
                  const char *name, char ret_name[SNAPSHOT_NAME_SIZE])
{
    struct cm_detail detail = {""};
    struct snapshot_listing l;
    int code = 0;
    int error;

    if (name != NULL) {
        (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "%s", name);
        return 0;
    }
    error = snapshot_list_in(&l, store, NULL, &detail);
    if (error != 0)
        return cli_failed_as(r->c, CLI_TRANSPORT, "%s", detail.text);
    if (l.count == 0)
        code = cli_failed_as(r->c, CLI_TRANSPORT,
                             "%s holds no snapshot; is it the right place?",
                             r->c->words[0]);
    else if (r->at_ms > 0 || r->sequence > 0)
        code = choose_bounded(r, &l, ret_name);
    else
        (void)snprintf(
            ret_name, SNAPSHOT_NAME_SIZE, "%s",
            l.items[l.items[l.count - 1].error != 0 ? l.count - 1 : 0].name);
    snapshot_listing_release(&l);
    return code;
}

static int with_target(struct reassert *r, const char *target, const char *name)
{
    char chosen[SNAPSHOT_NAME_SIZE];
    struct cm_detail detail = {""};
    struct object_store store;
    struct buffer bytes;
    struct manifest m;
    int code;
    int error =
        object_store_open(&store, target, OBJECT_STORE_MAY_EXEC, &detail);

    if (error != 0)
        return cli_failed_as(r->c, cli_exit_of(error), "%s", detail.text);
    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    code = choose(r, &store, name, chosen);
    if (code == 0)
        error =
            snapshot_manifest_load(&store, chosen, NULL, &bytes, &m, &detail);
    if (error != 0) {
        code = cli_failed_as(r->c, cli_exit_of(error),
                             "manifest %s: %s; 'confmesh snapshot list %s' "
                             "tells what there is",
                             chosen, detail.text, target);
    } else if (code == 0) {
        cli_note("snapshot %s by %s", chosen, m.signer_name);
        code = with_manifest(r, &store, &m);
        manifest_release(&m);
    }
    buffer_release(&bytes);
    object_store_close(&store);
    return code;
}

/* ---- the verbs ---- */

static void tell(const struct reassert *r)
{
    if (r->apply)
        cli_note("%" PRIu64 " keys and elements are as they were",
                 r->differences);
    if (r->revoked_since > 0)
        cli_note("%" PRIu64 " were revoked since and stay so (x); --unrevoke "
                 "brings them back",
                 r->revoked_since);
}

/* --at and --seq. 0 or an exit code, said. */
static int take_bounds(struct reassert *r)
{
    const char *at = cli_value(r->c, "at");
    const char *sequence = cli_value(r->c, "seq");
    struct cm_detail detail = {""};

    if ((at != NULL && args_time_ms(&r->at_ms, at, "--at", &detail) != 0) ||
        (sequence != NULL &&
         args_number(&r->sequence, sequence, INT64_MAX, "--seq", &detail) != 0))
        return cli_usage_error(r->c, "%s", detail.text);
    if ((at != NULL && r->at_ms == 0) || (sequence != NULL && r->sequence == 0))
        return cli_usage_error(r->c, "--at and --seq begin at 1");
    if (r->sequence > 0 && r->c->words_count > 1)
        return cli_usage_error(r->c, "--seq chooses a snapshot: leave its "
                                     "name or --seq out");
    return 0;
}

/* What is there now, into live, elements and revoked. */
static int load_now(struct reassert *r)
{
    int code;

    if (!r->stored) {
        code = load_keys(r);
        return code == 0 ? load_sets(r) : code;
    }
    r->taking = true;
    code = with_target(r, r->c->words[0], r->c->words[2]);
    r->taking = false;
    return code;
}

static int run(struct cli *c, bool apply)
{
    const char *prefix = cli_value(c, "prefix");
    struct reassert r = {.c = c, .apply = apply, .stored = c->words_count > 2};
    int code;

    r.prefix = prefix != NULL ? prefix : "";
    code = cli_check_prefix(c, r.prefix);
    if (code == 0)
        code = take_bounds(&r);
    if (code != 0)
        return code;
    r.live = json_object();
    r.elements = json_object();
    r.revoked = json_object();
    r.ops = json_array();
    CHECK(r.live != NULL && r.elements != NULL && r.revoked != NULL &&
          r.ops != NULL);
    code = load_now(&r);
    if (code == 0)
        code = with_target(&r, c->words[0],
                           c->words_count > 1 ? c->words[1] : NULL);
    if (code == 0 && !r.adopt)
        differ_new(&r);
    if (code == 0) {
        flush(&r);
        code = r.code;
    }
    json_decref(r.live);
    json_decref(r.elements);
    json_decref(r.revoked);
    json_decref(r.ops);
    if (code != 0)
        return code;
    tell(&r);
    return r.differences + r.revoked_since > 0 && !apply ? CLI_FALSE : CLI_DONE;
}

/* --live says aloud what is meant where no second snapshot is named. */
int cli_verb_snapshot_diff(struct cli *c)
{
    if (c->words_count > 2 && cli_has(c, "live"))
        return cli_usage_error(c, "a snapshot is compared with the living "
                                  "node or with a second one: leave --live or "
                                  "the second NAME out");
    if (c->words_count > 2 && cli_value(c, "at") != NULL)
        return cli_usage_error(c, "--at is for one snapshot and the living "
                                  "node: leave it or the second NAME out");
    return run(c, false);
}

int cli_verb_restore(struct cli *c)
{
    const char *mode = cli_value(c, "mode");
    int code;

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
    code = run(c, false);
    if (code == CLI_FALSE)
        cli_note("nothing was written; --yes writes what was (+ ~), revokes "
                 "what was revoked (!) and deletes what is new (-)");
    return code;
}
