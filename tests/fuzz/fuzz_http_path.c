/* Feeds arbitrary bytes to what decodes a request's line: path, query, numbers,
 * durations, Host. Besides not crashing, a decoded key must be what a key may
 * be, and encoding it again must decode to the same. */
#include <stdlib.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_path(struct slice raw)
{
    static const char hex[] = "0123456789ABCDEF";
    uint8_t key[KEY_SIZE_MAX];
    uint8_t again[KEY_SIZE_MAX];
    uint8_t escaped[3 * KEY_SIZE_MAX];
    struct cm_detail detail;
    size_t key_size = 0;
    size_t again_size = 0;

    if (http_decode(raw, "the key", key, sizeof(key), &key_size, &detail) != 0)
        return;
    CHECK(key_size <= raw.size && key_size <= KEY_SIZE_MAX);
    CHECK(key_size == 0 || op_check_key(slice_of(key, key_size), NULL) == 0);
    for (size_t i = 0; i < key_size; i++) {
        escaped[3 * i] = '%';
        escaped[3 * i + 1] = (uint8_t)hex[key[i] >> 4];
        escaped[3 * i + 2] = (uint8_t)hex[key[i] & 15];
    }
    CHECK(http_decode(slice_of(escaped, 3 * key_size), "the key", again,
                      sizeof(again), &again_size, &detail) == 0);
    CHECK(slice_equal(slice_of(key, key_size), slice_of(again, again_size)));
}

static void try_text(char *text)
{
    struct http_query query;
    struct cm_detail detail;
    uint64_t value;

    (void)http_host_is_local(text, "127.0.0.2");
    (void)http_parse_u64(text, &value);
    (void)http_parse_duration_ms(text, &value);
    if (http_query_parse(&query, text, &detail) != 0)
        return;
    CHECK(query.count <= HTTP_QUERY_MAX);
    for (size_t i = 0; i < query.count; i++) {
        CHECK(utf8_is_valid(slice_of_string(query.items[i].name)));
        CHECK(http_query_has(&query, query.items[i].name));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    CHECK(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    try_path(slice_of(text, size));
    try_text(text);
    free(text);
    return 0;
}
