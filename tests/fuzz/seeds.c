/* Writes the seed corpora of the fuzz targets that decode what this project
 * encodes: `make fuzz-seeds`. The same bytes every time, so that a change of a
 * format shows as a change of the corpus.
 *
 *     seeds DIR      writes DIR/TARGET/NAME for each seed */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/snapshot_map.h"
#include "crdt/authority.h"
#include "crdt/base/check.h"
#include "crdt/sign.h"
#include "node/compare_message.h"
#include "node/frame.h"
#include "node/schema.h"
#include "node/snapshot_scan.h"
#include "node/token.h"
#include "tests/fuzz/support.h"

#define SEED_MAX (64u << 10)
#define WALL_MS UINT64_C(1700000000000)

static const char *root;
static struct buffer out; /* the seed under way */

static void seed_begin(int mode)
{
    buffer_clear(&out);
    if (mode >= 0)
        buffer_append_byte(&out, (uint8_t)mode);
}

static void seed_write(const char *target, const char *name)
{
    char path[512];
    FILE *file;

    CHECK(out.error == 0);
    (void)snprintf(path, sizeof path, "%s/%s", root, target);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        perror(path);
        exit(1);
    }
    (void)snprintf(path, sizeof path, "%s/%s/%s", root, target, name);
    file = fopen(path, "wb");
    if (file == NULL || fwrite(out.data, 1, out.size, file) != out.size ||
        fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

static void seed_text(const char *target, const char *name, int mode,
                      const char *text)
{
    seed_begin(mode);
    buffer_append_string(&out, text);
    seed_write(target, name);
}

static struct slice text(const char *t)
{
    return slice_of_string(t);
}

/* ---- crdt ---- */

static struct op op_of(enum op_kind kind)
{
    static const struct dot older[] = {
        {.incarnation = {{2}}, .seq = 1},
        {.incarnation = {{7}}, .seq = 3},
    };
    struct op op = {.kind = kind, .key = text("users/bob")};

    if (op_space(kind) == SPACE_SET)
        op.element = text("10.0.0.7");
    if (kind == OP_PUT) {
        op.value = text("{\"admin\":true}");
        op.author = text("alice");
        op.flags = 42;
        op.supersedes = older;
        op.supersedes_count = 2;
    }
    if (kind == OP_SET_ADD)
        op.expires = (WALL_MS + 1000) << 16;
    if (kind == OP_ROSTER_ADD) {
        static const uint8_t incarnation[INCARNATION_SIZE] = {5};

        op.key = slice_of(incarnation, sizeof incarnation);
        op.value = text("a certificate");
    }
    if (kind == OP_KNOWS) {
        static const uint8_t writer[INCARNATION_SIZE] = {5};

        op.key = slice_of(writer, sizeof writer);
        op.level = LEVEL_LAST;
    }
    return op;
}

static void event_whole(const char *target, const char *name, int mode,
                        struct slice body, size_t count)
{
    struct event_draft draft = {
        .mesh = fuzz_mesh(),
        .generation = {.number = 1},
        .dot = {.incarnation = fuzz_incarnation(5), .seq = 1},
        .hlc = WALL_MS << 16,
        .body = body,
        .ops_count = count,
    };

    seed_begin(mode);
    CHECK(event_encode(&out, &draft, fuzz_keys_of(FUZZ_NODE)->secret_key,
                       NULL) == 0);
    seed_write(target, name);
}

static void seeds_event(void)
{
    struct buffer body;
    struct buffer all;
    int kind;

    buffer_init(&body, SEED_MAX);
    buffer_init(&all, SEED_MAX);
    for (kind = OP_PUT; kind <= OP_ROSTER_ADD; kind++) {
        struct op op = op_of((enum op_kind)kind);

        buffer_clear(&body);
        event_body_add(&body, &op);
        seed_begin(1);
        buffer_append_byte(&out, 1);
        buffer_append_slice(&out, buffer_slice(&body));
        seed_write("event", op_kind_name(op.kind));
        /* One of each space: no two for one key or element. */
        if (kind == OP_PUT || kind == OP_SET_ADD || kind == OP_ROSTER_ADD)
            buffer_append_slice(&all, buffer_slice(&body));
    }
    /* The longer forms. */
    for (kind = OP_REVOKE; kind <= OP_KNOWS; kind++) {
        struct op op = op_of((enum op_kind)kind);
        char name[32];

        if (kind == OP_REVOKE || kind == OP_SET_REVOKE)
            op.value = text("left the company");
        else if (kind == OP_ROSTER_ADD)
            op.level = LEVEL_LAST;
        else if (kind != OP_KNOWS)
            continue;
        buffer_clear(&body);
        event_body_add(&body, &op);
        (void)snprintf(name, sizeof name, "%s-level", op_kind_name(op.kind));
        seed_begin(1);
        buffer_append_byte(&out, 1);
        buffer_append_slice(&out, buffer_slice(&body));
        seed_write("event", name);
    }
    seed_begin(1);
    buffer_append_byte(&out, 3);
    buffer_append_slice(&out, buffer_slice(&all));
    seed_write("event", "several");
    buffer_clear(&body);
    pack_array(&body, 2); /* an operation of a later format */
    pack_uint(&body, 200);
    pack_bin(&body, text("unknown"));
    seed_begin(1);
    buffer_append_byte(&out, 1);
    buffer_append_slice(&out, buffer_slice(&body));
    seed_write("event", "later");
    event_whole("event", "whole", 0, buffer_slice(&all), 3);
    event_whole("event_peek", "whole", -1, buffer_slice(&all), 3);
    buffer_release(&body);
    buffer_release(&all);
}

static void vv_of(struct vv *v, uint8_t count)
{
    uint8_t i;

    vv_init(v);
    for (i = 1; i <= count; i++) {
        struct incarnation incarnation = fuzz_incarnation(i);
        struct hash head = {{i}};

        CHECK(vv_set(v, &incarnation, (uint64_t)i * i * 100, &head) == 0);
    }
}

static void seeds_vv(void)
{
    static const char *const names[] = {"empty", "one", "three"};
    static const uint8_t counts[] = {0, 1, 3};
    struct vv v;
    size_t i;

    for (i = 0; i < 3; i++) {
        vv_of(&v, counts[i]);
        seed_begin(-1);
        vv_pack(&out, &v);
        seed_write("vv", names[i]);
        vv_release(&v);
    }
}

static void entry_of(struct entry *e, struct entry_id *id, enum op_kind kind)
{
    struct op op = op_of(kind);
    struct dot dots[] = {{.incarnation = fuzz_incarnation(8), .seq = 300},
                         {.incarnation = fuzz_incarnation(9), .seq = 1}};
    size_t i;

    entry_init(e);
    *id = op_entry_id(&op);
    for (i = 0; i < 2; i++) {
        CHECK(entry_apply(e, &op, &dots[i], (WALL_MS + i) << 16, NULL) == 0);
        op.value = text("");
    }
}

static void seeds_entry(void)
{
    static const enum op_kind kinds[] = {OP_PUT, OP_DEL, OP_REVOKE, OP_SET_ADD,
                                         OP_SET_REVOKE};
    struct entry_id id;
    struct entry e;
    size_t i;

    for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        entry_of(&e, &id, kinds[i]);
        seed_begin(-1);
        entry_pack(&out, &id, &e);
        seed_write("entry", op_kind_name(kinds[i]));
        entry_release(&e);
    }
}

/* The body within [body, signature]. */
static struct slice body_of(const struct buffer *whole)
{
    struct unpacker u;

    unpack_init(&u, buffer_slice(whole));
    unpack_array_of(&u, 2);
    return unpack_bin(&u, SEED_MAX);
}

static void seeds_certificate(void)
{
    struct certificate c = fuzz_node_certificate();
    struct buffer issuer;
    struct buffer whole;

    buffer_init(&issuer, SEED_MAX);
    buffer_init(&whole, SEED_MAX);
    fuzz_issuer_certificate(&issuer);
    seed_begin(0);
    buffer_append_slice(&out, buffer_slice(&issuer));
    seed_write("certificate", "whole");
    seed_begin(1);
    buffer_append_slice(&out, body_of(&issuer));
    seed_write("certificate", "by-authority");
    c.issuer = buffer_slice(&issuer);
    c.prefixes[0] = text("users/");
    c.prefixes[1] = text("apps/");
    c.prefixes_count = 2;
    CHECK(certificate_encode(&whole, &c,
                             fuzz_keys_of(FUZZ_ISSUER)->secret_key) == 0);
    seed_begin(2);
    buffer_append_slice(&out, body_of(&whole));
    seed_write("certificate", "by-issuer");
    buffer_release(&issuer);
    buffer_release(&whole);
}

static void seeds_generation(void)
{
    struct generation_order order = {
        .mesh = fuzz_mesh(),
        .number = 1,
        .founder = fuzz_incarnation(5),
        .founder_certificate = text("a certificate"),
        .created_ms = WALL_MS,
    };
    struct buffer whole;

    buffer_init(&whole, SEED_MAX);
    CHECK(generation_order_encode(
              &whole, &order, fuzz_keys_of(FUZZ_AUTHORITY)->secret_key) == 0);
    seed_begin(0);
    buffer_append_slice(&out, buffer_slice(&whole));
    seed_write("generation", "whole");
    seed_begin(1);
    buffer_append_slice(&out, body_of(&whole));
    seed_write("generation", "first");
    buffer_clear(&whole);
    order.number = 2;
    order.previous[0] = 1;
    vv_of(&order.sealed, 3);
    CHECK(generation_order_encode(
              &whole, &order, fuzz_keys_of(FUZZ_AUTHORITY)->secret_key) == 0);
    seed_begin(1);
    buffer_append_slice(&out, body_of(&whole));
    seed_write("generation", "second");
    vv_release(&order.sealed);
    buffer_release(&whole);
}

static void seeds_authority(void)
{
    static const uint8_t random[AUTHORITY_RANDOM_SIZE] = {1};
    static const uint8_t seed[32] = {3};
    struct authority a;

    authority_make(&a, seed);
    seed_begin(0);
    CHECK(authority_encode(&out, &a, text(""), random) == 0);
    seed_write("authority", "clear");
    seed_begin(0);
    CHECK(authority_encode(&out, &a, text("secret"), random) == 0);
    seed_write("authority", "sealed");
    seed_begin(1);
    pack_array(&out, 5);
    pack_bytes(&out, a.public_key, sizeof a.public_key);
    pack_uint(&out, 0);
    pack_bin(&out, text(""));
    pack_bin(&out, text(""));
    pack_bytes(&out, seed, sizeof seed);
    seed_write("authority", "bytes");
    authority_clear(&a);
}

static void seeds_pack(void)
{
    static const uint8_t script[] = {8, 0, 1, 2, 0x53, 0x34, 0x55, 0x26, 7};

    seed_begin(-1);
    buffer_append(&out, script, sizeof script);
    pack_uint(&out, UINT64_C(1) << 40);
    pack_bool(&out, true);
    pack_nil(&out);
    pack_bin(&out, text("binary"));
    pack_bytes(&out, "four", 4);
    pack_string(&out, text("t\xc3\xa4xt"));
    pack_array(&out, 2);
    pack_array(&out, 1);
    pack_uint(&out, 3);
    seed_write("pack", "each");
}

/* ---- node ---- */

static const struct address address4 = {
    .family = 4, .ip = {127, 0, 0, 1}, .port = 7946};
static const struct address address6 = {
    .family = 6, .ip = {0xfe, 0x80, [15] = 1}, .port = 1};

static void seeds_address(void)
{
    seed_text("address", "text4", -1, "127.0.0.1:7946");
    seed_text("address", "text6", -1, "[fe80::1]:1");
    seed_begin(-1);
    address_pack(&out, &address4);
    seed_write("address", "packed4");
    seed_begin(-1);
    address_pack(&out, &address6);
    seed_write("address", "packed6");
}

static void table_seed(const struct token *t)
{
    static const uint8_t sign_key[32] = {6};
    struct token_table table;
    struct token other = *t;

    token_table_init(&table);
    CHECK(token_table_add(&table, t, 2, false, WALL_MS) == 0);
    CHECK(token_record_redeem(&table.records[0], sign_key,
                              text("a certificate")) == 0);
    other.id[0] = 9;
    CHECK(token_table_add(&table, &other, 1, true, WALL_MS) == 0);
    seed_begin(2);
    token_table_encode(&out, &table);
    seed_write("token", "table");
    token_table_release(&table);
}

static void seeds_token(void)
{
    struct token t = {
        .id = {1, 2},
        .secret = {3},
        .expires_ms = WALL_MS + 1000,
        .addresses = {address4, address6},
        .addresses_count = 2,
    };
    char line[TOKEN_TEXT_MAX];
    size_t i;

    CHECK(token_format(line, &t) == 0);
    seed_text("token", "text", 0, line);
    seed_begin(1);
    pack_array(&out, 6);
    pack_uint(&out, 1);
    pack_bytes(&out, t.authority_hash, sizeof t.authority_hash);
    pack_bytes(&out, t.id, sizeof t.id);
    pack_bytes(&out, t.secret, sizeof t.secret);
    pack_uint(&out, t.expires_ms);
    pack_array(&out, t.addresses_count);
    for (i = 0; i < t.addresses_count; i++)
        address_pack(&out, &t.addresses[i]);
    seed_write("token", "bytes");
    table_seed(&t);
}

static void frame_events_seed(void)
{
    struct buffer events;

    buffer_init(&events, SEED_MAX);
    pack_bin(&events, text("one event"));
    pack_bin(&events, text("another"));
    seed_begin(-1);
    frame_events(&out, buffer_slice(&events), 2);
    seed_write("frame", "events");
    buffer_release(&events);
}

static void seeds_frame(void)
{
    static const uint8_t id[8] = {1};
    static const uint8_t secret[16] = {2};
    const struct address addresses[] = {address4, address6};
    struct incarnation incarnation = fuzz_incarnation(5);
    struct vv v;

    seed_begin(-1);
    frame_hello(&out, &address4, &(struct generation_id){.number = 1});
    seed_write("frame", "hello");
    vv_of(&v, 2);
    seed_begin(-1);
    frame_sync(&out, &v, true);
    seed_write("frame", "sync");
    vv_release(&v);
    frame_events_seed();
    seed_begin(-1);
    frame_sync_end(&out, false);
    seed_write("frame", "sync-end");
    seed_begin(-1);
    frame_join(&out, id, secret, "node-2", &address6);
    seed_write("frame", "join");
    seed_begin(-1);
    frame_grant(&out, text("a certificate"), text("an order"), addresses, 2);
    seed_write("frame", "grant");
    seed_begin(-1);
    frame_refused(&out, CM_ERR_USED_UP, "the token is used up");
    seed_write("frame", "refused");
    seed_begin(-1);
    frame_sponsor(&out, &incarnation, LEVEL_LAST, CUT_JOIN, 0, 0);
    seed_write("frame", "sponsor");
    seed_begin(-1);
    frame_snapshot(&out, text("a piece"), true);
    seed_write("frame", "snapshot");
    seed_begin(-1);
    frame_cut_ask(&out, CUT_CATCH_UP, 77, 5);
    seed_write("frame", "cut-ask");
    seed_begin(-1);
    frame_cut(&out, 77, 5, 900, 123456);
    seed_write("frame", "cut");
    seed_begin(-1);
    frame_push(&out, text("an event"));
    seed_write("frame", "push");
}

/* A sibling as an entry's record holds it. */
static void sibling_pack(uint64_t actor, const char *value)
{
    pack_uint(&out, SIBLING_PUT);
    pack_uint(&out, actor);
    pack_uint(&out, 7);
    pack_uint(&out, WALL_MS << 16);
    pack_uint(&out, 42);
    pack_uint(&out, 0);
    pack_bin(&out, text("alice"));
    pack_bin(&out, text(value));
}

static void schema_keys(void)
{
    struct entry_id id = {
        .space = SPACE_SET, .key = text("peers"), .element = text("10.0.0.7")};
    struct schema_key key;

    schema_key_entry(&key, &id);
    seed_begin(0);
    buffer_append_slice(&out, schema_key_slice(&key));
    seed_write("schema", "key-set");
    id = (struct entry_id){.space = SPACE_REGISTER, .key = text("a/b")};
    schema_key_entry(&key, &id);
    seed_begin(0);
    buffer_append_slice(&out, schema_key_slice(&key));
    seed_write("schema", "key-register");
    schema_key_actor(&key, 3);
    seed_begin(0);
    buffer_append_slice(&out, schema_key_slice(&key));
    seed_write("schema", "key-actor");
    schema_key_revision(&key, 4096);
    seed_begin(0);
    buffer_append_slice(&out, schema_key_slice(&key));
    seed_write("schema", "key-revision");
}

static void seeds_schema(void)
{
    struct schema_head head = {.format = STORE_FORMAT,
                               .revision = 12,
                               .oldest_revision = 3,
                               .hlc = WALL_MS << 16};
    struct schema_actor actor = {
        .entry = {.incarnation = fuzz_incarnation(5), .seq = 300},
        .known_seq = 299};

    schema_keys();
    seed_text("schema", "record", 1, "a record's payload");
    seed_begin(2);
    schema_head_pack(&out, &head);
    seed_write("schema", "head");
    seed_begin(3);
    schema_actor_pack(&out, &actor);
    seed_write("schema", "actor");
    seed_begin(4);
    pack_uint(&out, 10);
    pack_uint(&out, 12);
    pack_uint(&out, 2);
    sibling_pack(0, "one");
    sibling_pack(2, "two");
    seed_write("schema", "entry");
    seed_begin(5);
    snapshot_memory_pack(&out, &(struct snapshot_memory){.sequence = 4});
    seed_write("schema", "fact");
}

static void seeds_compare(void)
{
    static struct compare_result r;
    static struct digest lanes;
    struct hash vv = {{4}};
    struct schema_key keys[2] = {
        {.bytes = {SCHEMA_PREFIX_ENTRY, SPACE_REGISTER, 'a'}, .size = 3},
        {.bytes = {SCHEMA_PREFIX_ENTRY, SPACE_REGISTER, 'b'}, .size = 3}};
    struct buffer entries;

    r = (struct compare_result){.vv = vv, .parts_count = 1, .items_count = 2};
    r.parts[0].count = 7;
    r.items[0].key = keys[0];
    r.items[1].key = keys[1];
    r.items[1].damaged = true;
    seed_begin(-1);
    compare_message_ask(&out, COMPARE_ASK_STATE, 1, &vv, false, NULL, 0);
    seed_write("compare_message", "ask-state");
    seed_begin(-1);
    compare_message_ask(&out, COMPARE_ASK_PARTS, 2, &vv, false, keys, 2);
    seed_write("compare_message", "ask-parts");
    seed_begin(-1);
    compare_message_ask(&out, COMPARE_ASK_ENTRIES, 3, &vv, true, keys, 2);
    seed_write("compare_message", "ask-entries");
    seed_begin(-1);
    compare_message_state(&out, 1, &vv, &vv, &lanes);
    seed_write("compare_message", "state");
    seed_begin(-1);
    compare_message_parts(&out, 2, &r);
    seed_write("compare_message", "parts");
    seed_begin(-1);
    compare_message_keys(&out, 4, &r);
    seed_write("compare_message", "keys");
    seed_begin(-1);
    compare_message_refused(&out, 5, &vv, CM_ERR_BUSY);
    seed_write("compare_message", "refused");
    buffer_init(&entries, SEED_MAX);
    compare_message_put_entry(&entries, COMPARE_ENTRY_THERE, text("packed"));
    compare_message_put_entry(&entries, COMPARE_ENTRY_ABSENT, text(""));
    seed_begin(-1);
    compare_message_entries(&out, 3, &vv, buffer_slice(&entries), 2);
    buffer_release(&entries);
    seed_write("compare_message", "entries");
}

static void seeds_http(void)
{
    seed_text("http_client", "length", 0,
              "HTTP/1.1 200 OK\r\nX-Consul-Index: 12\r\n"
              "Content-Length: 5\r\n\r\nhello");
    seed_text("http_client", "chunked", 0,
              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              "5;x=y\r\nhello\r\n3\r\n bo\r\n0\r\nTrailer: z\r\n\r\n");
    seed_text("http_client", "events", 0,
              "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
              "id: 7-a\nevent: commit\ndata: {\"revision\":7,\ndata: "
              "\"changes\":[]}\n\n: idle\n\nretry: 100\ndata\n\n");
    seed_text("http_client", "interim", 0,
              "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n"
              "X-Consul-Index: 3\r\nContent-Length: 0\r\n\r\n");
    seed_text("http_client", "head", 1,
              "HTTP/1.0 204 No Content\r\nConnection: close\r\n\r\n");
    seed_text("http_client", "two-lengths", 0,
              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
              "Content-Length: 6\r\n\r\nhello");
    seed_text("http_txn", "all", -1,
              "{\"ops\":[{\"op\":\"put\",\"key\":\"a\",\"value\":\"1\","
              "\"flags\":7,\"if_absent\":true},{\"op\":\"put\",\"key\":\"b\","
              "\"value64\":\"aGVsbG8=\",\"unrevoke\":true},{\"op\":\"del\","
              "\"key\":\"c\",\"if_version\":"
              "\"05050505050505050505050505050505:9\"},{\"op\":\"set-add\","
              "\"key\":\"s\",\"element\":\"x\"}],\"author\":\"alice\"}");
    seed_text("http_txn", "others", -1,
              "{\"ops\":[{\"op\":\"revoke\",\"key\":\"a\"},{\"op\":"
              "\"set-remove\",\"key\":\"s\",\"element\":\"x\"},{\"op\":"
              "\"set-revoke\",\"key\":\"s\",\"element\":\"y\"}]}");
    seed_text("http_txn", "bad", -1,
              "{\"ops\":[{\"op\":\"put\",\"key\":\"a\",\"value64\":\"*\"}]}");
}

static void seeds_backup(void)
{
    static const struct hash hash = {{1, 2, 3}};
    struct snapshot_map map = {0};
    int error = 0;

    for (size_t i = 0; i < 5 && error == 0; i++) {
        if (i % 3 == 0)
            error = snapshot_map_add_pack(&map, &hash);
        if (error == 0)
            error = snapshot_map_add(&map, &hash, 100 + i);
    }
    seed_begin(-1);
    CHECK(error == 0 && snapshot_map_encode(&out, &map) == 0);
    seed_write("segment", "two-packs");
    snapshot_map_release(&map);
    seed_begin(-1);
    pack_array(&out, 0);
    seed_write("segment", "empty");
    seed_begin(-1);
    pack_array(&out, 7);
    pack_uint(&out, 1);
    pack_bytes(&out, hash.bytes, 16);
    pack_bytes(&out, hash.bytes, HASH_SIZE);
    pack_uint(&out, 3);
    pack_uint(&out, 4);
    pack_bytes(&out, hash.bytes, HASH_SIZE);
    pack_uint(&out, WALL_MS);
    seed_write("delta", "heartbeat-body");
    seed_text("delta", "name", -1, "00000000000000000007-0000000012");
    seed_text("s3_xml", "page", -1,
              "<?xml version=\"1.0\"?>\n<ListBucketResult><Name>b</Name>"
              "<Prefix>v1/</Prefix><IsTruncated>true</IsTruncated>"
              "<NextContinuationToken>a&amp;b=</NextContinuationToken>"
              "<Contents><Key>v1/z&#x41;&lt;</Key></Contents>"
              "<CommonPrefixes><Prefix>v1/dir/</Prefix></CommonPrefixes>"
              "</ListBucketResult>");
    seed_text("s3_xml", "error", -1,
              "<Error><Code>NoSuchKey</Code><Message>&quot;no&quot;</Message>"
              "</Error>");
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: seeds DIR\n");
        return 64;
    }
    root = argv[1];
    buffer_init(&out, SEED_MAX);
    (void)fuzz_mesh(); /* initialises libsodium */
    seeds_event();
    seeds_vv();
    seeds_entry();
    seeds_certificate();
    seeds_generation();
    seeds_authority();
    seeds_pack();
    seeds_address();
    seeds_token();
    seeds_frame();
    seeds_schema();
    seeds_http();
    seeds_compare();
    seeds_backup();
    buffer_release(&out);
    return 0;
}
