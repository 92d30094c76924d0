/* Appended and synced pack by pack: a pack of 8 MiB is about 20 KiB of log. */
#include "node/upload_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "crdt/base/hash.h"

#define LOG_MAX (64u << 20) /* bytes; more is begun anew */
#define SUM_SIZE 16
#define HEAD_SIZE (4 + SUM_SIZE)

static struct hash sum_of(struct slice content)
{
    return hash_of("confmesh upload log v1", content);
}

static int read_all(int fd, struct buffer *bytes)
{
    for (;;) {
        uint8_t *to = buffer_extend(bytes, 65536);
        ssize_t got;

        if (to == NULL)
            return bytes->error;
        got = read(fd, to, 65536);
        bytes->size -= 65536;
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? 0 : CM_ERR_IO;
        bytes->size += (size_t)got;
    }
}

/* Returns the size of the records that are whole. */
static size_t read_records(struct snapshot_map *map, struct slice bytes,
                           int *ret_error)
{
    size_t at = 0;

    *ret_error = 0;
    while (bytes.size - at >= HEAD_SIZE && *ret_error == 0) {
        size_t size = get_be32(bytes.data + at);
        size_t packs = map->packs_count;
        size_t places = map->count;
        struct slice content;
        struct hash sum;

        if (size > bytes.size - at - HEAD_SIZE)
            break;
        content = slice_of(bytes.data + at + HEAD_SIZE, size);
        sum = sum_of(content);
        if (memcmp(sum.bytes, bytes.data + at + 4, SUM_SIZE) != 0)
            break;
        *ret_error = snapshot_map_decode(map, content, NULL);
        if (*ret_error != 0) {
            map->packs_count = packs;
            map->count = places;
            if (*ret_error != CM_ERR_NOMEM)
                *ret_error = 0;
            break;
        }
        at += HEAD_SIZE + size;
    }
    return at;
}

int upload_log_open(struct upload_log *ret_log, const char *path,
                    struct snapshot_map *map)
{
    struct buffer bytes;
    size_t whole = 0;
    int error;

    CHECK(path != NULL);
    ret_log->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ret_log->fd < 0)
        return 0;
    buffer_init(&bytes, LOG_MAX);
    error = read_all(ret_log->fd, &bytes);
    if (error == 0)
        whole = read_records(map, buffer_slice(&bytes), &error);
    buffer_release(&bytes);
    if (error == CM_ERR_NOMEM || ftruncate(ret_log->fd, (off_t)whole) != 0 ||
        lseek(ret_log->fd, (off_t)whole, SEEK_SET) < 0)
        upload_log_close(ret_log);
    return error == CM_ERR_NOMEM ? error : 0;
}

/* The map of one pack. */
static int one_pack(struct snapshot_map *ret, const struct snapshot_map *map)
{
    size_t pack = map->packs_count - 1;
    size_t first = map->count;
    int error = snapshot_map_add_pack(ret, &map->packs[pack].hash);

    while (first > 0 && map->places[first - 1].pack == pack)
        first--;
    for (; first < map->count && error == 0; first++)
        error = snapshot_map_add(ret, &map->places[first].object,
                                 map->places[first].size);
    return error;
}

void upload_log_add(struct upload_log *l, const struct snapshot_map *map)
{
    struct snapshot_map one = {0};
    struct buffer content;
    struct buffer out;
    uint8_t size[4];
    struct hash sum;

    if (l->fd < 0)
        return;
    CHECK(map->packs_count > 0);
    buffer_init(&content, LOG_MAX);
    buffer_init(&out, LOG_MAX);
    if (one_pack(&one, map) == 0)
        (void)snapshot_map_encode(&content, &one);
    sum = sum_of(buffer_slice(&content));
    put_be32(size, (uint32_t)content.size);
    buffer_append(&out, size, sizeof size);
    buffer_append(&out, sum.bytes, SUM_SIZE);
    buffer_append_slice(&out, buffer_slice(&content));
    if (content.error != 0 || out.error != 0 || content.size == 0 ||
        write(l->fd, out.data, out.size) != (ssize_t)out.size ||
        fdatasync(l->fd) != 0)
        upload_log_close(l); /* a part of a record ends what is read */
    snapshot_map_release(&one);
    buffer_release(&content);
    buffer_release(&out);
}

void upload_log_clear(struct upload_log *l)
{
    if (l->fd >= 0)
        (void)ftruncate(l->fd, 0);
}

void upload_log_close(struct upload_log *l)
{
    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
}
