/* Snapshot: the complete state at one version vector, as signed objects.
 *
 * Canonical entries (crdt/entry.h) in key order are split at content-defined
 * boundaries into chunks of about 16 KiB, compressed with zstd and named by a
 * keyed hash of their uncompressed bytes, so that equal state gives equal
 * chunks on every node. An index (itself content-addressed objects) lists the
 * chunks; the manifest names the index root, is signed by the node, and is put
 * last. Sans-I/O: entries go in, objects come out; on the way back objects go
 * in, entries come out. The same bytes bring up an empty joiner.
 *
 * This header gathers the parts; docs/SNAPSHOT-FORMAT.md has the formats. */
#ifndef BACKUP_SNAPSHOT_H
#define BACKUP_SNAPSHOT_H

#include "backup/manifest.h"
#include "backup/snapshot_map.h"
#include "backup/snapshot_object.h"
#include "backup/snapshot_reader.h"
#include "backup/snapshot_writer.h"

#endif
