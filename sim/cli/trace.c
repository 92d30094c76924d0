/* confmesh-sim trace: a run as a page to be looked at.
 *
 * Two runs, which are alike: the first tells when it begins and ends, the
 * second is traced through a pipe, so that neither a crash nor a long run costs
 * more than the page. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "sim/cli/cli.h"
#include "sim/html.h"

#define REPRO_SIZE 512
#define WRITE_MS_MAX 1000 /* the last events of a run that has ended */

/* Reads a child's trace to its end. */
static int read_trace(struct sim_html_data *d, FILE *from)
{
    char *line = NULL;
    size_t size = 0;
    int error = 0;

    while (error == 0 && getline(&line, &size, from) > 0)
        error = sim_html_data_line(d, line);
    free(line);
    return error;
}

static int start_traced(struct sim_child *ret_child,
                        const struct sim_plan *plan, FILE **ret_from,
                        struct cm_detail *detail)
{
    int ends[2];
    FILE *to;
    int error;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return cm_fail(detail, CM_ERR_IO, "no pipe: %s", strerror(errno));
    to = fdopen(ends[1], "we");
    *ret_from = fdopen(ends[0], "re");
    CHECK(to != NULL && *ret_from != NULL); /* memory alone can be short */
    const struct sim_child_options options = {.trace = to};
    error = sim_child_start(ret_child, plan, &options, detail);
    (void)fclose(to);
    if (error != 0)
        (void)fclose(*ret_from);
    return error;
}

/* Runs plan and fills d. */
static int run_traced(struct sim_html_data *d, const struct sim_plan *plan,
                      struct sim_run_result *ret_result,
                      struct cm_detail *detail)
{
    struct sim_child child;
    FILE *from = NULL;
    int status = 0;
    int read_error;
    int error = start_traced(&child, plan, &from, detail);

    if (error != 0)
        return error;
    read_error = read_trace(d, from);
    (void)fclose(from);
    while (waitpid(child.pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    sim_child_finish(&child, status, ret_result, NULL);
    return read_error == 0 ? 0 : cm_fail(detail, read_error, "out of memory");
}

static int write_page(const struct sim_html_data *d,
                      const struct sim_plan *plan,
                      const struct sim_run_result *result, const char *repro,
                      const char *path, FILE *file)
{
    struct buffer page;
    int error;

    buffer_init(&page, SIM_HTML_SIZE_MAX);
    sim_html_write(&page, d, plan, result, repro);
    error = page.error;
    if (fwrite(page.data, 1, page.size, file) != page.size)
        error = CM_ERR_IO;
    if (fflush(file) != 0)
        error = CM_ERR_IO;
    (void)fprintf(stderr, "%s: %zu bytes\n", path, page.size);
    buffer_release(&page);
    return error;
}

/* When the run ended, in its own time, whatever ended it. */
static uint64_t end_us(const struct sim_run_result *r,
                       const struct sim_plan *plan)
{
    uint64_t end = r->virtual_us > r->at_us ? r->virtual_us : r->at_us;

    if (end > r->start_us)
        return end + UINT64_C(1000) * WRITE_MS_MAX;
    return r->start_us +
           1000 * (plan->duration_ms + plan->core_ms + plan->heal_ms);
}

static int trace(const struct sim_plan *plan, const char *repro,
                 const char *path, FILE *file)
{
    struct sim_run_result result;
    struct cm_detail detail = {""};
    struct sim_html_data d;
    const struct sim_child_options plain = {0};
    int error = sim_child_run(plan, &plain, &result, NULL, &detail);

    if (error == 0)
        error = sim_html_data_init(&d, plan, result.start_us,
                                   end_us(&result, plan));
    if (error == 0) {
        error = run_traced(&d, plan, &result, &detail);
        if (error == 0 && write_page(&d, plan, &result, repro, path, file) != 0)
            error = cm_fail(&detail, CM_ERR_IO, "cannot write %s", path);
        sim_html_data_release(&d);
    }
    if (error != 0) {
        (void)fprintf(stderr, "confmesh-sim trace: %s\n",
                      detail.text[0] != '\0' ? detail.text
                                             : cm_strerror(error));
        return SIM_INCONCLUSIVE;
    }
    sim_cli_tell(stdout, &result);
    return (int)result.outcome;
}

int sim_command_trace(int argc, char **argv)
{
    struct args_flag flags[] = {
        {.name = "profile", .kind = ARGS_VALUE},
        {.name = "nodes", .kind = ARGS_VALUE},
        {.name = "html", .kind = ARGS_VALUE},
    };
    const size_t count = sizeof flags / sizeof flags[0];
    struct sim_cli_source source;
    struct cm_detail detail = {""};
    char repro[REPRO_SIZE];
    struct sim_plan plan;
    struct args args;

    int error = args_parse(&args, flags, count, argc, argv, &detail);
    if (error == 0)
        error = sim_cli_source_read(&source, flags, count, &detail);
    if (error != 0)
        return sim_cli_usage("trace", detail.text);
    const char *path = args_value(flags, count, "html", NULL);
    if (args.words_count != 1 || path == NULL)
        return sim_cli_usage("trace",
                             "give one seed or one plan's file, and --html "
                             "FILE for the page");
    if (sim_cli_plan(&plan, args.words[0], &source, &detail) != 0)
        return sim_cli_usage("trace", detail.text);
    (void)snprintf(repro, sizeof repro, "confmesh-sim replay %s --profile %s",
                   args.words[0], sim_profile_name(source.profile));
    if (source.nodes != 0)
        (void)snprintf(repro + strlen(repro), sizeof repro - strlen(repro),
                       " --nodes %u", source.nodes);
    FILE *file = fopen(path, "we"); /* before anything takes minutes */
    int outcome = SIM_EXIT_USAGE;
    if (file != NULL) {
        outcome = trace(&plan, repro, path, file);
        (void)fclose(file);
    } else {
        (void)cm_fail(&detail, CM_ERR_IO, "cannot write %s: %s", path,
                      strerror(errno));
        (void)sim_cli_usage("trace", detail.text);
    }
    sim_plan_release(&plan);
    return outcome;
}
