/* The restore tool's command line, its report, and nothing else. */
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crdt/base/check.h"
#include "node/args.h"
#include "node/restore/restore_gather.h"

static const char help[] =
    "confmesh-restore: bring a mesh back from its snapshots\n"
    "\n"
    "  confmesh-restore URL... --data NEWDIR --authority FILE\n"
    "      The mesh goes on under its authority: its id stays, a new\n"
    "      generation begins. Nodes that survived return to it.\n"
    "  confmesh-restore URL... --data NEWDIR --new-authority FILE\n"
    "      The authority is lost too: a new one is made in FILE, and with it "
    "a\n"
    "      new mesh. Nodes that survived have to join it by token.\n"
    "\n"
    "URL is what --snapshot-to named: file:DIR or a path,\n"
    "'s3://BUCKET/PREFIX?endpoint=https://HOST&region=NAME' (keys in\n"
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or ~/.aws/credentials), or\n"
    "exec:COMMAND. Several URLs, and the snapshots of several nodes, are "
    "joined,\n"
    "in any order. Names behind a URL (v1/...) mean those snapshots alone.\n"
    "\n"
    "  --data NEWDIR            must not exist, or be empty\n"
    "  --name NAME              of the restored node (default: the host's)\n"
    "  --authority FILE         the authority of the lost mesh\n"
    "  --adopt                  the snapshots may be of another mesh than the\n"
    "                           authority: its own mesh begins with their "
    "content\n"
    "  --new-authority FILE     where to put a new one; never overwritten\n"
    "  --passphrase-file FILE   first line = passphrase of the authority file\n"
    "  --no-passphrase          the authority file has none\n"
    "  --recovery-key FILE      of encrypted snapshots, if not the authority\n"
    "  --recovery-passphrase-file FILE\n"
    "                           as --passphrase-file, of the recovery key\n"
    "  --trust FINGERPRINT      refuse snapshots of any other authority\n"
    "  --ca-file FILE           PEM authorities that the S3 endpoint's "
    "certificate\n"
    "                           is checked with (default: the system's)\n"
    "  --mode merge             also what snapshots of other generations "
    "know and\n"
    "                           these do not, as new writes (default: "
    "new-mesh)\n"
    "  --at TIME                the state as of then, not later\n"
    "                           (2026-11-21T10:00:00Z, or seconds since "
    "1970)\n"
    "  --seq N                  begin with a snapshot of this number, or "
    "before\n"
    "  --min-seq N              refuse what is older (exit code 7)\n"
    "  --min-seq SIGNER:N       the same where several upload: refuse a "
    "target\n"
    "                           without number N, or a later one, of that "
    "node\n"
    "                           (name or key id; may be repeated)\n"
    "  --without SIGNER         pass over the snapshots of that node (name or "
    "key id;\n"
    "                           may be repeated): its key was stolen\n"
    "  --prefix PREFIX          only keys and sets under it\n"
    "  --dry-run                check everything, write nothing\n"
    "  --json                   the report as one JSON object\n"
    "\n"
    "Exit codes: 0 everything found was whole and is used; 3 no snapshot "
    "is\n"
    "whole; 4 not the trusted authority or mesh; 5 cannot read or write, or\n"
    "nothing found; 6 restored, but not all that was found\n"
    "could be used; 7 older than --min-seq; 64 wrong usage.\n"
    "\n"
    "Then: confmesh node --data NEWDIR\n";

static struct args_flag flags[] = {
    {.name = "data", .kind = ARGS_VALUE},
    {.name = "name", .kind = ARGS_VALUE},
    {.name = "authority", .kind = ARGS_VALUE},
    {.name = "new-authority", .kind = ARGS_VALUE},
    {.name = "adopt", .kind = ARGS_SWITCH},
    {.name = "passphrase-file", .kind = ARGS_VALUE},
    {.name = "no-passphrase", .kind = ARGS_SWITCH},
    {.name = "recovery-key", .kind = ARGS_VALUE},
    {.name = "recovery-passphrase-file", .kind = ARGS_VALUE},
    {.name = "mode", .kind = ARGS_VALUE},
    {.name = "at", .kind = ARGS_VALUE},
    {.name = "seq", .kind = ARGS_VALUE},
    {.name = "min-seq", .kind = ARGS_LIST},
    {.name = "without", .kind = ARGS_LIST},
    {.name = "prefix", .kind = ARGS_VALUE},
    {.name = "dry-run", .kind = ARGS_SWITCH},
    {.name = "trust", .kind = ARGS_VALUE},
    {.name = "ca-file", .kind = ARGS_VALUE},
    {.name = "json", .kind = ARGS_SWITCH},
    {.name = "help", .kind = ARGS_SWITCH},
};
#define FLAGS flags, sizeof flags / sizeof flags[0]

void restore_note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("confmesh-restore: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

int restore_fail(struct restore *r, int code, const char *format, ...)
{
    va_list args;

    CHECK(code != RESTORE_OK);
    va_start(args, format);
    (void)vsnprintf(r->error, sizeof r->error, format, args);
    va_end(args);
    restore_note("%s", r->error);
    return code;
}

static uint64_t mono_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void restore_progress(const char *what, uint64_t done, uint64_t total)
{
    static uint64_t told_ms; /* one restore per process */
    uint64_t now = mono_ms();

    if (told_ms == 0)
        told_ms = now;
    if (now - told_ms < 1000)
        return;
    told_ms = now;
    restore_note("%s: %llu of %llu", what, (unsigned long long)done,
                 (unsigned long long)total);
}

int restore_exit_of(int error)
{
    switch (error) {
    case CM_ERR_IO:
    case CM_ERR_FULL:
    case CM_ERR_NOMEM:
    case CM_ERR_LOCKED:
    case CM_ERR_BUSY:
    case CM_ERR_NOT_FOUND:
        return RESTORE_TRANSPORT;
    case CM_ERR_AUTHORITY:
    case CM_ERR_WRONG_MESH:
    case CM_ERR_WRONG_GENERATION:
        return RESTORE_TRUST;
    default:
        return RESTORE_INTEGRITY;
    }
}

static int usage(struct restore *r, const char *text)
{
    return restore_fail(r, RESTORE_USAGE, "%s (--help tells more)", text);
}

/* The host's name up to its first dot, with other characters made dashes. */
static void host_name(char ret_name[NAME_SIZE_MAX + 1])
{
    char host[NAME_SIZE_MAX + 1] = {0};
    size_t i;

    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    host[strcspn(host, ".")] = '\0';
    for (i = 0; host[i] != '\0'; i++) {
        char c = host[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c >= '0' && c <= '9') || c == '-' || c == '_'))
            host[i] = '-';
    }
    memcpy(ret_name, host[0] != '\0' ? host : "restored",
           host[0] != '\0' ? sizeof host : sizeof "restored");
}

static int take_name(struct restore *r, struct restore_options *o)
{
    const char *name = args_value(FLAGS, "name", NULL);
    struct cm_detail detail = {""};

    if (name == NULL) {
        host_name(o->name);
        return RESTORE_OK;
    }
    if (certificate_check_name(name, &detail) != 0)
        return usage(r, detail.text);
    (void)snprintf(o->name, sizeof o->name, "%s", name);
    return RESTORE_OK;
}

static int take_trust(struct restore *r, struct restore_options *o)
{
    static char trust[AUTHORITY_FINGERPRINT_SIZE];
    const char *text = args_value(FLAGS, "trust", NULL);
    size_t i;

    if (text == NULL)
        return RESTORE_OK;
    if (strlen(text) != sizeof trust - 1 ||
        strspn(text, "0123456789abcdefABCDEF") != sizeof trust - 1)
        return usage(r, "--trust must be the fingerprint that init printed, "
                        "64 hex digits");
    for (i = 0; text[i] != '\0'; i++)
        trust[i] = text[i] >= 'A' && text[i] <= 'F'
                       ? (char)(text[i] - 'A' + 'a')
                       : text[i];
    o->trust = trust;
    return RESTORE_OK;
}

/* --min-seq N or SIGNER:N, several times. */
static int take_least(struct restore *r, struct restore_options *o)
{
    const struct args_flag *flag = args_flag_find(FLAGS, "min-seq");
    struct cm_detail detail = {""};

    for (size_t i = 0; i < flag->count; i++) {
        const char *text = flag->values[i];
        const char *colon = strrchr(text, ':');
        uint64_t number;

        if (args_number(&number, colon != NULL ? colon + 1 : text, INT64_MAX,
                        "--min-seq", &detail) != 0)
            return usage(r, detail.text);
        if (colon == text)
            return usage(r, "--min-seq SIGNER:N needs the node's name or key "
                            "id before the colon");
        if (colon == NULL && o->min_sequence != 0)
            return usage(r, "--min-seq N is given twice; of several nodes: "
                            "--min-seq SIGNER:N");
        if (o->least_count == RESTORE_LEAST_MAX)
            return usage(r, "more than 16 --min-seq are given");
        if (colon == NULL)
            o->min_sequence = number;
        else
            o->least[o->least_count++] = (struct restore_least){
                .signer = slice_of(text, (size_t)(colon - text)),
                .sequence = number};
    }
    return RESTORE_OK;
}

static int take_without(struct restore *r, struct restore_options *o)
{
    const struct args_flag *flag = args_flag_find(FLAGS, "without");

    if (flag->count > RESTORE_LEAST_MAX)
        return usage(r, "more than 16 --without are given");
    for (size_t i = 0; i < flag->count; i++)
        o->without[o->without_count++] = flag->values[i];
    return RESTORE_OK;
}

/* Which of what is found may be used. */
static int take_limits(struct restore *r, struct restore_options *o)
{
    const char *at = args_value(FLAGS, "at", NULL);
    const char *sequence = args_value(FLAGS, "seq", NULL);
    struct cm_detail detail = {""};

    if ((at != NULL && args_time_ms(&o->at_ms, at, "--at", &detail) != 0) ||
        (sequence != NULL &&
         args_number(&o->sequence, sequence, INT64_MAX, "--seq", &detail) != 0))
        return usage(r, detail.text);
    if ((at != NULL && o->at_ms == 0) || (sequence != NULL && o->sequence == 0))
        return usage(r, "--at and --seq begin at 1");
    if (take_without(r, o) != RESTORE_OK)
        return RESTORE_USAGE;
    return take_least(r, o);
}

/* URL [NAME...] URL [NAME...]: names belong to the URL before them. */
static int take_targets(struct restore *r, struct restore_options *o,
                        const struct args *args)
{
    struct cm_detail detail = {""};
    const char *url = NULL;
    size_t i;

    for (i = 0; i < args->words_count; i++) {
        const char *word = args->words[i];
        const char *next =
            i + 1 < args->words_count ? args->words[i + 1] : NULL;
        bool name = strncmp(word, "v1/", 3) == 0;

        if (name && url == NULL)
            return usage(r, "a URL comes before the name of a snapshot");
        if (!name && object_store_check(word, true, &detail) != 0)
            return usage(r, detail.text);
        url = name ? url : word;
        if (!name && next != NULL && strncmp(next, "v1/", 3) == 0)
            continue;
        if (o->targets_count == RESTORE_TARGETS_MAX)
            return usage(r, "more than 16 URLs and names are given");
        o->targets[o->targets_count++] =
            (struct restore_target){.url = url, .name = name ? word : NULL};
    }
    return RESTORE_OK;
}

static int take_mode(struct restore *r, struct restore_options *o)
{
    const char *mode = args_value(FLAGS, "mode", "new-mesh");

    o->merge = strcmp(mode, "merge") == 0;
    if (!o->merge && strcmp(mode, "new-mesh") != 0)
        return usage(r, "--mode must be new-mesh or merge; into a living "
                        "node: confmesh restore");
    return RESTORE_OK;
}

static int take_options(struct restore *r, struct restore_options *o,
                        const struct args *args)
{
    struct cm_detail detail = {""};
    int code;

    o->json = args_given(FLAGS, "json");
    if (args->words_count == 0)
        return usage(r, "URL is missing: give what --snapshot-to named, "
                        "file:DIR, s3://BUCKET/PREFIX or exec:COMMAND");
    code = take_targets(r, o, args);
    if (code != RESTORE_OK)
        return code;
    object_store_set_ca_file(args_value(FLAGS, "ca-file", NULL));
    o->data = args_value(FLAGS, "data", NULL);
    o->authority = args_value(FLAGS, "authority", NULL);
    o->new_authority = args_value(FLAGS, "new-authority", NULL);
    o->passphrase.file = args_value(FLAGS, "passphrase-file", NULL);
    o->passphrase.none = args_given(FLAGS, "no-passphrase");
    o->recovery_key = args_value(FLAGS, "recovery-key", NULL);
    o->recovery_passphrase.file =
        args_value(FLAGS, "recovery-passphrase-file", NULL);
    o->recovery_passphrase.none =
        o->passphrase.none && o->recovery_passphrase.file == NULL;
    o->prefix = args_value(FLAGS, "prefix", NULL);
    o->dry_run = args_given(FLAGS, "dry-run");
    code = take_limits(r, o);
    if (code == RESTORE_OK)
        code = take_mode(r, o);
    if (code != RESTORE_OK)
        return code;
    if (o->data == NULL || o->data[0] == '\0')
        return usage(r, "--data NEWDIR is missing");
    if (strlen(o->data) > PATH_MAX - 64)
        return usage(r, "--data is longer than a path may be");
    if (o->authority == NULL && o->new_authority == NULL)
        return usage(r, "give --authority FILE to go on as the same mesh, or "
                        "--new-authority FILE to begin a new mesh with the "
                        "same content");
    if (o->authority != NULL && o->new_authority != NULL)
        return usage(r, "--authority and --new-authority exclude each other");
    o->adopt = args_given(FLAGS, "adopt");
    if (o->adopt && o->new_authority != NULL)
        return usage(r, "--adopt is for --authority FILE of another mesh than "
                        "the snapshots'; with --new-authority a new mesh "
                        "takes them as they are: leave --adopt out");
    if (passphrase_source_check(&o->passphrase, &detail) != 0)
        return usage(r, detail.text);
    code = take_trust(r, o);
    return code == RESTORE_OK ? take_name(r, o) : code;
}

static int run(struct restore *r)
{
    int code = restore_check_place(r);

    if (code == RESTORE_OK)
        code = restore_take_authority(r);
    if (code == RESTORE_OK)
        code = restore_take_recovery(r);
    if (code == RESTORE_OK)
        code = restore_choose(r);
    if (code == RESTORE_OK)
        code = restore_gather(r);
    if (code == RESTORE_OK && !r->o->dry_run)
        code = restore_mint_authority(r);
    if (code == RESTORE_OK && !r->o->dry_run)
        code = restore_build(r);
    if (code == RESTORE_OK && (r->damaged > 0 || r->lost > 0))
        code = RESTORE_PARTIAL;
    /* Nobody uses an authority whose mesh was not built. */
    if (code != RESTORE_OK && code != RESTORE_PARTIAL && r->made_authority_file)
        (void)unlink(r->o->new_authority);
    return code;
}

/* ---- the report ---- */

static void print_json_string(const char *text)
{
    (void)putchar('"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            (void)printf("\\%c", c);
        else if (c < 0x20)
            (void)printf("\\u%04x", c);
        else
            (void)putchar(c);
    }
    (void)putchar('"');
}

static void print_member(const char *name, const char *text)
{
    (void)printf(",\"%s\":", name);
    print_json_string(text);
}

static void print_number(const char *name, uint64_t number)
{
    (void)printf(",\"%s\":%llu", name, (unsigned long long)number);
}

static void report_json(const struct restore *r, int code, uint64_t took_ms)
{
    bool good = code == RESTORE_OK || code == RESTORE_PARTIAL;
    bool restored = good && !r->o->dry_run;

    (void)printf("{\"restored\":%s,\"exit\":%d", restored ? "true" : "false",
                 code);
    if (good && !restored) {
        print_member("snapshot", r->chosen->name);
        print_number("sequence", r->chosen->sequence);
        print_number("entries", r->chosen->entries);
    } else if (restored) {
        char mesh[MESH_ID_TEXT_SIZE];
        char incarnation[INCARNATION_TEXT_SIZE];
        char fingerprint[AUTHORITY_FINGERPRINT_SIZE];

        mesh_id_format(mesh, &r->mesh);
        incarnation_format(incarnation, &r->incarnation);
        authority_fingerprint(fingerprint, r->authority.public_key);
        print_member("data", r->o->data);
        print_member("name", r->o->name);
        print_member("mesh", mesh);
        print_member("authority", fingerprint);
        if (r->adopting) {
            mesh_id_format(mesh, &r->manifest.mesh);
            print_member("adopted_from", mesh);
        }
        print_number("generation", r->generation.number);
        print_member("incarnation", incarnation);
        print_member("snapshot", r->chosen->name);
        print_member("signer", r->chosen->signer);
        print_number("sequence", r->chosen->sequence);
        print_number("created_ms", r->chosen->created_ms);
        print_number("entries", r->entries);
        print_number("keys", r->keys);
        print_number("chunks", r->chosen->chunks);
        (void)printf(",\"origin_checked\":%s",
                     r->origin_checked ? "true" : "false");
        print_number("took_ms", took_ms);
    } else {
        print_member("error", r->error);
    }
    print_number("found", r->listing.count);
    print_number("damaged", r->damaged);
    print_number("lost", r->lost);
    print_number("joined", r->sources_count);
    print_number("deltas", r->deltas);
    print_number("events", r->events);
    print_number("anew", r->anew);
    print_number("parked", r->parked);
    (void)printf("}\n");
}

static void report_text(const struct restore *r, int code, uint64_t took_ms)
{
    char mesh[MESH_ID_TEXT_SIZE];

    if (code != RESTORE_OK && code != RESTORE_PARTIAL)
        return; /* told on standard error */
    if (r->o->dry_run) {
        (void)printf("would restore %s (by %s, sequence %llu), %zu joined, "
                     "with %llu events of %llu deltas; nothing was written\n",
                     r->chosen->name, r->chosen->signer,
                     (unsigned long long)r->chosen->sequence, r->sources_count,
                     (unsigned long long)r->events,
                     (unsigned long long)r->deltas);
        return;
    }
    mesh_id_format(mesh, &r->mesh);
    (void)printf("restored %llu entries (%llu keys and elements) of %s (by "
                 "%s, sequence %llu) in %llu ms\n",
                 (unsigned long long)r->entries, (unsigned long long)r->keys,
                 r->chosen->name, r->chosen->signer,
                 (unsigned long long)r->chosen->sequence,
                 (unsigned long long)took_ms);
    if (r->deltas > 0 || r->sources_count > 1)
        (void)printf("%zu snapshots joined, %llu events of %llu deltas\n",
                     r->sources_count, (unsigned long long)r->events,
                     (unsigned long long)r->deltas);
    if (r->others_count > 0)
        (void)printf("%zu snapshots of other generations: %llu writes made "
                     "anew, %zu parked (see 'confmesh unsent')\n",
                     r->others_count, (unsigned long long)r->anew, r->parked);
    (void)printf("mesh %s, generation %llu, node %s in %s\n", mesh,
                 (unsigned long long)r->generation.number, r->o->name,
                 r->o->data);
    if (r->adopting) {
        mesh_id_format(mesh, &r->manifest.mesh);
        (void)printf("adopted from mesh %s: its values, not its members\n",
                     mesh);
    }
    if (r->o->new_authority != NULL)
        (void)printf("new authority in %s: move it off this host; nodes that "
                     "survived join by token\n",
                     r->o->new_authority);
    if (code == RESTORE_PARTIAL)
        (void)printf("PARTIAL: %zu snapshots damaged, %zu deltas lost or not "
                     "used; see above\n",
                     r->damaged, r->lost);
    (void)printf("next: confmesh node --data %s\n", r->o->data);
}

static void clear(struct restore *r)
{
    restore_sources_release(r);
    buffer_release(&r->scratch);
    for (size_t i = 0; i < r->o->targets_count; i++)
        object_store_close(&r->stores[i]);
    snapshot_listing_release(&r->listing);
    if (r->has_manifest)
        manifest_release(&r->manifest);
    if (r->has_authority)
        authority_clear(&r->authority);
    if (r->has_recovery)
        authority_clear(&r->recovery);
    buffer_release(&r->manifest_bytes);
    buffer_release(&r->certificate);
    buffer_release(&r->order);
}

int main(int argc, char **argv)
{
    struct restore_options o = {0};
    struct restore r = {.o = &o};
    struct cm_detail detail = {""};
    uint64_t started = mono_ms();
    struct args args;
    int code;

    if (sodium_init() < 0)
        return RESTORE_TRANSPORT;
    for (size_t i = 0; i < RESTORE_TARGETS_MAX; i++)
        r.stores[i] = (struct object_store)OBJECT_STORE_CLOSED;
    (void)signal(SIGPIPE, SIG_IGN);
    buffer_init(&r.manifest_bytes, SNAPSHOT_MANIFEST_MAX);
    buffer_init(&r.scratch, SNAPSHOT_MANIFEST_MAX);
    buffer_init(&r.certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&r.order, GENERATION_ORDER_SIZE_MAX);
    if (args_parse(&args, FLAGS, argc, argv, &detail) != 0) {
        code = usage(&r, detail.text);
    } else if (args_given(FLAGS, "help")) {
        (void)fputs(help, stdout);
        return RESTORE_OK;
    } else {
        code = take_options(&r, &o, &args);
        if (code == RESTORE_OK)
            code = run(&r);
    }
    if (o.json)
        report_json(&r, code, mono_ms() - started);
    else
        report_text(&r, code, mono_ms() - started);
    clear(&r);
    if (fflush(stdout) != 0 && code == RESTORE_OK)
        code = RESTORE_TRANSPORT;
    return code;
}
