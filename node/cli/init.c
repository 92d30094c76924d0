/* confmesh init: makes the authority and the first node of a new mesh. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "crdt/certificate.h"
#include "node/authority_file.h"
#include "node/cli/cli.h"
#include "node/found.h"
#include "node/paths.h"

#define AUTHORITY_DEFAULT "authority.key"

/* Looked at before the authority is made: a mistyped directory should cost no
 * passphrase. */
static int check_directory(const struct cli *c, const char *dir)
{
    DIR *d = opendir(dir);
    int code = 0;
    if (d == NULL && errno == ENOENT)
        return 0;
    if (d == NULL)
        return cli_failed(c, "cannot open %s: %s", dir, strerror(errno));
    for (const struct dirent *e; code == 0 && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, "data.mdb") == 0 ||
            strcmp(e->d_name, "node.key") == 0)
            code = cli_failed(c,
                              "%s holds a node of a mesh already; start it "
                              "with 'confmesh node --data %s', or choose "
                              "another directory",
                              dir, dir);
    }
    (void)closedir(d);
    return code;
}

/* After a founding that failed in a directory that held no node before: what
 * is there is half a node, and would keep the next try out. */
static void remove_half(const char *dir)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "node.key",
                                        "lock"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[PATHS_SIZE_MAX];
        int n = snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        if (n > 0 && (size_t)n < sizeof(path))
            (void)unlink(path);
    }
    (void)rmdir(dir); /* only if nothing else is in it */
}

static void report(const struct cli *c, const char *dir, const char *name,
                   const char *authority_path,
                   const struct authority *authority)
{
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];
    char mesh[MESH_ID_TEXT_SIZE];
    struct mesh_id id = mesh_id_of(authority->public_key);
    authority_fingerprint(fingerprint, authority->public_key);
    mesh_id_format(mesh, &id);
    if (c->json) {
        json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "mesh", mesh, "name",
                              name, "data", dir, "authority", authority_path,
                              "fingerprint", fingerprint);
        if (o != NULL)
            cli_print_json(o);
        json_decref(o);
        return;
    }
    (void)printf(
        "Made mesh %s and its first node %s in %s.\n\n"
        "authority    %s\n"
        "fingerprint  %s\n\n"
        "Who has the authority's file owns the mesh, and without it a lost\n"
        "mesh cannot be restored under its name: move it off this machine\n"
        "now, and keep the fingerprint where you will find it (it is what\n"
        "confmesh-restore --trust compares).\n\n"
        "next: confmesh node --data %s --bind ADDRESS:7946\n"
        "      (ADDRESS: where the other machines reach this one)\n",
        mesh, name, dir, authority_path, fingerprint, dir);
}

static uint64_t wall_ms(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int cli_verb_init(struct cli *c)
{
    CHECK(c->words_count == 1);
    const char *dir = c->words[0];
    const char *name = cli_value(c, "name");
    const char *authority_path = cli_value(c, "authority");
    struct passphrase_source source = {
        .file = cli_value(c, "passphrase-file"),
        .none = cli_has(c, "no-passphrase"),
    };
    struct authority authority;
    struct cm_detail detail = {""};
    char path[PATHS_SIZE_MAX];
    uint32_t level = LEVEL_LAST;

    if (name == NULL)
        return cli_usage_error(c, "--name NAME is needed");
    if (certificate_check_name(name, &detail) != 0)
        return cli_usage_error(c, "--name: %s", detail.text);
    if (passphrase_source_check(&source, &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    int code = check_directory(c, dir);
    if (code != 0)
        return code;
    if (authority_path == NULL)
        authority_path = AUTHORITY_DEFAULT;
    if (paths_absolute(path, authority_path, &detail) != 0)
        return cli_usage_error(c, "--authority: %s", detail.text);
    code = cli_format_level(c, &level);
    if (code != 0)
        return code;
    int error = authority_file_create(&authority, path, &source, &detail);
    if (error == CM_ERR_NOT_FOUND || error == CM_ERR_INVALID)
        return cli_usage_error(c, "%s", detail.text);
    if (error != 0)
        return cli_failed(c, "%s", detail.text);
    error = found_mesh(dir, name, &authority, level, wall_ms(), &detail);
    if (error == 0) {
        report(c, dir, name, path, &authority);
    } else {
        /* It founded nothing: the next try may have its name. */
        (void)unlink(path);
        if (error != CM_ERR_EXISTS && error != CM_ERR_LOCKED)
            remove_half(dir);
        code = cli_failed(c, "%s", detail.text);
    }
    authority_clear(&authority);
    return code;
}
