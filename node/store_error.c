/* LMDB's errors as ours, with what to do. A disk without room has to be told
 * from one that is broken, because a person does other things about it. */
#include <errno.h>
#include <sys/statvfs.h>

#include "crdt/base/check.h"
#include "node/store.h"
#include "node/store_txn.h"

#define ROOM_MIN (64 << 10) /* bytes; with less a disk is full */

int store_error(int mdb_error, struct cm_detail *detail)
{
    switch (mdb_error) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return CM_ERR_NOT_FOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
        return cm_fail(detail, CM_ERR_FULL,
                       "the disk or the store's map is full: free space, then "
                       "retry; reads, gossip and backups go on (%s)",
                       mdb_strerror(mdb_error));
    case ENOMEM:
        return cm_fail(detail, CM_ERR_NOMEM, "store: out of memory");
    case MDB_READERS_FULL:
        return cm_fail(detail, CM_ERR_BUSY,
                       "store: all %d reader slots are in use; retry",
                       STORE_READERS_MAX);
    /* Of no file that LMDB wrote, and that nobody else has open. */
    case MDB_MAP_RESIZED:
    case MDB_CURSOR_FULL:
    case MDB_INCOMPATIBLE:
    case MDB_BAD_VALSIZE:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return cm_fail(detail, CM_ERR_DAMAGED,
                       "data.mdb is damaged (%s); restore this node from a "
                       "peer or a snapshot",
                       mdb_strerror(mdb_error));
    case MDB_VERSION_MISMATCH:
        return cm_fail(detail, CM_ERR_FORMAT_VERSION,
                       "data.mdb was written by another version of LMDB");
    default:
        return cm_fail(detail, CM_ERR_IO,
                       "data.mdb: %s; check the disk, then retry",
                       mdb_strerror(mdb_error));
    }
}

/* Where the disk has room for a part of a write only, LMDB says EIO. */
int store_commit_error(int mdb_error, const char *dir, struct cm_detail *detail)
{
    struct statvfs disk;

    CHECK(dir != NULL);
    if (mdb_error == EIO && statvfs(dir, &disk) == 0 &&
        (uint64_t)disk.f_bavail * disk.f_frsize < ROOM_MIN)
        mdb_error = ENOSPC;
    return store_error(mdb_error, detail);
}
