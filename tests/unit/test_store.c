/* The store: cursors, changes, damage, a full map, failing memory, and how
 * much a commit writes. */
#include <fcntl.h>
#include <malloc.h>

#include "node/schema.h"
#include "tests/unit/writer_fixture.h"

#define RW (ROLE_WRITER | ROLE_ISSUER)

/* ---- cursors ---- */

static void list(struct fixture_node *n, enum space space, const char *prefix,
                 bool exact, const struct entry_id *after, char *ret_text)
{
    struct store_reader *r;
    struct store_cursor *c;
    const struct store_item *item;
    int error;

    ret_text[0] = '\0';
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_int_equal(
        store_cursor_open(r, space, slice_of_string(prefix), exact, after, &c),
        0);
    while ((error = store_cursor_next(c, &item)) == 0) {
        size_t at = strlen(ret_text);

        (void)snprintf(
            ret_text + at, 256 - at, "%.*s%s%.*s ", (int)item->id.key.size,
            item->id.key.data, item->id.element.size > 0 ? "+" : "",
            (int)item->id.element.size,
            item->id.element.size > 0 ? (const char *)item->id.element.data
                                      : "");
    }
    assert_int_equal(error, CM_ERR_NOT_FOUND);
    store_cursor_close(c);
    store_reader_release(r);
}

/* Goal: canonical order, prefixes, exact keys and resuming after an entry. */
static void test_cursor(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct entry_id after = {.space = SPACE_REGISTER,
                             .key = slice_of_string("a")};
    char text[256];

    (void)state;
    fixture_mesh_make(&m);
    list(n, SPACE_REGISTER, "", false, NULL, text);
    assert_string_equal(text, "");
    assert_int_equal(fixture_write(n, OP_PUT, "a/b", NULL, "1"), 0);
    assert_int_equal(fixture_write(n, OP_PUT, "b", NULL, "1"), 0);
    assert_int_equal(fixture_write(n, OP_PUT, "a", NULL, "1"), 0);
    assert_int_equal(fixture_write(n, OP_SET_ADD, "a", "y", NULL), 0);
    assert_int_equal(fixture_write(n, OP_SET_ADD, "a", "x", NULL), 0);
    assert_int_equal(fixture_write(n, OP_SET_ADD, "ab", "x", NULL), 0);
    list(n, SPACE_REGISTER, "", false, NULL, text);
    assert_string_equal(text, "a a/b b ");
    list(n, SPACE_REGISTER, "a", false, NULL, text);
    assert_string_equal(text, "a a/b ");
    list(n, SPACE_REGISTER, "a", true, NULL, text);
    assert_string_equal(text, "a ");
    list(n, SPACE_REGISTER, "", false, &after, text);
    assert_string_equal(text, "a/b b ");
    list(n, SPACE_SET, "a", true, NULL, text);
    assert_string_equal(text, "a+x a+y ");
    list(n, SPACE_SET, "a", false, NULL, text);
    assert_string_equal(text, "a+x a+y ab+x ");
    after = (struct entry_id){.space = SPACE_SET,
                              .key = slice_of_string("a"),
                              .element = slice_of_string("x")};
    list(n, SPACE_SET, "", false, &after, text);
    assert_string_equal(text, "a+y ab+x ");
    fixture_mesh_release(&m);
}

/* Goal: a reader keeps its snapshot until it is renewed. */
static void test_reader_snapshot(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct store_reader *r;

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_int_equal(store_revision(r), 0);
    assert_int_equal(fixture_write(n, OP_PUT, "a", NULL, "1"), 0);
    assert_int_equal(store_revision(r), 0);
    store_reader_reset(r);
    store_reader_reset(r);
    assert_int_equal(store_reader_renew(r), 0);
    assert_int_equal(store_revision(r), 1);
    assert_true(store_hlc(r) >= hlc_make(FIXTURE_WALL_MS, 0));
    store_reader_release(r);
    fixture_mesh_release(&m);
}

/* ---- changes ---- */

struct seen {
    char text[512];
};

static int see(void *context, const struct change *c)
{
    static const char *const kinds[] = {"", "put", "delete", "add", "remove"};
    struct seen *s = context;
    size_t at = strlen(s->text);

    (void)snprintf(
        s->text + at, sizeof s->text - at, "%u:%s%s %.*s%s%.*s%s%.*s;",
        (unsigned)c->revision, kinds[c->kind], c->revoked ? "(revoked)" : "",
        (int)c->id.key.size, c->id.key.data, c->id.element.size > 0 ? "+" : "",
        (int)c->id.element.size,
        c->id.element.size > 0 ? (const char *)c->id.element.data : "",
        c->value.size > 0 ? "=" : "", (int)c->value.size,
        c->value.size > 0 ? (const char *)c->value.data : "");
    return 0;
}

static void watch(struct fixture_node *n, uint64_t from, struct seen *ret)
{
    struct store_reader *r;
    int error;

    ret->text[0] = '\0';
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    while ((error = store_changes(r, from, &from, see, ret)) == 0)
        ;
    assert_int_equal(error, CM_ERR_NOT_FOUND);
    store_reader_release(r);
}

/* Goal: a watch hears every visible change once, in order, and nothing that
 * changed nothing. */
static void test_changes(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct seen seen;

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(fixture_write(n, OP_PUT, "a", NULL, "1"), 0);
    assert_int_equal(fixture_write(n, OP_REVOKE, "none", NULL, NULL), 0);
    assert_int_equal(fixture_write(n, OP_SET_ADD, "s", "e", NULL), 0);
    assert_int_equal(fixture_write(n, OP_SET_REVOKE, "s", "e", NULL), 0);
    assert_int_equal(fixture_write(n, OP_REVOKE, "a", NULL, NULL), 0);
    watch(n, 0, &seen);
    assert_string_equal(seen.text, "1:put a=1;3:add s+e;4:remove(revoked) s+e;"
                                   "5:delete(revoked) a;");
    watch(n, 3, &seen);
    assert_string_equal(seen.text,
                        "4:remove(revoked) s+e;5:delete(revoked) a;");
    fixture_close(n);
    fixture_open(n);
    watch(n, 4, &seen);
    assert_string_equal(seen.text, "5:delete(revoked) a;");
    fixture_mesh_release(&m);
}

static uint64_t revision_of(struct fixture_node *n)
{
    struct store_reader *r;
    uint64_t ret;

    assert_int_equal(store_reader_begin(n->store, &r), 0);
    ret = store_revision(r);
    store_reader_release(r);
    return ret;
}

static void fixture_deliver_event(struct fixture_node *to,
                                  const struct fixture_node *from, size_t at)
{
    struct slice bytes =
        slice_of(from->events[at].bytes, from->events[at].size);

    assert_int_equal(fixture_deliver(to, bytes), 0);
}

/* Goal: of concurrent writes a watch hears what became visible: a loser is
 * silent, a set-remove beside another add too, an unrevoke shows the value
 * that it uncovers. */
static void test_changes_concurrent(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    struct local_op op;
    struct seen seen;
    struct intent *i;
    char expected[128];
    uint64_t from;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    a->wall_ms = b->wall_ms = FIXTURE_WALL_MS + 1000;
    assert_int_equal(fixture_write(b, OP_PUT, "k", NULL, "early"), 0);
    assert_int_equal(fixture_write(b, OP_SET_ADD, "s", "e", NULL), 0);
    assert_int_equal(fixture_write(b, OP_SET_REMOVE, "s", "e", NULL), 0);
    a->wall_ms += 100;
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "late"), 0);
    assert_int_equal(fixture_write(a, OP_SET_ADD, "s", "e", NULL), 0);
    watch(a, 1, &seen);
    assert_string_equal(seen.text, "2:put k=late;3:add s+e;");
    fixture_sync(a, b);
    watch(a, 3, &seen);
    assert_string_equal(seen.text, "");
    /* On b the same events in the other order end in the same view. */
    from = b->events_count + 1;
    fixture_sync(b, a);
    watch(b, from, &seen);
    assert_string_equal(seen.text, "5:put k=late;6:add s+e;");
    fixture_expect_equal(a, b);
    /* b revokes while a writes; a later unrevoking put of b's loses to a's
     * value, which is uncovered. */
    assert_int_equal(fixture_write(b, OP_REVOKE, "k", NULL, NULL), 0);
    op = fixture_op(OP_PUT, "k", NULL, "again");
    op.unrevoke = true;
    i = fixture_do(b, &op);
    assert_int_equal(i->result, 0);
    intent_free(i);
    a->wall_ms += 5000;
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "newest"), 0);
    b->wall_ms = a->wall_ms; /* or the event would be held */
    fixture_deliver_event(b, a, a->events_count - 1);
    from = revision_of(a);
    fixture_deliver_event(a, b, b->events_count - 2); /* the revoke */
    fixture_deliver_event(a, b, b->events_count - 1); /* the put */
    watch(a, from, &seen);
    (void)snprintf(expected, sizeof expected,
                   "%u:delete(revoked) k;%u:put k=newest;", (unsigned)from + 1,
                   (unsigned)from + 2);
    assert_string_equal(seen.text, expected);
    fixture_expect_equal(a, b);
    fixture_mesh_release(&m);
}

/* Goal: two operations on one key in one commit are one change. */
static void test_changes_once_per_commit(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *all[3];
    struct seen seen;

    (void)state;
    fixture_mesh_make(&m);
    for (size_t i = 0; i < 3; i++) {
        struct local_op op =
            fixture_op(i < 2 ? OP_PUT : OP_SET_ADD, "k", i < 2 ? NULL : "e",
                       i == 0   ? "first"
                       : i == 1 ? "second"
                                : NULL);

        all[i] = intent_new(INTENT_LOCAL);
        assert_int_equal(intent_add_op(all[i], &op), 0);
        if (i > 0)
            all[i - 1]->next = all[i];
    }
    commit_result_free(fixture_commit(n, all[0]));
    watch(n, 0, &seen);
    assert_string_equal(seen.text, "1:put k=second;1:add k+e;");
    for (size_t i = 0; i < 3; i++)
        intent_free(all[i]);
    fixture_mesh_release(&m);
}

/* ---- damage ---- */

/* Goal: a flipped bit in an entry's record is damage, never a value, and the
 * other entries stay readable and writable. */
static void test_damage(void **state)
{
    static const char marker[] = "a value to be found in the file";
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    char path[128];
    char *file;
    size_t hits = 0;
    struct stat st;

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(fixture_write(n, OP_PUT, "a", NULL, marker), 0);
    assert_int_equal(fixture_write(n, OP_PUT, "b", NULL, "sound"), 0);
    fixture_close(n);
    (void)snprintf(path, sizeof path, "%s/data.mdb", n->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    file = malloc((size_t)st.st_size);
    assert_non_null(file);
    assert_int_equal(pread(fd, file, (size_t)st.st_size, 0), st.st_size);
    for (size_t i = 0; i + sizeof marker < (size_t)st.st_size; i++) {
        if (memcmp(file + i, marker, sizeof marker - 1) != 0)
            continue;
        char flipped = (char)(file[i + 3] ^ 4);

        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)(i + 3)), 1);
        hits++;
    }
    free(file);
    (void)close(fd);
    assert_true(hits >= 2); /* entry and event */
    fixture_open(n);
    struct store_reader *r;
    struct entry e;
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string("a")};

    entry_init(&e);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_int_equal(store_get(r, &id, &e, NULL), CM_ERR_DAMAGED);
    struct slice bytes;

    assert_int_equal(store_event(r, &n->events[0].dot, &bytes), CM_ERR_DAMAGED);
    entry_release(&e);
    store_reader_release(r);
    fixture_expect(n, "b", "sound");
    assert_int_equal(fixture_write(n, OP_PUT, "a", NULL, "x"), CM_ERR_DAMAGED);
    assert_int_equal(fixture_write(n, OP_PUT, "b", NULL, "y"), 0);
    fixture_mesh_release(&m);
}

/* ---- a full map ---- */

/* Goal: when the map is full writes are refused with the remedy, what was
 * acknowledged stays, reads go on, and memory agrees with the disk. */
static void test_map_full(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n;
    char *value = malloc(60001);
    char key[16];
    int written = 0;

    (void)state;
    assert_non_null(value);
    memset(value, 'v', 60000);
    value[60000] = '\0';
    memset(&m, 0, sizeof m);
    fixture_mesh_make(&m);
    n = &m.nodes[0];
    fixture_close(n);
    n->map_size = 1u << 20;
    fixture_open(n);
    for (;;) {
        struct local_op op = fixture_op(OP_PUT, key, NULL, value);
        struct intent *i = intent_new(INTENT_LOCAL);
        struct commit_result *r;
        int result;

        (void)snprintf(key, sizeof key, "k%d", written);
        op.key = slice_of_string(key);
        assert_int_equal(intent_add_op(i, &op), 0);
        r = fixture_commit(n, i);
        result = i->result;
        assert_true(r->disk_full == (result == CM_ERR_FULL));
        if (result == CM_ERR_FULL) {
            assert_non_null(strstr(i->detail.text, "free space"));
            assert_int_equal(r->events_count, 0);
            assert_false(i->wrote);
        }
        commit_result_free(r);
        intent_free(i);
        if (result != 0)
            break;
        written++;
    }
    assert_true(written >= 3);
    assert_int_equal(vv_seq(&n->vv, &n->incarnation), written);
    (void)snprintf(key, sizeof key, "k%d", written - 1);
    char found[16];

    fixture_get(n, SPACE_REGISTER, key, NULL, found, sizeof found);
    assert_memory_equal(found, "vvvv", 4);
    /* With room again the same writer goes on where it was. */
    fixture_close(n);
    n->map_size = 8u << 20;
    fixture_open(n);
    assert_int_equal(fixture_write(n, OP_PUT, "small", NULL, "1"), 0);
    assert_int_equal(vv_seq(&n->vv, &n->incarnation), written + 1);
    free(value);
    fixture_mesh_release(&m);
}

/* ---- a failing disk ---- */

/* Puts the file opened by flags under LMDB's descriptor of data.mdb that
 * writes synchronously, which is the one for its meta pages. */
static void break_meta_pages(const char *dir)
{
    char path[128];
    int broken = open("/dev/full", O_WRONLY | O_CLOEXEC);

    assert_true(broken >= 0);
    (void)snprintf(path, sizeof path, "%s/data.mdb", dir);
    for (int fd = 3; fd < 64; fd++) {
        char link[64], target[128];
        ssize_t size;

        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        size = readlink(link, target, sizeof target - 1);
        if (size <= 0 || (fcntl(fd, F_GETFL) & O_DSYNC) == 0)
            continue;
        target[size] = '\0';
        if (strcmp(target, path) == 0)
            assert_int_equal(dup2(broken, fd), fd);
    }
    (void)close(broken);
}

/* Goal: a meta page that cannot be written fails the batch, and LMDB's
 * environment with it; the store opens it again as soon as no reader needs the
 * old one, and nothing acknowledged is lost. */
static void test_meta_page_fails(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct store_reader *r;
    struct entry e;
    struct entry_id id = {.space = SPACE_REGISTER, .key = slice_of_string("k")};

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(fixture_write(n, OP_PUT, "k", NULL, "1"), 0);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    break_meta_pages(n->dir);
    assert_int_equal(fixture_write(n, OP_PUT, "k", NULL, "2"), CM_ERR_FULL);
    /* The reader goes on; writes wait for it. */
    entry_init(&e);
    assert_int_equal(store_get(r, &id, &e, NULL), 0);
    assert_int_equal(e.siblings[0].value.size, 1);
    entry_release(&e);
    assert_true(fixture_write(n, OP_PUT, "k", NULL, "3") != 0);
    assert_true(store_is_poisoned(n->store));
    /* One that is kept without a snapshot holds nobody up. */
    store_reader_reset(r);
    fixture_expect(n, "k", "1");
    assert_false(store_is_poisoned(n->store));
    assert_int_equal(store_reader_renew(r), 0);
    assert_int_equal(store_revision(r), 1);
    store_reader_release(r);
    fixture_expect(n, "k", "1");
    assert_int_equal(fixture_write(n, OP_PUT, "k", NULL, "4"), 0);
    fixture_expect(n, "k", "4");
    assert_int_equal(vv_seq(&n->vv, &n->incarnation), 2);
    fixture_close(n);
    fixture_open(n);
    fixture_expect(n, "k", "4");
    fixture_mesh_release(&m);
}

/* ---- failing memory ---- */

/* Goal: whichever allocation fails, nothing leaks, the batch happened whole or
 * not at all, and the next one works. */
static void test_allocation_failures(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *a, *b;
    size_t failures = 0;

    (void)state;
    fixture_mesh_make(&m);
    a = &m.nodes[0];
    b = fixture_add_node(&m, RW, "", true);
    for (uint64_t n = 1; n < 200; n++) {
        struct local_op op = fixture_op(OP_PUT, "k", NULL, "v");
        struct intent *local = intent_new(INTENT_LOCAL);
        struct intent *foreign = intent_new(INTENT_FOREIGN);
        struct fixture_event *e;
        struct commit_result *r;
        uint64_t before;

        assert_int_equal(fixture_write(b, OP_SET_ADD, "s", "e", NULL), 0);
        assert_int_equal(fixture_write(b, OP_SET_REMOVE, "s", "e", NULL), 0);
        e = &b->events[b->events_count - 2];
        assert_int_equal(intent_add_op(local, &op), 0);
        assert_int_equal(intent_set_event(foreign, slice_of(e->bytes, e->size)),
                         0);
        local->next = foreign;
        before = vv_seq(&a->vv, &a->incarnation);
        cm_alloc_fail_after(n);
        r = writer_commit(a->writer, local, a->wall_ms++);
        cm_alloc_fail_after(0);
        if (r != NULL)
            commit_result_free(r);
        if (r == NULL || local->result != 0 || foreign->result != 0)
            failures++;
        assert_int_equal(writer_snapshot(a->writer, &r), 0);
        if (local->result == 0 && local->wrote)
            assert_int_equal(vv_seq(&r->vv, &a->incarnation), before + 1);
        commit_result_free(r);
        intent_free(local);
        intent_free(foreign);
        fixture_sync(a, b);
    }
    assert_true(failures > 3);
    assert_int_equal(fixture_write(a, OP_PUT, "k", NULL, "end"), 0);
    fixture_expect(a, "k", "end");
    fixture_mesh_release(&m);
}

/* Goal: opening survives every failing allocation. */
static void test_allocation_failures_open(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    bool opened = false;

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(fixture_write(n, OP_PUT, "k", NULL, "v"), 0);
    fixture_close(n);
    for (uint64_t i = 1; i < 200 && !opened; i++) {
        struct store *s = NULL;
        struct writer *w = NULL;
        int error;

        cm_alloc_fail_after(i);
        error = store_open(&s, n->dir, n->map_size, NULL);
        if (error == 0)
            error = writer_open(&w, s, n->secret_key, NULL);
        opened = error == 0;
        cm_alloc_fail_after(0);
        assert_true(error == 0 || error == CM_ERR_NOMEM);
        if (error == 0)
            writer_close(w);
        store_close(s);
    }
    assert_true(opened);
    fixture_open(n);
    fixture_expect(n, "k", "v");
    fixture_mesh_release(&m);
}

/* ---- bytes written ---- */

static uint64_t bytes_written(void)
{
    char text[512];
    FILE *f = fopen("/proc/self/io", "re");
    unsigned long long ret = 0;
    const char *at;

    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    at = strstr(text, "wchar: ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "wchar: %llu", &ret), 1);
    return ret;
}

#define PAGES_KEYS 100000
#define PAGES_BATCH 500

static void fill(struct fixture_node *n)
{
    char value[101];

    memset(value, 'x', sizeof value - 1);
    value[100] = '\0';
    for (int at = 0; at < PAGES_KEYS; at += PAGES_BATCH) {
        struct intent *first = NULL;

        for (int i = 0; i < PAGES_BATCH; i++) {
            char key[32];
            struct local_op op;
            struct intent *intent = intent_new(INTENT_LOCAL);

            (void)snprintf(key, sizeof key, "app/%06d/name",
                           (int)((at + i) * 7919LL % PAGES_KEYS));
            op = fixture_op(OP_PUT, key, NULL, value);
            assert_int_equal(intent_add_op(intent, &op), 0);
            intent->next = first;
            first = intent;
        }
        commit_result_free(writer_commit(n->writer, first, n->wall_ms++));
        while (first != NULL) {
            struct intent *next = first->next;

            assert_int_equal(first->result, 0);
            intent_free(first);
            first = next;
        }
    }
}

/* Goal: a one-operation durable put on a store of 100,000 keys writes at most
 * 10 pages on average. Method: bytes handed to write calls, which here are
 * LMDB's alone; the meta page, written as 100 bytes or so, counts as one. */
static void test_pages_per_commit(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    uint64_t pages = 0;
    const int commits = 300;

    (void)state;
    fixture_mesh_make(&m);
    fill(n);
    for (int i = 0; i < commits; i++) {
        char key[32];
        struct local_op op;
        struct intent *intent = intent_new(INTENT_LOCAL);
        uint64_t before;

        (void)snprintf(key, sizeof key, "app/%06d/name", i * 331 % PAGES_KEYS);
        op = fixture_op(OP_PUT, key, NULL, "a changed value");
        assert_int_equal(intent_add_op(intent, &op), 0);
        before = bytes_written();
        commit_result_free(writer_commit(n->writer, intent, n->wall_ms++));
        pages += (bytes_written() - before + 4095) / 4096;
        assert_int_equal(intent->result, 0);
        intent_free(intent);
    }
    print_message("pages per one-operation commit: %.2f\n",
                  (double)pages / commits);
    assert_true(pages <= 10 * (uint64_t)commits);
    fixture_mesh_release(&m);
}

/* Goal: a commit in which nothing changes writes no byte. */
static void test_nothing_to_disk(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct intent *i = intent_new(INTENT_META);
    uint64_t before;

    (void)state;
    fixture_mesh_make(&m);
    assert_int_equal(intent_add_fact(i, META_PEERS, slice_of("x", 1)), 0);
    commit_result_free(fixture_commit(n, i));
    assert_true(i->wrote);
    before = bytes_written();
    assert_int_equal(fixture_write(n, OP_DEL, "absent", NULL, NULL), 0);
    commit_result_free(fixture_commit(n, i));
    assert_false(i->wrote);
    assert_int_equal(bytes_written(), before);
    intent_free(i);
    fixture_mesh_release(&m);
}

/* ---- memory ---- */

#define BURST_OPS 1000

/* One transaction whose keys lie in leaves of their own. */
static void burst(struct fixture_node *n, int at)
{
    struct intent *i = intent_new(INTENT_LOCAL);

    for (int j = 0; j < BURST_OPS; j++) {
        char key[32];
        struct local_op op;

        (void)snprintf(key, sizeof key, "app/%06d/name",
                       at + j * (PAGES_KEYS / BURST_OPS));
        op = fixture_op(OP_PUT, key, NULL, "changed");
        assert_int_equal(intent_add_op(i, &op), 0);
    }
    commit_result_free(fixture_commit(n, i));
    assert_int_equal(i->result, 0);
    intent_free(i);
}

static size_t memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* Goal: what a large transaction leaves LMDB holding is given back, neither
 * while somebody reads nor again and again; kept readers go on. Method: memory
 * as the allocator counts it; a sanitizer's one counts nothing. */
static void test_rest(void **state)
{
    struct fixture_mesh m;
    struct fixture_node *n = &m.nodes[0];
    struct store_reader *r;
    size_t idle, full;
    uint64_t large;

    (void)state;
    fixture_mesh_make(&m);
    fill(n);
    assert_true(store_large(n->store) > 0);
    assert_true(store_rest(n->store));
    assert_int_equal(fixture_write(n, OP_PUT, "k", NULL, "v"), 0);
    large = store_large(n->store);
    idle = memory_in_use();
    burst(n, 0);
    assert_int_equal(store_large(n->store), large + 1);
    full = memory_in_use();
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_false(store_rest(n->store)); /* it reads */
    store_reader_reset(r);
    assert_true(store_rest(n->store));
    assert_int_equal(store_large(n->store), large + 1);
    print_message("a burst took %zu KiB, %zu stay\n", (full - idle) >> 10,
                  memory_in_use() > idle ? (memory_in_use() - idle) >> 10 : 0);
    if (idle > 0) {
        assert_true(full - idle >= BURST_OPS * 4096);
        assert_true(memory_in_use() <= idle + (full - idle) / 10);
    }
    assert_int_equal(store_reader_renew(r), 0);
    fixture_expect(n, "app/000000/name", "changed");
    burst(n, 1);
    assert_int_equal(store_large(n->store), large + 2);
    assert_false(store_rest(n->store));
    store_reader_release(r);
    assert_true(store_rest(n->store));
    fixture_mesh_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursor),
        cmocka_unit_test(test_reader_snapshot),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_changes_concurrent),
        cmocka_unit_test(test_changes_once_per_commit),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_map_full),
        cmocka_unit_test(test_meta_page_fails),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_allocation_failures_open),
        cmocka_unit_test(test_pages_per_commit),
        cmocka_unit_test(test_nothing_to_disk),
        cmocka_unit_test(test_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
