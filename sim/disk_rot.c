/* Bits that rot: which ones of a file there are, as LMDB 0.9 lays it out
 * (mdb.c: struct MDB_page, MDB_node, MDB_meta). The tree is walked down from
 * the newer meta page, a branch by chance at each level, so that what rots is
 * in use. */
#include <string.h>

#include "crdt/base/check.h"
#include "sim/disk_internal.h"

#define PAGE SIM_DISK_PAGE_SIZE
#define PAGE_HEADER 16
#define PAGE_FLAGS_AT 10
#define PAGE_LOWER_AT 12
#define FLAG_BRANCH 1
#define FLAG_LEAF 2
#define FLAG_META 8
#define NODE_HEADER 8
#define NODE_BIG 1 /* its data lies on overflow pages */
#define META_PAGES 2
#define META_ROOT_AT (PAGE_HEADER + 4 + 4 + 8 + 8 + 48 + 40)
#define META_TXNID_AT (PAGE_HEADER + 4 + 4 + 8 + 8 + 2 * 48 + 8)
#define DEPTH_MAX 16
#define BITS 8

struct rot {
    struct sim_disk *disk;
    uint64_t number;
    uint64_t draws;
};

static uint64_t draw(struct rot *r, uint64_t high)
{
    return sim_fate_range(r->disk->fate, SIM_FATE_ROT,
                          (uint64_t)r->disk->number << 32 | r->draws++,
                          r->number, 0, high);
}

static uint16_t get16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

/* NULL: there is no such page in the file. */
static const uint8_t *page_at(const struct sim_disk *d, uint64_t number)
{
    if (number >= d->size / PAGE || (number + 1) * PAGE > SIM_DISK_MAP_SIZE)
        return NULL;
    return d->map + number * PAGE;
}

static const uint8_t *root_page(const struct sim_disk *d)
{
    const uint8_t *newest = NULL;

    for (uint64_t i = 0; i < META_PAGES; i++) {
        const uint8_t *meta = page_at(d, i);

        if (meta == NULL || (get16(meta + PAGE_FLAGS_AT) & FLAG_META) == 0)
            return NULL;
        if (newest == NULL ||
            get64(meta + META_TXNID_AT) > get64(newest + META_TXNID_AT))
            newest = meta;
    }
    return page_at(d, get64(newest + META_ROOT_AT));
}

/* One of the page's nodes; NULL: it has none, or is no page of a tree. */
static const uint8_t *some_node(struct rot *r, const uint8_t *page)
{
    uint16_t lower = get16(page + PAGE_LOWER_AT);
    uint16_t count, at;

    if ((get16(page + PAGE_FLAGS_AT) & (FLAG_BRANCH | FLAG_LEAF)) == 0 ||
        lower <= PAGE_HEADER || lower > PAGE)
        return NULL;
    count = (uint16_t)((lower - PAGE_HEADER) / 2);
    at = get16(page + PAGE_HEADER + 2 * draw(r, (uint64_t)count - 1));
    return at >= lower && at + NODE_HEADER <= PAGE ? page + at : NULL;
}

static const uint8_t *child_of(const struct sim_disk *d, const uint8_t *node)
{
    uint64_t number = get16(node) | (uint64_t)get16(node + 2) << 16 |
                      (uint64_t)get16(node + 4) << 32;

    return page_at(d, number);
}

/* The value of some record; size 0: none was found. */
static struct slice some_value(struct rot *r)
{
    const uint8_t *page = root_page(r->disk);
    const uint8_t *node = page != NULL ? some_node(r, page) : NULL;

    for (unsigned i = 0; i < DEPTH_MAX && node != NULL &&
                         (get16(page + PAGE_FLAGS_AT) & FLAG_BRANCH) != 0;
         i++) {
        page = child_of(r->disk, node);
        node = page != NULL ? some_node(r, page) : NULL;
    }
    if (node == NULL)
        return slice_of(NULL, 0);
    size_t size = get16(node) | (size_t)get16(node + 2) << 16;
    const uint8_t *data = node + NODE_HEADER + get16(node + 6);
    const uint8_t *end = page + PAGE;
    if ((get16(node + 4) & NODE_BIG) != 0) {
        uint64_t number = get64(data);

        if (page_at(r->disk, number) == NULL ||
            page_at(r->disk, number + (PAGE_HEADER + size) / PAGE) == NULL)
            return slice_of(NULL, 0);
        data = r->disk->map + number * PAGE + PAGE_HEADER;
        end = data + size;
    }
    return data < end && size <= (size_t)(end - data) ? slice_of(data, size)
                                                      : slice_of(NULL, 0);
}

/* Where LMDB finds out what the file is: both meta pages. */
#define META_SIZE (META_TXNID_AT + 8)

/* A page of the tree in use, as deep as chance has it; NULL: none. */
static const uint8_t *some_page(struct rot *r)
{
    const uint8_t *page = root_page(r->disk);

    while (page != NULL && (get16(page + PAGE_FLAGS_AT) & FLAG_BRANCH) != 0 &&
           draw(r, 3) != 0) {
        const uint8_t *node = some_node(r, page);
        const uint8_t *below = node != NULL ? child_of(r->disk, node) : NULL;

        if (below == NULL || r->draws > 4 * DEPTH_MAX)
            break;
        page = below;
    }
    return page;
}

/* What LMDB itself goes by, or anything at all; size 0: none was found. */
static struct slice some_place(struct rot *r)
{
    const struct sim_disk *d = r->disk;
    size_t size = d->size < SIM_DISK_MAP_SIZE ? (size_t)d->size
                                              : (size_t)SIM_DISK_MAP_SIZE;
    const uint8_t *page, *node;

    switch (draw(r, 7)) {
    case 0:
        return slice_of(d->map, size);
    case 1:
        page = page_at(d, draw(r, META_PAGES - 1));
        return page != NULL ? slice_of(page, META_SIZE) : slice_of(NULL, 0);
    case 2:
    case 3:
        page = some_page(r);
        return page != NULL ? slice_of(page, PAGE_HEADER) : slice_of(NULL, 0);
    case 4:
    case 5:
        page = some_page(r);
        if (page == NULL || get16(page + PAGE_LOWER_AT) > PAGE)
            return slice_of(NULL, 0);
        return slice_of(page, get16(page + PAGE_LOWER_AT));
    default:
        page = some_page(r);
        node = page != NULL ? some_node(r, page) : NULL;
        return node != NULL ? slice_of(node, NODE_HEADER) : slice_of(NULL, 0);
    }
}

bool sim_disk_rot(struct sim_disk *d, uint64_t number, bool anywhere)
{
    struct rot r = {.disk = d, .number = number};
    struct slice where;
    uint64_t bit, at;

    CHECK(d->map == NULL || d->fd >= 0);
    if (d->map == NULL || d->failed)
        return false;
    where = anywhere ? some_place(&r) : some_value(&r);
    if (where.size == 0)
        return false;
    bit = draw(&r, where.size * BITS - 1);
    at = (uint64_t)(where.data - d->map) + bit / BITS;
    d->map[at] ^= (uint8_t)(1u << (bit % BITS));
    sim_disk_note(d, "disk-rot", at, slice_of(d->map + at, 1));
    return true;
}
