#include "node/heal_start.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "crdt/base/buffer.h"
#include "crdt/base/mark.h"
#include "node/datadir.h"
#include "node/store_check.h"

#define TEXT                                                                   \
    "A node has this directory open, or died with it open: its next start\n"   \
    "looks through the pages of data.mdb.\n"

static int path_of(char ret[PATH_MAX], const char *dir)
{
    int length = snprintf(ret, PATH_MAX, "%s/" HEAL_RUNNING_NAME, dir);

    return length > 0 && length < PATH_MAX ? 0 : CM_ERR_TOO_LARGE;
}

int heal_start(const char *dir, uint64_t map_size, struct cm_detail *detail)
{
    char path[PATH_MAX];
    struct cm_detail why = {""};
    int error = path_of(path, dir);

    if (error != 0)
        return cm_fail(detail, error, "%s: too long a path", dir);
    if (access(path, F_OK) != 0) {
        /* On a full disk it cannot be written; the node starts all the same. */
        (void)datadir_write_file(path, slice_of_string(TEXT), 0600, false,
                                 NULL);
        return 0;
    }
    error = store_check_dir(dir, map_size, &why);
    if (error == 0)
        return 0;
    CM_MARK_IF(error == CM_ERR_DAMAGED, "heal: pages were found damaged");
    return cm_fail(detail, error, "the last process died, and %s", why.text);
}

void heal_end(const char *dir)
{
    char path[PATH_MAX];

    if (path_of(path, dir) == 0)
        (void)unlink(path);
}
