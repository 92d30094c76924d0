/* confmesh evict: the authority's order that nodes write no more.
 *
 * Orders form one chain, so the tool asks the node for the last one that was
 * acted upon, and keeps beside the key what it signed last, the order included.
 * It signs no second order of an epoch: one that was signed and not acted upon
 * yet is given to the node again first. It names as the one before only what
 * the asked node, a living member that stays, has acted upon itself. */
#include <string.h>
#include <time.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/eviction.h"
#include "node/authority_file.h"
#include "node/cli/cli.h"
#include "node/cli/epoch_file.h"

#define AUTHORITY_DEFAULT "authority.key"
#define SETTLE_TRIES 50 /* of 100 ms: an order that was given again */

struct eviction {
    struct cli *cli;
    json_t *roster; /* the node's answer */
    struct eviction_order order;
    struct epoch_file file;
    char file_path[EPOCH_PATH_MAX];
    bool names_self; /* the asked node is among them */
    size_t staying;
};

static uint64_t wall_ms(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool hex_member(const json_t *object, const char *name, void *ret,
                       size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL && strlen(text) == 2 * size &&
           hex_decode(ret, size, text) == 0;
}

static int read_chain(struct eviction *e)
{
    const json_t *generation;
    int code;
    json_decref(e->roster);
    e->roster = NULL;
    code = cli_get_json(e->cli, "/v1/mesh/roster", NULL, 0, &e->roster);
    if (code != 0)
        return code;
    generation = json_object_get(e->roster, "generation");
    e->order.generation.number =
        (uint64_t)json_integer_value(json_object_get(generation, "number"));
    if (!hex_member(e->roster, "mesh", e->order.mesh.bytes, MESH_ID_SIZE) ||
        !hex_member(generation, "hash", e->order.generation.hash, 16) ||
        !hex_member(e->roster, "order", e->order.previous.bytes, HASH_SIZE))
        return cli_failed(e->cli, "the node's answer has an unknown form");
    e->order.epoch =
        1 + (uint64_t)json_integer_value(json_object_get(e->roster, "epoch"));
    return 0;
}

/* ---- whom ---- */

static int compare_incarnations(const void *a, const void *b)
{
    return incarnation_compare(a, b);
}

static bool is_named(const json_t *member, const char *word)
{
    const char *name = json_string_value(json_object_get(member, "name"));
    const char *incarnation =
        json_string_value(json_object_get(member, "incarnation"));
    return (name != NULL && strcmp(name, word) == 0) ||
           (incarnation != NULL && strcmp(incarnation, word) == 0);
}

static bool add_name(struct eviction *e, const struct incarnation *i)
{
    for (size_t k = 0; k < e->order.count; k++) {
        if (incarnation_equal(&e->order.incarnations[k], i))
            return true;
    }
    if (e->order.count == EVICTION_INCARNATIONS_MAX)
        return false;
    e->order.incarnations[e->order.count++] = *i;
    return true;
}

static int find_word(struct eviction *e, const char *word)
{
    const json_t *members = json_object_get(e->roster, "members");
    struct incarnation i;
    bool found = false;
    for (size_t k = 0; k < json_array_size(members); k++) {
        const json_t *m = json_array_get(members, k);
        if (!is_named(m, word))
            continue;
        found = true;
        if (!hex_member(m, "incarnation", i.bytes, INCARNATION_SIZE) ||
            !add_name(e, &i))
            return cli_failed(e->cli, "an order names at most %d incarnations",
                              EVICTION_INCARNATIONS_MAX);
        if (json_is_true(json_object_get(m, "self")))
            e->names_self = true;
    }
    if (!found && strlen(word) == 2 * (size_t)INCARNATION_SIZE &&
        hex_decode(i.bytes, INCARNATION_SIZE, word) == 0)
        found = add_name(e, &i); /* one that is not rostered (yet) */
    return found ? 0
                 : cli_failed(e->cli,
                              "%s is no member of this mesh; 'confmesh "
                              "roster' lists names and incarnations",
                              word);
}

static int find_all(struct eviction *e)
{
    const json_t *members = json_object_get(e->roster, "members");
    size_t going = 0;
    e->order.count = 0;
    e->names_self = false;
    for (size_t i = 0; i < e->cli->words_count; i++) {
        int code = find_word(e, e->cli->words[i]);
        if (code != 0)
            return code;
    }
    qsort(e->order.incarnations, e->order.count, sizeof *e->order.incarnations,
          compare_incarnations);
    e->staying = 0;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        bool goes = !json_is_true(json_object_get(m, "stays"));
        for (size_t k = 0; k < e->cli->words_count; k++)
            goes = goes || is_named(m, e->cli->words[k]);
        going += goes;
        e->staying += !goes;
    }
    if (e->staying == 0)
        return cli_failed(e->cli, "nobody would stay: at least one member "
                                  "has to");
    if (going > e->staying && !cli_has(e->cli, "yes"))
        return cli_failed(e->cli,
                          "%zu members would go and %zu stay; add --yes if "
                          "that is meant",
                          going, e->staying);
    return 0;
}

/* "The tool refuses to name one on which no living member that it keeps has
 * acted": the asked node tells what it has acted upon, so it has to stay. */
static int check_asked(const struct eviction *e)
{
    const json_t *members = json_object_get(e->roster, "members");
    if (e->names_self)
        return cli_failed(e->cli, "the node that is asked would go itself; "
                                  "ask one that stays (--api)");
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        if (json_is_true(json_object_get(m, "self")) &&
            json_is_true(json_object_get(m, "stays")))
            return 0;
    }
    return cli_failed(e->cli, "the node that is asked is no member that "
                              "stays; ask another one (--api)");
}

/* ---- giving it ---- */

static int give(const struct eviction *e, struct slice bytes)
{
    struct client_request request = {
        .method = "POST", .has_body = true, .body = bytes};
    struct client_response response;
    struct buffer target;
    int code;
    buffer_init(&target, 64);
    buffer_append_string(&target, "/v1/mesh/orders");
    code = cli_call(e->cli, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    if (response.status != 200)
        code = cli_refused(e->cli, &response);
    client_response_release(&response);
    return code;
}

/* The last order names nobody and follows what the asked node has acted upon:
 * where no evictee is open there is nothing to act upon in it, and it counts
 * when a fence carries it beside the next. So the next one names it. */
static bool pass_last(struct eviction *e, const struct authority *authority)
{
    struct eviction_order last;
    bool ret;
    if (e->file.epoch != e->order.epoch ||
        eviction_decode(&last, buffer_slice(&e->file.order),
                        authority->public_key) != 0)
        return false;
    ret = last.count == 0 && hash_equal(&last.previous, &e->order.previous);
    eviction_release(&last);
    if (!ret)
        return false;
    e->order.epoch = e->file.epoch + 1;
    e->order.previous = e->file.hash;
    return true;
}

/* What was signed last, if this generation's chain has not come to it yet. */
static int settle_last(struct eviction *e, const struct authority *authority)
{
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    int code = 0;
    if (e->file.epoch < e->order.epoch ||
        !generation_id_equal(&e->file.generation, &e->order.generation))
        return 0;
    cli_note("the last order, of epoch %llu, was not acted upon here: it is "
             "given again",
             (unsigned long long)e->file.epoch);
    code = give(e, buffer_slice(&e->file.order));
    for (int i = 0; i < SETTLE_TRIES && code == 0; i++) {
        code = read_chain(e);
        if (code != 0 || e->order.epoch > e->file.epoch)
            break;
        (void)nanosleep(&pause, NULL);
    }
    if (code != 0 || e->order.epoch > e->file.epoch)
        return code;
    if (!pass_last(e, authority))
        return cli_failed(e->cli,
                          "the order of epoch %llu is still not acted upon by "
                          "this node: no second one is signed for its epoch; "
                          "ask a node that has acted on it (--api)",
                          (unsigned long long)e->file.epoch);
    return !cli_has(e->cli, "none")
               ? 0
               : cli_failed(e->cli, "the last order names nobody already and "
                                    "was given again: a second one would say "
                                    "no more");
}

/* The chain of the node must contain what was signed here last. */
static int check_file(const struct eviction *e)
{
    if (!generation_id_equal(&e->file.generation, &e->order.generation) ||
        e->file.epoch + 1 != e->order.epoch ||
        hash_equal(&e->file.hash, &e->order.previous))
        return 0;
    return cli_failed(e->cli,
                      "this node acted on another order of epoch %llu than "
                      "the one in %s; of two orders the next one names the "
                      "one that stands: remove that file if it is this "
                      "node's, else ask a node that acted on the other",
                      (unsigned long long)e->file.epoch, e->file_path);
}

static int sign_and_give(struct eviction *e, const struct authority *authority)
{
    struct cm_detail detail = {""};
    struct buffer bytes;
    struct mesh_id own = mesh_id_of(authority->public_key);
    int code = 0;
    int error;
    if (!mesh_id_equal(&own, &e->order.mesh))
        return cli_failed(e->cli, "the authority's key is another mesh's than "
                                  "the node's");
    e->order.created_ms = wall_ms();
    buffer_init(&bytes, EVICTION_SIZE_MAX);
    error = eviction_encode(&bytes, &e->order, authority->secret_key);
    if (error != 0)
        code = cli_failed(e->cli, "the order cannot be signed: %s",
                          cm_strerror(error));
    /* Before anybody has it: after a crash there is no second one. */
    if (code == 0 && epoch_file_write(e->file_path, &e->order,
                                      buffer_slice(&bytes), &detail) != 0)
        code = cli_failed(e->cli, "%s", detail.text);
    if (code == 0)
        code = give(e, buffer_slice(&bytes));
    buffer_release(&bytes);
    return code;
}

/* Nobody comes in any more if no issuer is left, and nobody says so then. */
static void note_issuers(const struct eviction *e)
{
    const json_t *members = json_object_get(e->roster, "members");
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        for (size_t k = 0; k < e->cli->words_count; k++)
            if (json_is_true(json_object_get(m, "issuer")) &&
                is_named(m, e->cli->words[k])) {
                cli_note("%s made join tokens: they, and what it signed for "
                         "nodes that are no members yet, are void; 'confmesh "
                         "issuer --authority FILE' lets a member that stays "
                         "make them",
                         e->cli->words[k]);
                return;
            }
    }
}

static void tell(const struct eviction *e)
{
    if (!e->cli->json) {
        (void)printf("order of epoch %llu given: %zu incarnations are to go, "
                     "%zu members stay\n",
                     (unsigned long long)e->order.epoch, e->order.count,
                     e->staying);
        return;
    }
    json_t *going = json_array();
    CHECK(going != NULL);
    for (size_t i = 0; i < e->order.count; i++) {
        char text[2 * INCARNATION_SIZE + 1];
        hex_encode(text,
                   slice_of(e->order.incarnations[i].bytes, INCARNATION_SIZE));
        (void)json_array_append_new(going, json_string(text));
    }
    json_t *answer =
        json_pack("{s:I, s:o, s:I}", "epoch", (json_int_t)e->order.epoch,
                  "incarnations", going, "stay", (json_int_t)e->staying);
    CHECK(answer != NULL);
    cli_print_json(answer);
    json_decref(answer);
}

static int evict(struct eviction *e, const struct authority *authority)
{
    int code = settle_last(e, authority);
    if (code == 0)
        code = check_file(e);
    if (code == 0)
        code = find_all(e);
    if (code == 0)
        code = check_asked(e);
    if (code == 0)
        code = sign_and_give(e, authority);
    if (code != 0)
        return code;
    note_issuers(e);
    tell(e);
    return 0;
}

/* A name that a script has lost must not become an order that evicts nobody. */
static int check_words(const struct cli *c)
{
    if (c->words_count == 0 && !cli_has(c, "none"))
        return cli_usage_error(
            c, "NODE is missing: name who is to go ('confmesh roster' lists "
               "names). If two orders of one epoch contradict one another "
               "('confmesh doctor' says so), ask a node that keeps to the one "
               "that should stand, and give --none instead of a NODE");
    if (c->words_count > 0 && cli_has(c, "none"))
        return cli_usage_error(c, "--none is an order that names nobody: give "
                                  "it without a NODE");
    return 0;
}

/* Two orders of one epoch are known to the asked node, or the operator knows
 * better. */
static int check_conflict(const struct cli *c)
{
    json_t *status = NULL;
    bool found = false;
    const json_t *alarm;
    size_t i;
    int code;
    if (!cli_has(c, "none") || cli_has(c, "yes"))
        return 0;
    code = cli_get_json(c, "/v1/mesh/status", NULL, 0, &status);
    if (code != 0)
        return code;
    json_array_foreach(json_object_get(status, "alarms"), i, alarm)
    {
        const char *text = json_string_value(alarm);
        found = found || (text != NULL && strncmp(text, "orders:", 7) == 0);
    }
    json_decref(status);
    return found ? 0
                 : cli_failed(c, "this node knows of no two orders of one "
                                 "epoch, so there is nothing to decide; if "
                                 "'confmesh doctor' of another node tells of "
                                 "them, and the order that this one acted "
                                 "upon should stand, add --yes");
}

int cli_verb_evict(struct cli *c)
{
    struct eviction e = {.cli = c};
    const char *path = cli_value(c, "authority");
    struct passphrase_source source = {
        .file = cli_value(c, "passphrase-file"),
        .none = cli_has(c, "no-passphrase"),
    };
    struct authority authority;
    struct cm_detail detail = {""};
    int code = check_words(c);
    if (code != 0)
        return code;
    if (path == NULL)
        path = AUTHORITY_DEFAULT;
    if (passphrase_source_check(&source, &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    if (epoch_file_path(e.file_path, path, &detail) != 0 ||
        epoch_file_read(&e.file, e.file_path, &detail) != 0)
        return cli_failed(c, "%s", detail.text);
    e.order.incarnations =
        cm_calloc(EVICTION_INCARNATIONS_MAX, sizeof(struct incarnation));
    code = e.order.incarnations == NULL ? cli_failed(c, "out of memory")
                                        : read_chain(&e);
    /* Mistakes should cost no passphrase. */
    if (code == 0)
        code = check_conflict(c);
    if (code == 0)
        code = find_all(&e);
    if (code == 0 &&
        authority_file_read(&authority, path, &source, &detail) != 0)
        code = cli_failed(c, "%s", detail.text);
    else if (code == 0) {
        code = evict(&e, &authority);
        authority_clear(&authority);
    }
    json_decref(e.roster);
    cm_free(e.order.incarnations);
    epoch_file_release(&e.file);
    return code;
}
