/* Tells somebody that an upload went well: a command, or a URL that is fetched,
 * in the manner of a dead man's switch. Silence is the alarm, so that also a
 * node that is gone is noticed.
 *
 * Called after a good upload while no target of this node fails, at most once
 * in each beat (deltas_beat_ms), on the snapshot lane; whoever takes longer
 * than HOOK_MS_MAX is ended. */
#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/node_internal.h"

#define HOOK_MS_MAX 10000
#define HOOK_NAP_MS 20
#define HOOK_BEAT_MS_MAX 60000

extern char **environ;

struct hook_task {
    struct work work;
    struct node *node;
    char *hook;
    atomic_bool stopping;
    int error;
    struct cm_detail detail;
};

bool upload_hook_is_url(const char *hook)
{
    return strncmp(hook, "http://", 7) == 0 ||
           strncmp(hook, "https://", 8) == 0;
}

/* ---- a URL ---- */

static size_t discard(char *bytes, size_t one, size_t size, void *ctx)
{
    (void)bytes;
    (void)ctx;
    return one * size;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c,
                       curl_off_t d)
{
    struct hook_task *t = ctx;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return atomic_load(&t->stopping);
}

static int fetch(struct hook_task *t)
{
    CURL *curl = curl_easy_init();
    long status = 0;
    CURLcode code;

    if (curl == NULL)
        return cm_fail(&t->detail, CM_ERR_NOMEM, "out of memory");
    (void)curl_easy_setopt(curl, CURLOPT_URL, t->hook);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)HOOK_MS_MAX);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    if (object_store_ca_file() != NULL)
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, object_store_ca_file());
    code = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK)
        return cm_fail(&t->detail, CM_ERR_IO, "%s", curl_easy_strerror(code));
    if (status < 200 || status > 299)
        return cm_fail(&t->detail, CM_ERR_IO, "it answered %ld", status);
    return 0;
}

/* ---- a command ---- */

/* With its process group, so that it can be ended whole; without our signals'
 * dispositions. */
static int spawn(pid_t *ret_pid, const char *command)
{
    char sh[] = "sh";
    char flag[] = "-c";
    char *argv[] = {sh, flag, (char *)(uintptr_t)command, NULL};
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    int error = posix_spawnattr_init(&attributes);

    if (error != 0)
        return error;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETPGROUP);
    error = posix_spawn(ret_pid, "/bin/sh", NULL, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    return error;
}

static int run(struct hook_task *t)
{
    int status = 0;
    pid_t pid;
    pid_t ended = 0;
    int error = spawn(&pid, t->hook);

    if (error != 0)
        return cm_fail(&t->detail, CM_ERR_IO, "it does not start: %s",
                       strerror(error));
    for (int waited = 0;
         ended == 0 && waited < HOOK_MS_MAX && !atomic_load(&t->stopping);
         waited += HOOK_NAP_MS) {
        ended = waitpid(pid, &status, WNOHANG);
        if (ended == 0)
            (void)nanosleep(
                &(struct timespec){.tv_nsec = HOOK_NAP_MS * 1000000L}, NULL);
    }
    if (ended == 0) {
        (void)kill(-pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
        return cm_fail(&t->detail, CM_ERR_TIMEOUT,
                       "it took more than %d s and was ended",
                       HOOK_MS_MAX / 1000);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return cm_fail(&t->detail, CM_ERR_IO, "it ended with %s %d",
                   WIFEXITED(status) ? "exit code" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

/* ---- the call ---- */

static bool hook_step(struct work *w)
{
    struct hook_task *t = (struct hook_task *)w;

    t->error = upload_hook_is_url(t->hook) ? fetch(t) : run(t);
    return false;
}

static void hook_stop(struct work *w)
{
    atomic_store(&((struct hook_task *)w)->stopping, true);
}

static void hook_done(struct work *w)
{
    struct hook_task *t = (struct hook_task *)w;
    struct node_status *s = &t->node->status;

    t->node->hook_running = false;
    s->snapshot_hook_calls++;
    s->snapshot_hook_error[0] = '\0';
    if (t->error != 0) {
        s->snapshot_hook_failures++;
        (void)snprintf(s->snapshot_hook_error, sizeof s->snapshot_hook_error,
                       "%s", t->detail.text);
        node_log(t->node, 'W', "the snapshots' hook failed: %s",
                 t->detail.text);
    }
    cm_free(t->hook);
    cm_free(t);
}

static bool all_well(const struct node *n)
{
    for (size_t i = 0; i < n->targets_count; i++)
        if (n->targets[i].status.error[0] != '\0')
            return false;
    return true;
}

void upload_hook_call(struct node *n)
{
    uint64_t beat = deltas_beat_ms(n);
    uint64_t now = node_now(n);
    size_t size = n->snapshot_hook != NULL ? strlen(n->snapshot_hook) + 1 : 0;
    struct hook_task *t;

    if (size == 0 || n->hook_running || now < n->hook_due_ms || !all_well(n))
        return;
    t = cm_calloc(1, sizeof *t);
    if (t == NULL)
        return;
    t->hook = cm_alloc(size);
    if (t->hook == NULL) {
        cm_free(t);
        return;
    }
    memcpy(t->hook, n->snapshot_hook, size);
    t->node = n;
    n->hook_running = true;
    n->hook_due_ms = now + (beat < HOOK_BEAT_MS_MAX ? beat : HOOK_BEAT_MS_MAX);
    t->work = (struct work){.step = hook_step,
                            .done = hook_done,
                            .stop = hook_stop,
                            .lane = WORK_LANE_SNAPSHOT};
    n->ports.work->submit(n->ports.ctx, &t->work);
}
