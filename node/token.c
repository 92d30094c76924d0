#include "node/token.h"

#include <ctype.h>
#include <sodium.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "crdt/event.h"

#define TOKEN_FORMAT 1
#define TOKEN_PREFIX "cm1-"
#define TOKEN_BYTES_MAX 1024
#define TOKEN_RECORD_BYTES 128 /* no record has more, less redemptions */

static struct hash secret_hash_of(const uint8_t secret[16])
{
    return hash_of("confmesh token v1", slice_of(secret, 16));
}

int token_format(char ret_text[TOKEN_TEXT_MAX], const struct token *t)
{
    struct buffer out;
    size_t i;
    int error;

    CHECK(t->addresses_count <= TOKEN_ADDRESSES_MAX);
    buffer_init(&out, TOKEN_BYTES_MAX);
    pack_array(&out, 6);
    pack_uint(&out, TOKEN_FORMAT);
    pack_bytes(&out, t->authority_hash, sizeof t->authority_hash);
    pack_bytes(&out, t->id, sizeof t->id);
    pack_bytes(&out, t->secret, sizeof t->secret);
    pack_uint(&out, t->expires_ms);
    pack_array(&out, t->addresses_count);
    for (i = 0; i < t->addresses_count; i++)
        address_pack(&out, &t->addresses[i]);
    error = out.error;
    if (error == 0) {
        memcpy(ret_text, TOKEN_PREFIX, sizeof TOKEN_PREFIX);
        (void)sodium_bin2base64(ret_text + strlen(TOKEN_PREFIX),
                                TOKEN_TEXT_MAX - strlen(TOKEN_PREFIX), out.data,
                                out.size,
                                sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    }
    buffer_release(&out);
    return error;
}

static int token_decode(struct token *ret_token, struct slice bytes)
{
    struct unpacker u;
    struct token t;
    uint64_t format;
    size_t i;

    memset(&t, 0, sizeof t);
    unpack_init(&u, bytes);
    unpack_array_of(&u, 6);
    format = unpack_uint(&u, UINT64_MAX);
    unpack_bytes(&u, t.authority_hash, sizeof t.authority_hash);
    unpack_bytes(&u, t.id, sizeof t.id);
    unpack_bytes(&u, t.secret, sizeof t.secret);
    t.expires_ms = unpack_uint(&u, UINT64_MAX);
    t.addresses_count = unpack_array(&u, TOKEN_ADDRESSES_MAX);
    for (i = 0; i < t.addresses_count && u.error == 0; i++)
        address_unpack(&u, &t.addresses[i]);
    if (unpack_finish(&u) != 0)
        return u.error;
    if (format != TOKEN_FORMAT || t.addresses_count == 0)
        return CM_ERR_FORMAT_VERSION;
    *ret_token = t;
    return 0;
}

int token_parse(struct token *ret_token, const char *text,
                struct cm_detail *detail)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    const char *end;
    size_t size;
    size_t length;

    while (isspace((unsigned char)*text))
        text++;
    length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    if (length < strlen(TOKEN_PREFIX) ||
        strncmp(text, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) != 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "not a join token: it starts with \"%s\"; make one with "
                       "\"confmesh token create\" on an issuer",
                       TOKEN_PREFIX);
    text += strlen(TOKEN_PREFIX);
    length -= strlen(TOKEN_PREFIX);
    /* libsodium's decoder may take bytes beyond ASCII for digits. */
    for (size = 0; size < length; size++)
        if ((unsigned char)text[size] >= 0x80)
            length = 0;
    if (length == 0 ||
        sodium_base642bin(bytes, sizeof bytes, text, length, NULL, &size, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        end != text + length ||
        token_decode(ret_token, slice_of(bytes, size)) != 0)
        return cm_fail(detail, CM_ERR_MALFORMED,
                       "the join token is damaged or cut short: copy the whole "
                       "line that \"confmesh token create\" printed");
    return 0;
}

void token_table_init(struct token_table *t)
{
    *t = (struct token_table){0};
}

static void record_release(struct token_record *r)
{
    size_t i;

    for (i = 0; i < r->redemptions_count; i++)
        cm_free((void *)r->redemptions[i].certificate.data);
    cm_free(r->redemptions);
    cm_free(r->prefixes);
    *r = (struct token_record){0};
}

/* ---- rights ---- */

static size_t prefixes_size(const struct token_rights *r)
{
    size_t ret = 0;

    for (size_t i = 0; i < r->prefixes_count; i++)
        ret += r->prefixes[i].size;
    return ret;
}

int token_rights_check(const struct token_rights *r, struct cm_detail *detail)
{
    if (r->reader && r->prefixes_count > 0)
        return cm_fail(detail, CM_ERR_INVALID,
                       "a reader writes nothing: give prefixes or make it a "
                       "reader");
    for (size_t i = 0; i < r->prefixes_count; i++)
        if (r->prefixes[i].size > KEY_SIZE_MAX ||
            !utf8_is_valid(r->prefixes[i]))
            return cm_fail(detail, CM_ERR_INVALID,
                           "a prefix is UTF-8 of at most %d bytes",
                           KEY_SIZE_MAX);
    if (r->prefixes_count > CERTIFICATE_PREFIXES_MAX ||
        prefixes_size(r) > TOKEN_PREFIXES_BYTES_MAX)
        return cm_fail(detail, CM_ERR_INVALID,
                       "at most %d prefixes of %d bytes together",
                       CERTIFICATE_PREFIXES_MAX, TOKEN_PREFIXES_BYTES_MAX);
    return 0;
}

static int set_rights(struct token_record *r, const struct token_rights *rights)
{
    size_t at = 0;

    CHECK(r->prefixes == NULL);
    r->rights = *rights;
    if (rights->prefixes_count == 0)
        return 0;
    r->prefixes = cm_alloc(prefixes_size(rights) + 1);
    if (r->prefixes == NULL)
        return CM_ERR_NOMEM;
    for (size_t i = 0; i < rights->prefixes_count; i++) {
        const struct slice *from = &rights->prefixes[i];

        if (from->size > 0)
            memcpy(r->prefixes + at, from->data, from->size);
        r->rights.prefixes[i] = slice_of(r->prefixes + at, from->size);
        at += from->size;
    }
    return 0;
}

/* A reader has a field more; who may write some keys only has two. */
static size_t rights_fields(const struct token_rights *r)
{
    if (r->prefixes_count > 0)
        return 2;
    return r->reader ? 1 : 0;
}

static void rights_encode(struct buffer *out, const struct token_rights *r)
{
    if (rights_fields(r) > 0)
        pack_bool(out, r->reader);
    if (r->prefixes_count == 0)
        return;
    pack_array(out, r->prefixes_count);
    for (size_t i = 0; i < r->prefixes_count; i++)
        pack_string(out, r->prefixes[i]);
}

static void rights_decode(struct token_rights *ret, struct unpacker *u,
                          size_t fields)
{
    *ret = (struct token_rights){.reader = false};
    if (fields > 0)
        ret->reader = unpack_bool(u);
    if (fields == 2)
        ret->prefixes_count = unpack_array(u, CERTIFICATE_PREFIXES_MAX);
    for (size_t i = 0; i < ret->prefixes_count; i++)
        ret->prefixes[i] = unpack_string(u, KEY_SIZE_MAX);
    if (u->error == 0 &&
        (rights_fields(ret) != fields || token_rights_check(ret, NULL) != 0))
        unpack_fail(u, CM_ERR_MALFORMED);
}

void token_table_release(struct token_table *t)
{
    size_t i;

    for (i = 0; i < t->count; i++)
        record_release(&t->records[i]);
    cm_free(t->records);
    token_table_init(t);
}

void token_table_encode(struct buffer *out, const struct token_table *t)
{
    size_t i;
    size_t k;

    pack_array(out, t->count);
    for (i = 0; i < t->count; i++) {
        const struct token_record *r = &t->records[i];

        pack_array(out, 5 + rights_fields(&r->rights));
        pack_bytes(out, r->id, sizeof r->id);
        pack_bytes(out, r->secret_hash.bytes, HASH_SIZE);
        pack_uint(out, r->expires_ms);
        pack_uint(out, r->uses);
        rights_encode(out, &r->rights);
        pack_array(out, 2 * r->redemptions_count);
        for (k = 0; k < r->redemptions_count; k++) {
            pack_bytes(out, r->redemptions[k].sign_key, 32);
            pack_bin(out, r->redemptions[k].certificate);
        }
    }
}

int token_record_redeem(struct token_record *r, const uint8_t sign_key[32],
                        struct slice certificate)
{
    struct redemption *grown;
    uint8_t *copy;

    CHECK(r->redemptions_count < r->uses);
    grown =
        cm_realloc(r->redemptions, (r->redemptions_count + 1) * sizeof *grown);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    r->redemptions = grown;
    copy = cm_alloc(certificate.size);
    if (copy == NULL)
        return CM_ERR_NOMEM;
    if (certificate.size > 0)
        memcpy(copy, certificate.data, certificate.size);
    memcpy(grown[r->redemptions_count].sign_key, sign_key, 32);
    grown[r->redemptions_count].certificate = slice_of(copy, certificate.size);
    r->redemptions_count++;
    return 0;
}

static int record_decode(struct token_record *r, struct unpacker *u)
{
    struct token_rights rights;
    size_t fields;
    size_t pairs;
    size_t i;
    int error = 0;

    *r = (struct token_record){0};
    fields = unpack_array(u, 7);
    unpack_bytes(u, r->id, sizeof r->id);
    unpack_bytes(u, r->secret_hash.bytes, HASH_SIZE);
    r->expires_ms = unpack_uint(u, UINT64_MAX);
    r->uses = unpack_uint(u, TOKEN_USES_MAX);
    if (fields < 5)
        unpack_fail(u, CM_ERR_MALFORMED);
    if (u->error != 0)
        return u->error;
    rights_decode(&rights, u, fields - 5);
    if (u->error == 0)
        error = set_rights(r, &rights);
    pairs = unpack_array(u, 2 * (size_t)r->uses);
    if (pairs % 2 != 0 || r->uses == 0)
        unpack_fail(u, CM_ERR_MALFORMED);
    pairs /= 2;
    for (i = 0; i < pairs && u->error == 0 && error == 0; i++) {
        uint8_t sign_key[32];
        struct slice certificate;

        unpack_bytes(u, sign_key, sizeof sign_key);
        certificate = unpack_bin(u, CERTIFICATE_SIZE_MAX);
        if (u->error == 0)
            error = token_record_redeem(r, sign_key, certificate);
    }
    return u->error != 0 ? u->error : error;
}

int token_table_decode(struct token_table *ret_table, struct slice bytes)
{
    struct unpacker u;
    size_t count;
    int error = 0;

    token_table_init(ret_table);
    unpack_init(&u, bytes);
    count = unpack_array(&u, TOKENS_MAX);
    if (u.error != 0)
        return u.error;
    ret_table->records = cm_calloc(count, sizeof *ret_table->records);
    if (ret_table->records == NULL)
        return CM_ERR_NOMEM;
    while (ret_table->count < count && error == 0) {
        error = record_decode(&ret_table->records[ret_table->count], &u);
        ret_table->count++;
    }
    if (error == 0)
        error = unpack_finish(&u);
    if (error != 0)
        token_table_release(ret_table);
    return error;
}

size_t token_table_size(const struct token_table *t)
{
    size_t size = TOKEN_RECORD_BYTES;
    size_t i;
    size_t k;

    for (i = 0; i < t->count; i++) {
        const struct token_record *r = &t->records[i];

        size += TOKEN_RECORD_BYTES + prefixes_size(&r->rights) +
                4 * r->rights.prefixes_count;
        for (k = 0; k < r->redemptions_count; k++)
            size += TOKEN_REDEMPTION_BYTES + r->redemptions[k].certificate.size;
    }
    return size;
}

void token_table_forget_expired(struct token_table *t, uint64_t now_ms)
{
    size_t i = 0;

    while (i < t->count) {
        if (t->records[i].expires_ms >= now_ms) {
            i++;
            continue;
        }
        record_release(&t->records[i]);
        t->count--;
        t->records[i] = t->records[t->count];
    }
}

int token_table_add(struct token_table *t, const struct token *token,
                    uint64_t uses, const struct token_rights *rights,
                    uint64_t now_ms)
{
    static const struct token_rights everything = {.reader = false};
    struct token_record *grown;
    int error;

    CHECK(uses >= 1 && uses <= TOKEN_USES_MAX);
    if (t->count >= TOKENS_MAX ||
        token_table_size(t) + TOKEN_RECORD_BYTES > TOKEN_TABLE_BYTES_MAX)
        token_table_forget_expired(t, now_ms);
    if (t->count >= TOKENS_MAX ||
        token_table_size(t) + TOKEN_RECORD_BYTES > TOKEN_TABLE_BYTES_MAX)
        return CM_ERR_LIMIT;
    grown = cm_realloc(t->records, (t->count + 1) * sizeof *grown);
    if (grown == NULL)
        return CM_ERR_NOMEM;
    t->records = grown;
    t->records[t->count] = (struct token_record){
        .secret_hash = secret_hash_of(token->secret),
        .expires_ms = token->expires_ms,
        .uses = uses,
    };
    memcpy(t->records[t->count].id, token->id, sizeof token->id);
    error = set_rights(&t->records[t->count],
                       rights != NULL ? rights : &everything);
    t->count += error == 0;
    return error;
}

int token_table_find(struct token_table *t, const uint8_t id[8],
                     const uint8_t secret[16], const uint8_t sign_key[32],
                     uint64_t now_ms, struct token_record **ret_record,
                     const struct redemption **ret_known)
{
    struct hash hash = secret_hash_of(secret);
    struct token_record *r = NULL;
    size_t i;

    for (i = 0; i < t->count; i++)
        if (memcmp(t->records[i].id, id, sizeof t->records[i].id) == 0)
            r = &t->records[i];
    if (r == NULL ||
        sodium_memcmp(hash.bytes, r->secret_hash.bytes, HASH_SIZE) != 0)
        return CM_ERR_NOT_FOUND;
    if (r->expires_ms < now_ms)
        return CM_ERR_EXPIRED;
    *ret_known = NULL;
    for (i = 0; i < r->redemptions_count; i++)
        if (memcmp(r->redemptions[i].sign_key, sign_key, 32) == 0)
            *ret_known = &r->redemptions[i];
    if (*ret_known == NULL && r->redemptions_count >= r->uses)
        return CM_ERR_USED_UP;
    *ret_record = r;
    return 0;
}

bool token_table_has_living(const struct token_table *t, uint64_t now_ms)
{
    size_t i;

    for (i = 0; i < t->count; i++)
        if (t->records[i].expires_ms >= now_ms)
            return true;
    return false;
}
