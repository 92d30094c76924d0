/* See scratch.h. */
#include "node/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"

void scratch_path(char ret_path[SCRATCH_PATH_SIZE], const char *base,
                  const char *what)
{
    int length;

    CHECK(base != NULL && what != NULL);
    length = snprintf(ret_path, SCRATCH_PATH_SIZE, "%s.%s-%08x", base, what,
                      (unsigned)randombytes_random());
    CHECK(length > 0 && length < SCRATCH_PATH_SIZE);
}

int scratch_make(char ret_path[SCRATCH_PATH_SIZE], const char *base,
                 const char *what, struct cm_detail *detail)
{
    scratch_path(ret_path, base, what);
    if (mkdir(ret_path, 0700) == 0)
        return 0;
    (void)cm_fail(detail, CM_ERR_IO, "cannot create %.150s: %s%s", ret_path,
                  strerror(errno),
                  errno == ENOENT ? " (create its parent first)" : "");
    ret_path[0] = '\0';
    return CM_ERR_IO;
}

void scratch_remove(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    (void)closedir(dir);
    (void)rmdir(path);
}

/* Ends in ".stage-" and eight hex digits. */
static bool is_stage(const char *name)
{
    static const char mark[] = "." SCRATCH_STAGE "-";
    size_t size = strlen(name);
    size_t tail = sizeof mark - 1 + 8;

    return size > tail &&
           strncmp(name + size - tail, mark, sizeof mark - 1) == 0 &&
           strspn(name + size - 8, "0123456789abcdef") == 8;
}

void scratch_sweep(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;

    CHECK(dir != NULL);
    if (d == NULL)
        return;
    while ((entry = readdir(d)) != NULL) {
        char path[SCRATCH_PATH_SIZE];

        if (is_stage(entry->d_name) &&
            snprintf(path, sizeof path, "%s/%s", dir, entry->d_name) <
                (int)sizeof path)
            scratch_remove(path);
    }
    (void)closedir(d);
}
