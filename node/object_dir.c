/* All access is relative to the directory's descriptor; a name is checked
 * before it touches the file system, so that no manifest or caller reaches
 * outside. */
#include "node/object_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

#define TEMPORARY_PREFIX ".tmp-"
#define PIECE_SIZE (1 << 20)
#define LATER_MAX 1024 /* objects that wait for a flush */

static const char *remedy(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return "; make room there, for example by 'confmesh snapshot prune'";
    case EROFS:
        return "; mount it for writing";
    case EACCES:
    case EPERM:
        return "; give this user leave to";
    case ENOTDIR:
    case EEXIST:
        return "; a file is in the way";
    case EIO:
    case ESTALE:
        return "; look at the disk or mount (dmesg)";
    default:
        return "";
    }
}

static int fail_errno(struct cm_detail *detail, const char *what,
                      const char *name)
{
    int number = errno;
    int code = CM_ERR_IO;

    if (number == ENOSPC || number == EDQUOT)
        code = CM_ERR_FULL;
    else if (number == ENOENT)
        code = CM_ERR_NOT_FOUND;
    return cm_fail(detail, code, "cannot %s %.120s: %s%s", what, name,
                   strerror(number), remedy(number));
}

/* The path inside target; NULL with detail if it is none. */
static const char *target_path(const char *target, struct cm_detail *detail)
{
    const char *path = target;
    size_t scheme = strspn(target, "abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");

    if (scheme > 0 && target[scheme] == ':') {
        if (scheme != 4 || memcmp(target, "file", 4) != 0) {
            (void)cm_fail(detail, CM_ERR_INVALID,
                          "the target '%.60s' has the scheme '%.*s', which is "
                          "not supported; supported are file:DIR, s3:, exec: "
                          "and a plain path (./NAME with a colon in it)",
                          target, (int)(scheme < 20 ? scheme : 20), target);
            return NULL;
        }
        path = target + 5;
        if (path[0] == '/' && path[1] == '/') {
            if (path[2] != '/') {
                (void)cm_fail(detail, CM_ERR_INVALID,
                              "the target '%.60s' names a host; write "
                              "file:DIR or file:///DIR",
                              target);
                return NULL;
            }
            path += 2;
        }
    }
    if (path[0] == '\0') {
        (void)cm_fail(detail, CM_ERR_INVALID,
                      "the target names no directory; write file:DIR or a "
                      "path");
        return NULL;
    }
    if (strlen(path) >= PATH_MAX - OBJECT_NAME_MAX - 2) {
        (void)cm_fail(detail, CM_ERR_INVALID,
                      "the target's path has more than %d bytes",
                      PATH_MAX - OBJECT_NAME_MAX - 3);
        return NULL;
    }
    return path;
}

const char *object_dir_target_path(const char *target)
{
    CHECK(target != NULL);
    return target_path(target, NULL);
}

int object_dir_target_check(const char *target, struct cm_detail *detail)
{
    CHECK(target != NULL);
    return target_path(target, detail) == NULL ? CM_ERR_INVALID : 0;
}

/* mkdir -p of path; each new directory is synced into its parent. */
static int make_directories(const char *path, struct cm_detail *detail)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    size_t i;

    CHECK(size < sizeof part);
    for (i = 1; i <= size; i++) {
        char parent[PATH_MAX];
        char *slash;
        int fd;

        if (i < size && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) != 0) {
            struct stat st;

            /* EROFS and EACCES of a parent that is there are no failure. */
            if (stat(part, &st) == 0 && S_ISDIR(st.st_mode))
                continue;
            return fail_errno(detail, "create the directory", part);
        }
        memcpy(parent, part, i + 1);
        slash = strrchr(parent, '/');
        if (slash == NULL)
            (void)snprintf(parent, sizeof parent, ".");
        else
            slash[slash == parent ? 1 : 0] = '\0';
        fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            (void)fsync(fd); /* best effort: the parent is not ours */
            (void)close(fd);
        }
    }
    return 0;
}

int object_dir_open(struct object_dir *ret_dir, const char *target, bool create,
                    struct cm_detail *detail)
{
    const char *path = target_path(target, detail);
    struct object_dir d = {.fd = -1};
    int error;

    CHECK(ret_dir != NULL);
    if (path == NULL)
        return CM_ERR_INVALID;
    if (create) {
        error = make_directories(path, detail);
        if (error != 0)
            return error;
    }
    d.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d.fd < 0 && errno == ENOENT)
        return cm_fail(detail, CM_ERR_NOT_FOUND,
                       "the target %.150s is not there; is it the right "
                       "place, and mounted?",
                       path);
    if (d.fd < 0)
        return fail_errno(detail, "open the directory", path);
    (void)snprintf(d.path, sizeof d.path, "%s", path);
    *ret_dir = d;
    return 0;
}

void object_dir_close(struct object_dir *d)
{
    CHECK(d != NULL);
    if (d->fd >= 0)
        (void)close(d->fd);
    d->fd = -1;
    object_list_release(&d->later);
}

/* Opens (and makes) the directory that name lies in. */
static int open_parent(struct object_dir *d, const char *name, bool create,
                       struct cm_detail *detail)
{
    int fd = dup(d->fd);
    const char *slash;

    if (fd < 0)
        return fail_errno(detail, "open", d->path);
    while ((slash = strchr(name, '/')) != NULL) {
        char part[OBJECT_NAME_MAX + 1] = {0};
        int made = 0;
        int next;

        memcpy(part, name, (size_t)(slash - name));
        if (create && mkdirat(fd, part, 0700) == 0)
            (void)fsync(fd);
        else if (create)
            made = errno;
        next =
            openat(fd, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (next < 0) {
            int error;

            if (made != 0 && made != EEXIST)
                errno = made; /* why it is not there */
            error = fail_errno(detail, "open the directory", part);

            (void)close(fd);
            return error;
        }
        (void)close(fd);
        fd = next;
        name = slash + 1;
    }
    CHECK(fd >= 0);
    return fd;
}

static const char *last_part(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash != NULL ? slash + 1 : name;
}

/* A large object goes out piece by piece while it is written, and never more
 * than two of them wait for the disk: a node's commits, which may be on the
 * same one, would wait behind all of it otherwise. Where the file system cannot
 * do that it does not, and fsync writes it all. */
static void push_out(int fd, off_t from)
{
    (void)sync_file_range(fd, from, PIECE_SIZE, SYNC_FILE_RANGE_WRITE);
    if (from >= PIECE_SIZE)
        (void)sync_file_range(fd, from - PIECE_SIZE, PIECE_SIZE,
                              SYNC_FILE_RANGE_WAIT_BEFORE |
                                  SYNC_FILE_RANGE_WRITE |
                                  SYNC_FILE_RANGE_WAIT_AFTER);
}

static int write_all(const struct object_dir *d, int fd, struct slice bytes)
{
    off_t pushed = 0;
    off_t done = 0;

    while (bytes.size > 0) {
        size_t size = object_rate_slice(d->rate, bytes.size);
        ssize_t put;

        if (size > PIECE_SIZE)
            size = PIECE_SIZE;

        object_rate_wait(d->rate, size, d->stopping);
        put = write(fd, bytes.data, size);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        bytes = slice_of(bytes.data + put, bytes.size - (size_t)put);
        done += put;
        if (d->sent != NULL)
            atomic_store(d->sent, (uint64_t)done);
        for (; done - pushed >= PIECE_SIZE; pushed += PIECE_SIZE)
            push_out(fd, pushed);
    }
    return 0;
}

static int put_in(const struct object_dir *d, int parent, const char *name,
                  struct slice bytes, bool durable, struct cm_detail *detail)
{
    char temporary[sizeof TEMPORARY_PREFIX + 16];
    int error = 0;
    int fd;

    (void)snprintf(temporary, sizeof temporary, TEMPORARY_PREFIX "%08x%08x",
                   (unsigned)randombytes_random(),
                   (unsigned)randombytes_random());
    fd = openat(parent, temporary,
                O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(detail, "create a file for", name);
    if (write_all(d, fd, bytes) != 0 || (durable && fsync(fd) != 0))
        error = fail_errno(detail, "write", name);
    if (close(fd) != 0 && error == 0)
        error = fail_errno(detail, "write", name);
    if (error == 0 && renameat(parent, temporary, parent, name) != 0)
        error = fail_errno(detail, "rename a file to", name);
    if (error != 0) {
        (void)unlinkat(parent, temporary, 0);
        return error;
    }
    return !durable || fsync(parent) == 0 ? 0
                                          : fail_errno(detail, "sync", name);
}

static int get_in(int parent, const char *name, struct buffer *ret_bytes,
                  struct cm_detail *detail)
{
    /* O_NONBLOCK: a fifo of that name must not hang the reader. */
    int fd =
        openat(parent, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    int error = 0;

    if (fd < 0)
        return fail_errno(detail, "open", name);
    if (fstat(fd, &st) != 0)
        error = fail_errno(detail, "look at", name);
    else if (!S_ISREG(st.st_mode))
        error = cm_fail(detail, CM_ERR_IO, "%.150s is no regular file", name);
    else if ((uint64_t)st.st_size > ret_bytes->limit)
        error = cm_fail(detail, CM_ERR_TOO_LARGE,
                        "%.150s has %llu bytes, the limit is %zu", name,
                        (unsigned long long)st.st_size, ret_bytes->limit);
    while (error == 0 && ret_bytes->size < (size_t)st.st_size) {
        size_t want = (size_t)st.st_size - ret_bytes->size;
        uint8_t *to = buffer_extend(ret_bytes, want);
        ssize_t got;

        if (to == NULL) {
            error = ret_bytes->error;
            break;
        }
        got = read(fd, to, want);
        ret_bytes->size -= want;
        if (got > 0)
            ret_bytes->size += (size_t)got;
        else if (got == 0)
            break; /* it shrank: what is there fails its own checks */
        else if (errno != EINTR)
            error = fail_errno(detail, "read", name);
    }
    (void)close(fd);
    return error;
}

int object_dir_get(struct object_dir *d, const char *name,
                   struct buffer *ret_bytes, struct cm_detail *detail)
{
    int error = object_name_check(name, false, detail);
    int parent;

    CHECK(d->fd >= 0);
    buffer_clear(ret_bytes);
    if (error != 0)
        return error;
    parent = open_parent(d, name, false, detail);
    if (parent < 0)
        return parent;
    error = get_in(parent, last_part(name), ret_bytes, detail);
    (void)close(parent);
    return error;
}

static int put(struct object_dir *d, const char *name, struct slice bytes,
               bool durable, struct cm_detail *detail)
{
    int error = object_name_check(name, false, detail);
    struct buffer there;
    int parent;

    CHECK(d->fd >= 0);
    if (error != 0)
        return error;
    parent = open_parent(d, name, true, detail);
    if (parent < 0)
        return parent;
    buffer_init(&there, bytes.size);
    if (get_in(parent, last_part(name), &there, NULL) != 0 ||
        !slice_equal(buffer_slice(&there), bytes))
        error = put_in(d, parent, last_part(name), bytes, durable, detail);
    else if (durable && fsync(parent) != 0) /* whose put may have died */
        error = fail_errno(detail, "sync", name);
    buffer_release(&there);
    (void)close(parent);
    return error;
}

int object_dir_put(struct object_dir *d, const char *name, struct slice bytes,
                   struct cm_detail *detail)
{
    return put(d, name, bytes, true, detail);
}

int object_dir_put_later(struct object_dir *d, const char *name,
                         struct slice bytes, struct cm_detail *detail)
{
    int error = put(d, name, bytes, false, detail);

    if (error != 0)
        return error;
    /* Also what was there already: whoever put it may not have come so far. */
    error = object_list_add(&d->later, slice_of_string(name), false);
    if (error != 0)
        return cm_fail(detail, error, "out of memory");
    return d->later.count >= LATER_MAX ? object_dir_flush(d, detail) : 0;
}

static int flush_in(int parent, const char *name, bool last,
                    struct cm_detail *detail)
{
    int fd = openat(parent, last_part(name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int error = 0;

    if (fd < 0)
        return fail_errno(detail, "open", name);
    if (fsync(fd) != 0 || (last && fsync(parent) != 0))
        error = fail_errno(detail, "sync", name);
    (void)close(fd);
    return error;
}

/* Whether two names lie in one directory. */
static bool are_beside(const char *a, const char *b)
{
    size_t size = (size_t)(last_part(a) - a);

    return size == (size_t)(last_part(b) - b) && memcmp(a, b, size) == 0;
}

/* One after the other and not by syncfs, which would write out whatever else
 * is dirty on that file system, such as the spool that all this came from. */
int object_dir_flush(struct object_dir *d, struct cm_detail *detail)
{
    const struct object_list *l = &d->later;
    int error = 0;

    CHECK(d->fd >= 0);
    for (size_t i = 0; i < l->count && error == 0; i++) {
        bool last =
            i + 1 == l->count || !are_beside(l->names[i], l->names[i + 1]);
        int parent = open_parent(d, l->names[i], false, detail);

        if (parent < 0)
            return parent;
        error = flush_in(parent, l->names[i], last, detail);
        (void)close(parent);
    }
    if (error == 0)
        object_list_release(&d->later);
    return error;
}

static int list_all(DIR *dir, struct object_list *l, struct cm_detail *detail)
{
    int error = 0;

    while (error == 0) {
        struct dirent *entry;
        struct stat st;

        errno = 0;
        entry = readdir(dir);
        if (entry == NULL)
            return errno == 0 ? 0 : fail_errno(detail, "list", "the target");
        /* Also leaves out temporary files. */
        if (entry->d_name[0] == '.' ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        error = object_list_add(l, slice_of_string(entry->d_name),
                                S_ISDIR(st.st_mode));
    }
    return cm_fail(detail, error, "cannot list the target: %s",
                   cm_strerror(error));
}

int object_dir_delete(struct object_dir *d, const char *name,
                      struct cm_detail *detail)
{
    int error = object_name_check(name, false, detail);
    int parent;

    CHECK(d->fd >= 0);
    if (error != 0)
        return error;
    parent = open_parent(d, name, false, detail);
    if (parent == CM_ERR_NOT_FOUND)
        return 0;
    if (parent < 0)
        return parent;
    if (unlinkat(parent, last_part(name), 0) == 0)
        error = fsync(parent) == 0 ? 0 : fail_errno(detail, "sync", name);
    else if (errno != ENOENT)
        error = fail_errno(detail, "delete", name);
    (void)close(parent);
    return error;
}

int object_dir_list(struct object_dir *d, const char *prefix,
                    struct object_list *ret_list, struct cm_detail *detail)
{
    struct object_list l = {0};
    int error = object_name_check(prefix, true, detail);
    DIR *dir;
    int fd;

    CHECK(d->fd >= 0);
    if (error != 0)
        return error;
    fd = open_parent(d, prefix, false, detail);
    if (fd == CM_ERR_NOT_FOUND) {
        *ret_list = l;
        return 0;
    }
    if (fd < 0)
        return fd;
    /* A descriptor of its own: dup would share the reading position. */
    {
        int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        (void)close(fd);
        fd = own;
    }
    dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        error = fail_errno(detail, "list", d->path);
        if (fd >= 0)
            (void)close(fd);
        return error;
    }
    error = list_all(dir, &l, detail);
    (void)closedir(dir);
    if (error != 0) {
        object_list_release(&l);
        return error;
    }
    object_list_sort(&l);
    *ret_list = l;
    return 0;
}
