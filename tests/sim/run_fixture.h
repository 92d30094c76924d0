/* What the tests of simulated runs share: settings from the environment, a boot
 * that has to succeed, and this program run once more for its hash. Included by
 * one file per program. */
#ifndef TESTS_SIM_RUN_FIXTURE_H
#define TESTS_SIM_RUN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/world.h"

/* A program need not use all of this. */
#define FIXTURE static __attribute__((unused))

FIXTURE uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 0);
}

FIXTURE void boot_or_fail(struct sim_world *w, unsigned host, uint64_t seed)
{
    struct cm_detail detail = {""};

    int error = sim_world_boot(w, host, &detail);
    if (error != 0)
        print_error("seed %" PRIu64 ": host %u does not boot: %s\n", seed, host,
                    detail.text);
    assert_int_equal(error, 0);
}

/* Runs this very program with these arguments in that environment and takes the
 * first size - 1 bytes of its output, which have to be there. */
FIXTURE void output_of_self(char *const *arguments, char *const *environment,
                            char *ret_text, size_t size)
{
    int ends[2];
    size_t got = 0;
    int status = 0;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)execve("/proc/self/exe", arguments, environment);
        _exit(127);
    }
    assert_int_equal(close(ends[1]), 0);
    while (got < size - 1) {
        ssize_t n = read(ends[0], ret_text + got, size - 1 - got);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    ret_text[got] = 0;
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(got, size - 1);
}

#endif
