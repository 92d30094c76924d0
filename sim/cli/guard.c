/* confmesh-sim leaves nothing behind, however it ends.
 *
 * Worlds are directories full of files in memory. A run removes its own, and
 * who started a child removes what its crash left; but a program that is
 * interrupted removes nothing, and whoever presses Ctrl-C often would fill the
 * machine's memory. So all worlds of a program lie in one directory, and a
 * small process of a group of its own waits until nobody holds the other end
 * of a pipe any more: neither the program nor any of its children. */
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim/cli/cli.h"

#define PATH_SIZE 64
#define TREE_DEPTH_MAX 16

static char directory[PATH_SIZE]; /* "": there is none */

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    (void)remove(path); /* what somebody else removes is gone, too */
    return 0;
}

/* Nobody waits for this process, and it says nothing: what it holds open of
 * the program's would keep a reader of its output waiting. */
__attribute__((noreturn)) static void stand_guard(int pipe_end)
{
    char byte;

    (void)setpgid(0, 0);
    if (dup2(pipe_end, STDIN_FILENO) < 0)
        _exit(1);
    closefrom(STDIN_FILENO + 1);
    while (read(STDIN_FILENO, &byte, 1) < 0)
        ; /* a signal */
    (void)nftw(directory, remove_one, TREE_DEPTH_MAX, FTW_DEPTH | FTW_PHYS);
    _exit(0);
}

/* What ends a whole group of processes must not end the guard, however early it
 * comes: it is in a group of its own before this returns, and it is born with
 * every signal blocked. */
static pid_t fork_guard(const int ends[2])
{
    sigset_t all, before;

    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[1]);
        stand_guard(ends[0]);
    }
    if (pid > 0)
        (void)setpgid(pid, pid); /* or it has done so itself */
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

void sim_cli_guard(void)
{
    const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    int ends[2];

    (void)snprintf(directory, sizeof directory, "%s/confmesh-sim-XXXXXX", root);
    if (mkdtemp(directory) == NULL) {
        directory[0] = 0; /* each world says why it cannot be */
        return;
    }
    if (pipe2(ends, O_CLOEXEC) == 0) {
        pid_t pid = fork_guard(ends);

        (void)close(ends[0]);
        if (pid < 0)
            (void)close(ends[1]);
    }
    sim_world_place(directory);
}

void sim_cli_guard_end(void)
{
    if (directory[0] != 0)
        (void)rmdir(directory);
}
