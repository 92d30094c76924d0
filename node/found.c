#include "node/found.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/datadir.h"
#include "node/writer.h"

struct founding {
    struct datadir *datadir;
    struct store *store;
    struct buffer certificate;
    struct buffer order;
    struct incarnation incarnation;
};

static int certify(struct founding *f, const char *name,
                   const struct authority *authority, uint64_t wall_ms)
{
    struct certificate c;

    memset(&c, 0, sizeof c);
    c.mesh = mesh_id_of(authority->public_key);
    memcpy(c.sign_key, datadir_sign_public_key(f->datadir), 32);
    datadir_box_public_key(f->datadir, c.box_key);
    (void)snprintf(c.name, sizeof c.name, "%s", name);
    c.roles = ROLE_WRITER | ROLE_ISSUER | ROLE_ADMIN;
    c.prefixes[0] = slice_of("", 0);
    c.prefixes_count = 1;
    c.not_before_ms = wall_ms;
    c.not_after_ms = wall_ms + FOUND_CERTIFICATE_VALID_MS;
    return certificate_encode(&f->certificate, &c, authority->secret_key);
}

static int order(struct founding *f, const struct authority *authority,
                 uint32_t level, uint64_t wall_ms)
{
    struct generation_order o;
    int error;

    memset(&o, 0, sizeof o);
    vv_init(&o.sealed);
    o.mesh = mesh_id_of(authority->public_key);
    o.number = 1;
    randombytes_buf(f->incarnation.bytes, INCARNATION_SIZE);
    o.founder = f->incarnation;
    o.founder_certificate = buffer_slice(&f->certificate);
    o.created_ms = wall_ms;
    o.founder_level = level;
    error = generation_order_encode(&f->order, &o, authority->secret_key);
    vv_release(&o.sealed);
    return error;
}

static int refuse_occupied(struct store *s, const char *dir,
                           struct cm_detail *detail)
{
    struct store_reader *reader;
    struct slice bytes;
    int error = store_reader_begin(s, &reader);

    if (error != 0)
        return cm_fail(detail, error, "%s: the store cannot be read: %s", dir,
                       cm_strerror(error));
    error = store_meta(reader, META_INCARNATION, &bytes);
    store_reader_release(reader);
    if (error == CM_ERR_NOT_FOUND)
        return 0;
    return cm_fail(detail, CM_ERR_EXISTS,
                   "%s: holds a node already: start it with \"confmesh node "
                   "--data %s\", or choose another directory",
                   dir, dir);
}

static int initialise(struct founding *f, const struct authority *authority,
                      struct cm_detail *detail)
{
    uint8_t host[DATADIR_HOST_SIZE];
    struct store_identity identity;
    int error = datadir_host(f->datadir, host, detail);

    if (error != 0)
        return error;
    identity = (struct store_identity){
        .incarnation = f->incarnation,
        .certificate = buffer_slice(&f->certificate),
        .generation_order = buffer_slice(&f->order),
        .host = slice_of(host, sizeof host),
        .ready = true,
    };
    memcpy(identity.authority_public_key, authority->public_key, 32);
    return writer_initialise(f->store, &identity, detail);
}

int found_mesh(const char *dir, const char *name,
               const struct authority *authority, uint32_t level,
               uint64_t wall_ms, struct cm_detail *detail)
{
    struct founding f = {0};
    int error = certificate_check_name(name, detail);

    if (error != 0)
        return error;
    buffer_init(&f.certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&f.order, GENERATION_ORDER_SIZE_MAX);
    error = datadir_open(&f.datadir, dir, true, detail);
    if (error == 0)
        error = store_open(&f.store, dir, 0, detail);
    if (error == 0)
        error = refuse_occupied(f.store, dir, detail);
    if (error == 0) {
        error = certify(&f, name, authority, wall_ms);
        if (error == 0)
            error = order(&f, authority, level, wall_ms);
        if (error != 0)
            (void)cm_fail(detail, error, "founding failed: %s",
                          cm_strerror(error));
    }
    if (error == 0)
        error = initialise(&f, authority, detail);
    store_close(f.store);
    datadir_close(f.datadir);
    buffer_release(&f.certificate);
    buffer_release(&f.order);
    return error;
}
