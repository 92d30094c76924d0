/* Entries in, objects out. Its memory is a few chunks, whatever the state. */
#ifndef BACKUP_SNAPSHOT_WRITER_H
#define BACKUP_SNAPSHOT_WRITER_H

#include "backup/manifest.h"
#include "backup/snapshot_object.h"
#include "crdt/digest.h"
#include "crdt/entry.h"

struct snapshot_writer;

/* keys NULL: those of the mesh alone. Copied. */
int snapshot_writer_create(struct snapshot_writer **ret_writer,
                           const struct mesh_id *mesh,
                           const struct snapshot_keys *keys);
void snapshot_writer_free(struct snapshot_writer *w);
/* Entries strictly in canonical order (CHECKed), objects drained before
 * (CHECKed). CM_ERR_NOMEM; CM_ERR_TOO_LARGE when the entry's siblings together
 * exceed SNAPSHOT_CHUNK_MAX. An error is final. */
int snapshot_writer_add(struct snapshot_writer *w, const struct entry_id *id,
                        const struct entry *e);
/* Drain after every add and after _end: each is to be stored and read back.
 * Borrowed until the next call. A leaf comes after its chunks, the root last.
 */
bool snapshot_writer_next_object(struct snapshot_writer *w,
                                 struct snapshot_object *ret_object);
/* No entry follows: the rest and the index become objects. */
int snapshot_writer_end(struct snapshot_writer *w);
/* Of the whole state, known already: it is not added up again. Before the first
 * entry. Who reads the snapshot finds out if it is not this state's. */
void snapshot_writer_know_digest(struct snapshot_writer *w,
                                 const struct digest *digest);
/* What the entries add up to; after _end. Borrowed. */
const struct digest *snapshot_writer_digest(const struct snapshot_writer *w);
/* Less is compressed, in half the time: for a peer that waits. Names do not
 * change by it. Before the first entry. */
void snapshot_writer_hurry(struct snapshot_writer *w);
/* Fills the counted fields from the writer (after _end and draining), encodes
 * canonically, signs; appends to out. */
int snapshot_writer_manifest(struct snapshot_writer *w, struct manifest *m,
                             const uint8_t sign_secret_key[64],
                             struct buffer *out);

#endif
