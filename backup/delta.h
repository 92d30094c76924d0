/* Deltas: the events since a snapshot, every few seconds.
 *
 * A delta belongs to a manifest of the same signer and is chained to it, or to
 * the delta before, by hash. It holds events as their origins signed them, in
 * an order in which they apply, so that a restore takes the snapshot and then
 * its deltas. Two uploaders' deltas hold many of the same events, which does no
 * harm. A heartbeat tells how far a chain has come, so that its end cannot go
 * missing unnoticed, and that the uploader lives.
 *
 * All are canonical msgpack [body bin, signature bin64].
 * Delta: body = [format 1, mesh id bin16, manifest's hash bin32, manifest's
 * sequence, number, hash before bin32, created ms, state digest bin32, number
 * of events, hash of the events' object bin32, that object bin]; signed under
 * "confmesh delta v1". The object's content is the events, each a bin.
 * Heartbeat: body = [format 1, mesh id bin16, manifest's hash bin32, manifest's
 * sequence, number of the last delta, its hash bin32, created ms]; signed under
 * "confmesh heartbeat v1".
 *
 * An announcement says that its signer may upload to the target at which it
 * lies, so that those who share one can agree who does. Body = [format 1, mesh
 * id bin16, created ms, milliseconds within which something of the signer's
 * changes there while it uploads, or 0]; signed under "confmesh announcement
 * v1". */
#ifndef BACKUP_DELTA_H
#define BACKUP_DELTA_H

#include "backup/snapshot_object.h"
#include "crdt/certificate.h"

#define DELTA_CONTENT_MAX (8u << 20)                /* bytes of events */
#define DELTA_SIZE_MAX (SNAPSHOT_OBJECT_MAX + 512u) /* of one stored */
#define DELTA_EVENTS_MAX 1000000
#define HEARTBEAT_SIZE_MAX 1024
#define DELTA_NUMBER_MAX UINT32_MAX
#define ANNOUNCEMENT_SIZE_MAX 256

struct delta {
    struct mesh_id mesh;
    struct hash base;       /* manifest_hash */
    uint64_t base_sequence; /* of that manifest */
    uint64_t number;        /* 1, 2, ... */
    struct hash previous;   /* delta_hash before; of number 1: base */
    uint64_t created_ms;
    struct hash state_digest; /* once it is applied; zeroes: more follows */
    uint64_t events;
    struct hash events_hash; /* filled by delta_encode */
    struct slice object;     /* filled by decoding; borrowed */
};
struct heartbeat {
    struct mesh_id mesh;
    struct hash base;
    uint64_t base_sequence;
    uint64_t number; /* of the last delta, 0: none */
    struct hash last;
    uint64_t created_ms;
};
struct announcement {
    struct mesh_id mesh;
    uint64_t created_ms;
    uint64_t beat_ms;
};

/* content: the events, each packed as a bin, d->events of them. Appends.
 * CM_ERR_NOMEM, CM_ERR_TOO_LARGE. */
int delta_encode(struct buffer *out, struct delta *d,
                 const struct snapshot_keys *keys, struct slice content,
                 const uint8_t sign_secret_key[64]);
/* Signature first, then the fields; the events with delta_events. Bytes stay
 * borrowed. CM_ERR_SIGNATURE, CM_ERR_MALFORMED, ... */
int delta_decode(struct delta *ret_delta, struct slice bytes,
                 const uint8_t sign_key[32], struct cm_detail *detail);
/* The content into ret_content (cleared first), checked; iterate it with
 * delta_next_event from *at = 0 on. CM_ERR_DAMAGED, ... */
int delta_events(struct buffer *ret_content, const struct delta *d,
                 const struct snapshot_keys *keys, struct cm_detail *detail);
/* false at the end. Content was accepted by delta_events. */
bool delta_next_event(struct slice content, size_t *at,
                      struct slice *ret_event);
struct hash delta_hash(struct slice bytes);

int heartbeat_encode(struct buffer *out, const struct heartbeat *h,
                     const uint8_t sign_secret_key[64]);
int heartbeat_decode(struct heartbeat *ret_heartbeat, struct slice bytes,
                     const uint8_t sign_key[32], struct cm_detail *detail);

int announcement_encode(struct buffer *out, const struct announcement *a,
                        const uint8_t sign_secret_key[64]);
int announcement_decode(struct announcement *ret_announcement,
                        struct slice bytes, const uint8_t sign_key[32],
                        struct cm_detail *detail);

/* "v1/<mesh id hex>/d/<key id hex>/<sequence 20 digits>-<number 10 digits>". */
void delta_name(char ret_name[SNAPSHOT_NAME_SIZE], const struct mesh_id *mesh,
                const struct key_id *signer, uint64_t base_sequence,
                uint64_t number);
/* The last part of such a name; false if it is none. */
bool delta_name_parse(uint64_t *ret_sequence, uint64_t *ret_number,
                      const char *text);
/* "v1/<mesh id hex>/h/<key id hex>"; replaced each time. */
void heartbeat_name(char ret_name[SNAPSHOT_NAME_SIZE],
                    const struct mesh_id *mesh, const struct key_id *signer);
/* "v1/<mesh id hex>/u/<key id hex>"; replaced now and then. */
void announcement_name(char ret_name[SNAPSHOT_NAME_SIZE],
                       const struct mesh_id *mesh, const struct key_id *signer);

#endif
