/* Channel: an authenticated, encrypted stream, as a sans-I/O state machine.
 *
 * Handshake (SIGMA-I: Krawczyk 2003; forward secret by ephemeral X25519):
 *   1. I -> R: magic, version, ephemeral key
 *   2. R -> I: ephemeral key, sealed {authority public key, certificate,
 *              signature over the transcript}
 *   3. I -> R: sealed {certificate, signature over the transcript}, or, from a
 *              joiner without one, sealed {its Ed25519 and X25519 keys, the
 *              same signature}
 * after which frames of at most CHANNEL_FRAME_MAX bytes travel under
 * ChaCha20-Poly1305 (RFC 8439) with counter nonces, one key a direction.
 * A transcript hash binds both ephemerals, both identities and the role, so no
 * signature can be used in another session or reflected. Nothing of a peer is
 * believed before CHANNEL_ESTABLISHED. */
#ifndef GOSSIP_CHANNEL_H
#define GOSSIP_CHANNEL_H

#include "crdt/authority.h"
#include "crdt/certificate.h"

#define CHANNEL_FRAME_MAX (2u << 20)      /* bytes of one frame */
#define CHANNEL_OUTPUT_MAX (8u << 20)     /* bytes waiting to be written */
#define CHANNEL_HANDSHAKE_MAX (16u << 10) /* bytes of one handshake message */

enum channel_state {
    CHANNEL_HANDSHAKE = 1,
    CHANNEL_ESTABLISHED = 2,
    CHANNEL_FAILED = 3, /* error tells why; close the stream */
};

struct channel_config {
    bool initiator;
    /* BLAKE2b-256 of the authority's public key, as in hash_of("confmesh
     * authority v1", key): what the peer's chain must end at. */
    uint8_t authority_hash[32];
    uint8_t authority_public_key[32]; /* zeroes on a joiner that has only the
                                         hash: learned in the handshake */
    struct slice certificate; /* own; empty on a joiner; borrowed, must live */
    uint8_t sign_secret_key[64];
    uint8_t sign_public_key[32];
    uint8_t box_public_key[32];
    bool accept_joiners;        /* responder: peers without certificate pass, as
                                   unauthenticated ones */
    uint8_t ephemeral_seed[32]; /* fresh randomness for every channel */
    uint64_t wall_ms;           /* for the certificates' validity; 0: any */
};

struct channel_peer {
    bool certified;
    struct slice certificate;   /* encoded; borrowed from the channel */
    struct certificate decoded; /* when certified; slices borrow likewise */
    uint8_t sign_key[32];       /* proven in either case */
    uint8_t box_key[32];
    uint8_t authority_public_key[32]; /* checked against authority_hash */
};

struct channel;

int channel_create(struct channel **ret_channel,
                   const struct channel_config *c);
void channel_free(struct channel *c);
/* Takes what arrived, in any slicing. 0, or the channel is FAILED. */
int channel_recv(struct channel *c, struct slice bytes);
/* The next whole frame; valid until the next channel_recv or _next_frame. */
bool channel_next_frame(struct channel *c, struct slice *ret_frame);
/* Seals one frame into the output. CM_ERR_BUSY when CHANNEL_OUTPUT_MAX would
 * be exceeded (nothing was sent), CM_ERR_NOT_READY before establishment. */
int channel_send(struct channel *c, struct slice frame);
/* Bytes to be written to the stream; consume what was written. */
struct slice channel_output(const struct channel *c);
void channel_output_consume(struct channel *c, size_t size);
enum channel_state channel_state(const struct channel *c);
int channel_error(const struct channel *c);
/* Only when established. */
const struct channel_peer *channel_peer(const struct channel *c);

/* The hash to put into channel_config and join tokens. */
void channel_authority_hash(uint8_t ret_hash[32], const uint8_t public_key[32]);

#endif
