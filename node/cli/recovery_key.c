/* confmesh recovery-key new: who can restore encrypted snapshots. The file is
 * of the authority's kind (authority_file.h), so that it has its passphrase. */
#include "crdt/base/check.h"
#include "node/authority_file.h"
#include "node/cli/cli.h"

int cli_verb_recovery_key_new(struct cli *c)
{
    struct passphrase_source source = {
        .file = cli_value(c, "passphrase-file"),
        .none = cli_has(c, "no-passphrase"),
    };
    struct cm_detail detail = {""};
    struct authority key;
    char text[65];
    CHECK(c->words_count == 1);
    if (passphrase_source_check(&source, &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    int error = authority_file_create(&key, c->words[0], &source, &detail);
    if (error == CM_ERR_NOT_FOUND || error == CM_ERR_INVALID)
        return cli_usage_error(c, "%s", detail.text);
    if (error != 0)
        return cli_failed(c, "%s", detail.text);
    hex_encode(text, slice_of(key.public_key, sizeof(key.public_key)));
    authority_clear(&key);
    if (c->json) {
        json_t *o =
            json_pack("{s:s, s:s}", "public", text, "file", c->words[0]);
        if (o != NULL)
            cli_print_json(o);
        json_decref(o);
    } else {
        cli_note("%s opens every snapshot made for it: keep it off the nodes",
                 c->words[0]);
        (void)printf("%s\n", text);
    }
    return CLI_DONE;
}
