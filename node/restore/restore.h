/* confmesh-restore: from a folder of snapshots to a data directory, on a bare
 * host, without any server code.
 *
 * Stages: choose the newest snapshot that is whole (restore_choose.c), take or
 * mint the authority, make the new life's identity (restore_identity.c), build
 * beside the wanted place and rename (restore_build.c). Each stage tells its
 * failure on standard error and returns an exit code. */
#ifndef NODE_RESTORE_RESTORE_H
#define NODE_RESTORE_RESTORE_H

#include <limits.h>

#include "crdt/authority.h"
#include "node/datadir.h"
#include "node/passphrase.h"
#include "node/sealed_keys.h"
#include "node/snapshot_listing.h"

enum restore_exit {
    RESTORE_OK = 0,        /* all that was found verified and was used */
    RESTORE_INTEGRITY = 3, /* no snapshot is whole */
    RESTORE_TRUST = 4,     /* another authority, mesh or generation */
    RESTORE_TRANSPORT = 5, /* target or disk cannot be read or written */
    RESTORE_PARTIAL = 6,   /* restored, but not from all that was found */
    RESTORE_STALE = 7,     /* older than --min-seq */
    RESTORE_USAGE = 64,
};

#define RESTORE_TARGETS_MAX 16
#define RESTORE_LEAST_MAX 16

/* --min-seq SIGNER:N: the target has to have this or a later one of it. */
struct restore_least {
    struct slice signer; /* name or key id */
    uint64_t sequence;
};

struct restore_target {
    const char *url;
    const char *name; /* of one manifest; NULL: every snapshot there */
};

/* Strings are borrowed from argv. */
struct restore_options {
    struct restore_target targets[RESTORE_TARGETS_MAX];
    size_t targets_count;
    const char *data;
    char name[NAME_SIZE_MAX + 1]; /* of the node; never empty */
    const char *authority;        /* one of these two is NULL */
    const char *new_authority;
    struct passphrase_source passphrase;
    const char *trust;        /* fingerprint, lower case, or NULL */
    const char *recovery_key; /* of encrypted snapshots, or NULL */
    struct passphrase_source recovery_passphrase;
    bool json;
    uint64_t at_ms;        /* nothing later than this; 0: everything */
    uint64_t sequence;     /* of the snapshot to begin with; 0: the newest */
    uint64_t min_sequence; /* an older one is stale */
    struct restore_least least[RESTORE_LEAST_MAX];
    size_t least_count;
    const char *without[RESTORE_LEAST_MAX]; /* signers: name or key id */
    size_t without_count;
    const char *prefix; /* of the keys that are wanted; NULL: all */
    bool dry_run;
    bool one_thread; /* nothing is fetched ahead: in a simulation */
    /* --mode merge: writes of other generations, too, as new ones. */
    bool merge;
    bool adopt; /* snapshots of another mesh than the authority's, too */
};

#define RESTORE_SOURCES_MAX 64
struct restore_source;

struct restore {
    const struct restore_options *o;
    struct object_store stores[RESTORE_TARGETS_MAX];
    struct snapshot_listing listing;      /* of all of them */
    const struct snapshot_listed *chosen; /* in listing */
    struct buffer manifest_bytes;         /* backs manifest */
    struct manifest manifest;             /* the chosen one */
    bool has_manifest;
    struct digest sum;         /* over the chosen one's entries */
    struct authority recovery; /* key pair of --recovery-key */
    bool has_recovery;
    struct authority authority;
    bool has_authority;
    bool made_authority_file;
    bool origin_checked;
    /* The snapshots are of another mesh: the authority's begins with their
     * content, as a new one does. */
    bool adopting;

    struct restore_source *sources[RESTORE_SOURCES_MAX]; /* owned */
    size_t sources_count;
    struct restore_source *others[RESTORE_SOURCES_MAX]; /* of generations… */
    size_t others_count;                                /* …before; owned */
    struct entry joined_entry;
    hlc_t hlc_limit;       /* UINT64_MAX: none */
    struct buffer scratch; /* for manifests that are only looked at */

    size_t damaged;     /* manifests or snapshots that did not verify */
    size_t lost;        /* deltas that are missing or could not be used */
    uint64_t deltas;    /* used */
    uint64_t events;    /* of them */
    uint64_t entries;   /* written, the mesh's own included, as everywhere */
    uint64_t keys;      /* of clients, of these: keys and elements */
    uint64_t anew;      /* of other generations, written anew */
    size_t parked;      /* of these, that wait for a person */
    struct hash digest; /* of the result, known or added up */

    struct incarnation incarnation;
    struct buffer certificate;
    struct buffer order;
    struct generation_id generation;
    struct mesh_id mesh; /* of the result */

    char error[512]; /* what was told last */
};

/* A line on standard error, kept in r->error; returns code. */
int restore_fail(struct restore *r, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A line on standard error. */
void restore_note(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
/* At most one line per second. */
void restore_progress(const char *what, uint64_t done, uint64_t total);
int restore_exit_of(int error); /* of a cm_error */

int restore_choose(struct restore *r);
/* Whether the result is another mesh than the snapshots'. */
bool restore_is_new_mesh(const struct restore *r);
/* Whether --at and --seq permit it. */
bool restore_may_use(const struct restore *r, const struct snapshot_listed *l);
/* Where a listed snapshot lies. */
struct object_store *restore_store(struct restore *r,
                                   const struct snapshot_listed *l);
/* The keys for a manifest, if it is encrypted; context is a struct restore. */
int restore_unlock(void *context, const struct manifest *m,
                   struct snapshot_keys *ret_keys, struct cm_detail *detail);
/* --data without trailing slashes: what goes beside it begins with this. */
void restore_place(char ret_path[PATH_MAX], const struct restore *r);
int restore_take_recovery(struct restore *r);  /* reads --recovery-key */
int restore_take_authority(struct restore *r); /* before choosing */
int restore_mint_authority(struct restore *r); /* after choosing, if new */
/* In the directory that is being built, whose key d holds. */
int restore_make_identity(struct restore *r, const struct datadir *d);
int restore_check_place(struct restore *r); /* data may be made */
/* The directory that path, of flag, is to be made in can be written. */
int restore_check_parent(struct restore *r, const char *flag, const char *path);
int restore_build(struct restore *r);

#endif
