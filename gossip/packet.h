/* Datagrams: frame, encryption and the codec of the messages inside.
 *
 * Frame: version (1 byte), sender's key id (16), nonce (24: 16 random bytes of
 * the sending process, then a big-endian counter), ciphertext and tag
 * (XChaCha20-Poly1305; the 41 bytes before it are the associated data).
 * Plaintext: one canonical msgpack array of at most PACKET_MESSAGES_MAX
 * messages, each an array that begins with its type. The decoder is strict and
 * all-or-nothing: a packet with one bad message has no effect at all. */
#ifndef GOSSIP_PACKET_H
#define GOSSIP_PACKET_H

#include "crdt/base/hash.h"
#include "crdt/certificate.h"
#include "gossip/address.h"
#include "gossip/gossip.h"

#define PACKET_VERSION 1
#define PACKET_NONCE_PREFIX_SIZE 16
#define PACKET_NONCE_SIZE 24
#define PACKET_HEADER_SIZE (1 + KEY_ID_SIZE + PACKET_NONCE_SIZE)
#define PACKET_TAG_SIZE 16
#define PACKET_OVERHEAD (PACKET_HEADER_SIZE + PACKET_TAG_SIZE)
#define PACKET_PLAIN_MAX (GOSSIP_PACKET_MAX - PACKET_OVERHEAD)
#define PACKET_MESSAGES_MAX 15 /* so that the array's head is one byte */
/* Far from overflow, so that a counter can always be raised by one. */
#define PACKET_COUNTER_MAX (UINT64_C(1) << 62)
/* The 48 bits that a stamp has for it. */
#define PACKET_CLOCK_MS_MAX ((UINT64_C(1) << 48) - 1)

enum message_type {
    MESSAGE_PING = 1,         /* seq, digest, members, state, counter */
    MESSAGE_ACK = 2,          /* seq, digest, members, clock */
    MESSAGE_PING_REQ = 3,     /* seq, subject: please ping it for me */
    MESSAGE_INDIRECT_ACK = 4, /* seq, subject: it answered me */
    MESSAGE_ALIVE = 5,        /* subject, address, counter, signature */
    MESSAGE_SUSPECT = 6,      /* subject, counter, from */
    MESSAGE_DEAD = 7,         /* subject, counter, from */
    MESSAGE_LEAVE = 8,        /* subject, counter, signature */
    MESSAGE_EVENT = 9,        /* bytes */
    MESSAGE_STATE_REQ = 10,   /* please send the alive records of all */
};

struct message {
    enum message_type type;
    uint64_t seq;
    struct hash digest;    /* of the sender's replicated state */
    uint64_t members;      /* sum over the sender's living members */
    uint64_t clock_ms;     /* the sender's wall clock; 0: it has none */
    unsigned state;        /* of the pinged one as the pinger sees it; 0: not
                              known; else enum member_state */
    uint64_t counter;      /* alive counter that this is about */
    struct key_id subject; /* whom this is about */
    struct key_id from;    /* who came to think so */
    struct address address;
    uint8_t signature[64];
    struct slice bytes; /* borrowed */
};

struct packet {
    struct message messages[PACKET_MESSAGES_MAX];
    size_t count;
};

/* Collects messages until PACKET_PLAIN_MAX or PACKET_MESSAGES_MAX. */
struct packet_builder {
    struct buffer body;
    size_t count;
};

void packet_builder_init(struct packet_builder *b);
void packet_builder_release(struct packet_builder *b);
void packet_builder_clear(struct packet_builder *b);
/* False, and nothing was added, if it does not fit (or memory is short). */
bool packet_builder_add(struct packet_builder *b, const struct message *m);

/* Strict inverse of the builder; slices in *ret_packet borrow plain. */
int packet_decode(struct packet *ret_packet, struct slice plain);

/* BLAKE2b-256(domain, X25519(own, peer), smaller key id, greater key id);
 * CM_ERR_AUTHORITY if the peer's key is of low order. */
int packet_key(uint8_t ret_key[32], const uint8_t own_box_secret[32],
               const uint8_t peer_box_key[32], const struct key_id *own,
               const struct key_id *peer);

/* Version and length checks, and the claimed sender; nothing is proven. */
int packet_sender(struct key_id *ret_sender, struct slice packet);
struct slice packet_nonce(struct slice packet); /* after packet_sender's 0 */
/* Appends one whole datagram to out. */
void packet_seal(struct buffer *out, const uint8_t key[32],
                 const struct key_id *sender,
                 const uint8_t nonce[PACKET_NONCE_SIZE],
                 const struct packet_builder *b);
/* Decrypts a frame that packet_sender accepted into ret_plain, at least
 * PACKET_PLAIN_MAX bytes; CM_ERR_SIGNATURE if it is not authentic. */
int packet_open(uint8_t *ret_plain, size_t *ret_size, const uint8_t key[32],
                struct slice packet);

/* Remembers which of the last 64 counters of one nonce prefix were seen. */
struct replay_window {
    uint8_t prefix[PACKET_NONCE_PREFIX_SIZE];
    uint64_t highest;
    uint64_t seen; /* bit i: highest - i was seen; 0: the window is unused */
};

#define REPLAY_WINDOWS 4 /* processes of one peer remembered, latest ones */

struct replay_guard {
    struct replay_window windows[REPLAY_WINDOWS];
    size_t next; /* the one to be given up next */
};

/* True and recorded if the (authenticated) nonce was never seen; false for a
 * repeated one or one too old to tell. */
bool replay_accept(struct replay_guard *g, const uint8_t *nonce);

/* What subjects sign. */
void packet_alive_sign(uint8_t ret_signature[64], const struct mesh_id *mesh,
                       const struct message *alive, const uint8_t secret[64]);
bool packet_alive_verify(const struct mesh_id *mesh,
                         const struct message *alive, const uint8_t key[32]);
void packet_leave_sign(uint8_t ret_signature[64], const struct mesh_id *mesh,
                       const struct message *leave, const uint8_t secret[64]);
bool packet_leave_verify(const struct mesh_id *mesh,
                         const struct message *leave, const uint8_t key[32]);

#endif
