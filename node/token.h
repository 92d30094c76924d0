/* Join tokens: addresses, the authority's hash and a one-time secret.
 *
 * A token is redeemed by the issuer that made it, bound to the first public
 * key that uses it and retryable by that key; uses are counted in the issuer's
 * own store, before the certificate leaves. The store keeps the secret's hash,
 * never the secret.
 *
 * Text: "cm1-" and URL-safe base64 of canonical msgpack [1, authority hash
 * bin32, id bin8, secret bin16, expires_ms, [address…]]. */
#ifndef NODE_TOKEN_H
#define NODE_TOKEN_H

#include "crdt/certificate.h"
#include "gossip/address.h"

#define TOKEN_TEXT_MAX 2048
#define TOKEN_ADDRESSES_MAX 8
#define TOKENS_MAX 256 /* unredeemed or remembered, per issuer */
#define TOKEN_USES_MAX 10000
#define TOKEN_TABLE_BYTES_MAX (3u << 20) /* encoded, in one commit */
#define TOKEN_PREFIXES_BYTES_MAX 1024    /* they go into each certificate */
#define TOKEN_TTL_MS_MAX (UINT64_C(365) * 24 * 3600 * 1000)

struct token {
    uint8_t authority_hash[32];
    uint8_t id[8];
    uint8_t secret[16];
    uint64_t expires_ms; /* wall clock of the issuer */
    struct address addresses[TOKEN_ADDRESSES_MAX];
    size_t addresses_count;
};

int token_format(char ret_text[TOKEN_TEXT_MAX], const struct token *t);
/* Leading and trailing white space is fine. */
int token_parse(struct token *ret_token, const char *text,
                struct cm_detail *detail);

/* What whoever redeems it may do. */
struct token_rights {
    bool reader; /* only read; else write what begins with… */
    struct slice
        prefixes[CERTIFICATE_PREFIXES_MAX]; /* …one of these; borrowed */
    size_t prefixes_count;                  /* 0: everything */
};
/* CM_ERR_INVALID with detail naming the limit. */
int token_rights_check(const struct token_rights *r, struct cm_detail *detail);

/* One redemption: the key that used the token and what it got. */
struct redemption {
    uint8_t sign_key[32];
    struct slice certificate; /* owned by the record */
};
struct token_record {
    uint8_t id[8];
    struct hash secret_hash;
    uint64_t expires_ms;
    uint64_t uses;
    struct token_rights rights;     /* borrow from… */
    uint8_t *prefixes;              /* …this; owned */
    struct redemption *redemptions; /* owned; at most uses */
    size_t redemptions_count;
};
struct token_table {
    struct token_record *records; /* owned */
    size_t count;
};

void token_table_init(struct token_table *t);
void token_table_release(struct token_table *t);
int token_table_decode(struct token_table *ret_table, struct slice bytes);
void token_table_encode(struct buffer *out, const struct token_table *t);
/* No less than its encoding has; a redemption adds its certificate's bytes and
 * TOKEN_REDEMPTION_BYTES. */
#define TOKEN_REDEMPTION_BYTES 48
size_t token_table_size(const struct token_table *t);
/* Moves records: pointers into the table are no longer good. */
void token_table_forget_expired(struct token_table *t, uint64_t now_ms);
/* CM_ERR_LIMIT when TOKENS_MAX living tokens exist, or all that is remembered
 * of them has TOKEN_TABLE_BYTES_MAX; expired ones go first. rights NULL: to
 * write everything. */
int token_table_add(struct token_table *t, const struct token *token,
                    uint64_t uses, const struct token_rights *rights,
                    uint64_t now_ms);
/* The record to redeem for sign_key: CM_ERR_NOT_FOUND (no such token here, or
 * a wrong secret), CM_ERR_EXPIRED, CM_ERR_USED_UP. ret_known is the earlier
 * redemption by the same key, NULL if there was none. */
int token_table_find(struct token_table *t, const uint8_t id[8],
                     const uint8_t secret[16], const uint8_t sign_key[32],
                     uint64_t now_ms, struct token_record **ret_record,
                     const struct redemption **ret_known);
int token_record_redeem(struct token_record *r, const uint8_t sign_key[32],
                        struct slice certificate);
bool token_table_has_living(const struct token_table *t, uint64_t now_ms);

#endif
