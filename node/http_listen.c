/* Binding of the API's sockets; see http_listen.h. */
#include "node/http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "gossip/address.h"

#define BACKLOG 1024

static int parse(struct address *a, const char *where, struct cm_detail *detail)
{
    static const char local[] = "localhost:";
    char text[ADDRESS_TEXT_SIZE];

    if (strncmp(where, local, sizeof(local) - 1) == 0)
        (void)snprintf(text, sizeof(text), "127.0.0.1:%s",
                       where + sizeof(local) - 1);
    else
        (void)snprintf(text, sizeof(text), "%s", where);
    if (address_parse(a, text) == 0)
        return 0;
    return cm_fail(detail, CM_ERR_INVALID,
                   "the API address \"%.80s\" is neither HOST:PORT with a "
                   "numeric host nor unix:PATH; write for example "
                   "127.0.0.1:8500",
                   where);
}

static bool is_loopback(const struct address *a)
{
    static const uint8_t six[16] = {[15] = 1};

    if (a->family == 4)
        return a->ip[0] == 127;
    return a->family == 6 && memcmp(a->ip, six, sizeof(six)) == 0;
}

static int in_use(const char *where, struct cm_detail *detail)
{
    return cm_fail(detail, CM_ERR_LOCKED,
                   "the API address %.120s is in use by another process; stop "
                   "it or choose another one with --api",
                   where);
}

static int system_failed(const char *what, const char *where,
                         struct cm_detail *detail)
{
    return cm_fail(detail, CM_ERR_IO, "cannot %s the API address %.100s: %s",
                   what, where, strerror(errno));
}

static socklen_t to_sockaddr(struct sockaddr_storage *ret,
                             const struct address *a)
{
    struct sockaddr_in *four = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;

    CHECK(a->family == 4 || a->family == 6);
    memset(ret, 0, sizeof(*ret));
    if (a->family == 4) {
        four->sin_family = AF_INET;
        four->sin_port = htons(a->port);
        memcpy(&four->sin_addr, a->ip, 4);
        return sizeof(*four);
    }
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(a->port);
    memcpy(&six->sin6_addr, a->ip, 16);
    return sizeof(*six);
}

static void remember_name(struct http_bound *b)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof(name);
    char text[INET6_ADDRSTRLEN] = "";

    CHECK(b->fd >= 0);
    if (getsockname(b->fd, (struct sockaddr *)&name, &size) != 0)
        return;
    if (name.ss_family == AF_INET) {
        struct sockaddr_in *four = (struct sockaddr_in *)&name;

        b->port = ntohs(four->sin_port);
        (void)inet_ntop(AF_INET, &four->sin_addr, text, sizeof(text));
        (void)snprintf(b->host, sizeof(b->host), "%s", text);
    } else {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)&name;

        b->port = ntohs(six->sin6_port);
        (void)inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof(text));
        (void)snprintf(b->host, sizeof(b->host), "[%s]", text);
    }
}

static int bind_tcp(struct http_bound *b, const char *where,
                    struct cm_detail *detail)
{
    struct sockaddr_storage name;
    struct address a;
    socklen_t size;
    int one = 1;
    int error = parse(&a, where, detail);

    if (error != 0)
        return error;
    if (!is_loopback(&a))
        return cm_fail(detail, CM_ERR_AUTHORITY,
                       "the API address %.80s is not loopback: without TLS "
                       "and tokens everybody there could write; use 127.0.0.1 "
                       "or [::1], and a TLS proxy in front for others",
                       where);
    size = to_sockaddr(&name, &a);
    b->fd =
        socket(name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (b->fd < 0)
        return system_failed("open", where, detail);
    (void)setsockopt(b->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(b->fd, (struct sockaddr *)&name, size) != 0)
        return errno == EADDRINUSE ? in_use(where, detail)
                                   : system_failed("bind", where, detail);
    if (listen(b->fd, BACKLOG) != 0)
        return errno == EADDRINUSE ? in_use(where, detail)
                                   : system_failed("listen on", where, detail);
    remember_name(b);
    return 0;
}

/* Does somebody answer behind the socket file? */
static bool is_alive(const struct sockaddr_un *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool alive;

    if (fd < 0)
        return true; /* not known: leave the file alone */
    alive = connect(fd, (const struct sockaddr *)name, sizeof(*name)) == 0 ||
            (errno != ECONNREFUSED && errno != ENOENT);
    (void)close(fd);
    return alive;
}

/* A node that was killed leaves its socket file behind. */
static int replace_dead(const struct sockaddr_un *name, const char *where,
                        struct cm_detail *detail)
{
    struct stat st;

    if (lstat(name->sun_path, &st) != 0)
        return errno == ENOENT ? 0 : system_failed("look at", where, detail);
    if (!S_ISSOCK(st.st_mode))
        return cm_fail(detail, CM_ERR_LOCKED,
                       "%.120s exists and is no socket; move it away or "
                       "choose another path",
                       where);
    if (is_alive(name))
        return in_use(where, detail);
    if (unlink(name->sun_path) != 0 && errno != ENOENT)
        return system_failed("replace", where, detail);
    return 0;
}

static int bind_unix(struct http_bound *b, const char *where,
                     struct cm_detail *detail)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const char *path = where + strlen("unix:");
    struct stat st;
    int error;

    if (*path == '\0' || strlen(path) >= sizeof(name.sun_path))
        return cm_fail(detail, CM_ERR_INVALID,
                       "the API's socket path must be 1 to %zu bytes long, "
                       "this one is %zu; choose a shorter directory",
                       sizeof(name.sun_path) - 1, strlen(path));
    memcpy(name.sun_path, path, strlen(path) + 1);
    memcpy(b->path, path, strlen(path) + 1);
    error = replace_dead(&name, where, detail);
    if (error != 0)
        return error;
    b->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (b->fd < 0)
        return system_failed("open", where, detail);
    /* On Linux the file takes the descriptor's mode, so that there is no
     * moment in which others could connect. */
    (void)fchmod(b->fd, 0600);
    if (bind(b->fd, (struct sockaddr *)&name, sizeof(name)) != 0)
        return errno == EADDRINUSE ? in_use(where, detail)
                                   : system_failed("bind", where, detail);
    if (chmod(path, 0600) != 0 || lstat(path, &st) != 0 ||
        listen(b->fd, BACKLOG) != 0)
        return system_failed("listen on", where, detail);
    b->device = st.st_dev;
    b->inode = st.st_ino;
    return 0;
}

int http_bind(struct http_bound *ret_bound, const char *where,
              struct cm_detail *detail)
{
    struct http_bound b = {.fd = -1};
    int error;

    CHECK(ret_bound != NULL && where != NULL);
    b.is_unix = strncmp(where, "unix:", 5) == 0;
    error =
        b.is_unix ? bind_unix(&b, where, detail) : bind_tcp(&b, where, detail);
    if (error != 0) {
        if (b.fd >= 0)
            (void)close(b.fd);
        return error;
    }
    *ret_bound = b;
    return 0;
}

void http_unbind(const struct http_bound *b)
{
    struct stat st;

    if (!b->is_unix)
        return;
    if (lstat(b->path, &st) == 0 && st.st_dev == b->device &&
        st.st_ino == b->inode)
        (void)unlink(b->path);
}
