/* What the verbs of confmesh-sim share: see cli.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "sim/cli/cli.h"

#define STACK_LINES_MAX 64
#define LINE_MAX_SIZE 4096

int sim_cli_usage(const char *verb, const char *text)
{
    (void)fprintf(stderr, "confmesh-sim %s: %s\n", verb, text);
    return SIM_EXIT_USAGE;
}

bool sim_cli_seed(const char *text, uint64_t *ret_seed)
{
    char *end = NULL;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno != 0 || *end != 0)
        return false;
    *ret_seed = v;
    return true;
}

int sim_cli_source_read(struct sim_cli_source *ret,
                        const struct args_flag *flags, size_t flags_count,
                        struct cm_detail *detail)
{
    const char *profile = args_value(flags, flags_count, "profile", "default");
    const char *nodes = args_value(flags, flags_count, "nodes", "0");
    uint64_t n = 0;

    if (sim_profile_find(profile, &ret->profile) != 0)
        return cm_fail(detail, CM_ERR_INVALID, "no such profile: %s", profile);
    int error = args_number(&n, nodes, SIM_PLAN_HOSTS_MAX, "--nodes", detail);
    ret->nodes = (unsigned)n;
    return error;
}

int sim_cli_plan(struct sim_plan *ret, const char *word,
                 const struct sim_cli_source *source, struct cm_detail *detail)
{
    uint64_t seed = 0;

    if (!sim_cli_seed(word, &seed))
        return sim_plan_read(ret, word, detail);
    int error = sim_expand(ret, seed, source->profile, source->nodes);
    return error != 0 ? cm_fail(detail, error, "cannot expand seed %s", word)
                      : 0;
}

void sim_cli_tell(FILE *to, const struct sim_run_result *r)
{
    if (r->outcome == SIM_PASS)
        return;
    (void)fprintf(to, "%s: %s: %s", sim_outcome_name(r->outcome),
                  r->fingerprint, r->words);
    if (r->outcome == SIM_SAFETY || r->outcome == SIM_LIVENESS) {
        (void)fprintf(to, " (");
        if (r->host < SIM_PLAN_HOSTS_MAX)
            (void)fprintf(to, "n%u, ", r->host);
        double at = (double)(r->at_us - r->start_us) / 1e6;
        (void)fprintf(to, "%.3f s into the plan)", at);
    }
    (void)fputc('\n', to);
}

/* ---- stacks ---- */

/* "…(+0x1234) […]" of this program: the name and line, by addr2line. */
static void tell_frame(FILE *to, const char *line)
{
    char self[512];
    char command[LINE_MAX_SIZE];
    const char *offset = strstr(line, "(+0x");

    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size <= 0 || offset == NULL || strstr(line, "confmesh-sim") == NULL) {
        (void)fprintf(to, "    %s\n", line);
        return;
    }
    self[size] = 0;
    unsigned long long address = strtoull(offset + 2, NULL, 16);
    (void)snprintf(command, sizeof command,
                   "exec addr2line -Cfpi -e '%s' 0x%llx 2>/dev/null", self,
                   address);
    FILE *tool = popen(command, "re");
    bool told = false;
    while (tool != NULL && fgets(command, sizeof command, tool) != NULL) {
        (void)fprintf(to, "    %s", command);
        told = true;
    }
    if (tool != NULL)
        (void)pclose(tool);
    if (!told)
        (void)fprintf(to, "    %s\n", line);
}

void sim_cli_tell_output(FILE *to, struct buffer *output)
{
    unsigned lines = 0;

    buffer_append_byte(output, 0);
    if (output->error != 0)
        return;
    char *line = (char *)output->data;
    for (; line != NULL && lines < STACK_LINES_MAX; lines++) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end++ = 0;
        if (*line != 0)
            tell_frame(to, line);
        line = end;
    }
}

/* ---- two runs that ought to be one ---- */

struct two {
    FILE *links[2];
    FILE *traces[2];
};

static bool run_both(const struct sim_plan *plan, FILE *files[2], bool text)
{
    for (unsigned i = 0; i < 2; i++) {
        struct sim_child_options o = {.elsewhere = i == 1, .unjudged = i == 1};
        struct sim_run_result result;
        if (text)
            o.trace = files[i];
        else
            o.links = files[i];
        if (files[i] == NULL ||
            sim_child_run(plan, &o, &result, NULL, NULL) != 0)
            return false;
        rewind(files[i]);
    }
    return true;
}

/* Number of the first link that differs, from 0; UINT64_MAX: none. */
static uint64_t first_link(FILE *files[2])
{
    for (uint64_t number = 0;; number++) {
        uint64_t a = 0;
        uint64_t b = 0;
        size_t got = fread(&a, sizeof a, 1, files[0]);
        if (fread(&b, sizeof b, 1, files[1]) != got || a != b)
            return number;
        if (got == 0)
            return UINT64_MAX;
    }
}

static void first_lines(FILE *files[2], struct buffer *out)
{
    static char a[LINE_MAX_SIZE];
    static char b[LINE_MAX_SIZE];

    for (;;) {
        bool more_a = fgets(a, sizeof a, files[0]) != NULL;
        bool more_b = fgets(b, sizeof b, files[1]) != NULL;
        if (!more_a && !more_b)
            return;
        if (!more_a || !more_b || strcmp(a, b) != 0) {
            buffer_printf(out, "  here:      %s  elsewhere: %s",
                          more_a ? a : "(it had ended)\n",
                          more_b ? b : "(it had ended)\n");
            return;
        }
    }
}

void sim_cli_difference(const struct sim_plan *plan, struct buffer *out)
{
    struct two t = {.links = {tmpfile(), tmpfile()},
                    .traces = {tmpfile(), tmpfile()}};

    if (run_both(plan, t.links, false)) {
        uint64_t number = first_link(t.links);
        if (number == UINT64_MAX)
            buffer_append_string(out, "two more runs did not differ\n");
        else
            buffer_printf(out, "first event that differs: number %" PRIu64 "\n",
                          number);
        if (number != UINT64_MAX && run_both(plan, t.traces, true))
            first_lines(t.traces, out);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (t.links[i] != NULL)
            (void)fclose(t.links[i]);
        if (t.traces[i] != NULL)
            (void)fclose(t.traces[i]);
    }
}
