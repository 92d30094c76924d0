/* Goal: confmesh-restore brings back what was snapshotted, tells apart every
 * way in which it cannot, and leaves nothing half-made. Method: the program
 * itself ($BUILD_DIR/confmesh-restore) on folders of real snapshots. */
#include "tests/unit/snapshot_life.h"

#include <dirent.h>
#include <sys/wait.h>

#include "node/authority_file.h"

#define ENTRIES 120

/* Runs the tool with up to 10 arguments after the data directory, its output
 * in scratch/out; returns its exit code. */
static int restore(const char *target, const char *data,
                   const char *const *more)
{
    const char *build = getenv("BUILD_DIR");
    const char *argv[16] = {0};
    char program[512];
    char out[128];
    size_t at = 0;
    int status;
    pid_t pid;

    (void)snprintf(program, sizeof program, "%s/confmesh-restore",
                   build != NULL ? build : "build");
    path_of(out, "out");
    argv[at++] = program;
    argv[at++] = target;
    argv[at++] = "--data";
    argv[at++] = data;
    while (*more != NULL && at < 15)
        argv[at++] = *more++;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(out, O_CREAT | O_TRUNC | O_WRONLY, 0600);

        (void)dup2(fd, 1);
        (void)dup2(fd, 2);
        (void)execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void assert_told(const char *text)
{
    static char all[65536];
    char out[128];
    ssize_t size;
    int fd;

    path_of(out, "out");
    fd = open(out, O_RDONLY);
    assert_true(fd >= 0);
    size = read(fd, all, sizeof all - 1);
    (void)close(fd);
    assert_true(size >= 0);
    all[size] = '\0';
    if (strstr(all, text) == NULL)
        fail_msg("'%s' is not in: %s", text, all);
}

/* A node with content, its authority file and a target with one snapshot. */
struct scene {
    struct life l;
    char target[128];
    char data[128];
    char authority[128];
    struct snapshot_outcome first;
};

static void scene_begin(struct scene *s, const char *name)
{
    char text[64];

    life_begin(&s->l, name);
    fill(&s->l, ENTRIES);
    (void)snprintf(text, sizeof text, "%s-target", name);
    path_of(s->target, text);
    (void)snprintf(text, sizeof text, "%s-restored", name);
    path_of(s->data, text);
    (void)snprintf(text, sizeof text, "%s-authority", name);
    path_of(s->authority, text);
    assert_int_equal(authority_file_write(s->authority, &s->l.authority,
                                          slice_of(NULL, 0), NULL),
                     0);
    assert_int_equal(take(&s->l, s->target, NULL, &s->first, NULL), 0);
}

static bool nothing_was_left(const struct scene *s)
{
    const char *base = strrchr(s->data, '/') + 1;
    DIR *dir = opendir(scratch);
    struct dirent *entry;
    bool ret = true;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        ret = ret && strncmp(entry->d_name, base, strlen(base)) != 0;
    (void)closedir(dir);
    return ret;
}

static void life_reopen(struct life *ret, const char *dir)
{
    memset(ret, 0, sizeof *ret);
    ret->now = WALL + 1000;
    (void)snprintf(ret->dir, sizeof ret->dir, "%s", dir);
    life_open(ret);
}

/* Entries of data and sets are equal, byte for byte. */
static void assert_same_content(struct store *a, struct store *b)
{
    static const enum space spaces[] = {SPACE_REGISTER, SPACE_SET};
    struct store_reader *ra;
    struct store_reader *rb;
    size_t compared = 0;
    size_t i;

    assert_int_equal(store_reader_begin(a, &ra), 0);
    assert_int_equal(store_reader_begin(b, &rb), 0);
    for (i = 0; i < 2; i++) {
        struct store_cursor *ca;
        struct store_cursor *cb;
        int error = 0;

        assert_int_equal(store_cursor_open(ra, spaces[i], slice_of(NULL, 0),
                                           false, NULL, &ca),
                         0);
        assert_int_equal(store_cursor_open(rb, spaces[i], slice_of(NULL, 0),
                                           false, NULL, &cb),
                         0);
        while (error == 0) {
            const struct store_item *x;
            const struct store_item *y;
            struct buffer bx;
            struct buffer by;

            error = store_cursor_next(ca, &x);
            assert_int_equal(store_cursor_next(cb, &y), error);
            if (error != 0)
                break;
            buffer_init(&bx, 1u << 22);
            buffer_init(&by, 1u << 22);
            entry_pack(&bx, &x->id, &x->entry);
            entry_pack(&by, &y->id, &y->entry);
            assert_true(slice_equal(buffer_slice(&bx), buffer_slice(&by)));
            buffer_release(&bx);
            buffer_release(&by);
            compared++;
        }
        assert_int_equal(error, CM_ERR_NOT_FOUND);
        store_cursor_close(ca);
        store_cursor_close(cb);
    }
    assert_int_equal(compared, ENTRIES + 2);
    store_reader_release(ra);
    store_reader_release(rb);
}

static void the_mesh_goes_on_under_its_authority(void **state)
{
    struct generation_id generation;
    struct incarnation before;
    struct incarnation after;
    struct hash expected;
    struct hash found;
    struct scene s;
    struct life r;

    (void)state;
    scene_begin(&s, "same");
    expected = digest_of(s.l.store);
    assert_int_equal(restore(s.target, s.data,
                             (const char *[]){"--authority", s.authority,
                                              "--name", "phoenix", NULL}),
                     0);
    assert_told("generation 2");
    life_reopen(&r, s.data);
    r.authority = s.l.authority;
    found = digest_of(r.store);
    assert_true(hash_equal(&found, &expected));
    assert_same_content(s.l.store, r.store);
    before = writer_incarnation(s.l.writer);
    after = writer_incarnation(r.writer);
    assert_false(incarnation_equal(&before, &after));
    generation = writer_generation(r.writer);
    assert_int_equal(generation.number, 2);
    /* It writes at once, and its snapshot is the newer one. */
    write_op(&r, OP_PUT, "after", "", "restore", 7);
    assert_int_equal(take(&r, s.target, NULL, &s.first, NULL), 0);
    life_end(&r);
    {
        char again[128];

        path_of(again, "same-again");
        assert_int_equal(restore(s.target, again,
                                 (const char *[]){"--authority", s.authority,
                                                  "--json", NULL}),
                         0);
        assert_told("\"generation\":3");
        assert_told("\"origin_checked\":true");
    }
    life_end(&s.l);
}

static void a_new_authority_makes_a_new_mesh(void **state)
{
    struct generation_id generation;
    struct authority minted;
    struct passphrase_source source = {.none = true};
    char file[128];
    struct scene s;
    struct life r;

    (void)state;
    scene_begin(&s, "new");
    path_of(file, "new-minted");
    assert_int_equal(restore(s.target, s.data,
                             (const char *[]){"--new-authority", file,
                                              "--no-passphrase", NULL}),
                     0);
    assert_told("damage checked, origin not");
    assert_int_equal(authority_file_read(&minted, file, &source, NULL), 0);
    assert_memory_not_equal(minted.public_key, s.l.authority.public_key, 32);
    life_reopen(&r, s.data);
    generation = writer_generation(r.writer);
    assert_int_equal(generation.number, 1);
    assert_same_content(s.l.store, r.store);
    write_op(&r, OP_PUT, "after", "", "restore", 7);
    life_end(&r);
    /* The file is never overwritten. */
    path_of(s.data, "new-second");
    assert_int_equal(restore(s.target, s.data,
                             (const char *[]){"--new-authority", file,
                                              "--no-passphrase", NULL}),
                     64);
    assert_true(nothing_was_left(&s));
    life_end(&s.l);
}

static void a_damaged_newest_is_passed_over_and_told(void **state)
{
    struct snapshot_outcome second;
    struct scene s;
    struct life r;

    (void)state;
    scene_begin(&s, "partial");
    write_op(&s.l, OP_PUT, "newer", "", "x", 1);
    assert_int_equal(take(&s.l, s.target, NULL, &second, NULL), 0);
    damage(s.target, second.name);
    assert_int_equal(
        restore(s.target, s.data,
                (const char *[]){"--authority", s.authority, NULL}),
        6);
    assert_told("damaged: ");
    assert_told("PARTIAL");
    life_reopen(&r, s.data);
    life_end(&r);
    /* With the older one gone as well, nothing is made. */
    damage(s.target, s.first.name);
    path_of(s.data, "partial-none");
    assert_int_equal(
        restore(s.target, s.data,
                (const char *[]){"--authority", s.authority, NULL}),
        3);
    assert_true(nothing_was_left(&s));
    life_end(&s.l);
}

static void every_damaged_object_is_refused(void **state)
{
    char mesh[MESH_ID_TEXT_SIZE];
    char minted[128];
    char prefix[128];
    struct object_list names;
    struct object_dir d;
    struct mesh_id id;
    struct scene s;
    size_t i;
    size_t k;

    (void)state;
    scene_begin(&s, "objects");
    path_of(minted, "objects-minted");
    id = mesh_id_of(s.l.authority.public_key);
    mesh_id_format(mesh, &id);
    assert_int_equal(object_dir_open(&d, s.target, false, NULL), 0);
    for (k = 0; k < 2; k++) {
        (void)snprintf(prefix, sizeof prefix, "v1/%s/%c/", mesh, "pi"[k]);
        assert_int_equal(object_dir_list(&d, prefix, &names, NULL), 0);
        assert_true(names.count >= 1);
        for (i = 0; i < names.count; i++) {
            char name[256];

            (void)snprintf(name, sizeof name, "%s%s", prefix, names.names[i]);
            damage(s.target, name);
            assert_int_equal(restore(s.target, s.data,
                                     (const char *[]){"--new-authority", minted,
                                                      "--no-passphrase", NULL}),
                             3);
            assert_told(names.names[i]);
            assert_true(nothing_was_left(&s));
            assert_int_equal(access(minted, F_OK), -1);
            damage(s.target, name); /* flips it back */
        }
        object_list_release(&names);
    }
    object_dir_close(&d);
    life_end(&s.l);
}

static void foreign_trust_is_refused(void **state)
{
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];
    uint8_t seed[32] = {200};
    struct authority other;
    char other_file[128];
    struct scene s;

    (void)state;
    scene_begin(&s, "trust");
    authority_make(&other, seed);
    path_of(other_file, "trust-other");
    assert_int_equal(
        authority_file_write(other_file, &other, slice_of(NULL, 0), NULL), 0);
    assert_int_equal(restore(s.target, s.data,
                             (const char *[]){"--authority", other_file, NULL}),
                     4);
    authority_fingerprint(fingerprint, other.public_key);
    assert_int_equal(restore(s.target, s.data,
                             (const char *[]){"--authority", s.authority,
                                              "--trust", fingerprint, NULL}),
                     4);
    assert_true(nothing_was_left(&s));
    authority_fingerprint(fingerprint, s.l.authority.public_key);
    assert_int_equal(restore(s.target, s.data,
                             (const char *[]){"--authority", s.authority,
                                              "--trust", fingerprint, NULL}),
                     0);
    life_end(&s.l);
}

static void two_meshes_and_none_are_refused(void **state)
{
    struct fixture_mesh mesh;
    char minted[128];
    char mesh_text[MESH_ID_TEXT_SIZE];
    struct object_dir d;
    char name[256];
    struct scene s;

    (void)state;
    scene_begin(&s, "two");
    fixture_mesh_make(&mesh, 33);
    mesh_id_format(mesh_text, &mesh.mesh);
    (void)snprintf(name, sizeof name, "v1/%s/m/%s/00000000000000000001",
                   mesh_text, mesh_text);
    assert_int_equal(object_dir_open(&d, s.target, false, NULL), 0);
    assert_int_equal(object_dir_put(&d, name, slice_of("x", 1), NULL), 0);
    object_dir_close(&d);
    path_of(minted, "two-minted");
    assert_int_equal(restore(s.target, s.data,
                             (const char *[]){"--new-authority", minted,
                                              "--no-passphrase", NULL}),
                     4);
    assert_told(mesh_text);
    assert_true(nothing_was_left(&s));
    assert_int_equal(
        restore(s.l.dir, s.data,
                (const char *[]){"--authority", s.authority, NULL}),
        5);
    assert_told("holds no snapshot");
    assert_true(nothing_was_left(&s));
    /* The authority's file says which of them is meant. */
    assert_int_equal(
        restore(s.target, s.data,
                (const char *[]){"--authority", s.authority, NULL}),
        0);
    assert_told("other meshes");
    fixture_mesh_release(&mesh);
    life_end(&s.l);
}

static void the_place_must_be_free(void **state)
{
    struct scene s;

    (void)state;
    scene_begin(&s, "place");
    assert_int_equal(
        restore(s.target, s.l.dir,
                (const char *[]){"--authority", s.authority, NULL}),
        64);
    assert_told("is not empty");
    assert_int_equal(mkdir(s.data, 0700), 0);
    assert_int_equal(
        restore(s.target, s.data,
                (const char *[]){"--authority", s.authority, NULL}),
        0);
    life_end(&s.l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mesh_goes_on_under_its_authority),
        cmocka_unit_test(a_new_authority_makes_a_new_mesh),
        cmocka_unit_test(a_damaged_newest_is_passed_over_and_told),
        cmocka_unit_test(every_damaged_object_is_refused),
        cmocka_unit_test(foreign_trust_is_refused),
        cmocka_unit_test(two_meshes_and_none_are_refused),
        cmocka_unit_test(the_place_must_be_free),
    };

    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
