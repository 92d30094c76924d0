/* A plan in a process of its own: see run_child.h. */
#include "sim/run_child.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "sim/doom.h"

#define FRAMES_MAX 64
#define WALL_PER_CPU 6 /* seconds of real time for one of the processor */
#define EXIT_ODD 99    /* the child could not make a run */
#define TREE_DEPTH_MAX 16
#define FILL 165 /* of the other run's heap */

struct sim_child_shared {
    bool done;
    int error;
    struct cm_detail detail;
    struct sim_run_result result;
    char directory[SIM_HOST_PATH_MAX];
    struct sim_dooms dooms; /* of which LMDB died in earlier attempts */
};

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

/* What a dead child's world has left. */
static void remove_world(const struct sim_child *c)
{
    if (c->shared->directory[0] == '/')
        (void)nftw(c->shared->directory, remove_one, TREE_DEPTH_MAX,
                   FTW_DEPTH | FTW_PHYS);
}

/* ---- in the child ---- */

/* Stack, then the signal again with its default. Only calls that a handler
 * may make. */
static void on_crash(int signal, siginfo_t *info, void *context)
{
    void *frames[FRAMES_MAX];

    (void)context;
    if (signal == SIGSEGV || signal == SIGBUS)
        sim_doom_on_fault(info->si_addr);
    int count = backtrace(frames, FRAMES_MAX);

    backtrace_symbols_fd(frames, count, STDERR_FILENO);
    (void)raise(signal); /* SA_RESETHAND: it kills now */
}

/* A sanitizer tells more of where, but not of what address. */
static void watch_crashes(bool lethal)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_sigaction = on_crash,
                               .sa_flags =
                                   (int)SA_RESETHAND | SA_NODEFER | SA_SIGINFO};
    void *frame = NULL;

    (void)backtrace(&frame, 1); /* it loads a library the first time */
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        if (signals[i] != SIGABRT && !lethal)
            continue;
#else
        (void)lethal;
#endif
        (void)sigaction(signals[i], &action, NULL);
    }
}

/* Another heap and environment. What is allocated here is never freed: it
 * shifts whatever comes later. */
static void go_elsewhere(void)
{
    static void *shifts[37];

    (void)mallopt(M_PERTURB, FILL);
    for (size_t i = 0; i < sizeof shifts / sizeof shifts[0]; i++)
        shifts[i] = malloc(24 + 40 * (i * 7 % 13));
    for (size_t i = 0; i < sizeof shifts / sizeof shifts[0]; i += 3) {
        free(shifts[i]);
        shifts[i] = NULL;
    }
    (void)mmap(NULL, 37 << 12, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)setenv("LC_ALL", "tr_TR.UTF-8", 1);
    (void)setenv("TZ", "Pacific/Kiritimati", 1);
    (void)setenv("TMPDIR", "/nowhere", 1);
    if (setlocale(LC_ALL, "tr_TR.UTF-8") == NULL)
        (void)setlocale(LC_ALL, "C.UTF-8");
}

static void limit_time(unsigned cpu_s)
{
    const struct rlimit cpu = {.rlim_cur = cpu_s, .rlim_max = cpu_s + 5};
    const struct rlimit core = {0};

    (void)setrlimit(RLIMIT_CPU, &cpu);
    (void)setrlimit(RLIMIT_CORE, &core);
    (void)alarm(cpu_s * WALL_PER_CPU);
}

__attribute__((noreturn)) static void leave(void)
{
#ifdef __SANITIZE_ADDRESS__ /* then the leak sanitizer looks */
    exit(0);
#else
    _exit(0);
#endif
}

/* LMDB may die of this plan. Runs it in children until none does; then the
 * calls that are not to be made are known. Whether its result is there; else it
 * crashes. */
static bool learn_deaths(struct sim_child *c, const struct sim_plan *plan,
                         const struct sim_child_options *o)
{
    struct sim_dooms *d = &c->shared->dooms;
    const struct sim_run_options options = {
        .stop_us = o->stop_us, .ret_directory = c->shared->directory};

    for (;;) {
        int status = 0;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            limit_time(o->cpu_s != 0 ? o->cpu_s : SIM_CHILD_CPU_S);
            sim_doom_watch(d);
            c->shared->error = sim_run_plan(plan, &options, &c->shared->result,
                                            &c->shared->detail);
            leave();
        }
        while (waitpid(pid, &status, 0) < 0)
            CHECK(errno == EINTR);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return true;
        remove_world(c);
        if (WIFSIGNALED(status) &&
            (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGALRM))
            (void)raise(WTERMSIG(status));
        if ((!d->inside && !d->by_file) || d->count == SIM_DOOMS_MAX)
            return false;
        d->at[d->count++] = d->calls;
    }
}

static bool is_looked_at(const struct sim_child_options *o)
{
    return o->log != NULL || o->trace != NULL || o->links != NULL ||
           o->observer != NULL;
}

/* The program's own handler is none of a child's; what is ignored stays so. */
static void die_of(int number)
{
    struct sigaction action;

    if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
        (void)signal(number, SIG_DFL);
}

__attribute__((noreturn)) static void
run_here(struct sim_child *c, const struct sim_plan *plan,
         const struct sim_child_options *o)
{
    /* Where LMDB may die, what a look finds may be what it dies of. */
    bool lethal = sim_run_may_kill(plan);
    const struct sim_run_options options = {
        .stop_us = o->stop_us,
        .unchecked = o->unjudged && !lethal,
        .log = o->log,
        .trace = o->trace,
        .links = o->links,
        .observer = o->observer,
        .observer_ctx = o->observer_ctx,
        .ret_directory = c->shared->directory,
    };

    if (c->output >= 0)
        (void)dup2(c->output, STDERR_FILENO);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    die_of(SIGINT);
    die_of(SIGTERM);
    die_of(SIGHUP);
    limit_time(o->cpu_s != 0 ? o->cpu_s : SIM_CHILD_CPU_S);
    watch_crashes(lethal);
    if (o->elsewhere)
        go_elsewhere();
    if (lethal && learn_deaths(c, plan, o) && !is_looked_at(o)) {
        c->shared->done = true;
        leave();
    }
    sim_doom_watch(lethal ? &c->shared->dooms : NULL);
    c->shared->error =
        sim_run_plan(plan, &options, &c->shared->result, &c->shared->detail);
    FILE *const files[] = {o->log, o->trace, o->links};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (files[i] != NULL)
            (void)fflush(files[i]);
    c->shared->done = true;
    leave();
}

/* ---- in the parent ---- */

static void forget(struct sim_child *c)
{
    if (c->output >= 0)
        (void)close(c->output);
    if (c->shared != NULL)
        (void)munmap(c->shared, sizeof *c->shared);
    *c = (struct sim_child){.output = -1};
}

int sim_child_start(struct sim_child *ret_child, const struct sim_plan *plan,
                    const struct sim_child_options *options,
                    struct cm_detail *detail)
{
    struct sim_child c = {.output = -1, .nodes = plan->nodes};

    void *shared = mmap(NULL, sizeof *c.shared, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return cm_fail(detail, CM_ERR_IO, "no shared memory: %s",
                       strerror(errno));
    c.shared = shared;
    if (options->log == NULL) {
        c.output = memfd_create("child", MFD_CLOEXEC);
        if (c.output < 0) {
            forget(&c);
            return cm_fail(detail, CM_ERR_IO, "no memory file: %s",
                           strerror(errno));
        }
    }
    (void)fflush(NULL); /* lest the child writes it again */
    c.pid = fork();
    if (c.pid < 0) {
        int why = errno;
        forget(&c);
        return cm_fail(detail, CM_ERR_IO, "cannot fork: %s", strerror(why));
    }
    if (c.pid == 0)
        run_here(&c, plan, options);
    *ret_child = c;
    return 0;
}

static void read_output(const struct sim_child *c, struct buffer *out)
{
    char bytes[4096];
    ssize_t got;

    if (c->output < 0)
        return;
    off_t size = lseek(c->output, 0, SEEK_END);
    off_t from = size > (off_t)SIM_CHILD_OUTPUT_MAX
                     ? size - (off_t)SIM_CHILD_OUTPUT_MAX
                     : 0;
    while ((got = pread(c->output, bytes, sizeof bytes, from)) > 0) {
        buffer_append(out, bytes, (size_t)got);
        from += got;
    }
}

/* The line of text that begins at or holds mark, from there on; NULL if there
 * is none. */
static char *line_after(char *text, const char *mark)
{
    char *found = strstr(text, mark);

    if (found == NULL)
        return NULL;
    found[strcspn(found, "\n")] = 0;
    return found;
}

/* What killed it: a CHECK, a sanitizer, or the signal alone. text is cut. */
static void name_crash(struct sim_run_result *result, char *text, int status)
{
    static const char *const marks[] = {
        "invariant violated: ", "ERROR: AddressSanitizer: ",
        "ERROR: LeakSanitizer: ", "runtime error: ", "WARNING: Thread"};
    const char *what = NULL;

    for (size_t i = 0; i < sizeof marks / sizeof marks[0] && what == NULL; i++)
        what = line_after(text, marks[i]);
    if (what == NULL)
        what = WIFSIGNALED(status) ? strsignal(WTERMSIG(status))
                                   : "it ended without a result";
    (void)snprintf(result->words, sizeof result->words, "crashed: %s", what);
    (void)snprintf(result->fingerprint, sizeof result->fingerprint,
                   "crash: %.60s", what);
}

void sim_child_finish(struct sim_child *c, int status,
                      struct sim_run_result *ret_result,
                      struct buffer *ret_output)
{
    struct buffer output;
    bool done =
        c->shared->done && WIFEXITED(status) && WEXITSTATUS(status) == 0;

    *ret_result = c->shared->result;
    ret_result->nodes = c->nodes;
    if (done && c->shared->error == 0) {
        forget(c);
        return;
    }
    remove_world(c);
    buffer_init(&output, SIM_CHILD_OUTPUT_MAX + 4096);
    read_output(c, &output);
    if (ret_output != NULL)
        buffer_append_slice(ret_output, buffer_slice(&output));
    buffer_append_byte(&output, 0);
    CHECK(output.error == 0);
    ret_result->host = SIM_PLAN_HOSTS_MAX;
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    ret_result->outcome = SIM_INCONCLUSIVE;
    if (done) {
        (void)snprintf(ret_result->words, sizeof ret_result->words,
                       "there could be no run: %s: %s",
                       cm_strerror(c->shared->error), c->shared->detail.text);
        (void)snprintf(ret_result->fingerprint, sizeof ret_result->fingerprint,
                       "no run");
    } else if (signal == SIGXCPU || signal == SIGALRM || signal == SIGKILL) {
        (void)snprintf(ret_result->words, sizeof ret_result->words,
                       "took too long, or too much memory (%s)",
                       strsignal(signal));
        (void)snprintf(ret_result->fingerprint, sizeof ret_result->fingerprint,
                       "too long");
    } else if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP) {
        (void)snprintf(ret_result->words, sizeof ret_result->words,
                       "was told to stop (%s)", strsignal(signal));
        (void)snprintf(ret_result->fingerprint, sizeof ret_result->fingerprint,
                       "stopped");
    } else {
        ret_result->outcome = SIM_CRASH;
        ret_result->at_us = ret_result->virtual_us;
        name_crash(ret_result, (char *)output.data, status);
    }
    buffer_release(&output);
    forget(c);
}

void sim_child_kill(struct sim_child *c)
{
    int status = 0;

    if (c->pid <= 0)
        return;
    (void)kill(c->pid, SIGKILL);
    (void)waitpid(c->pid, &status, 0);
    remove_world(c);
    forget(c);
}

int sim_child_run(const struct sim_plan *plan,
                  const struct sim_child_options *options,
                  struct sim_run_result *ret_result, struct buffer *ret_output,
                  struct cm_detail *detail)
{
    struct sim_child c;
    int status = 0;

    int error = sim_child_start(&c, plan, options, detail);
    if (error != 0)
        return error;
    while (waitpid(c.pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    sim_child_finish(&c, status, ret_result, ret_output);
    return 0;
}
