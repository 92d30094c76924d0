/* The recovery key of a call, for encrypted snapshots. */
#ifndef NODE_CLI_RECOVERY_H
#define NODE_CLI_RECOVERY_H

#include "backup/snapshot.h"
#include "node/cli/cli.h"
#include "node/sealed_keys.h"

#define RECOVERY_FLAGS "recovery-key passphrase-file no-passphrase"

struct cli_recovery {
    struct authority key;
    bool has_key;
};

/* --recovery-key, if it is given. 0 or an exit code, said. Close always. */
int cli_recovery_open(struct cli *c, struct cli_recovery *ret_recovery);
void cli_recovery_close(struct cli_recovery *r);
/* As snapshot_state_config.unlock; context is a struct cli_recovery. */
int cli_recovery_unlock(void *context, const struct manifest *m,
                        struct snapshot_keys *ret_keys,
                        struct cm_detail *detail);

#endif
