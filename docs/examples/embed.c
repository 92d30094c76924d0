/* A program with its configuration inside: opens the node in the directory that
 * is its argument, writes, reads, watches.
 *   confmesh init /tmp/app --name app --no-passphrase
 *   cc embed.c $(pkg-config --cflags --libs confmesh) -o embed
 *   ./embed /tmp/app */
#include <confmesh.h>
#include <stdio.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, confmesh_error());
    return 1;
}

static int print(void *ctx, const char *key, size_t key_size, const void *value,
                 size_t value_size)
{
    (void)ctx;
    printf("%.*s = %.*s\n", (int)key_size, key, (int)value_size,
           (const char *)value);
    return 0;
}

int main(int argc, char **argv)
{
    struct confmesh_options options = {.data = argc > 1 ? argv[1] : "app"};
    struct confmesh_change change;
    struct confmesh_watch *watch;
    struct confmesh_token token;
    struct confmesh_read *view;
    struct confmesh_txn *txn;
    struct confmesh *mesh;
    char why[256];

    if (confmesh_open(&mesh, &options, why, sizeof why) != 0)
        return fail("open");
    if (confmesh_wait_ready(mesh, 10000) != 0 ||
        confmesh_watch_open(mesh, "app/", UINT64_MAX, &watch) != 0)
        return fail("start");
    if (confmesh_put(mesh, "app/mode", "fast", 4, &token) != 0)
        return fail("put");
    printf("written as %s\n", token.text);
    if (confmesh_txn_begin(mesh, &txn) != 0)
        return fail("txn");
    confmesh_txn_put(txn, "app/limit", "100", 3, 0);
    confmesh_txn_set_add(txn, "app/peers", "10.0.0.7");
    if (confmesh_txn_commit(txn, NULL) != 0)
        return fail("commit");
    while (confmesh_watch_next(watch, 1000, &change) == 0) {
        printf("revision %llu: %s\n", (unsigned long long)change.revision,
               change.key);
        if (change.kind == CONFMESH_ADD) /* the transaction's last one */
            break;
    }
    if (confmesh_read_begin(mesh, &view) != 0 ||
        confmesh_list(view, "app/", print, NULL) != 0)
        return fail("read");
    confmesh_read_end(view);
    confmesh_watch_close(watch);
    confmesh_close(mesh);
    return 0;
}
