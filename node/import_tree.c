#include "node/import_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/base/pack.h"
#include "crdt/limits.h"

#define NAMES_MAX 1000000 /* of one directory */
#define PATH_ROOM 65536   /* bytes of a path that is told as skipped */

struct walk {
    const struct import_tree_visitor *visitor;
    struct buffer path;
    struct buffer content;
    size_t path_size_max;
};

struct names {
    char **list; /* each and the list by cm_alloc */
    size_t count, capacity;
};

static void skip(const struct walk *w, const char *reason)
{
    w->visitor->skipped(w->visitor->ctx, buffer_slice(&w->path), reason);
}

static void names_release(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        cm_free(n->list[i]);
    cm_free(n->list);
}

static int names_add(struct names *n, const char *name)
{
    if (n->count == NAMES_MAX)
        return CM_ERR_LIMIT;
    if (n->count == n->capacity) {
        size_t capacity = n->capacity == 0 ? 64 : n->capacity * 2;
        char **list = cm_realloc(n->list, capacity * sizeof(*list));
        if (list == NULL)
            return CM_ERR_NOMEM;
        n->list = list;
        n->capacity = capacity;
    }
    size_t size = strlen(name) + 1;
    char *copy = cm_alloc(size);
    if (copy == NULL)
        return CM_ERR_NOMEM;
    memcpy(copy, name, size);
    n->list[n->count++] = copy;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of a directory, sorted: readdir's order is no order, and the same
 * tree should give the same transactions. Takes fd. */
static int names_read(struct names *n, int fd)
{
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        (void)close(fd);
        return CM_ERR_IO;
    }
    int error = 0;
    while (error == 0) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (d == NULL) {
            error = errno == 0 ? 0 : CM_ERR_IO;
            break;
        }
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            error = names_add(n, d->d_name);
    }
    (void)closedir(dir);
    if (error == 0 && n->count > 1)
        qsort(n->list, n->count, sizeof(*n->list), compare_names);
    return error;
}

/* The whole file; CM_ERR_TOO_LARGE beyond VALUE_SIZE_MAX. */
static int content_read(struct walk *w, int fd)
{
    buffer_clear(&w->content);
    for (;;) {
        size_t room = VALUE_SIZE_MAX + 1 - w->content.size;
        if (room == 0)
            return CM_ERR_TOO_LARGE;
        if (room > 65536)
            room = 65536;
        uint8_t *to = buffer_extend(&w->content, room);
        if (to == NULL)
            return w->content.error;
        ssize_t n = read(fd, to, room);
        w->content.size -= n < 0 ? room : room - (size_t)n;
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return CM_ERR_IO;
    }
}

static int visit_file(struct walk *w, int parent, const char *name)
{
    /* O_NONBLOCK: a pipe that took the file's place must not hang us. */
    int fd =
        openat(parent, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat s;
    if (fd < 0) {
        skip(w, errno == ELOOP ? "a symlink" : strerror(errno));
        return 0;
    }
    int error = 0;
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) {
        skip(w, "no regular file");
    } else {
        error = content_read(w, fd);
        if (error == 0)
            error = w->visitor->file(w->visitor->ctx, buffer_slice(&w->path),
                                     buffer_slice(&w->content));
        else if (error == CM_ERR_TOO_LARGE)
            skip(w, "larger than 1000000 bytes, the limit of a value");
        else if (error == CM_ERR_IO)
            skip(w, "unreadable");
        if (error == CM_ERR_TOO_LARGE || error == CM_ERR_IO)
            error = 0;
    }
    (void)close(fd);
    return error;
}

static int walk_directory(struct walk *w, int fd, unsigned depth);

static int visit_name(struct walk *w, int parent, const char *name,
                      unsigned depth)
{
    struct stat s;
    if (fstatat(parent, name, &s, AT_SYMLINK_NOFOLLOW) != 0) {
        skip(w, strerror(errno));
    } else if (S_ISLNK(s.st_mode)) {
        skip(w, "a symlink");
    } else if (!utf8_is_valid(slice_of_string(name))) {
        skip(w, "the name is not valid UTF-8");
    } else if (w->path.size > w->path_size_max) {
        skip(w, "the path is too long for a key");
    } else if (S_ISDIR(s.st_mode)) {
        int fd = openat(parent, name,
                        O_RDONLY | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            skip(w, strerror(errno));
        else
            return walk_directory(w, fd, depth + 1);
    } else if (!S_ISREG(s.st_mode)) {
        skip(w, "no regular file");
    } else {
        return visit_file(w, parent, name);
    }
    return 0;
}

/* Takes fd. */
static int walk_directory(struct walk *w, int fd, unsigned depth)
{
    struct names names = {0};
    size_t path_size = w->path.size;
    if (depth > IMPORT_TREE_DEPTH_MAX) {
        skip(w, "nested too deep");
        (void)close(fd);
        return 0;
    }
    int copy = dup(fd);
    int error = copy < 0 ? CM_ERR_IO : names_read(&names, copy);
    if (error == CM_ERR_IO && depth > 0) {
        skip(w, "unreadable");
        error = 0;
    } else if (error == CM_ERR_LIMIT) {
        skip(w, "too many names in one directory");
        error = 0;
        names_release(&names);
        names = (struct names){0};
    }
    for (size_t i = 0; i < names.count && error == 0; i++) {
        if (path_size > 0)
            buffer_append_byte(&w->path, '/');
        buffer_append_string(&w->path, names.list[i]);
        error = w->path.error;
        if (error == 0)
            error = visit_name(w, fd, names.list[i], depth);
        CHECK(w->path.size >= path_size);
        w->path.size = path_size;
    }
    names_release(&names);
    (void)close(fd);
    return error;
}

int import_tree_walk(const char *directory, size_t path_size_max,
                     const struct import_tree_visitor *visitor,
                     struct cm_detail *detail)
{
    CHECK(directory != NULL && visitor != NULL);
    struct walk w = {.visitor = visitor, .path_size_max = path_size_max};
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cm_fail(detail, errno == ENOENT ? CM_ERR_NOT_FOUND : CM_ERR_IO,
                       "cannot read the directory %s: %s", directory,
                       strerror(errno));
    buffer_init(&w.path, PATH_ROOM);
    buffer_init(&w.content, VALUE_SIZE_MAX + 65536);
    int error = walk_directory(&w, fd, 0);
    if (error != 0 && detail != NULL && detail->text[0] == 0)
        (void)cm_fail(detail, error, "reading %s: %s", directory,
                      cm_strerror(error));
    buffer_release(&w.path);
    buffer_release(&w.content);
    return error;
}
