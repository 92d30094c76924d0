/* See recovery.h. */
#include "node/cli/recovery.h"

#include <sodium.h>

#include "crdt/base/check.h"
#include "node/authority_file.h"

int cli_recovery_open(struct cli *c, struct cli_recovery *ret_recovery)
{
    struct cm_detail detail = {""};
    struct passphrase_source source = {
        .file = cli_value(c, "passphrase-file"),
        .none = cli_has(c, "no-passphrase"),
    };
    const char *file = cli_value(c, "recovery-key");
    int error;

    *ret_recovery = (struct cli_recovery){.has_key = false};
    if (file == NULL)
        return 0;
    error = authority_file_read(&ret_recovery->key, file, &source, &detail);
    if (error != 0)
        return cli_failed_as(c, cli_exit_of(error), "--recovery-key: %s",
                             detail.text);
    ret_recovery->has_key = true;
    return 0;
}

void cli_recovery_close(struct cli_recovery *r)
{
    if (r->has_key)
        authority_clear(&r->key);
    r->has_key = false;
}

int cli_recovery_unlock(void *context, const struct manifest *m,
                        struct snapshot_keys *ret_keys,
                        struct cm_detail *detail)
{
    const struct cli_recovery *r = context;
    uint8_t data_key[32];
    int error;

    CHECK(m->sealed.size > 0);
    if (!r->has_key)
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "the snapshot is encrypted: give --recovery-key FILE");
    error = sealed_keys_open(data_key, &m->mesh, m->sealed, &r->key, detail);
    if (error == 0)
        snapshot_keys_derive_encrypted(ret_keys, &m->mesh, data_key);
    sodium_memzero(data_key, sizeof data_key);
    return error;
}
