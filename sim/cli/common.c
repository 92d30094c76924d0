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

int sim_cli_number(uint64_t *ret, const char *text, uint64_t low, uint64_t high,
                   const char *name, struct cm_detail *detail)
{
    uint64_t v = 0;
    struct cm_detail unused = {""};

    CHECK(low <= high);
    if (text == NULL)
        return 0;
    if (args_number(&v, text, high, name, &unused) != 0 || v < low)
        return cm_fail(detail, CM_ERR_INVALID,
                       "%s is '%.40s', but must be a number from %" PRIu64
                       " to %" PRIu64,
                       name, text, low, high);
    *ret = v;
    return 0;
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
    const char *nodes = args_value(flags, flags_count, "nodes", NULL);
    const char *names[SIM_PROFILES];
    uint64_t n = 0;

    for (unsigned p = 0; p < SIM_PROFILES; p++)
        names[p] = sim_profile_name((enum sim_profile)p);
    if (sim_profile_find(profile, &ret->profile) != 0) {
        const char *near = args_nearest(profile, names, SIM_PROFILES);
        return cm_fail(detail, CM_ERR_INVALID, "no such profile: %.40s; %s%s",
                       profile,
                       near != NULL ? "did you mean " : "--help lists them",
                       near != NULL ? near : "");
    }
    int error = sim_cli_number(&n, nodes, SIM_CLI_NODES_MIN, SIM_PLAN_HOSTS_MAX,
                               "--nodes", detail);
    ret->nodes = (unsigned)n;
    return error;
}

int sim_cli_plan(struct sim_plan *ret, const char *word,
                 const struct sim_cli_source *source, struct cm_detail *detail)
{
    uint64_t seed = 0;

    if (!sim_cli_seed(word, &seed)) {
        if (word[strspn(word, "0123456789")] == 0 && access(word, F_OK) != 0)
            return cm_fail(detail, CM_ERR_INVALID,
                           "%.40s: seeds are numbers up to %" PRIu64
                           ", and there is no such file",
                           word, UINT64_MAX);
        return sim_plan_read(ret, word, detail);
    }
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

json_t *sim_cli_evaluated(const uint64_t evaluated[SIM_CHECK_INVARIANTS])
{
    json_t *ret = json_object();

    for (unsigned i = 0; i < SIM_CHECK_INVARIANTS; i++)
        (void)json_object_set_new(ret,
                                  sim_check_name((enum sim_check_invariant)i),
                                  json_integer((json_int_t)evaluated[i]));
    return ret;
}

json_t *sim_cli_kinds(uint64_t kinds)
{
    json_t *ret = json_array();

    for (unsigned d = 0; d < SIM_DEEDS; d++)
        if ((kinds >> d & 1) != 0)
            (void)json_array_append_new(
                ret, json_string(sim_deed_name((enum sim_deed)d)));
    return ret;
}

void sim_cli_json(json_t *o)
{
    CHECK(o != NULL); /* only memory can be short: the names are ASCII */
    (void)json_dumpf(o, stdout, JSON_COMPACT);
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(o);
}

/* What a process wrote before it died may be anything. */
static json_t *ascii(const char *text)
{
    char copy[SIM_WORDS_SIZE];

    (void)snprintf(copy, sizeof copy, "%s", text);
    for (char *at = copy; *at != 0; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    return json_string(copy);
}

void sim_cli_json_result(const char *name, const struct sim_cli_source *source,
                         const struct sim_run_result *r)
{
    char chain[2 * HASH_SIZE + 1];
    uint64_t seed = 0;
    bool is_seed = sim_cli_seed(name, &seed);

    hex_encode(chain, slice_of(r->chain.bytes, HASH_SIZE));
    sim_cli_json(json_pack(
        "{s:o, s:s*, s:s, s:o, s:o, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I, s:i, s:o, s:s, s:I, s:I, s:o}",
        is_seed ? "seed" : "plan", ascii(name), "profile",
        is_seed ? sim_profile_name(source->profile) : NULL, "outcome",
        sim_outcome_name(r->outcome), "fingerprint", ascii(r->fingerprint),
        "words", ascii(r->words), "nodes", (int)r->nodes, "events",
        (json_int_t)r->events, "virtual_us", (json_int_t)r->virtual_us,
        "node_us", (json_int_t)r->node_us, "operations",
        (json_int_t)r->operations, "acknowledged", (json_int_t)r->acknowledged,
        "refused", (json_int_t)r->refused, "unanswered",
        (json_int_t)r->unanswered, "faults", (json_int_t)r->faults,
        "fault_kinds", __builtin_popcountll(r->fault_kinds), "kinds",
        sim_cli_kinds(r->fault_kinds), "chain", chain, "core_us",
        (json_int_t)r->core_us, "heal_us", (json_int_t)r->heal_us, "looked_at",
        sim_cli_evaluated(r->evaluated)));
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
