#include "node/cli/epoch_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/check.h"

#define MAGIC "confmesh-epoch-1"

int epoch_file_path(char ret_path[EPOCH_PATH_MAX], const char *authority_path,
                    struct cm_detail *detail)
{
    int n = snprintf(ret_path, EPOCH_PATH_MAX, "%s.epoch", authority_path);

    if (n < 0 || n >= EPOCH_PATH_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "the path of the authority's file is too long");
    return 0;
}

static int read_all(struct buffer *out, const char *path,
                    struct cm_detail *detail)
{
    FILE *f = fopen(path, "re");
    char piece[4096];
    size_t n;
    bool failed;

    if (f == NULL && errno == ENOENT)
        return CM_ERR_NOT_FOUND;
    if (f == NULL)
        return cm_fail(detail, CM_ERR_IO, "cannot read %s: %s", path,
                       strerror(errno));
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buffer_append(out, piece, n);
    failed = ferror(f) != 0;
    (void)fclose(f);
    if (failed || out->error != 0)
        return cm_fail(detail, CM_ERR_IO, "cannot read %s", path);
    return 0;
}

/* The next word, ended in place; NULL at the end. */
static char *word(char **at)
{
    char *start = *at;
    size_t size = strcspn(start, " \n");

    if (size == 0)
        return NULL;
    *at = start + size + (start[size] != '\0');
    start[size] = '\0';
    return start;
}

static bool number_of(const char *text, uint64_t *ret)
{
    char *end;

    if (text == NULL || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool hex_of(const char *text, void *ret, size_t size)
{
    return text != NULL && strlen(text) == 2 * size &&
           hex_decode(ret, size, text) == 0;
}

static bool parse(struct epoch_file *f, char *text)
{
    const char *order;
    const char *magic = word(&text);
    size_t size;

    if (magic == NULL || strcmp(magic, MAGIC) != 0 ||
        !number_of(word(&text), &f->generation.number) ||
        !hex_of(word(&text), f->generation.hash, sizeof f->generation.hash) ||
        !number_of(word(&text), &f->epoch) || f->epoch == 0 ||
        !hex_of(word(&text), f->hash.bytes, HASH_SIZE))
        return false;
    order = word(&text);
    size = order != NULL ? strlen(order) / 2 : 0;
    if (size == 0 || size > EVICTION_SIZE_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        buffer_append_byte(&f->order, 0);
    if (f->order.error != 0 || !hex_of(order, f->order.data, size))
        return false;
    struct hash found = eviction_hash(buffer_slice(&f->order));
    return hash_equal(&found, &f->hash);
}

int epoch_file_read(struct epoch_file *ret_file, const char *path,
                    struct cm_detail *detail)
{
    struct buffer text;
    int error;

    memset(ret_file, 0, sizeof *ret_file);
    buffer_init(&ret_file->order, EVICTION_SIZE_MAX);
    buffer_init(&text, EPOCH_FILE_SIZE_MAX);
    error = read_all(&text, path, detail);
    if (error == 0) {
        buffer_append_byte(&text, 0);
        if (text.error != 0 || !parse(ret_file, (char *)text.data))
            error = cm_fail(detail, CM_ERR_MALFORMED,
                            "%s is damaged: it says which order was signed "
                            "last; put back a copy of it",
                            path);
    }
    buffer_release(&text);
    return error == CM_ERR_NOT_FOUND ? 0 : error;
}

static void format(struct buffer *out, const struct eviction_order *order,
                   struct slice bytes)
{
    struct hash hash = eviction_hash(bytes);
    char generation[33];
    char digits[2 * HASH_SIZE + 1];

    hex_encode(generation, slice_of(order->generation.hash, 16));
    hex_encode(digits, slice_of(hash.bytes, HASH_SIZE));
    buffer_printf(out, MAGIC " %" PRIu64 " %s %" PRIu64 " %s ",
                  order->generation.number, generation, order->epoch, digits);
    for (size_t i = 0; i < bytes.size; i++) {
        hex_encode(generation, slice_of(bytes.data + i, 1));
        buffer_append(out, generation, 2);
    }
    buffer_append_byte(out, '\n');
}

static int write_all(int fd, struct slice bytes)
{
    while (bytes.size > 0) {
        ssize_t n = write(fd, bytes.data, bytes.size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        bytes = slice_of(bytes.data + n, bytes.size - (size_t)n);
    }
    return fsync(fd);
}

int epoch_file_write(const char *path, const struct eviction_order *order,
                     struct slice bytes, struct cm_detail *detail)
{
    char next[EPOCH_PATH_MAX + 8];
    struct buffer text;
    int fd;
    int error = 0;
    int n = snprintf(next, sizeof next, "%s.new", path);

    CHECK(n > 0 && (size_t)n < sizeof next && order->epoch > 0);
    buffer_init(&text, EPOCH_FILE_SIZE_MAX);
    format(&text, order, bytes);
    fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || text.error != 0 || write_all(fd, buffer_slice(&text)) != 0)
        error = CM_ERR_IO;
    if (fd >= 0 && close(fd) != 0)
        error = CM_ERR_IO;
    if (error == 0 && rename(next, path) != 0)
        error = CM_ERR_IO;
    buffer_release(&text);
    if (error != 0)
        return cm_fail(detail, error,
                       "cannot write %s (%s): without it a second order of "
                       "the same epoch could be signed",
                       path, strerror(errno));
    return 0;
}

void epoch_file_release(struct epoch_file *f)
{
    buffer_release(&f->order);
}
