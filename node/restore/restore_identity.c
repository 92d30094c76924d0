/* The founder of the new life: random incarnation, fresh key, a certificate by
 * the authority, and the order that begins the generation. Reusing anything of
 * a lost node would let a dot name two events. */
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "node/authority_file.h"
#include "node/found.h"
#include "node/restore/restore_gather.h"

/* A file that is there, but is not the key, or does not open, is no question
 * of reading. */
static int key_exit(int error)
{
    return error == CM_ERR_PASSPHRASE || error == CM_ERR_MALFORMED
               ? RESTORE_TRUST
               : RESTORE_TRANSPORT;
}

int restore_take_authority(struct restore *r)
{
    struct cm_detail detail = {""};
    int error;

    if (r->o->new_authority != NULL) {
        /* Made after everything has verified; refused now, before the work. */
        if (access(r->o->new_authority, F_OK) == 0)
            return restore_fail(r, RESTORE_USAGE,
                                "--new-authority: %s exists and is never "
                                "overwritten; name another file",
                                r->o->new_authority);
        return restore_check_parent(r, "--new-authority", r->o->new_authority);
    }
    error = authority_file_read(&r->authority, r->o->authority,
                                &r->o->passphrase, &detail);
    if (error != 0)
        return restore_fail(r, key_exit(error), "%s", detail.text);
    r->has_authority = true;
    return RESTORE_OK;
}

int restore_take_recovery(struct restore *r)
{
    struct cm_detail detail = {""};
    int error;

    if (r->o->recovery_key == NULL)
        return RESTORE_OK;
    error = authority_file_read(&r->recovery, r->o->recovery_key,
                                &r->o->recovery_passphrase, &detail);
    if (error != 0)
        return restore_fail(r, key_exit(error), "--recovery-key: %s",
                            detail.text);
    r->has_recovery = true;
    return RESTORE_OK;
}

/* The recovery key that was named, or the authority, which can be one. */
int restore_unlock(void *context, const struct manifest *m,
                   struct snapshot_keys *ret_keys, struct cm_detail *detail)
{
    const struct restore *r = context;
    const struct authority *key = r->has_recovery    ? &r->recovery
                                  : r->has_authority ? &r->authority
                                                     : NULL;
    uint8_t data_key[32];
    int error;

    if (m->sealed.size == 0)
        return 0;
    if (key == NULL)
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "the snapshot is encrypted: give --recovery-key FILE");
    error = sealed_keys_open(data_key, &m->mesh, m->sealed, key, detail);
    if (error == CM_ERR_AUTHORITY && !r->has_recovery)
        return cm_fail(detail, error,
                       "the snapshot is encrypted, and not for the authority: "
                       "give --recovery-key FILE");
    if (error == 0)
        snapshot_keys_derive_encrypted(ret_keys, &m->mesh, data_key);
    sodium_memzero(data_key, sizeof data_key);
    return error;
}

int restore_mint_authority(struct restore *r)
{
    struct cm_detail detail = {""};
    int error;

    if (r->o->new_authority == NULL)
        return RESTORE_OK;
    error = authority_file_create(&r->authority, r->o->new_authority,
                                  &r->o->passphrase, &detail);

    if (error != 0)
        return restore_fail(
            r, error == CM_ERR_EXISTS ? RESTORE_USAGE : RESTORE_TRANSPORT, "%s",
            detail.text);
    r->has_authority = true;
    r->made_authority_file = true;
    return RESTORE_OK;
}

static uint64_t wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int make_certificate(struct restore *r, const struct datadir *d,
                            uint64_t now_ms)
{
    struct certificate c = {
        .mesh = r->mesh,
        .roles = ROLE_WRITER | ROLE_ISSUER | ROLE_ADMIN,
        .prefixes_count = 1, /* the empty one: every key */
        .not_before_ms = now_ms,
        .not_after_ms = now_ms + FOUND_CERTIFICATE_VALID_MS,
    };

    CHECK(r->o->name[0] != '\0');
    memcpy(c.name, r->o->name, sizeof c.name);
    memcpy(c.sign_key, datadir_sign_public_key(d), sizeof c.sign_key);
    datadir_box_public_key(d, c.box_key);
    return certificate_encode(&r->certificate, &c, r->authority.secret_key);
}

static int make_order(struct restore *r, uint64_t now_ms)
{
    struct generation_order order = {
        .mesh = r->mesh,
        .number = 1,
        .founder = r->incarnation,
        .founder_certificate = buffer_slice(&r->certificate),
        .created_ms = now_ms,
        .founder_level = LEVEL_LAST,
    };
    int error;

    /* The same mesh goes on: one generation later, everything that the
     * snapshot knows of sealed at what it knows. */
    if (!restore_is_new_mesh(r)) {
        order.number = r->manifest.generation.number + 1;
        memcpy(order.previous, r->manifest.generation.hash,
               sizeof order.previous);
        order.sealed = *restore_vv(r); /* borrowed */
    }
    error = generation_order_encode(&r->order, &order, r->authority.secret_key);
    if (error == 0)
        r->generation = generation_id_of(order.number, buffer_slice(&r->order));
    return error;
}

int restore_make_identity(struct restore *r, const struct datadir *d)
{
    uint64_t now_ms = wall_ms();
    int error;

    CHECK(r->has_manifest && r->has_authority);
    r->mesh = mesh_id_of(r->authority.public_key);
    randombytes_buf(r->incarnation.bytes, INCARNATION_SIZE);
    error = make_certificate(r, d, now_ms);
    if (error == 0)
        error = make_order(r, now_ms);
    if (error != 0)
        return restore_fail(r, RESTORE_TRANSPORT,
                            "cannot make the new node's identity: %s",
                            cm_strerror(error));
    return RESTORE_OK;
}
