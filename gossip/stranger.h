/* Key ids that were heard of and whose certificate is not known.
 *
 * Nothing of them is believed; they are remembered for a while, few of them,
 * so that a stream to their address can fetch the certificate, and what they
 * had signed need not be told again. Those that only sent an unauthenticated
 * packet may crowd out each other, never those that a member told of. */
#ifndef GOSSIP_STRANGER_H
#define GOSSIP_STRANGER_H

#include "gossip/packet.h"

#define STRANGERS_MAX 256         /* told of by members */
#define STRANGERS_UNPROVEN_MAX 32 /* senders of unknown packets */
#define STRANGER_RETRY_MS 2000    /* between two contacts of one */
#define STRANGER_FORGET_MS 60000
#define STRANGER_CONTACTS_MAX 32 /* contacts asked for in one second */

struct stranger {
    struct key_id key_id;
    struct address address;
    bool has_alive;
    struct message alive; /* unverified: its key is not known */
    uint64_t heard_ms;
    uint64_t asked_ms;
    bool asked;
};

struct stranger_list {
    struct stranger *entries; /* allocated at the first stranger */
    size_t count;
    size_t max;
};

struct strangers {
    struct stranger_list told;
    struct stranger_list unproven;
    uint64_t second_ms; /* start of the second in which contacts are counted */
    size_t contacts;
};

void strangers_init(struct strangers *s);
void strangers_release(struct strangers *s);
/* Remembers; alive may be NULL. True if a contact is to be asked for now. */
bool strangers_hear(struct strangers *s, uint64_t now_ms,
                    const struct key_id *id, const struct address *address,
                    const struct message *alive, bool unproven);
/* Takes the entry out, when its certificate has come. */
bool strangers_take(struct strangers *s, const struct key_id *id,
                    struct stranger *ret_stranger);

#endif
