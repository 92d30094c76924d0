/* A delta is signed by itself, so that a manifest need not be written every few
 * seconds; who signed is known from the manifest that it belongs to. */
#include "backup/delta.h"

#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/base/pack.h"
#include "crdt/event.h"
#include "crdt/hlc.h"
#include "crdt/sign.h"

#define DELTA_FIELDS 11
#define HEARTBEAT_FIELDS 7
#define ANNOUNCEMENT_FIELDS 4
#define FIELDS_MAX 64 /* of a later format, to read its number */

static const char delta_domain[] = "confmesh delta v1";
static const char heartbeat_domain[] = "confmesh heartbeat v1";
static const char announcement_domain[] = "confmesh announcement v1";

/* The signed body, begun behind its format. */
static int open_body(struct unpacker *ret_body, struct slice bytes,
                     const char *domain, size_t fields,
                     const uint8_t sign_key[32], struct cm_detail *detail)
{
    uint8_t signature[SIGN_SIZE];
    struct unpacker u;
    struct slice body;
    uint64_t format;
    size_t count;
    int error;

    unpack_init(&u, bytes);
    unpack_array_of(&u, 2);
    body = unpack_bin(&u, DELTA_SIZE_MAX);
    unpack_bytes(&u, signature, sizeof signature);
    error = unpack_finish(&u);
    if (error != 0)
        return cm_fail(detail, error, "it is damaged: %s", cm_strerror(error));
    error = sign_verify(signature, domain, body, sign_key);
    if (error != 0)
        return cm_fail(detail, error, "its signature does not verify");
    unpack_init(ret_body, body);
    count = unpack_array(ret_body, FIELDS_MAX);
    format = unpack_uint(ret_body, UINT64_MAX);
    if (ret_body->error == 0 && format != SNAPSHOT_FORMAT)
        return cm_fail(detail, CM_ERR_FORMAT_VERSION,
                       "it has format %llu, this program reads %d",
                       (unsigned long long)format, SNAPSHOT_FORMAT);
    if (ret_body->error == 0 && count != fields)
        unpack_fail(ret_body, CM_ERR_MALFORMED);
    return 0;
}

static int close_body(struct unpacker *u, bool sensible,
                      struct cm_detail *detail)
{
    int error = unpack_finish(u);

    if (error == 0 && !sensible)
        error = CM_ERR_MALFORMED;
    if (error != 0)
        return cm_fail(detail, error,
                       "it is signed but its fields make no sense: %s",
                       cm_strerror(error));
    return 0;
}

int delta_encode(struct buffer *out, struct delta *d,
                 const struct snapshot_keys *keys, struct slice content,
                 const uint8_t sign_secret_key[64])
{
    struct buffer object;
    struct buffer body;
    int error;

    CHECK(d->number >= 1 && d->base_sequence >= 1);
    CHECK(d->events >= 1 && content.size > 0);
    buffer_init(&object, SNAPSHOT_OBJECT_MAX);
    buffer_init(&body, DELTA_SIZE_MAX);
    d->events_hash = snapshot_object_hash(keys, SNAPSHOT_EVENTS, content);
    error = snapshot_object_encode(&object, keys, SNAPSHOT_EVENTS, content);
    if (error == 0) {
        pack_array(&body, DELTA_FIELDS);
        pack_uint(&body, SNAPSHOT_FORMAT);
        pack_bytes(&body, d->mesh.bytes, MESH_ID_SIZE);
        pack_bytes(&body, d->base.bytes, HASH_SIZE);
        pack_uint(&body, d->base_sequence);
        pack_uint(&body, d->number);
        pack_bytes(&body, d->previous.bytes, HASH_SIZE);
        pack_uint(&body, d->created_ms);
        pack_bytes(&body, d->state_digest.bytes, HASH_SIZE);
        pack_uint(&body, d->events);
        pack_bytes(&body, d->events_hash.bytes, HASH_SIZE);
        pack_bin(&body, buffer_slice(&object));
        error = sign_pack(out, delta_domain, &body, sign_secret_key);
    }
    buffer_release(&object);
    buffer_release(&body);
    return error;
}

int delta_decode(struct delta *ret_delta, struct slice bytes,
                 const uint8_t sign_key[32], struct cm_detail *detail)
{
    struct delta d = {.number = 0};
    struct unpacker u;
    int error;

    CHECK(ret_delta != NULL);
    if (bytes.size > DELTA_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE, "the delta has %zu bytes",
                       bytes.size);
    error = open_body(&u, bytes, delta_domain, DELTA_FIELDS, sign_key, detail);
    if (error != 0)
        return error;
    unpack_bytes(&u, d.mesh.bytes, MESH_ID_SIZE);
    unpack_bytes(&u, d.base.bytes, HASH_SIZE);
    d.base_sequence = unpack_uint(&u, UINT64_MAX);
    d.number = unpack_uint(&u, DELTA_NUMBER_MAX);
    unpack_bytes(&u, d.previous.bytes, HASH_SIZE);
    d.created_ms = unpack_uint(&u, HLC_WALL_MS_MAX);
    unpack_bytes(&u, d.state_digest.bytes, HASH_SIZE);
    d.events = unpack_uint(&u, DELTA_EVENTS_MAX);
    unpack_bytes(&u, d.events_hash.bytes, HASH_SIZE);
    d.object = unpack_bin(&u, SNAPSHOT_OBJECT_MAX);
    error = close_body(&u,
                       d.base_sequence > 0 && d.number > 0 && d.events > 0 &&
                           (d.number > 1 || hash_equal(&d.previous, &d.base)),
                       detail);
    if (error == 0)
        *ret_delta = d;
    return error;
}

int delta_events(struct buffer *ret_content, const struct delta *d,
                 const struct snapshot_keys *keys, struct cm_detail *detail)
{
    struct unpacker u;
    uint64_t count = 0;
    int error = snapshot_object_decode(ret_content, keys, SNAPSHOT_EVENTS,
                                       &d->events_hash, d->object, detail);

    if (error != 0)
        return error;
    unpack_init(&u, buffer_slice(ret_content));
    while (u.error == 0 && u.position < ret_content->size) {
        (void)unpack_bin(&u, EVENT_SIZE_MAX);
        count++;
    }
    error = unpack_finish(&u);
    if (error == 0 && count != d->events)
        error = CM_ERR_MALFORMED;
    if (error != 0) {
        buffer_clear(ret_content);
        return cm_fail(detail, error, "its list of events is malformed");
    }
    return 0;
}

bool delta_next_event(struct slice content, size_t *at, struct slice *ret_event)
{
    struct unpacker u;

    CHECK(*at <= content.size);
    if (*at == content.size)
        return false;
    unpack_init(&u, slice_of(content.data + *at, content.size - *at));
    *ret_event = unpack_bin(&u, EVENT_SIZE_MAX);
    CHECK(u.error == 0); /* it was read once before */
    *at += u.position;
    return true;
}

struct hash delta_hash(struct slice bytes)
{
    return hash_of(delta_domain, bytes);
}

int heartbeat_encode(struct buffer *out, const struct heartbeat *h,
                     const uint8_t sign_secret_key[64])
{
    struct buffer body;
    int error;

    CHECK(h->base_sequence >= 1);
    buffer_init(&body, HEARTBEAT_SIZE_MAX);
    pack_array(&body, HEARTBEAT_FIELDS);
    pack_uint(&body, SNAPSHOT_FORMAT);
    pack_bytes(&body, h->mesh.bytes, MESH_ID_SIZE);
    pack_bytes(&body, h->base.bytes, HASH_SIZE);
    pack_uint(&body, h->base_sequence);
    pack_uint(&body, h->number);
    pack_bytes(&body, h->last.bytes, HASH_SIZE);
    pack_uint(&body, h->created_ms);
    error = sign_pack(out, heartbeat_domain, &body, sign_secret_key);
    buffer_release(&body);
    return error;
}

int heartbeat_decode(struct heartbeat *ret_heartbeat, struct slice bytes,
                     const uint8_t sign_key[32], struct cm_detail *detail)
{
    struct heartbeat h = {.number = 0};
    struct unpacker u;
    int error;

    CHECK(ret_heartbeat != NULL);
    if (bytes.size > HEARTBEAT_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE, "the heartbeat has %zu bytes",
                       bytes.size);
    error = open_body(&u, bytes, heartbeat_domain, HEARTBEAT_FIELDS, sign_key,
                      detail);
    if (error != 0)
        return error;
    unpack_bytes(&u, h.mesh.bytes, MESH_ID_SIZE);
    unpack_bytes(&u, h.base.bytes, HASH_SIZE);
    h.base_sequence = unpack_uint(&u, UINT64_MAX);
    h.number = unpack_uint(&u, DELTA_NUMBER_MAX);
    unpack_bytes(&u, h.last.bytes, HASH_SIZE);
    h.created_ms = unpack_uint(&u, HLC_WALL_MS_MAX);
    error = close_body(&u, h.base_sequence > 0, detail);
    if (error == 0)
        *ret_heartbeat = h;
    return error;
}

int announcement_encode(struct buffer *out, const struct announcement *a,
                        const uint8_t sign_secret_key[64])
{
    struct buffer body;
    int error;

    CHECK(a->created_ms <= HLC_WALL_MS_MAX);
    buffer_init(&body, ANNOUNCEMENT_SIZE_MAX);
    pack_array(&body, ANNOUNCEMENT_FIELDS);
    pack_uint(&body, SNAPSHOT_FORMAT);
    pack_bytes(&body, a->mesh.bytes, MESH_ID_SIZE);
    pack_uint(&body, a->created_ms);
    pack_uint(&body, a->beat_ms);
    error = sign_pack(out, announcement_domain, &body, sign_secret_key);
    buffer_release(&body);
    return error;
}

int announcement_decode(struct announcement *ret_announcement,
                        struct slice bytes, const uint8_t sign_key[32],
                        struct cm_detail *detail)
{
    struct announcement a = {.created_ms = 0};
    struct unpacker u;
    int error;

    CHECK(ret_announcement != NULL);
    if (bytes.size > ANNOUNCEMENT_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the announcement has %zu bytes", bytes.size);
    error = open_body(&u, bytes, announcement_domain, ANNOUNCEMENT_FIELDS,
                      sign_key, detail);
    if (error != 0)
        return error;
    unpack_bytes(&u, a.mesh.bytes, MESH_ID_SIZE);
    a.created_ms = unpack_uint(&u, HLC_WALL_MS_MAX);
    a.beat_ms = unpack_uint(&u, HLC_WALL_MS_MAX);
    error = close_body(&u, true, detail);
    if (error == 0)
        *ret_announcement = a;
    return error;
}

/* ---- names ---- */

void delta_name(char ret_name[SNAPSHOT_NAME_SIZE], const struct mesh_id *mesh,
                const struct key_id *signer, uint64_t base_sequence,
                uint64_t number)
{
    char mesh_text[MESH_ID_TEXT_SIZE];
    char signer_text[2 * KEY_ID_SIZE + 1];

    CHECK(number <= DELTA_NUMBER_MAX);
    mesh_id_format(mesh_text, mesh);
    hex_encode(signer_text, slice_of(signer->bytes, KEY_ID_SIZE));
    (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "v1/%s/d/%s/%020llu-%010llu",
                   mesh_text, signer_text, (unsigned long long)base_sequence,
                   (unsigned long long)number);
}

static bool parse_digits(uint64_t *ret, const char *text, size_t size)
{
    uint64_t value = 0;
    size_t i;

    if (text[0] != '0' && size == 20)
        return false; /* below 10^19, which no chain reaches */
    for (i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *ret = value;
    return true;
}

bool delta_name_parse(uint64_t *ret_sequence, uint64_t *ret_number,
                      const char *text)
{
    CHECK(text != NULL);
    return strlen(text) == 31 && text[20] == '-' &&
           parse_digits(ret_sequence, text, 20) &&
           parse_digits(ret_number, text + 21, 10) &&
           *ret_number <= DELTA_NUMBER_MAX;
}

static void signer_name(char ret_name[SNAPSHOT_NAME_SIZE],
                        const struct mesh_id *mesh, char kind,
                        const struct key_id *signer)
{
    char mesh_text[MESH_ID_TEXT_SIZE];
    char signer_text[2 * KEY_ID_SIZE + 1];

    mesh_id_format(mesh_text, mesh);
    hex_encode(signer_text, slice_of(signer->bytes, KEY_ID_SIZE));
    (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "v1/%s/%c/%s", mesh_text, kind,
                   signer_text);
}

void heartbeat_name(char ret_name[SNAPSHOT_NAME_SIZE],
                    const struct mesh_id *mesh, const struct key_id *signer)
{
    signer_name(ret_name, mesh, 'h', signer);
}

void announcement_name(char ret_name[SNAPSHOT_NAME_SIZE],
                       const struct mesh_id *mesh, const struct key_id *signer)
{
    signer_name(ret_name, mesh, 'u', signer);
}
