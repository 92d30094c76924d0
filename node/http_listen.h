/* Binding: turns "HOST:PORT" or "unix:PATH" into a listening descriptor. */
#ifndef NODE_HTTP_LISTEN_H
#define NODE_HTTP_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "crdt/base/error.h"

struct http_bound {
    int fd;
    bool is_unix;
    uint16_t port; /* TCP: the real one */
    char host[64]; /* TCP: as it stands in a Host header, brackets included */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* Unix */
    dev_t device; /* of the socket file, so that only that one is removed */
    ino_t inode;
};

/* Errors as http_server_listen. */
int http_bind(struct http_bound *ret_bound, const char *where,
              struct cm_detail *detail);
/* Removes the socket file, if it is still ours. The descriptor is closed by
 * whoever owns it. */
void http_unbind(const struct http_bound *b);

#endif
