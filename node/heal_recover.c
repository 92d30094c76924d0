/* Another life for a directory whose store is damaged: see heal_facts.h. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/datadir.h"
#include "node/heal_facts.h"
#include "node/node.h"
#include "node/store_txn.h"
#include "node/writer.h"

#define PATH_SIZE 4096

static int path_of(char ret[PATH_SIZE], const char *dir, const char *name)
{
    int length = snprintf(ret, PATH_SIZE, "%s/%s", dir, name);

    return length > 0 && length < PATH_SIZE ? 0 : CM_ERR_TOO_LARGE;
}

bool heal_facts_exist(const char *dir)
{
    char path[PATH_SIZE];

    return path_of(path, dir, HEAL_FACTS_NAME) == 0 && access(path, R_OK) == 0;
}

static int read_facts(const char *dir, struct heal_facts *ret)
{
    char path[PATH_SIZE];
    struct buffer text;
    uint8_t piece[4096];
    ssize_t size;
    int error = path_of(path, dir, HEAL_FACTS_NAME);
    int fd = error == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0)
        return CM_ERR_NOT_FOUND;
    buffer_init(&text, HEAL_FACTS_SIZE_MAX);
    while ((size = read(fd, piece, sizeof piece)) > 0)
        buffer_append(&text, piece, (size_t)size);
    (void)close(fd);
    error = size < 0 ? CM_ERR_IO : text.error;
    if (error == 0)
        error = heal_facts_parse(ret, buffer_slice(&text));
    buffer_release(&text);
    return error;
}

/* The damaged file stays: somebody may still want something of it. */
static int set_aside(const char *dir, uint64_t wall_ms, char *ret_path,
                     struct cm_detail *detail)
{
    char from[PATH_SIZE];
    char name[64];
    char lock[PATH_SIZE];
    int error;

    (void)snprintf(name, sizeof name, "data.mdb.damaged-%llu",
                   (unsigned long long)wall_ms);
    error = path_of(from, dir, "data.mdb");
    if (error == 0)
        error = path_of(ret_path, dir, name);
    if (error == 0)
        error = path_of(lock, dir, "lock.mdb");
    if (error != 0)
        return error;
    if (rename(from, ret_path) != 0 && errno != ENOENT)
        return cm_fail(detail, CM_ERR_IO, "%s: cannot be moved aside: %s", from,
                       strerror(errno));
    (void)unlink(lock);
    return 0;
}

static int put_fact(struct store_txn *t, const char *name,
                    const struct buffer *value)
{
    struct schema_key key;
    struct buffer record;
    int error;

    buffer_init(&record, HEAL_FACTS_SIZE_MAX);
    schema_key_meta(&key, name);
    schema_record_begin(&record);
    buffer_append_slice(&record, buffer_slice(value));
    error = store_txn_put(t, &key, &record);
    buffer_release(&record);
    return error;
}

/* Whom to ask, and which incarnation to give up, as joiner.c and peers.c keep
 * them. */
static int put_past(struct store_txn *t, const struct heal_facts *f)
{
    struct buffer peers, sponsors, past, where;
    char text[ADDRESS_TEXT_SIZE] = "";
    size_t count = f->peers_count < 64 ? f->peers_count : 64;
    int error;

    buffer_init(&peers, HEAL_FACTS_SIZE_MAX);
    buffer_init(&sponsors, HEAL_FACTS_SIZE_MAX);
    buffer_init(&past, 64);
    buffer_init(&where, 64);
    pack_array(&peers, 2 * f->peers_count);
    pack_array(&sponsors, count);
    for (size_t i = 0; i < f->peers_count; i++) {
        pack_bytes(&peers, f->peers[i].peer.bytes, KEY_ID_SIZE);
        address_pack(&peers, &f->peers[i].address);
        if (i < count)
            address_pack(&sponsors, &f->peers[i].address);
    }
    buffer_append(&past, f->incarnation.bytes, INCARNATION_SIZE);
    if (f->bind.family != 0)
        address_format(text, &f->bind);
    buffer_append_string(&where, text);
    error = put_fact(t, META_PEERS, &peers);
    if (error == 0)
        error = put_fact(t, META_SPONSORS, &sponsors);
    if (error == 0)
        error = put_fact(t, META_GIVEN_UP, &past);
    if (error == 0 && where.size > 0)
        error = put_fact(t, META_BIND, &where);
    buffer_release(&peers);
    buffer_release(&sponsors);
    buffer_release(&past);
    buffer_release(&where);
    return error;
}

static int make_store(const char *dir, uint64_t map_size,
                      const struct heal_facts *f, struct slice host,
                      struct cm_detail *detail)
{
    struct store_identity identity = {
        .certificate = buffer_slice(&f->certificate),
        .generation_order = buffer_slice(&f->generation),
        .host = host,
        .ready = false,
    };
    struct store_txn t;
    struct store *s;
    int error = store_open(&s, dir, map_size, detail);

    if (error != 0)
        return error;
    memcpy(identity.authority_public_key, f->authority, 32);
    randombytes_buf(identity.incarnation.bytes, INCARNATION_SIZE);
    error = writer_initialise(s, &identity, detail);
    if (error == 0)
        error = store_txn_begin(&t, s, true, detail);
    if (error == 0) {
        error = put_past(&t, f);
        if (error == 0)
            error = store_txn_commit(&t, detail);
        else
            store_txn_abort(&t);
    }
    store_close(s);
    return error;
}

static int check_facts(const struct heal_facts *f,
                       const uint8_t sign_public_key[32], const char *why,
                       struct cm_detail *detail)
{
    struct certificate own;

    if (certificate_decode(&own, buffer_slice(&f->certificate), f->authority) !=
            0 ||
        memcmp(own.sign_key, sign_public_key, 32) != 0)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "%s; node.key is not the key of its certificate: put "
                       "the right one back, or join as a new node",
                       why);
    if (f->peers_count == 0)
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "%s; this node knows no other: restore the newest "
                       "snapshot with confmesh-restore into a new directory",
                       why);
    return 0;
}

int heal_recover(const char *dir, uint64_t map_size, uint64_t wall_ms,
                 const uint8_t sign_public_key[32], struct slice host,
                 const char *why, char *ret_text, size_t ret_size,
                 struct cm_detail *detail)
{
    struct heal_facts *f = cm_calloc(1, sizeof *f);
    char aside[PATH_SIZE] = "";
    int error;

    if (f == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    heal_facts_init(f);
    error = read_facts(dir, f);
    if (error != 0)
        error = cm_fail(detail, CM_ERR_DAMAGED,
                        "%s; %s/" HEAL_FACTS_NAME " cannot be used either "
                        "(%s): join as a new node, or restore a snapshot",
                        why, dir, cm_strerror(error));
    if (error == 0)
        error = check_facts(f, sign_public_key, why, detail);
    if (error == 0)
        error = set_aside(dir, wall_ms, aside, detail);
    if (error == 0)
        error = make_store(dir, map_size, f, host, detail);
    if (error == 0)
        (void)snprintf(ret_text, ret_size,
                       "damage: %s. It was moved to %s. This node joins anew, "
                       "as a fresh incarnation, through %zu known peers; "
                       "writes that nobody else had are in that file alone",
                       why, aside, f->peers_count);
    heal_facts_release(f);
    cm_free(f);
    return error;
}
