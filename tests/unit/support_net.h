/* A mesh of gossip machines over virtual time: identities, and a network that
 * delays, loses, doubles and parts by a seeded stream. Same seed, same run. */
#ifndef TESTS_UNIT_SUPPORT_NET_H
#define TESTS_UNIT_SUPPORT_NET_H

#include "crdt/base/random.h"
#include "gossip/gossip.h"

#define NET_NODES_MAX 32
#define NET_FLIGHTS_MAX 8192
#define NET_START_MS 1000000

/* Keys and certificate of one node. */
struct identity {
    uint8_t sign_public[32];
    uint8_t sign_secret[64];
    uint8_t box_public[32];
    uint8_t box_secret[32];
    uint8_t certificate[1024];
    size_t certificate_size;
    struct key_id key_id;
};

struct mesh_keys {
    uint8_t authority_public[32];
    uint8_t authority_secret[64];
    struct mesh_id mesh;
};

void mesh_keys_make(struct mesh_keys *ret, unsigned number);
void identity_make(struct identity *ret, const struct mesh_keys *mesh,
                   unsigned number);
struct slice identity_certificate(const struct identity *id);

struct flight {
    uint64_t at_ms;
    uint64_t order;
    struct address from;
    struct address to;
    uint8_t bytes[GOSSIP_PACKET_MAX];
    size_t size;
};

struct net_node {
    struct identity identity;
    struct address address;
    struct gossip *gossip; /* NULL: not running */
    unsigned side;         /* packets pass within one side only */
    unsigned lives;
    unsigned events;     /* GOSSIP_EVENT received */
    unsigned differs;    /* GOSSIP_DIFFERS */
    unsigned contacts;   /* GOSSIP_CONTACT */
    unsigned streams;    /* GOSSIP_PUSH_STREAM */
    unsigned deaths;     /* members seen dying */
    unsigned suspicions; /* members seen suspected */
    uint64_t event_at_ms;
    bool relay; /* pushes on at the first event */
};

struct net {
    struct mesh_keys mesh;
    struct net_node nodes[NET_NODES_MAX];
    size_t count;
    uint64_t now_ms;
    struct random_stream random;
    unsigned loss_percent;
    unsigned double_percent;
    unsigned delay_ms; /* at least this, up to three times it */
    bool certificates; /* everybody knows all certificates from the start */
    bool streams;      /* GOSSIP_CONTACT is answered by a handshake */
    struct flight *flights;
    size_t flights_count;
    uint64_t flights_sent;
    uint64_t bytes_sent;
    uint64_t trace_hash; /* of every delivery: to compare runs */
    /* Called for every delivery, if set. */
    void (*watch)(struct net *net, const struct flight *f, void *context);
    void *watch_context;
};

void net_init(struct net *net, size_t count, unsigned seed);
void net_release(struct net *net);
void net_start(struct net *net, size_t node); /* also after net_stop */
void net_stop(struct net *net, size_t node);  /* as by SIGKILL */
void net_contact(struct net *net, size_t from, size_t to);
void net_drain(struct net *net, size_t node);
/* Runs until the virtual time is reached. */
void net_run(struct net *net, uint64_t for_ms);
/* Every running node sees every other running one alive, and no other one. */
bool net_converged(const struct net *net);
/* Runs until that holds; false if it did not within max_ms. */
bool net_run_until_converged(struct net *net, uint64_t max_ms);
struct member_view net_view(const struct net *net, size_t at, size_t of);
size_t net_node_at(const struct net *net, const struct address *a);

#endif
