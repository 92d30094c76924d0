/* confmesh restore --merge: the node reads the targets by itself, joins what
 * they hold and says what became of it. Encrypted snapshots are opened with
 * data keys, which are taken out of them here: the recovery key stays with
 * whoever has it. */
#include <inttypes.h>
#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/authority_file.h"
#include "node/cli/cli.h"
#include "node/merge.h"
#include "node/paths.h"
#include "node/sealed_keys.h"
#include "node/snapshot_listing.h"

#define MERGE_TIMEOUT_MS 86400000

struct merging {
    struct cli *c;
    json_t *targets; /* owned */
    json_t *keys;    /* owned */
    struct authority recovery;
    bool has_recovery;
};

static bool is_name(const char *word)
{
    return strncmp(word, "v1/", 3) == 0;
}

/* ---- data keys ---- */

static int open_recovery(struct merging *m)
{
    struct cm_detail detail = {""};
    struct passphrase_source source = {
        .file = cli_value(m->c, "passphrase-file"),
        .none = cli_has(m->c, "no-passphrase"),
    };
    const char *file = cli_value(m->c, "recovery-key");

    if (file == NULL)
        return 0;
    if (authority_file_read(&m->recovery, file, &source, &detail) != 0)
        return cli_failed(m->c, "%s", detail.text);
    m->has_recovery = true;
    return 0;
}

static int add_key(struct merging *m, const struct manifest *manifest)
{
    struct cm_detail detail = {""};
    char id_text[2 * SEALED_KEY_ID_SIZE + 1];
    char key_text[65];
    uint8_t id[SEALED_KEY_ID_SIZE];
    uint8_t key[32];
    const json_t *known;
    size_t i;

    if (manifest->sealed.size == 0 || sealed_keys_id(id, manifest->sealed) != 0)
        return 0;
    hex_encode(id_text, slice_of(id, sizeof id));
    json_array_foreach(m->keys, i, known)
    {
        if (strcmp(json_string_value(json_object_get(known, "id")), id_text) ==
            0)
            return 0;
    }
    if (json_array_size(m->keys) == MERGE_KEYS_MAX)
        return cli_failed(m->c,
                          "the targets hold snapshots under more than %d "
                          "keys; name single ones",
                          MERGE_KEYS_MAX);
    if (sealed_keys_open(key, &manifest->mesh, manifest->sealed, &m->recovery,
                         &detail) != 0) {
        cli_note("not opened: %s", detail.text);
        return 0;
    }
    hex_encode(key_text, slice_of(key, sizeof key));
    CHECK(json_array_append_new(m->keys, json_pack("{s:s, s:s}", "id", id_text,
                                                   "key", key_text)) == 0);
    sodium_memzero(key, sizeof key);
    sodium_memzero(key_text, sizeof key_text);
    return 0;
}

static int collect_keys(struct merging *m, const char *url)
{
    struct cm_detail detail = {""};
    struct snapshot_listing l;
    struct object_store store;
    struct buffer bytes;
    int code = 0;

    if (!m->has_recovery)
        return 0;
    if (object_store_open(&store, url, OBJECT_STORE_MAY_EXEC, &detail) != 0)
        return cli_failed(m->c, "%s", detail.text);
    if (snapshot_list_in(&l, &store, NULL, &detail) != 0) {
        object_store_close(&store);
        return cli_failed(m->c, "%s", detail.text);
    }
    buffer_init(&bytes, SNAPSHOT_MANIFEST_MAX);
    for (size_t i = 0; i < l.count && code == 0; i++) {
        struct manifest manifest;

        if (l.items[i].error != 0 ||
            snapshot_manifest_load(&store, l.items[i].name, NULL, &bytes,
                                   &manifest, &detail) != 0)
            continue; /* the node tells */
        code = add_key(m, &manifest);
        manifest_release(&manifest);
    }
    buffer_release(&bytes);
    snapshot_listing_release(&l);
    object_store_close(&store);
    return code;
}

/* ---- targets ---- */

static int add_target(struct merging *m, const char *url, const char *name)
{
    json_t *o = json_pack("{s:s, s:s?}", "url", url, "name", name);

    if (o == NULL)
        return cli_usage_error(m->c, "URL is not valid UTF-8");
    if (json_array_size(m->targets) == MERGE_TARGETS_MAX) {
        json_decref(o);
        return cli_usage_error(m->c, "more than %d targets are given",
                               MERGE_TARGETS_MAX);
    }
    CHECK(json_array_append_new(m->targets, o) == 0);
    return 0;
}

/* URL [NAME...] URL [NAME...]: names belong to the URL before them. */
static int take_words(struct merging *m)
{
    char url[PATHS_SIZE_MAX + 8];
    int code = 0;

    for (size_t i = 0; i < m->c->words_count && code == 0; i++) {
        bool named = i + 1 < m->c->words_count && is_name(m->c->words[i + 1]);

        if (is_name(m->c->words[i])) {
            code = i == 0 ? cli_usage_error(m->c, "a URL comes first")
                          : add_target(m, url, m->c->words[i]);
            continue;
        }
        code =
            cli_absolute_target(m->c, "URL", m->c->words[i], url, sizeof url);
        if (code == 0)
            code = collect_keys(m, url);
        if (code == 0 && !named)
            code = add_target(m, url, NULL);
    }
    return code;
}

/* ---- what became of it ---- */

static int64_t number_of(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static void print_report(const struct cli *c, const json_t *o)
{
    const char *verb = cli_has(c, "dry-run") ? "would be" : "were";

    (void)printf("%" PRId64 " of %" PRId64 " snapshots joined, %" PRId64
                 " covered already; %" PRId64 " entries %s changed, %" PRId64
                 " of them removed\n",
                 number_of(o, "joined"), number_of(o, "found"),
                 number_of(o, "covered"), number_of(o, "entries"), verb,
                 number_of(o, "removed"));
    if (number_of(o, "retained") > 0)
        (void)printf("%" PRId64 " of another generation: %" PRId64
                     " writes %s made anew, %" PRId64
                     " parked ('confmesh unsent')\n",
                     number_of(o, "retained"),
                     number_of(o, "new_writes") - number_of(o, "parked"), verb,
                     number_of(o, "parked"));
    if (number_of(o, "exit") == MERGE_PARTIAL)
        (void)printf("PARTIAL: %" PRId64 " snapshots damaged, %" PRId64
                     " passed over, %" PRId64 " deltas lost\n",
                     number_of(o, "damaged"), number_of(o, "passed_over"),
                     number_of(o, "lost"));
}

static int send_request(struct merging *m)
{
    json_t *answer = NULL;
    json_t *body = json_pack("{s:O, s:O, s:b, s:b}", "targets", m->targets,
                             "keys", m->keys, "yes", cli_has(m->c, "yes"),
                             "dry_run", cli_has(m->c, "dry-run"));
    const char *text;
    const char *error;
    int code;

    CHECK(body != NULL);
    code =
        cli_get_json(m->c, "/v1/mesh/merge", body, MERGE_TIMEOUT_MS, &answer);
    json_decref(body);
    if (code != 0)
        return code;
    text = json_string_value(json_object_get(answer, "text"));
    error = json_string_value(json_object_get(answer, "error"));
    code = (int)number_of(answer, "exit");
    if (text != NULL)
        (void)fputs(text, stderr);
    if (m->c->json)
        cli_print_json(answer);
    else if (code == MERGE_OK || code == MERGE_PARTIAL)
        print_report(m->c, answer);
    if (error != NULL && error[0] != '\0')
        (void)cli_failed(m->c, "%s", error);
    json_decref(answer);
    return code;
}

int cli_merge(struct cli *c)
{
    struct merging m = {.c = c, .targets = json_array(), .keys = json_array()};
    int code;

    CHECK(m.targets != NULL && m.keys != NULL);
    if (cli_has(c, "adopt") || cli_has(c, "unrevoke"))
        code = cli_usage_error(c, "--adopt and --unrevoke are for writing "
                                  "values anew: without --merge, with "
                                  "--prefix");
    else if (cli_value(c, "at") != NULL || cli_value(c, "seq") != NULL)
        code = cli_usage_error(c, "--merge joins whole snapshots; --at and "
                                  "--seq are for writing old values again");
    else if (cli_has(c, "prefix"))
        code = cli_usage_error(c, "--merge joins whole snapshots; --prefix is "
                                  "for writing old values again");
    else
        code = open_recovery(&m);
    if (code == 0)
        code = take_words(&m);
    if (code == 0)
        code = send_request(&m);
    if (m.has_recovery)
        authority_clear(&m.recovery);
    json_decref(m.targets);
    json_decref(m.keys);
    return code;
}
