/* Pages of LMDB 0.9, as mdb.c lays them out (MDB_page, MDB_node, MDB_meta,
 * MDB_db), read one by one and believed nowhere: see store_check.h. */
#include "node/store_check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/buffer.h"
#include "crdt/base/check.h"
#include "node/store_txn.h"

#define WORD sizeof(size_t) /* of page numbers and counts */
#define PAGE_FLAGS_AT (WORD + 2)
#define PAGE_LOWER_AT (WORD + 4)
#define PAGE_UPPER_AT (WORD + 6)
#define PAGE_HEADER (WORD + 8)
#define PAGE_SIZE_MIN 512
#define PAGE_SIZE_MAX 65536
#define PAGE_BRANCH 1
#define PAGE_LEAF 2
#define PAGE_OVERFLOW 4
#define PAGE_META 8
#define NODE_HEADER 8
#define NODE_BIG 1 /* its data lies on overflow pages */
#define NODE_KEY_MAX 511
#define META_PAGES 2
#define META_MAGIC UINT32_C(0xBEEFC0DE)
#define META_TREES_AT (PAGE_HEADER + 4 + 4 + 2 * WORD)
#define TREE_SIZE (8 + 5 * WORD)
#define META_LAST_AT (META_TREES_AT + 2 * TREE_SIZE)
#define META_TXN_AT (META_LAST_AT + WORD)
#define META_END (META_TXN_AT + WORD)
#define META_VERSION 1
#define TREE_FLAGS_FREE 8 /* keys are numbers */
#define DEPTH_MAX 32      /* LMDB's own stack */
#define NO_PAGE ((uint64_t)SIZE_MAX)

enum tree_name { TREE_FREE, TREE_RECORDS };

/* What the meta page says of a tree, and what was found of it. */
struct tree {
    enum tree_name name;
    unsigned depth;
    uint64_t root;
    uint64_t branches, leaves, overflows, entries;
};

struct look {
    int fd;
    size_t page_size;
    uint64_t pages;   /* there may be, by the meta page */
    uint64_t in_file; /* there are */
    uint64_t txn;
    uint8_t *seen; /* owned; a bit for each page of the file: it is claimed */
    uint8_t *levels[DEPTH_MAX]; /* owned; a page of each */
    struct tree tree;           /* being walked */
    struct tree found;
    struct cm_detail *detail;
};

/* Keys of a page lie between these; data NULL: no bound. */
struct range {
    struct slice from, to;
};

static uint16_t get16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t get_word(const uint8_t *at)
{
    size_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static int unsound(const struct look *l, uint64_t page, const char *what)
{
    return cm_fail(l->detail, CM_ERR_DAMAGED,
                   "page %llu of data.mdb is damaged: %s",
                   (unsigned long long)page, what);
}

/* ---- pages ---- */

static int read_page(const struct look *l, uint64_t number, uint8_t *ret)
{
    size_t have = 0;

    CHECK(number < l->in_file);
    while (have < l->page_size) {
        ssize_t got = pread(l->fd, ret + have, l->page_size - have,
                            (off_t)(number * l->page_size + have));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) /* LMDB, which maps the file, would die of it */
            return unsound(l, number, strerror(errno));
        if (got == 0)
            return unsound(l, number, "the file ends before it");
        have += (size_t)got;
    }
    return 0;
}

/* Takes count pages for somebody; they have to be nobody's yet. */
static int claim(struct look *l, uint64_t number, uint64_t count)
{
    if (number < META_PAGES || number >= l->in_file ||
        count > l->in_file - number)
        return unsound(l, number, "it is spoken of and not there");
    for (uint64_t i = number; i < number + count; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));

        if ((l->seen[i / 8] & bit) != 0)
            return unsound(l, i, "it is claimed twice");
        l->seen[i / 8] |= bit;
    }
    return 0;
}

/* ---- nodes ---- */

struct node_view {
    struct slice key;
    uint16_t flags;
    uint64_t child;      /* of a branch */
    size_t data_size;    /* of a leaf */
    const uint8_t *data; /* in the page; of a leaf that is not big */
    uint64_t big;        /* the first overflow page of a big one */
    size_t size;         /* in the page, as it is laid out */
};

/* Node i of a page of this kind, all of it within the page. */
static bool read_node(const struct look *l, const uint8_t *page, size_t i,
                      bool branch, struct node_view *ret)
{
    size_t at = get16(page + PAGE_HEADER + 2 * i);
    const uint8_t *node = page + at;
    size_t key_size;

    if (at % 2 != 0 || at < get16(page + PAGE_UPPER_AT) ||
        at + NODE_HEADER > l->page_size)
        return false;
    key_size = get16(node + 6);
    if (key_size > NODE_KEY_MAX || at + NODE_HEADER + key_size > l->page_size)
        return false;
    *ret = (struct node_view){
        .key = slice_of(node + NODE_HEADER, key_size),
        .flags = get16(node + 4),
        .size = NODE_HEADER + key_size,
    };
    if (branch) { /* the flags are the upper part of the number */
        ret->child = get16(node) | (uint64_t)get16(node + 2) << 16;
        if (WORD > 4)
            ret->child |= (uint64_t)ret->flags << 32;
    } else {
        size_t room = l->page_size - at - ret->size;
        size_t kept;

        ret->data_size = get16(node) | (size_t)get16(node + 2) << 16;
        kept = ret->flags == NODE_BIG ? WORD : ret->data_size;
        if ((ret->flags != 0 && ret->flags != NODE_BIG) || kept > room)
            return false;
        ret->data = node + ret->size;
        if (ret->flags == NODE_BIG)
            ret->big = get_word(ret->data);
        ret->size += kept;
    }
    ret->size += ret->size % 2;
    return true;
}

/* By number in the tree of free pages, by bytes in the other. */
static int compare_keys(const struct look *l, struct slice a, struct slice b)
{
    uint64_t x, y;

    if (l->tree.name == TREE_RECORDS || a.size != WORD || b.size != WORD)
        return slice_compare(a, b);
    x = get_word(a.data);
    y = get_word(b.data);
    return (x > y) - (x < y);
}

static bool is_within(const struct look *l, struct slice key,
                      const struct range *range)
{
    return (range->from.data == NULL ||
            compare_keys(l, range->from, key) <= 0) &&
           (range->to.data == NULL || compare_keys(l, key, range->to) < 0);
}

/* A value that was written over by a shorter one in the same transaction keeps
 * the room of the longer. */
static int walk_overflow(struct look *l, const struct node_view *n)
{
    uint64_t wanted = (PAGE_HEADER - 1 + n->data_size) / l->page_size + 1;
    uint64_t count;
    uint8_t head[PAGE_HEADER];
    int error = claim(l, n->big, 1);

    if (error != 0)
        return error;
    if (pread(l->fd, head, sizeof head, (off_t)(n->big * l->page_size)) !=
            (ssize_t)sizeof head ||
        get_word(head) != n->big ||
        get16(head + PAGE_FLAGS_AT) != PAGE_OVERFLOW)
        return unsound(l, n->big, "it is no page of a long value");
    count = get32(head + PAGE_LOWER_AT);
    if (count < wanted)
        return unsound(l, n->big, "a long value reaches out of its pages");
    l->found.overflows += count;
    return count > 1 ? claim(l, n->big + 1, count - 1) : 0;
}

/* A record of the other tree: pages that nobody uses any more. */
static int walk_free(struct look *l, const struct node_view *n, uint64_t page)
{
    uint64_t count, txn;
    uint8_t *room = NULL;
    const uint8_t *list = n->data;
    int error = 0;

    if (n->key.size != WORD || n->data_size < WORD)
        return unsound(l, page, "a list of free pages is none");
    txn = get_word(n->key.data);
    if (txn == 0 || txn > l->txn)
        return unsound(l, page, "pages are free from a later commit on");
    if (n->flags == NODE_BIG) {
        room = cm_alloc(n->data_size);
        if (room == NULL)
            return cm_fail(l->detail, CM_ERR_NOMEM, "out of memory");
        if (pread(l->fd, room, n->data_size,
                  (off_t)(n->big * l->page_size + PAGE_HEADER)) !=
            (ssize_t)n->data_size)
            error = unsound(l, n->big, "it cannot be read");
        list = room;
    }
    count = error == 0 ? get_word(list) : 0;
    if (count > n->data_size / WORD - 1)
        error = unsound(l, page, "a list of free pages is too long");
    for (uint64_t i = 1; i <= count && error == 0; i++) {
        uint64_t free_page = get_word(list + i * WORD);

        /* From the greatest to the least; the last ones may never have been
         * written. */
        if (free_page < META_PAGES || free_page >= l->pages ||
            (i > 1 && free_page >= get_word(list + (i - 1) * WORD)))
            error = unsound(l, page, "a list of free pages is out of order");
        else if (free_page < l->in_file)
            error = claim(l, free_page, 1);
    }
    cm_free(room);
    return error;
}

/* ---- trees ---- */

static int walk_leaf_node(struct look *l, const struct node_view *n,
                          uint64_t page)
{
    int error = 0;

    if (n->key.size == 0)
        return unsound(l, page, "a record has no key");
    l->found.entries++;
    if (n->flags == NODE_BIG)
        error = walk_overflow(l, n);
    if (error == 0 && l->tree.name == TREE_FREE)
        error = walk_free(l, n, page);
    return error;
}

/* What stands at the beginning of a page, and how many nodes it has. */
static int check_header(const struct look *l, uint64_t number,
                        const uint8_t *page, bool branch, size_t *ret_count)
{
    size_t lower = get16(page + PAGE_LOWER_AT);
    size_t upper = get16(page + PAGE_UPPER_AT);

    if (get_word(page) != number)
        return unsound(l, number, "it is another one");
    if (get16(page + PAGE_FLAGS_AT) != (branch ? PAGE_BRANCH : PAGE_LEAF))
        return unsound(l, number, "it is of another kind");
    if (lower <= PAGE_HEADER || lower > upper || upper > l->page_size ||
        (lower - PAGE_HEADER) % 2 != 0)
        return unsound(l, number, "its bounds are none");
    *ret_count = (lower - PAGE_HEADER) / 2;
    if (branch && *ret_count < 2)
        return unsound(l, number, "it has too few branches");
    return 0;
}

static int walk_page(struct look *l, uint64_t number, unsigned level,
                     const struct range *range);

/* Its nodes in order, and of a branch what is below them. */
static int walk_nodes(struct look *l, uint64_t number, unsigned level,
                      const struct range *range, size_t count)
{
    const uint8_t *page = l->levels[level];
    bool branch = level + 1 < l->tree.depth;
    size_t used = 0;
    int error = 0;
    struct node_view n, next;

    if (!read_node(l, page, 0, branch, &n))
        return unsound(l, number, "a node reaches out of it");
    for (size_t i = 0; i < count && error == 0; i++) {
        struct range below = {range->from, range->to};
        bool last = i + 1 == count;

        if (!last && !read_node(l, page, i + 1, branch, &next))
            return unsound(l, number, "a node reaches out of it");
        /* The first key of a branch says nothing. */
        if ((!branch || i > 0) && !is_within(l, n.key, range))
            return unsound(l, number, "a key does not belong there");
        if (!last && (!branch || i > 0) &&
            compare_keys(l, n.key, next.key) >= 0)
            return unsound(l, number, "its keys are out of order");
        if (branch) {
            if (i > 0)
                below.from = n.key;
            if (!last)
                below.to = next.key;
            error = walk_page(l, n.child, level + 1, &below);
        } else {
            error = walk_leaf_node(l, &n, number);
        }
        used += n.size;
        n = next;
    }
    if (error == 0 && used != l->page_size - get16(page + PAGE_UPPER_AT))
        error = unsound(l, number, "its nodes are not side by side");
    return error;
}

static int walk_page(struct look *l, uint64_t number, unsigned level,
                     const struct range *range)
{
    bool branch = level + 1 < l->tree.depth;
    size_t count = 0;
    int error = claim(l, number, 1);

    CHECK(level < l->tree.depth && l->tree.depth <= DEPTH_MAX);
    if (error == 0 && l->levels[level] == NULL) {
        l->levels[level] = cm_alloc(l->page_size);
        if (l->levels[level] == NULL)
            error = cm_fail(l->detail, CM_ERR_NOMEM, "out of memory");
    }
    if (error == 0)
        error = read_page(l, number, l->levels[level]);
    if (error == 0)
        error = check_header(l, number, l->levels[level], branch, &count);
    if (error != 0)
        return error;
    l->found.branches += branch;
    l->found.leaves += !branch;
    return walk_nodes(l, number, level, range, count);
}

static int walk_tree(struct look *l, const struct tree *tree)
{
    const struct range all = {{NULL, 0}, {NULL, 0}};
    int error = 0;

    l->tree = *tree;
    l->found = (struct tree){.name = tree->name};
    if ((tree->root == NO_PAGE) != (tree->depth == 0) ||
        tree->depth > DEPTH_MAX)
        return unsound(l, 0, "it speaks of a tree that cannot be");
    if (tree->depth > 0)
        error = walk_page(l, tree->root, 0, &all);
    if (error == 0 && (l->found.branches != tree->branches ||
                       l->found.leaves != tree->leaves ||
                       l->found.overflows != tree->overflows ||
                       l->found.entries != tree->entries))
        error = unsound(l, 0, "it counts other pages than there are");
    return error;
}

/* ---- the meta page ---- */

static void read_tree(const uint8_t *meta, enum tree_name name,
                      struct tree *ret)
{
    const uint8_t *at = meta + META_TREES_AT + (size_t)name * TREE_SIZE;

    *ret = (struct tree){
        .name = name,
        .depth = get16(at + 6),
        .branches = get_word(at + 8),
        .leaves = get_word(at + 8 + WORD),
        .overflows = get_word(at + 8 + 2 * WORD),
        .entries = get_word(at + 8 + 3 * WORD),
        .root = get_word(at + 8 + 4 * WORD),
    };
}

static bool is_meta(const uint8_t *page, uint64_t number)
{
    uint16_t free_flags = get16(page + META_TREES_AT + 4);
    uint16_t flags = get16(page + META_TREES_AT + TREE_SIZE + 4);

    return get_word(page) == number &&
           get16(page + PAGE_FLAGS_AT) == PAGE_META &&
           get32(page + PAGE_HEADER) == META_MAGIC &&
           get32(page + PAGE_HEADER + 4) == META_VERSION &&
           (free_flags & TREE_FLAGS_FREE) != 0 && flags == 0;
}

/* Of a version of LMDB that lays it out in another way, which LMDB will say. */
static bool is_of_another_version(const struct look *l)
{
    uint8_t pages[META_PAGES][PAGE_HEADER + 8];

    for (unsigned i = 0; i < META_PAGES; i++)
        if (pread(l->fd, pages[i], sizeof pages[i],
                  (off_t)i * sysconf(_SC_PAGESIZE)) !=
                (ssize_t)sizeof pages[i] ||
            get32(pages[i] + PAGE_HEADER) != META_MAGIC)
            return false;
    return get32(pages[0] + PAGE_HEADER + 4) != META_VERSION &&
           get32(pages[0] + PAGE_HEADER + 4) ==
               get32(pages[1] + PAGE_HEADER + 4);
}

/* The page of the wanted commit, as LMDB chooses it. */
static int read_meta(struct look *l, uint64_t txn, uint64_t map_size,
                     uint64_t file_size, struct tree ret_trees[2])
{
    uint8_t pages[META_PAGES][META_END];
    unsigned chosen;

    l->page_size = PAGE_SIZE_MIN;
    for (unsigned i = 0; i < META_PAGES; i++) {
        if (pread(l->fd, pages[i], META_END, (off_t)(i * l->page_size)) !=
            (ssize_t)META_END)
            return unsound(l, i, "the file ends before it");
        if (!is_meta(pages[i], i))
            return unsound(l, i, "it does not say what the file is");
        if (i == 0)
            l->page_size = get32(pages[0] + META_TREES_AT);
        if (l->page_size < PAGE_SIZE_MIN || l->page_size > PAGE_SIZE_MAX ||
            (l->page_size & (l->page_size - 1)) != 0 ||
            get32(pages[i] + META_TREES_AT) != l->page_size)
            return unsound(l, i, "its size of pages is none");
    }
    chosen =
        get_word(pages[0] + META_TXN_AT) < get_word(pages[1] + META_TXN_AT);
    if (txn != STORE_CHECK_NEWEST &&
        get_word(pages[chosen] + META_TXN_AT) != txn)
        chosen = 1 - chosen;
    l->txn = get_word(pages[chosen] + META_TXN_AT);
    if (txn != STORE_CHECK_NEWEST && l->txn != txn)
        return CM_ERR_BUSY;
    l->pages = get_word(pages[chosen] + META_LAST_AT) + 1;
    if (map_size < file_size) /* it was greater once */
        map_size = file_size;
    if (l->pages < META_PAGES || l->pages > map_size / l->page_size)
        return unsound(l, chosen, "it speaks of more pages than there may be");
    read_tree(pages[chosen], TREE_FREE, &ret_trees[TREE_FREE]);
    read_tree(pages[chosen], TREE_RECORDS, &ret_trees[TREE_RECORDS]);
    return 0;
}

int store_check_file(int fd, uint64_t map_size, uint64_t txn,
                     struct cm_detail *detail)
{
    struct look l = {.fd = fd, .detail = detail};
    struct tree trees[2];
    struct stat st;
    int error;

    CHECK(fd >= 0 && map_size > 0);
    if (fstat(fd, &st) != 0)
        return cm_fail(detail, CM_ERR_IO, "data.mdb: %s", strerror(errno));
    if (st.st_size == 0 || is_of_another_version(&l))
        return 0;
    error = read_meta(&l, txn, map_size, (uint64_t)st.st_size, trees);
    if (error != 0)
        return error;
    l.in_file = (uint64_t)st.st_size / l.page_size;
    if (l.in_file > l.pages)
        l.in_file = l.pages;
    l.seen = cm_calloc(1, (size_t)(l.in_file / 8 + 1));
    if (l.seen == NULL)
        return cm_fail(detail, CM_ERR_NOMEM, "out of memory");
    error = walk_tree(&l, &trees[TREE_RECORDS]);
    if (error == 0)
        error = walk_tree(&l, &trees[TREE_FREE]);
    for (size_t i = 0; i < DEPTH_MAX; i++)
        cm_free(l.levels[i]);
    cm_free(l.seen);
    return error;
}

/* A commit's meta page is written over by the second one after it. */
#define OPEN_ATTEMPTS 8

int store_check_open(struct store *s, struct cm_detail *detail)
{
    int error = CM_ERR_BUSY;

    for (unsigned i = 0; i < OPEN_ATTEMPTS && error == CM_ERR_BUSY; i++) {
        struct store_reader *r = NULL;
        mdb_filehandle_t fd;
        MDB_envinfo info;
        MDB_env *env;

        error = store_reader_begin(s, &r);
        /* Then nobody commits either; and the next start looks again. */
        if (error == CM_ERR_DAMAGED || error == CM_ERR_IO)
            return store_check_dir(store_dir(s), UINT64_MAX, detail);
        if (error != 0)
            return cm_fail(detail, error, "the store cannot be read: %s",
                           cm_strerror(error));
        env = mdb_txn_env(r->txn.mdb);
        if (mdb_env_get_fd(env, &fd) != 0 || mdb_env_info(env, &info) != 0)
            error = cm_fail(detail, CM_ERR_IO, "data.mdb cannot be read");
        else
            error = store_check_file(fd, info.me_mapsize,
                                     mdb_txn_id(r->txn.mdb), detail);
        store_reader_release(r);
    }
    return error;
}

int store_check_dir(const char *dir, uint64_t map_size,
                    struct cm_detail *detail)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/data.mdb", dir);
    int fd, error;

    if (length < 0 || (size_t)length >= sizeof path)
        return cm_fail(detail, CM_ERR_TOO_LARGE, "%s: too long a path", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return cm_fail(detail, CM_ERR_IO, "%s: %s", path, strerror(errno));
    error =
        store_check_file(fd, map_size > 0 ? map_size : STORE_MAP_SIZE_DEFAULT,
                         STORE_CHECK_NEWEST, detail);
    (void)close(fd);
    return error;
}
