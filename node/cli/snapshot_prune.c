/* confmesh snapshot prune: what a target keeps. */
#include <inttypes.h>
#include <time.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/snapshot_prune.h"

#define KEEP_MAX 100000
#define GRACE_MS_DEFAULT (UINT64_C(24) * 3600000)

static void tell(void *ctx, enum prune_verdict verdict, const char *name)
{
    const struct cli *c = ctx;
    const char *word = verdict == PRUNE_KEPT     ? "keep"
                       : verdict == PRUNE_MARKED ? "mark"
                                                 : "delete";
    if (!c->json)
        (void)printf("%-6s %s\n", word, name);
}

static uint64_t wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int number(struct cli *c, const char *flag, uint64_t *ret)
{
    struct cm_detail detail = {""};
    char field[32];
    const char *text = cli_value(c, flag);
    (void)snprintf(field, sizeof(field), "--%s", flag);
    if (text != NULL && args_number(ret, text, KEEP_MAX, field, &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    return 0;
}

static void print_counts(const struct prune_counts *n, bool dry_run)
{
    json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:b}", "kept",
                          (json_int_t)n->kept, "marked", (json_int_t)n->marked,
                          "deleted", (json_int_t)n->deleted, "failed",
                          (json_int_t)n->failed, "dry_run", dry_run);

    CHECK(o != NULL);
    cli_print_json(o);
    json_decref(o);
}

int cli_verb_snapshot_prune(struct cli *c)
{
    struct prune_policy policy = {
        .keep_last = 3,
        .keep_hourly = 24,
        .keep_daily = 14,
        .keep_weekly = 8,
        .grace_ms = GRACE_MS_DEFAULT,
        .dry_run = cli_has(c, "dry-run"),
    };
    const char *grace = cli_value(c, "grace");
    struct prune_counts counts = {0};
    struct cm_detail detail = {""};
    CHECK(c->words_count == 1);
    int code = number(c, "keep-last", &policy.keep_last);
    if (code == 0)
        code = number(c, "keep-hourly", &policy.keep_hourly);
    if (code == 0)
        code = number(c, "keep-daily", &policy.keep_daily);
    if (code == 0)
        code = number(c, "keep-weekly", &policy.keep_weekly);
    if (code != 0)
        return code;
    if (policy.keep_last == 0)
        return cli_usage_error(c, "--keep-last is at least 1");
    if (grace != NULL &&
        args_duration_ms(&policy.grace_ms, grace, "--grace", &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    int error = snapshot_prune(c->words[0], &policy, NULL, wall_ms(), tell, c,
                               &counts, &detail);
    if (error != 0)
        return cli_failed_as(c, cli_exit_of(error), "%s", detail.text);
    if (c->json)
        print_counts(&counts, policy.dry_run);
    else
        (void)printf("%" PRIu64 " snapshots kept, %" PRIu64
                     " objects marked, %" PRIu64 " deleted%s\n",
                     counts.kept, counts.marked, counts.deleted,
                     policy.dry_run ? " (dry run: nothing was done)" : "");
    if (counts.failed > 0)
        return cli_failed_as(c, CLI_TRANSPORT,
                             "%" PRIu64
                             " objects could not be deleted; the next "
                             "prune tries again",
                             counts.failed);
    return CLI_DONE;
}
