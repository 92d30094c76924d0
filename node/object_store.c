/* Finds the kind by the scheme and hands on. */
#include "node/object_store.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "crdt/base/check.h"
#include "node/object_exec.h"
#include "node/s3_client.h"
#include "node/s3_target.h"

#define SCHEME_S3 "s3:"
#define SCHEME_EXEC "exec:"

static const char *ca_file_of_all;

void object_store_set_ca_file(const char *path)
{
    ca_file_of_all = path;
}

const char *object_store_ca_file(void)
{
    return ca_file_of_all;
}

static bool has_scheme(const char *target, const char *scheme)
{
    return strncmp(target, scheme, strlen(scheme)) == 0;
}

static int refuse_exec(struct cm_detail *detail)
{
    return cm_fail(detail, CM_ERR_AUTHORITY,
                   "exec: runs a command with the node's rights, so it is "
                   "taken from the node's own --snapshot-to only");
}

int object_store_check(const char *target, bool may_exec,
                       struct cm_detail *detail)
{
    struct s3_target t;

    CHECK(target != NULL);
    if (has_scheme(target, SCHEME_S3))
        return s3_target_parse(&t, target, NULL, detail);
    if (!has_scheme(target, SCHEME_EXEC))
        return object_dir_target_check(target, detail);
    if (!may_exec)
        return refuse_exec(detail);
    if (target[strlen(SCHEME_EXEC)] == '\0')
        return cm_fail(detail, CM_ERR_INVALID, "exec: needs a command");
    return 0;
}

/* Without what says nothing: the scheme of a directory, slashes at the end. */
static struct slice place_of(const char *target)
{
    const char *path =
        has_scheme(target, SCHEME_S3) ? target : object_dir_target_path(target);
    size_t size = path != NULL ? strlen(path) : 0;

    while (size > 1 && path[size - 1] == '/')
        size--;
    return slice_of(path, size);
}

bool object_store_same(const char *a, const char *b)
{
    CHECK(a != NULL && b != NULL);
    return !has_scheme(a, SCHEME_EXEC) && !has_scheme(b, SCHEME_EXEC) &&
           slice_equal(place_of(a), place_of(b));
}

int object_store_open(struct object_store *ret_store, const char *target,
                      unsigned flags, struct cm_detail *detail)
{
    CHECK(ret_store != NULL && target != NULL);
    *ret_store = (struct object_store)OBJECT_STORE_CLOSED;
    ret_store->hurries = (flags & OBJECT_STORE_HURRY) != 0;
    if (has_scheme(target, SCHEME_S3))
        return s3_client_open(&ret_store->s3, target, ca_file_of_all,
                              &ret_store->stopping, detail);
    if (!has_scheme(target, SCHEME_EXEC))
        return object_dir_open(&ret_store->dir, target,
                               (flags & OBJECT_STORE_CREATE) != 0, detail);
    if ((flags & OBJECT_STORE_MAY_EXEC) == 0)
        return refuse_exec(detail);
    return object_exec_open(&ret_store->exec, target + strlen(SCHEME_EXEC),
                            &ret_store->stopping, detail);
}

void object_store_close(struct object_store *s)
{
    CHECK(s != NULL);
    object_dir_close(&s->dir);
    s3_client_close(s->s3);
    object_exec_close(s->exec);
    s->s3 = NULL;
    s->exec = NULL;
}

void object_store_stop(struct object_store *s)
{
    CHECK(s != NULL);
    atomic_store(&s->stopping, true);
}

void object_store_limit(struct object_store *s, struct object_rate *rate)
{
    if (s->s3 != NULL)
        s3_client_limit(s->s3, rate, &s->sent);
    else if (s->exec != NULL)
        object_exec_limit(s->exec, rate, &s->sent);
    s->dir.rate = rate;
    s->dir.sent = &s->sent;
    s->dir.stopping = &s->stopping;
}

bool object_store_is_remote(const struct object_store *s)
{
    return s->s3 != NULL || s->exec != NULL;
}

/* ---- a peer that goes away must not end this process ---- */

struct quiet {
    sigset_t before;
    bool pending; /* already, before us */
};

static void quiet_begin(struct quiet *q)
{
    sigset_t pending;
    sigset_t set;

    (void)sigemptyset(&pending);
    (void)sigpending(&pending);
    q->pending = sigismember(&pending, SIGPIPE) == 1;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGPIPE);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, &q->before) == 0);
}

static void quiet_end(const struct quiet *q)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGPIPE);
    if (!q->pending)
        while (sigtimedwait(&set, NULL, &(struct timespec){0}) == SIGPIPE)
            ;
    CHECK(pthread_sigmask(SIG_SETMASK, &q->before, NULL) == 0);
}

/* ---- the calls ---- */

/* Before each call over there: a name of ours, and a store that goes on. */
static int remote_check(struct object_store *s, const char *name, bool prefix,
                        struct cm_detail *detail)
{
    if (atomic_load(&s->stopping))
        return cm_fail(detail, CM_ERR_IO, "the upload was stopped");
    return object_name_check(name, prefix, detail);
}

static int remote_put(struct object_store *s, const char *name,
                      struct slice bytes, struct cm_detail *detail)
{
    int error = remote_check(s, name, false, detail);
    struct quiet quiet;

    if (error != 0)
        return error;
    quiet_begin(&quiet);
    error = s->s3 != NULL ? s3_client_put(s->s3, name, bytes, detail)
                          : object_exec_put(s->exec, name, bytes, detail);
    quiet_end(&quiet);
    return error;
}

int object_store_put(struct object_store *s, const char *name,
                     struct slice bytes, struct cm_detail *detail)
{
    if (object_store_is_remote(s))
        return remote_put(s, name, bytes, detail);
    return object_dir_put(&s->dir, name, bytes, detail);
}

int object_store_put_later(struct object_store *s, const char *name,
                           struct slice bytes, struct cm_detail *detail)
{
    if (object_store_is_remote(s))
        return remote_put(s, name, bytes, detail);
    return object_dir_put_later(&s->dir, name, bytes, detail);
}

int object_store_flush(struct object_store *s, struct cm_detail *detail)
{
    if (object_store_is_remote(s))
        return 0; /* each put was acknowledged */
    return object_dir_flush(&s->dir, detail);
}

int object_store_get(struct object_store *s, const char *name,
                     struct buffer *ret_bytes, struct cm_detail *detail)
{
    struct quiet quiet;
    int error;

    if (!object_store_is_remote(s))
        return object_dir_get(&s->dir, name, ret_bytes, detail);
    buffer_clear(ret_bytes);
    error = remote_check(s, name, false, detail);
    if (error != 0)
        return error;
    quiet_begin(&quiet);
    error = s->s3 != NULL ? s3_client_get(s->s3, name, ret_bytes, detail)
                          : object_exec_get(s->exec, name, ret_bytes, detail);
    quiet_end(&quiet);
    return error;
}

int object_store_list(struct object_store *s, const char *prefix,
                      struct object_list *ret_list, struct cm_detail *detail)
{
    struct quiet quiet;
    int error;

    if (!object_store_is_remote(s))
        return object_dir_list(&s->dir, prefix, ret_list, detail);
    error = remote_check(s, prefix, true, detail);
    if (error != 0)
        return error;
    quiet_begin(&quiet);
    error = s->s3 != NULL ? s3_client_list(s->s3, prefix, ret_list, detail)
                          : object_exec_list(s->exec, prefix, ret_list, detail);
    quiet_end(&quiet);
    return error;
}

int object_store_delete(struct object_store *s, const char *name,
                        struct cm_detail *detail)
{
    struct quiet quiet;
    int error;

    if (!object_store_is_remote(s))
        return object_dir_delete(&s->dir, name, detail);
    error = remote_check(s, name, false, detail);
    if (error != 0)
        return error;
    quiet_begin(&quiet);
    error = s->s3 != NULL ? s3_client_delete(s->s3, name, detail)
                          : object_exec_delete(s->exec, name, detail);
    quiet_end(&quiet);
    return error;
}
