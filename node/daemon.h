/* The daemon: one node with its libuv ports, its writer's thread and its API,
 * from the command line's point of view. `confmesh node` fills the options in
 * and calls daemon_run, which does everything else. */
#ifndef NODE_DAEMON_H
#define NODE_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DAEMON_APIS_MAX 8

/* All strings are borrowed until daemon_run returns. */
struct daemon_options {
    const char *data;        /* data directory; NULL only with dev */
    const char *name;        /* wished or expected name; NULL: the certified
                                one, for a joiner the host's */
    const char *bind;        /* HOST:PORT for peers; NULL: the default */
    const char *const *apis; /* HOST:PORT or unix:PATH; the socket api.sock
                                of data is always served as well */
    size_t apis_count;       /* at most DAEMON_APIS_MAX */
    const char *join;        /* text of a join token, NULL: restart */
    const char *const *snapshot_to; /* targets, see confmesh.h */
    size_t snapshot_to_count;
    uint64_t snapshot_interval_ms;          /* 0: only on demand */
    const char *const *snapshot_recipients; /* see confmesh.h */
    size_t snapshot_recipients_count;
    uint64_t snapshot_delta_ms;  /* new events are put so often; 0: never */
    uint64_t snapshot_drill_ms;  /* between drills; 0: none */
    uint64_t snapshot_bandwidth; /* bytes per second of all uploads, at least
                                    16384; 0: no bound */
    const char *snapshot_hook;   /* command or URL called after a good upload,
                                    or NULL */
    uint64_t floor_interval_ms;  /* see confmesh.h, both */
    uint64_t floor_keep_ms;
    uint64_t scrub_interval_ms;        /* 0: every day */
    uint32_t format_level;             /* see confmesh.h */
    const char *const *revoke_deletes; /* prefixes, see confmesh.h */
    size_t revoke_deletes_count;
    bool dev;  /* throwaway single node: own directory, no peers */
    bool json; /* log lines and the line that tells the addresses as JSON */
};

/* Runs until SIGINT or SIGTERM, or until something fatal; says what was wrong
 * on standard error. Returns the process's exit code: 0 after an orderly end,
 * 2 when the node could not start or go on, 64 for options that make no
 * sense together. */
int daemon_run(const struct daemon_options *o);

#endif
