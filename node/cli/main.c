/* confmesh: finds the verb, reads the flags, runs it. */
#include <sodium.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/object_store.h"

/* Every flag of every verb: one table, so that flags may stand anywhere, even
 * before the verb. Which verb takes which is told by the verb. */
static struct args_flag flags[] = {
    {.name = "api", .kind = ARGS_LIST},
    {.name = "data", .kind = ARGS_VALUE},
    {.name = "json", .kind = ARGS_SWITCH},
    {.name = "help", .kind = ARGS_SWITCH},
    {.name = "version", .kind = ARGS_SWITCH},
    {.name = "name", .kind = ARGS_VALUE},
    {.name = "authority", .kind = ARGS_VALUE},
    {.name = "passphrase-file", .kind = ARGS_VALUE},
    {.name = "no-passphrase", .kind = ARGS_SWITCH},
    {.name = "bind", .kind = ARGS_VALUE},
    {.name = "join", .kind = ARGS_VALUE},
    {.name = "snapshot-to", .kind = ARGS_LIST},
    {.name = "snapshot-interval", .kind = ARGS_VALUE},
    {.name = "snapshot-recipient", .kind = ARGS_LIST},
    {.name = "snapshot-delta", .kind = ARGS_VALUE},
    {.name = "snapshot-drill", .kind = ARGS_VALUE},
    {.name = "snapshot-bandwidth", .kind = ARGS_VALUE},
    {.name = "snapshot-hook", .kind = ARGS_VALUE},
    {.name = "mode", .kind = ARGS_VALUE},
    {.name = "merge", .kind = ARGS_SWITCH},
    {.name = "adopt", .kind = ARGS_SWITCH},
    {.name = "at", .kind = ARGS_VALUE},
    {.name = "live", .kind = ARGS_SWITCH},
    {.name = "seq", .kind = ARGS_VALUE},
    {.name = "read-data", .kind = ARGS_OPTIONAL},
    {.name = "scratch", .kind = ARGS_VALUE},
    {.name = "keep-last", .kind = ARGS_VALUE},
    {.name = "keep-hourly", .kind = ARGS_VALUE},
    {.name = "keep-daily", .kind = ARGS_VALUE},
    {.name = "keep-weekly", .kind = ARGS_VALUE},
    {.name = "grace", .kind = ARGS_VALUE},
    {.name = "dry-run", .kind = ARGS_SWITCH},
    {.name = "recovery-key", .kind = ARGS_VALUE},
    {.name = "revoke-deletes", .kind = ARGS_LIST},
    {.name = "floor-interval", .kind = ARGS_VALUE},
    {.name = "floor-keep", .kind = ARGS_VALUE},
    {.name = "format-level", .kind = ARGS_VALUE},
    {.name = "reason", .kind = ARGS_VALUE},
    {.name = "keep", .kind = ARGS_VALUE},
    {.name = "if-siblings", .kind = ARGS_VALUE},
    {.name = "limit", .kind = ARGS_VALUE},
    {.name = "dev", .kind = ARGS_SWITCH},
    {.name = "uses", .kind = ARGS_VALUE},
    {.name = "writes", .kind = ARGS_LIST},
    {.name = "ttl", .kind = ARGS_VALUE},
    {.name = "after", .kind = ARGS_VALUE},
    {.name = "wait", .kind = ARGS_VALUE},
    {.name = "timeout", .kind = ARGS_VALUE},
    {.name = "expires-at", .kind = ARGS_VALUE},
    {.name = "if-absent", .kind = ARGS_SWITCH},
    {.name = "if-version", .kind = ARGS_VALUE},
    {.name = "unrevoke", .kind = ARGS_SWITCH},
    {.name = "yes", .kind = ARGS_SWITCH},
    {.name = "none", .kind = ARGS_SWITCH},
    {.name = "reader", .kind = ARGS_SWITCH},
    {.name = "from", .kind = ARGS_VALUE},
    {.name = "scrub-interval", .kind = ARGS_VALUE},
    {.name = "all", .kind = ARGS_SWITCH},
    {.name = "flags", .kind = ARGS_VALUE},
    {.name = "author", .kind = ARGS_VALUE},
    {.name = "siblings", .kind = ARGS_SWITCH},
    {.name = "values", .kind = ARGS_SWITCH},
    {.name = "from", .kind = ARGS_VALUE},
    {.name = "count", .kind = ARGS_VALUE},
    {.name = "prefix", .kind = ARGS_VALUE},
    {.name = "ini", .kind = ARGS_SWITCH},
    {.name = "force", .kind = ARGS_SWITCH},
    {.name = "verbose", .kind = ARGS_SWITCH},
    {.name = "to", .kind = ARGS_VALUE},
    {.name = "trust", .kind = ARGS_VALUE},
    {.name = "ca-file", .kind = ARGS_VALUE},
};
#define FLAGS_COUNT (sizeof(flags) / sizeof(flags[0]))

/* Whether word stands in the list between blanks. */
static bool in_list(const char *list, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = strstr(list, word); at != NULL;
         at = strstr(at + 1, word))
        if ((at == list || at[-1] == ' ') && (at[size] == 0 || at[size] == ' '))
            return true;
    return false;
}

static int check_flags(const struct cli *c)
{
    for (size_t i = 0; i < FLAGS_COUNT; i++) {
        const char *name = flags[i].name;
        if (flags[i].count == 0 || in_list("api data json help", name))
            continue;
        if (!in_list(c->verb->flags, name))
            return cli_usage_error(c, "--%s is no flag of '%s'", name,
                                   c->verb->name);
    }
    return 0;
}

static int check_words(const struct cli *c)
{
    if (c->words_count < c->verb->words_min)
        return cli_usage_error(c, "it needs %s", c->verb->words);
    if (c->words_count > c->verb->words_max)
        return cli_usage_error(
            c,
            "'%.80s' is a word too many; put a value with blanks into "
            "quotes",
            c->words[c->verb->words_max]);
    return 0;
}

/* Whose failures are read by programs at night. */
static bool reads_snapshots(const struct cli_verb *v)
{
    return strncmp(v->name, "snapshot ", 9) == 0 ||
           strcmp(v->name, "restore") == 0;
}

static int run(int argc, char **argv)
{
    struct cli c = {.flags = flags, .flags_count = FLAGS_COUNT};
    struct args args;
    struct cm_detail detail = {""};
    size_t verb_words = 0;
    if (args_parse(&args, flags, FLAGS_COUNT, argc, argv, &detail) != 0) {
        (void)fprintf(stderr, "confmesh: %s\n", detail.text);
        return CLI_USAGE;
    }
    c.json = cli_has(&c, "json");
    if (cli_has(&c, "version"))
        return cli_verb_version(&c);
    if (args.words_count == 0) {
        bool asked = cli_has(&c, "help");
        c.words = args.words;
        if (asked)
            return cli_verb_help(&c);
        (void)fputs("confmesh: which verb? 'confmesh help' lists them\n",
                    stderr);
        return CLI_USAGE;
    }
    c.verb = cli_verb_find(args.words, args.words_count, &verb_words);
    if (cli_has(&c, "help")) {
        c.words = args.words;
        c.words_count = args.words_count;
        return cli_verb_help(&c);
    }
    if (c.verb == NULL)
        return cli_unknown_verb(args.words[0],
                                args.words_count > 1 ? args.words[1] : NULL);
    c.words = args.words + verb_words;
    c.words_count = args.words_count - verb_words;
    int code = check_flags(&c);
    if (code == 0)
        code = check_words(&c);
    object_store_set_ca_file(cli_value(&c, "ca-file"));
    if (code == 0)
        code = c.verb->run(&c);
    if (c.json && code > CLI_FALSE && reads_snapshots(c.verb))
        cli_print_failure(code);
    return code;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 0);
    if (sodium_init() < 0) {
        (void)fputs("confmesh: the cryptographic library does not start\n",
                    stderr);
        return CLI_FAILED;
    }
    int code = run(argc, argv);
    /* What was printed to a full disk was not printed. */
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        (void)fputs("confmesh: cannot write to standard output\n", stderr);
        return CLI_FAILED;
    }
    return code;
}
