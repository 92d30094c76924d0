/* confmesh import: a directory tree, a JSON file or an INI file becomes keys.
 * Keys go in batches, each one transaction: all of a batch or nothing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "crdt/base/pack.h"
#include "node/cli/cli.h"
#include "node/cli/ini_tree.h"
#include "node/import_tree.h"

#define BATCH_OPS_MAX 512
#define BATCH_BYTES_MAX 400000       /* the API takes 1,000,000 as JSON */
#define IMPORT_FILE_MAX (256u << 20) /* bytes of a JSON or INI file */
#define IMPORT_DEPTH_MAX 64          /* of nested JSON objects */
#define IMPORT_SKIPPED_TOLD 10       /* by name, without --verbose */
#define IMPORT_BINARY "$base64"      /* {"$base64": "…"}: binary value */

struct import {
    struct cli *c;
    struct buffer key; /* prefix, then what is below it */
    size_t prefix_size;
    json_t *ops; /* of the batch under way */
    size_t ops_bytes;
    json_t *seen; /* keys of a JSON or INI file: none twice */
    size_t keys, bytes, transactions, skipped;
    bool dry; /* look through a file before anything is sent */
    int code; /* exit code that stopped the import */
};

/* ---- batches ---- */

static int batch_send(struct import *im)
{
    size_t count = json_array_size(im->ops);
    if (count == 0)
        return 0;
    im->code = cli_transact(im->c, im->ops, true);
    im->ops = json_array();
    im->ops_bytes = 0;
    CHECK(im->ops != NULL);
    if (im->code != 0)
        return CM_ERR_IO;
    im->transactions++;
    im->keys += count;
    cli_note("%zu keys imported", im->keys);
    return 0;
}

/* A large value alone: a plain put takes its bytes as they are. */
static int put_alone(struct import *im, struct slice value)
{
    struct client_response response;
    struct buffer target;
    const char *author = cli_value(im->c, "author");
    struct client_request request = {
        .method = "PUT",
        .has_body = true,
        .body = value,
    };
    if (author != NULL)
        request.headers[request.headers_count++] =
            (struct client_header){"X-Confmesh-Author", author};
    int error = batch_send(im);
    if (error != 0)
        return error;
    buffer_init(&target, CLIENT_TARGET_MAX);
    buffer_append_string(&target, "/v1/kv/");
    client_percent_encode(&target, buffer_slice(&im->key), false);
    if (cli_has(im->c, "unrevoke"))
        buffer_append_string(&target, "?unrevoke");
    im->code = cli_call(im->c, &request, &target, &response);
    buffer_release(&target);
    if (im->code != 0)
        return CM_ERR_IO;
    if (response.status != 200)
        im->code = cli_refused(im->c, &response);
    client_response_release(&response);
    if (im->code != 0)
        return CM_ERR_IO;
    im->transactions++;
    im->keys++;
    return 0;
}

/* im->key is complete. */
static int put(struct import *im, struct slice value)
{
    size_t size = im->key.size + value.size + value.size / 3;
    if (im->dry)
        return 0;
    im->bytes += value.size;
    if (size > BATCH_BYTES_MAX)
        return put_alone(im, value);
    if (json_array_size(im->ops) == BATCH_OPS_MAX ||
        im->ops_bytes + size > BATCH_BYTES_MAX) {
        int error = batch_send(im);
        if (error != 0)
            return error;
    }
    json_t *op = cli_op("put", buffer_slice(&im->key), NULL);
    cli_json_value(op, value);
    if (cli_has(im->c, "unrevoke"))
        (void)json_object_set_new(op, "unrevoke", json_true());
    CHECK(json_array_append_new(im->ops, op) == 0);
    im->ops_bytes += size;
    return 0;
}

static void skip(struct import *im, struct slice path, const char *reason)
{
    if (im->dry)
        return;
    im->skipped++;
    if (im->skipped > IMPORT_SKIPPED_TOLD && !cli_has(im->c, "verbose")) {
        if (im->skipped == IMPORT_SKIPPED_TOLD + 1)
            cli_note("more are skipped; --verbose names each");
        return;
    }
    (void)fputs("skipped ", stderr);
    cli_print_escaped(stderr, path);
    (void)fprintf(stderr, ": %s\n", reason);
}

/* ---- directory ---- */

static int on_file(void *ctx, struct slice path, struct slice content)
{
    struct import *im = ctx;
    im->key.size = im->prefix_size;
    buffer_append_slice(&im->key, path);
    CHECK(im->key.error == 0);
    return put(im, content);
}

static void on_skipped(void *ctx, struct slice path, const char *reason)
{
    skip(ctx, path, reason);
}

static int import_directory(struct import *im, const char *path)
{
    struct cm_detail detail = {""};
    struct import_tree_visitor visitor = {im, on_file, on_skipped};
    int error = import_tree_walk(path, KEY_SIZE_MAX - im->prefix_size, &visitor,
                                 &detail);
    if (error != 0 && im->code == 0)
        im->code = cli_failed(im->c, "%s", detail.text);
    return error;
}

/* ---- JSON and INI ---- */

/* A key of a file: checked, and once only. */
static int put_once(struct import *im, struct slice value)
{
    struct slice key = buffer_slice(&im->key);
    struct slice below =
        slice_of(key.data + im->prefix_size, key.size - im->prefix_size);
    if (im->key.error != 0 || key.size > KEY_SIZE_MAX || below.size == 0) {
        im->code = cli_usage_error(im->c,
                                   "a key of the file has %zu bytes, but must "
                                   "have 1 to %d with its prefix",
                                   key.size, KEY_SIZE_MAX);
        return CM_ERR_INVALID;
    }
    if (value.size > VALUE_SIZE_MAX) {
        skip(im, key, "larger than 1000000 bytes, the limit of a value");
        return 0;
    }
    if (json_object_getn(im->seen, (const char *)key.data, key.size) != NULL) {
        im->code = cli_usage_error(
            im->c, "the file names the key '%.*s' twice; remove one",
            (int)key.size, (const char *)key.data);
        return CM_ERR_INVALID;
    }
    CHECK(json_object_setn_new(im->seen, (const char *)key.data, key.size,
                               json_true()) == 0);
    return put(im, value);
}

static int on_ini(void *ctx, struct slice key, struct slice value)
{
    struct import *im = ctx;
    im->key.size = im->prefix_size;
    buffer_append_slice(&im->key, key);
    return put_once(im, value);
}

static int put_json(struct import *im, const json_t *value)
{
    const char *binary =
        json_string_value(json_object_get(value, IMPORT_BINARY));
    if (json_is_string(value))
        return put_once(
            im, slice_of(json_string_value(value), json_string_length(value)));
    if (binary != NULL && json_object_size(value) == 1) {
        struct buffer bytes;
        buffer_init(&bytes, IMPORT_FILE_MAX);
        int error = cli_base64_decode(binary, &bytes);
        if (error == 0)
            error = put_once(im, buffer_slice(&bytes));
        else
            im->code = cli_usage_error(
                im->c, "'%.*s': " IMPORT_BINARY " is no padded base64",
                (int)im->key.size, (const char *)im->key.data);
        buffer_release(&bytes);
        return error;
    }
    if (json_is_null(value)) {
        skip(im, buffer_slice(&im->key), "null is no value");
        return 0;
    }
    /* Numbers, booleans and lists: their JSON text. */
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    CHECK(text != NULL);
    int error = put_once(im, slice_of_string(text));
    free(text);
    return error;
}

static int walk_json(struct import *im, json_t *object, unsigned depth)
{
    const char *name;
    json_t *value;
    size_t size = im->key.size;
    int error = 0;
    if (depth > IMPORT_DEPTH_MAX) {
        im->code = cli_usage_error(im->c, "the JSON is nested too deep");
        return CM_ERR_INVALID;
    }
    json_object_foreach(object, name, value)
    {
        if (depth > 0)
            buffer_append_byte(&im->key, '/');
        buffer_append_string(&im->key, name);
        if (json_is_object(value) &&
            (json_object_size(value) != 1 ||
             json_object_get(value, IMPORT_BINARY) == NULL))
            error = walk_json(im, value, depth + 1);
        else
            error = put_json(im, value);
        im->key.size = size;
        if (error != 0)
            break;
    }
    return error;
}

static int parse_json(struct import *im, const char *path, struct slice text,
                      json_t **ret_root)
{
    json_error_t where;
    json_t *root = json_loadb((const char *)text.data, text.size,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (json_is_object(root)) {
        *ret_root = root;
        return 0;
    }
    if (root == NULL)
        im->code = cli_usage_error(
            im->c, "%s: malformed JSON at line %d, column %d: %s", path,
            where.line, where.column, where.text);
    else
        im->code =
            cli_usage_error(im->c, "%s: the JSON must be an object", path);
    json_decref(root);
    return CM_ERR_INVALID;
}

static int import_file(struct import *im, const char *path, bool ini)
{
    struct buffer text;
    struct cm_detail detail = {""};
    json_t *root = NULL;
    buffer_init(&text, IMPORT_FILE_MAX + 65536);
    im->code = cli_read_input(im->c, path, "the file", IMPORT_FILE_MAX, &text);
    int error = im->code == 0 ? 0 : CM_ERR_IO;
    if (error == 0 && !ini)
        error = parse_json(im, path, buffer_slice(&text), &root);
    /* Twice: what is wrong anywhere in the file is found before its first
     * batch is sent. */
    for (int pass = 0; pass < 2 && error == 0; pass++) {
        im->dry = pass == 0;
        im->key.size = im->prefix_size;
        (void)json_object_clear(im->seen);
        error = ini ? ini_tree_parse(buffer_slice(&text), on_ini, im, &detail)
                    : walk_json(im, root, 0);
    }
    im->dry = false;
    if (error != 0 && im->code == 0)
        im->code = cli_usage_error(im->c, "%s: %s", path, detail.text);
    json_decref(root);
    buffer_release(&text);
    return error;
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    size_t end_size = strlen(end);
    return size >= end_size && strcasecmp(text + size - end_size, end) == 0;
}

static int import_path(struct import *im, const char *path)
{
    struct stat s;
    if (strcmp(path, "-") == 0)
        return import_file(im, path, cli_has(im->c, "ini"));
    if (stat(path, &s) != 0) {
        im->code =
            cli_failed(im->c, "cannot read %s: %s", path, strerror(errno));
        return CM_ERR_IO;
    }
    if (S_ISDIR(s.st_mode))
        return import_directory(im, path);
    if (cli_has(im->c, "ini") || ends_with(path, ".ini") ||
        ends_with(path, ".conf"))
        return import_file(im, path, true);
    if (ends_with(path, ".json"))
        return import_file(im, path, false);
    im->code = cli_usage_error(im->c,
                               "%s is no directory and ends in neither .json "
                               "nor .ini; 'confmesh put KEY - < FILE' stores "
                               "one file",
                               path);
    return CM_ERR_INVALID;
}

static void print_summary(const struct import *im)
{
    if (im->c->json)
        (void)printf("{\"keys\":%zu,\"bytes\":%zu,\"transactions\":%zu,"
                     "\"skipped\":%zu}\n",
                     im->keys, im->bytes, im->transactions, im->skipped);
    else
        (void)printf("imported %zu keys, %zu bytes, in %zu transactions; "
                     "skipped %zu\n",
                     im->keys, im->bytes, im->transactions, im->skipped);
}

int cli_verb_import(struct cli *c)
{
    CHECK(c->words_count == 1);
    const char *prefix = cli_value(c, "prefix");
    struct import im = {.c = c};
    if (prefix != NULL && prefix[0] != 0) {
        int code = cli_check_key(c, "--prefix", prefix);
        if (code != 0)
            return code;
    }
    buffer_init(&im.key, 65536);
    buffer_append_string(&im.key, prefix != NULL ? prefix : "");
    if (im.key.size > 0 && im.key.data[im.key.size - 1] != '/')
        buffer_append_byte(&im.key, '/');
    im.prefix_size = im.key.size;
    im.ops = json_array();
    im.seen = json_object();
    CHECK(im.ops != NULL && im.seen != NULL);
    if (im.prefix_size >= KEY_SIZE_MAX)
        im.code = cli_usage_error(c, "--prefix leaves no room for names");
    int error = im.code == 0 ? import_path(&im, c->words[0]) : CM_ERR_INVALID;
    if (error == 0)
        error = batch_send(&im);
    if (error == 0) {
        print_summary(&im);
    } else {
        CHECK(im.code != 0);
        if (im.keys > 0)
            cli_note("stopped: %zu keys before this were imported, in whole "
                     "transactions; run it again to go on",
                     im.keys);
    }
    json_decref(im.ops);
    json_decref(im.seen);
    buffer_release(&im.key);
    return im.code;
}
