#include "node/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"

static int join(char ret_path[PATHS_SIZE_MAX], const char *directory,
                const char *name, struct cm_detail *detail)
{
    CHECK(directory != NULL && name != NULL);
    size_t size = strlen(directory);
    while (size > 1 && directory[size - 1] == '/')
        size--;
    int n = snprintf(ret_path, PATHS_SIZE_MAX, "%.*s/%s", (int)size, directory,
                     name);
    if (n < 0 || n >= PATHS_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "a path has more than %d bytes; use a shorter directory",
                       PATHS_SIZE_MAX - 1);
    return 0;
}

int paths_data_socket(char ret_path[PATHS_SIZE_MAX], const char *data,
                      struct cm_detail *detail)
{
    return join(ret_path, data, PATHS_SOCKET, detail);
}

int paths_user_socket(char ret_path[PATHS_SIZE_MAX], struct cm_detail *detail)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    const char *home = getenv("HOME");

    if (runtime != NULL && runtime[0] == '/')
        return join(ret_path, runtime, "confmesh/" PATHS_SOCKET, detail);
    if (geteuid() == 0)
        return join(ret_path, "/run", "confmesh/" PATHS_SOCKET, detail);
    if (home != NULL && home[0] == '/')
        return join(ret_path, home, ".confmesh/" PATHS_SOCKET, detail);
    return cm_fail(detail, CM_ERR_NOT_FOUND,
                   "no default socket: XDG_RUNTIME_DIR and HOME are not set; "
                   "give --api ADDRESS or --data DIR");
}

int paths_make_parent(const char *path, struct cm_detail *detail)
{
    char parent[PATHS_SIZE_MAX];
    const char *slash;

    CHECK(path != NULL);
    slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return 0;
    size_t size = (size_t)(slash - path);
    if (size >= sizeof(parent))
        return cm_fail(detail, CM_ERR_TOO_LARGE, "a path is too long");
    memcpy(parent, path, size);
    parent[size] = 0;
    if (mkdir(parent, 0700) != 0 && errno != EEXIST)
        return cm_fail(detail, CM_ERR_IO, "cannot make the directory %s: %s",
                       parent, strerror(errno));
    return 0;
}

int paths_absolute(char ret_path[PATHS_SIZE_MAX], const char *path,
                   struct cm_detail *detail)
{
    char here[PATHS_SIZE_MAX] = "";

    CHECK(path != NULL);
    if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL)
        return cm_fail(detail, CM_ERR_IO, "the working directory: %s",
                       strerror(errno));
    int n = path[0] == '/'
                ? snprintf(ret_path, PATHS_SIZE_MAX, "%s", path)
                : snprintf(ret_path, PATHS_SIZE_MAX, "%s/%s", here, path);
    if (n < 0 || n >= PATHS_SIZE_MAX)
        return cm_fail(detail, CM_ERR_TOO_LARGE,
                       "a path has more than %d bytes; use a shorter one",
                       PATHS_SIZE_MAX - 1);
    return 0;
}
