/* confmesh snapshot now|list|verify. "now" asks the node; the other two read a
 * target by themselves, for the day when there is no node. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "crdt/authority.h"
#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/paths.h"
#include "node/snapshot_job.h"

#define SNAPSHOT_TIMEOUT_MS 3600000

/* The node's working directory is another one: make a path absolute. */
int cli_absolute_target(const struct cli *c, const char *field, const char *to,
                        char *ret, size_t room)
{
    struct cm_detail detail = {""};
    char path[PATHS_SIZE_MAX];
    bool file = strncmp(to, "file:", 5) == 0;
    if (to[0] == 0 || strcmp(to, "file:") == 0)
        return cli_usage_error(c, "%s is empty; give a directory", field);
    /* Another scheme is the node's to judge. */
    size_t scheme = strspn(to, "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    if (!file && scheme > 0 && to[scheme] == ':') {
        int length = snprintf(ret, room, "%s", to);
        if (length < 0 || (size_t)length >= room)
            return cli_usage_error(c, "%s is longer than a target may be",
                                   field);
        return 0;
    }
    if (paths_absolute(path, file ? to + 5 : to, &detail) != 0)
        return cli_usage_error(c, "%s: %s", field, detail.text);
    (void)snprintf(ret, room, "file:%s", path);
    return 0;
}

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

int cli_verb_snapshot_now(struct cli *c)
{
    const char *to = cli_value(c, "to");
    char target[PATHS_SIZE_MAX + 8] = "";
    int code = to != NULL
                   ? cli_absolute_target(c, "--to", to, target, sizeof(target))
                   : 0;
    if (code != 0)
        return code;
    json_t *body = json_object();
    json_t *answer = NULL;
    CHECK(body != NULL);
    if (json_object_set_new(
            body, "to", to != NULL ? json_string(target) : json_null()) != 0)
        code = cli_usage_error(c, "--to is not valid UTF-8");
    if (code == 0)
        code = cli_get_json(c, "/v1/mesh/snapshot", body, SNAPSHOT_TIMEOUT_MS,
                            &answer);
    json_decref(body);
    if (code != 0)
        return code;
    const char *name = json_string_value(json_object_get(answer, "name"));
    if (c->json)
        cli_print_json(answer);
    else
        (void)printf(
            "snapshot %s: %" PRId64 " entries in %" PRId64 " chunks (%" PRId64
            " new), %" PRId64 " bytes (%" PRId64 " new), read back\n",
            name != NULL ? name : "", number_of(answer, "entries"),
            number_of(answer, "chunks"), number_of(answer, "chunks_new"),
            number_of(answer, "bytes"), number_of(answer, "bytes_new"));
    json_decref(answer);
    return CLI_DONE;
}

static void format_time(char ret[32], uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    ret[0] = 0;
    if (gmtime_r(&seconds, &tm) != NULL)
        (void)strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void print_listed(const struct cli *c, const struct snapshot_listed *l)
{
    char when[32];
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];
    char mesh[MESH_ID_TEXT_SIZE];
    format_time(when, l->created_ms);
    authority_fingerprint(fingerprint, l->authority_public_key);
    mesh_id_format(mesh, &l->mesh);
    if (!c->json) {
        (void)printf("%s  %s  %s #%" PRIu64 "  generation %" PRIu64 "  %" PRIu64
                     " entries  %s\n",
                     l->name, when, l->signer, l->sequence,
                     l->generation.number, l->entries, l->verdict);
        return;
    }
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:s}", "name",
        l->name, "created", when, "signer", l->signer, "mesh", mesh,
        "authority", fingerprint, "sequence", (json_int_t)l->sequence,
        "generation", (json_int_t)l->generation.number, "entries",
        (json_int_t)l->entries, "chunks", (json_int_t)l->chunks, "bytes",
        (json_int_t)l->bytes, "good", l->error == 0, "verdict", l->verdict);
    if (o != NULL)
        cli_print_json(o);
    json_decref(o);
}

/* The target is the first word, or --to as in "now"; at most more words are
 * left then. NULL after saying what is wrong. */
static const char *target_of(struct cli *c, size_t more)
{
    const char *to = cli_value(c, "to");
    if (to == NULL ? c->words_count == 0 : c->words_count > more) {
        (void)cli_usage_error(c, "say once which target: URL or --to URL");
        return NULL;
    }
    if (to != NULL)
        return to;
    c->words++;
    c->words_count--;
    return c->words[-1];
}

int cli_verb_snapshot_list(struct cli *c)
{
    const char *target = target_of(c, 0);
    if (target == NULL)
        return CLI_USAGE;
    struct snapshot_listing listing;
    struct cm_detail detail = {""};
    if (snapshot_list(&listing, target, NULL, &detail) != 0)
        return cli_failed(c, "%s", detail.text);
    int code = listing.count == 0 ? CLI_FALSE : CLI_DONE;
    for (size_t i = 0; i < listing.count; i++) {
        print_listed(c, &listing.items[i]);
        if (listing.items[i].error != 0)
            code = CLI_FAILED;
    }
    if (listing.count == 0)
        cli_note("%s holds no snapshot", target);
    snapshot_listing_release(&listing);
    return code;
}

int cli_verb_snapshot_verify(struct cli *c)
{
    const char *target = target_of(c, 1);
    if (target == NULL)
        return CLI_USAGE;
    struct snapshot_listed listed;
    struct cm_detail detail = {""};
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];
    const char *trust = cli_value(c, "trust");
    const char *name = c->words_count > 0 ? c->words[0] : NULL;
    memset(&listed, 0, sizeof(listed));
    if (snapshot_verify(target, name, NULL, NULL, NULL, &listed, &detail) != 0)
        return cli_failed(c, "%s", detail.text);
    authority_fingerprint(fingerprint, listed.authority_public_key);
    if (trust != NULL && strcmp(trust, fingerprint) != 0)
        return cli_failed(c,
                          "the snapshot's authority is %s, not the one of "
                          "--trust",
                          fingerprint);
    print_listed(c, &listed);
    if (trust == NULL)
        cli_note("damage checked, origin not: authority %s; compare it, or "
                 "give --trust FINGERPRINT",
                 fingerprint);
    return CLI_DONE;
}
