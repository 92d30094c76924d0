/* confmesh export: what lies under a prefix as files, JSON or INI. All entries
 * come from one answer, hence from one moment; everything that could go wrong
 * with names is looked for before the first file is written. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/pack.h"
#include "node/cli/cli.h"
#include "node/cli/ini_tree.h"
#include "node/export_tree.h"

struct export_entry {
    struct slice key; /* below the prefix; into list */
    struct buffer value;
};

struct export
{
    struct cli *c;
    json_t *list; /* the node's answer */
    struct export_entry *entries;
    size_t count;
};

static int compare_entries(const void *a, const void *b)
{
    return slice_compare(((const struct export_entry *)a)->key,
                         ((const struct export_entry *)b)->key);
}

static int decode(struct export *ex, size_t prefix_size)
{
    size_t count = json_array_size(ex->list);
    ex->entries = cm_calloc(count > 0 ? count : 1, sizeof(*ex->entries));
    if (ex->entries == NULL)
        return cli_failed(ex->c, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(ex->list, i);
        const json_t *key = json_object_get(item, "Key");
        const char *value = json_string_value(json_object_get(item, "Value"));
        struct export_entry *e = &ex->entries[ex->count++];
        buffer_init(&e->value, VALUE_SIZE_MAX + 8);
        if (json_string_length(key) < prefix_size || !json_is_string(key) ||
            (value != NULL && cli_base64_decode(value, &e->value) != 0))
            return cli_failed(ex->c, "the node's answer has an unknown form");
        e->key = slice_of(json_string_value(key) + prefix_size,
                          json_string_length(key) - prefix_size);
    }
    qsort(ex->entries, ex->count, sizeof(*ex->entries), compare_entries);
    return 0;
}

static int fetch(struct export *ex, const char *prefix)
{
    struct client_response response;
    struct client_request request = {.method = "GET"};
    struct buffer target;
    size_t prefix_size = strlen(prefix);
    bool slash = prefix_size > 0 && prefix[prefix_size - 1] != '/';
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/kv/");
    client_percent_encode(&target, slice_of_string(prefix), false);
    buffer_append_string(&target, slash ? "/?recurse" : "?recurse");
    int code = cli_call(ex->c, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    if (response.status == 404) {
        cli_note("nothing lies under '%s'", prefix);
        code = CLI_FALSE;
    } else if (response.status != 200) {
        code = cli_refused(ex->c, &response);
    } else {
        ex->list = cli_json_body(ex->c, &response);
        code = ex->list == NULL ? CLI_FAILED : 0;
    }
    client_response_release(&response);
    if (code == 0)
        code = decode(ex, prefix_size + slash);
    return code;
}

/* "a" and "a/b" cannot both be files. Sorted bytewise, "a-b" may stand between
 * them, so every parent is looked up. */
static int check_parents(const struct export *ex)
{
    for (size_t i = 0; i < ex->count; i++) {
        struct export_entry parent = ex->entries[i];
        for (size_t n = parent.key.size; n > 0; n--) {
            if (parent.key.data[n - 1] != '/')
                continue;
            parent.key.size = n - 1;
            if (bsearch(&parent, ex->entries, ex->count, sizeof(parent),
                        compare_entries) != NULL)
                return cli_failed(
                    ex->c,
                    "'%.*s' is a key and has keys below it; files cannot do "
                    "that: export it with --json",
                    (int)parent.key.size, (const char *)parent.key.data);
        }
    }
    return 0;
}

static int write_files(const struct export *ex, int fd, bool force)
{
    struct cm_detail detail = {""};
    for (size_t i = 0; i < ex->count; i++) {
        struct slice key = ex->entries[i].key;
        int error = export_tree_check(key, &detail);
        if (error == 0 && !force)
            error = export_tree_check_absent(fd, key, &detail);
        if (error != 0)
            return cli_failed(ex->c, "%s; nothing was written", detail.text);
    }
    for (size_t i = 0; i < ex->count; i++) {
        const struct export_entry *e = &ex->entries[i];
        if (export_tree_write(fd, e->key, buffer_slice(&e->value), force,
                              &detail) != 0)
            return cli_failed(ex->c, "%s; %zu of %zu files were written",
                              detail.text, i, ex->count);
    }
    if (export_tree_sync(fd, &detail) != 0)
        return cli_failed(ex->c, "%s", detail.text);
    return 0;
}

static int export_directory(const struct export *ex, const char *path)
{
    int code = check_parents(ex);
    if (code != 0)
        return code;
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return cli_failed(ex->c, "cannot make %s: %s", path, strerror(errno));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cli_failed(ex->c, "cannot open %s: %s", path, strerror(errno));
    code = write_files(ex, fd, cli_has(ex->c, "force"));
    (void)close(fd);
    if (code == 0)
        (void)printf("exported %zu keys to %s\n", ex->count, path);
    return code;
}

/* One flat object: what import reads back byte for byte. */
static int export_json(const struct export *ex)
{
    json_t *object = json_object();
    CHECK(object != NULL);
    for (size_t i = 0; i < ex->count; i++) {
        const struct export_entry *e = &ex->entries[i];
        struct slice value = buffer_slice(&e->value);
        json_t *holder = json_object();
        CHECK(holder != NULL);
        cli_json_value(holder, value);
        json_t *item = json_incref(json_object_get(holder, "value"));
        if (item == NULL)
            item = json_pack("{s:O}", "$base64",
                             json_object_get(holder, "value64"));
        CHECK(json_object_setn_new(object, (const char *)e->key.data,
                                   e->key.size, item) == 0);
        json_decref(holder);
    }
    (void)json_dumpf(object, stdout, JSON_INDENT(2));
    (void)fputc('\n', stdout);
    json_decref(object);
    return 0;
}

static int compare_sections(const void *a, const void *b)
{
    struct slice parts[2][2];
    const struct export_entry *entries[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        struct slice key = entries[i]->key;
        const uint8_t *slash = memrchr(key.data, '/', key.size);
        size_t size = slash == NULL ? 0 : (size_t)(slash - key.data) + 1;
        parts[i][0] = slice_of(key.data, size);
        parts[i][1] = slice_of(key.data + size, key.size - size);
    }
    int order = slice_compare(parts[0][0], parts[1][0]);
    return order != 0 ? order : slice_compare(parts[0][1], parts[1][1]);
}

static int export_ini(const struct export *ex)
{
    struct cm_detail detail = {""};
    struct buffer out;
    char section[KEY_SIZE_MAX + 1] = "";
    int error = 0;
    buffer_init(&out, CLIENT_BODY_MAX);
    qsort(ex->entries, ex->count, sizeof(*ex->entries), compare_sections);
    for (size_t i = 0; i < ex->count && error == 0; i++)
        error = ini_tree_append(&out, section, ex->entries[i].key,
                                buffer_slice(&ex->entries[i].value), &detail);
    if (error == 0 && out.size > 0)
        (void)fwrite(out.data, 1, out.size, stdout);
    buffer_release(&out);
    return error == 0 ? 0 : cli_failed(ex->c, "%s", detail.text);
}

int cli_verb_export(struct cli *c)
{
    CHECK(c->words_count >= 1);
    struct export ex = {.c = c};
    bool ini = cli_has(c, "ini");
    size_t forms = (size_t)c->json + (size_t)ini + (c->words_count > 1);
    int code = cli_check_prefix(c, c->words[0]);
    if (code != 0)
        return code;
    if (forms != 1)
        return cli_usage_error(c, "say where to: DIR, --json or --ini");
    code = fetch(&ex, c->words[0]);
    if (code == 0 && ini)
        code = export_ini(&ex);
    else if (code == 0 && c->json)
        code = export_json(&ex);
    else if (code == 0)
        code = export_directory(&ex, c->words[1]);
    for (size_t i = 0; i < ex.count; i++)
        buffer_release(&ex.entries[i].value);
    cm_free(ex.entries);
    json_decref(ex.list);
    return code;
}
