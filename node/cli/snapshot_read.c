/* confmesh snapshot list|inspect|verify|drill: they read a target by
 * themselves, for the day when there is no node. */
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backup/delta.h"
#include "crdt/authority.h"
#include "crdt/base/check.h"
#include "node/cli/recovery.h"
#include "node/snapshot_drill.h"

/* ---- shared ---- */

/* What to do about damage. */
#define MENDING                                                                \
    "a restore would take the snapshot before, or another target's; while a "  \
    "node lives, 'confmesh snapshot now --to URL' puts anew what is damaged"

static void format_time(char ret[32], uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    ret[0] = 0;
    if (gmtime_r(&seconds, &tm) != NULL)
        (void)strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* The target is the first word, or --to as in "now"; at most more words are
 * left then. NULL after saying what is wrong. */
static const char *target_of(struct cli *c, size_t more)
{
    const char *to = cli_value(c, "to");

    if (to == NULL ? c->words_count == 0 : c->words_count > more) {
        (void)cli_usage_error(c, "say once which target: URL or --to URL");
        return NULL;
    }
    if (to != NULL)
        return to;
    c->words++;
    c->words_count--;
    return c->words[-1];
}

static json_t *listed_json(const struct snapshot_listed *l)
{
    char when[32];
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];
    char mesh[MESH_ID_TEXT_SIZE];
    json_t *o;

    format_time(when, l->created_ms);
    authority_fingerprint(fingerprint, l->authority_public_key);
    mesh_id_format(mesh, &l->mesh);
    o = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:s}",
        "name", l->name, "created", when, "signer", l->signer, "mesh", mesh,
        "authority", fingerprint, "sequence", (json_int_t)l->sequence,
        "generation", (json_int_t)l->generation.number, "entries",
        (json_int_t)l->entries, "chunks", (json_int_t)l->chunks, "bytes",
        (json_int_t)l->bytes, "encrypted", l->encrypted, "good", l->error == 0,
        "verdict", l->verdict);
    CHECK(o != NULL);
    if (l->accuser[0] != '\0')
        CHECK(json_object_set_new(o, "evicted_by", json_string(l->accuser)) ==
              0);
    return o;
}

static void set_number(json_t *o, const char *name, uint64_t number)
{
    CHECK(json_object_set_new(o, name, json_integer((json_int_t)number)) == 0);
}

static void set_text(json_t *o, const char *name, const char *text)
{
    CHECK(json_object_set_new(o, name, json_string(text)) == 0);
}

static void set_hex(json_t *o, const char *name, const void *bytes, size_t size)
{
    char text[2 * HASH_SIZE + 1];

    CHECK(size <= HASH_SIZE);
    hex_encode(text, slice_of(bytes, size));
    set_text(o, name, text);
}

/* Each member on a line of its own, or the object as it is; given away. */
static void print_object(const struct cli *c, json_t *o)
{
    const char *name;
    json_t *value;

    if (c->json) {
        cli_print_json(o);
        json_decref(o);
        return;
    }
    json_object_foreach(o, name, value)
    {
        (void)printf("%-14s ", name);
        if (json_is_string(value))
            cli_print_escaped(stdout,
                              slice_of_string(json_string_value(value)));
        else if (json_is_integer(value))
            (void)printf("%" PRId64, (int64_t)json_integer_value(value));
        else
            (void)fputs(json_is_true(value) ? "yes" : "no", stdout);
        (void)putchar('\n');
    }
    json_decref(o);
}

/* ---- what hangs on a manifest ---- */

struct deltas {
    uint64_t count;
    uint64_t last;
    uint64_t missing; /* numbers between */
    bool has_heartbeat;
    struct heartbeat heartbeat;
};

/* By their names alone. */
static int count_deltas(struct object_store *store, const char *manifest,
                        uint64_t of, struct deltas *ret,
                        struct cm_detail *detail)
{
    char prefix[SNAPSHOT_NAME_SIZE];
    struct object_list names;
    char *at;
    int error;

    (void)snprintf(prefix, sizeof prefix, "%s", manifest);
    at = strstr(prefix, "/m/");
    strrchr(prefix, '/')[1] = '\0';
    if (at == NULL)
        return 0;
    at[1] = 'd';
    error = object_store_list(store, prefix, &names, detail);
    if (error != 0)
        return error;
    for (size_t i = 0; i < names.count; i++) {
        uint64_t sequence;
        uint64_t number;

        if (!delta_name_parse(&sequence, &number, names.names[i]) ||
            sequence != of)
            continue;
        ret->count++;
        ret->last = number > ret->last ? number : ret->last;
    }
    ret->missing = ret->last - ret->count;
    object_list_release(&names);
    return 0;
}

static void read_heartbeat(struct object_store *store, const struct manifest *m,
                           struct deltas *ret)
{
    struct cm_detail detail = {""};
    char name[SNAPSHOT_NAME_SIZE];
    struct certificate signer;
    struct buffer bytes;

    buffer_init(&bytes, HEARTBEAT_SIZE_MAX);
    heartbeat_name(name, &m->mesh, &m->signer);
    ret->has_heartbeat = certificate_decode(&signer, m->certificate,
                                            m->authority_public_key) == 0 &&
                         object_store_get(store, name, &bytes, &detail) == 0 &&
                         heartbeat_decode(&ret->heartbeat, buffer_slice(&bytes),
                                          signer.sign_key, &detail) == 0;
    buffer_release(&bytes);
}

/* ---- list ---- */

static int print_listed(const struct cli *c, struct object_store *store,
                        const struct snapshot_listed *l)
{
    struct cm_detail detail = {""};
    struct deltas deltas = {.count = 0};
    char when[32];

    if (l->error == 0 &&
        count_deltas(store, l->name, l->sequence, &deltas, &detail) != 0)
        return cli_failed_as(c, CLI_TRANSPORT, "%s", detail.text);
    if (c->json) {
        json_t *o = listed_json(l);

        set_number(o, "deltas", deltas.count);
        cli_print_json(o);
        json_decref(o);
        return 0;
    }
    format_time(when, l->created_ms);
    (void)printf("%s  %s  %s #%" PRIu64 "  generation %" PRIu64 "  %" PRIu64
                 " entries  %" PRIu64 " deltas  %s%s%s%s\n",
                 l->name, when, l->signer, l->sequence, l->generation.number,
                 l->entries, deltas.count, l->encrypted ? "encrypted, " : "",
                 l->verdict,
                 l->accuser[0] != '\0' ? ", its key was evicted, says " : "",
                 l->accuser);
    return 0;
}

int cli_verb_snapshot_list(struct cli *c)
{
    const char *target = target_of(c, 0);
    struct cm_detail detail = {""};
    struct snapshot_listing listing;
    struct object_store store;
    int code;
    int error;

    if (target == NULL)
        return CLI_USAGE;
    error = object_store_open(&store, target, OBJECT_STORE_MAY_EXEC, &detail);
    if (error != 0)
        return cli_failed_as(c, cli_exit_of(error), "%s", detail.text);
    error = snapshot_list_in(&listing, &store, NULL, &detail);
    if (error != 0) {
        object_store_close(&store);
        return cli_failed_as(c, CLI_TRANSPORT, "%s", detail.text);
    }
    code = listing.count == 0 ? CLI_FALSE : CLI_DONE;
    for (size_t i = 0; i < listing.count && code != CLI_TRANSPORT; i++) {
        int told = print_listed(c, &store, &listing.items[i]);

        if (told != 0)
            code = told;
        else if (listing.items[i].error != 0)
            code = CLI_INTEGRITY;
    }
    if (listing.count == 0)
        cli_note("%s holds no snapshot; is it the right place?", target);
    snapshot_listing_release(&listing);
    object_store_close(&store);
    return code;
}

/* ---- one manifest ---- */

struct opened {
    struct object_store store;
    struct buffer bytes;
    struct manifest manifest;
    struct cli_recovery recovery;
    struct snapshot_listed listed;
};

static void close_one(struct opened *o)
{
    cli_recovery_close(&o->recovery);
    manifest_release(&o->manifest);
    buffer_release(&o->bytes);
    object_store_close(&o->store);
}

/* The newest, or the named one: a damaged one that may be the newest is not
 * passed over. */
static int choose(const struct cli *c, struct opened *o, const char *target)
{
    struct cm_detail detail = {""};
    struct snapshot_listing l;
    size_t at = 0;
    int error;

    if (c->words_count > 0) {
        (void)snprintf(o->listed.name, sizeof o->listed.name, "%s",
                       c->words[0]);
        return 0;
    }
    error = snapshot_list_in(&l, &o->store, NULL, &detail);
    if (error != 0)
        return cli_failed_as(c, CLI_TRANSPORT, "%s", detail.text);
    if (l.count == 0) {
        snapshot_listing_release(&l);
        return cli_failed_as(c, CLI_TRANSPORT,
                             "%s holds no snapshot; is it the right place?",
                             target);
    }
    if (l.items[l.count - 1].error != 0)
        at = l.count - 1;
    o->listed = l.items[at];
    snapshot_listing_release(&l);
    return 0;
}

static void fill_listed(struct snapshot_listed *l, const struct manifest *m)
{
    (void)snprintf(l->signer, sizeof l->signer, "%s", m->signer_name);
    l->mesh = m->mesh;
    memcpy(l->authority_public_key, m->authority_public_key, 32);
    l->generation = m->generation;
    l->sequence = m->sequence;
    l->created_ms = m->created_ms;
    l->entries = m->entry_count;
    l->chunks = m->chunk_count;
    l->bytes = m->byte_count;
    l->encrypted = m->sealed.size > 0;
    l->error = 0;
    (void)snprintf(l->verdict, sizeof l->verdict, "good");
}

/* 0 or an exit code, said; the manifest is open then. */
static int open_one(struct cli *c, struct opened *o)
{
    const char *target = target_of(c, 1);
    struct cm_detail detail = {""};
    int code;
    int error;

    *o = (struct opened){.store = OBJECT_STORE_CLOSED};
    if (target == NULL)
        return CLI_USAGE;
    error =
        object_store_open(&o->store, target, OBJECT_STORE_MAY_EXEC, &detail);
    if (error != 0)
        return cli_failed_as(c, cli_exit_of(error), "%s", detail.text);
    buffer_init(&o->bytes, SNAPSHOT_MANIFEST_MAX);
    code = choose(c, o, target);
    if (code == 0)
        code = cli_recovery_open(c, &o->recovery);
    if (code == 0)
        error = snapshot_manifest_load(&o->store, o->listed.name, NULL,
                                       &o->bytes, &o->manifest, &detail);
    if (error != 0)
        code = cli_failed_as(c, cli_exit_of(error),
                             "manifest %s: %s; 'confmesh snapshot list %s' "
                             "tells what there is",
                             o->listed.name, detail.text, target);
    if (code != 0) {
        cli_recovery_close(&o->recovery);
        buffer_release(&o->bytes);
        object_store_close(&o->store);
        return code;
    }
    fill_listed(&o->listed, &o->manifest);
    return 0;
}

/* --trust; else a remark. 0 or an exit code, said. */
static int check_trust(const struct cli *c, const struct opened *o)
{
    char fingerprint[AUTHORITY_FINGERPRINT_SIZE];
    const char *trust = cli_value(c, "trust");

    if (trust != NULL &&
        (strlen(trust) != sizeof fingerprint - 1 ||
         strspn(trust, "0123456789abcdefABCDEF") != sizeof fingerprint - 1))
        return cli_usage_error(c, "--trust must be the fingerprint that init "
                                  "printed, 64 hex digits");
    authority_fingerprint(fingerprint, o->manifest.authority_public_key);
    if (trust != NULL && strcasecmp(trust, fingerprint) != 0)
        return cli_failed_as(c, CLI_TRUST,
                             "the snapshot's authority is %s, not the one of "
                             "--trust; compare both with your note of what "
                             "'confmesh init' printed",
                             fingerprint);
    if (trust == NULL)
        cli_note("damage checked, origin not: authority %s; compare it, or "
                 "give --trust FINGERPRINT",
                 fingerprint);
    return 0;
}

/* ---- inspect ---- */

static void put_manifest(json_t *j, const struct manifest *m)
{
    struct hash none = {{0}};
    char when[32];

    set_number(j, "siblings", m->sibling_count);
    set_number(j, "members", m->vv.count);
    format_time(when, hlc_wall_ms(m->hlc_max));
    set_text(j, "newest_write", when);
    set_hex(j, "key_id", m->signer.bytes, KEY_ID_SIZE);
    set_hex(j, "root", m->root.bytes, HASH_SIZE);
    set_hex(j, "digest", m->state_digest.bytes, HASH_SIZE);
    set_hex(j, "generation_hash", m->generation.hash, 16);
    if (!hash_equal(&m->previous, &none))
        set_hex(j, "previous", m->previous.bytes, HASH_SIZE);
    set_number(j, "segments", m->segments.size / HASH_SIZE);
}

static void put_recipients(json_t *j, const struct manifest *m)
{
    uint8_t recipients[SEALED_RECIPIENTS_MAX][32];
    size_t count = 0;
    char text[SEALED_RECIPIENTS_MAX * 65 + 1] = "";

    if (m->sealed.size == 0 ||
        sealed_keys_decode(m->sealed, recipients, &count) != 0)
        return;
    for (size_t i = 0; i < count; i++) {
        hex_encode(text + 65 * i, slice_of(recipients[i], 32));
        if (i + 1 < count)
            text[65 * i + 64] = ' ';
    }
    set_text(j, "recipients", text);
}

static void put_deltas(json_t *j, const struct deltas *d, uint64_t sequence)
{
    char when[32];

    set_number(j, "deltas", d->count);
    set_number(j, "deltas_missing", d->missing);
    if (!d->has_heartbeat)
        return;
    format_time(when, d->heartbeat.created_ms);
    set_text(j, "heartbeat", when);
    set_number(j, "heartbeat_sequence", d->heartbeat.base_sequence);
    set_number(j, "heartbeat_delta",
               d->heartbeat.base_sequence == sequence ? d->heartbeat.number
                                                      : 0);
}

int cli_verb_snapshot_inspect(struct cli *c)
{
    struct cm_detail detail = {""};
    struct deltas deltas = {.count = 0};
    struct snapshot_sample sample;
    struct opened o;
    json_t *j;
    int code = open_one(c, &o);
    int error;

    if (code != 0)
        return code;
    error = snapshot_packs_sample(&o.store, &o.manifest, 0, &sample, &detail);
    if (error == 0)
        error = count_deltas(&o.store, o.listed.name, o.manifest.sequence,
                             &deltas, &detail);
    if (error != 0) {
        code = cli_failed_as(c, cli_exit_of(error), "%s", detail.text);
    } else {
        read_heartbeat(&o.store, &o.manifest, &deltas);
        j = listed_json(&o.listed);
        put_manifest(j, &o.manifest);
        set_number(j, "manifest_bytes", o.bytes.size);
        set_number(j, "packs", sample.packs);
        set_number(j, "packs_bytes", sample.bytes);
        put_recipients(j, &o.manifest);
        put_deltas(j, &deltas, o.manifest.sequence);
        print_object(c, j);
    }
    close_one(&o);
    return code;
}

/* ---- verify ---- */

static int read_percent(const struct cli *c, unsigned *ret_percent)
{
    const struct args_flag *flag =
        args_flag_find(c->flags, c->flags_count, "read-data");
    const char *text = flag->count > 0 ? flag->values[0] : NULL;
    char *end;
    unsigned long percent;

    *ret_percent = 100;
    if (text == NULL)
        return 0;
    percent = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || percent > 100 ||
        (end[0] != '\0' && strcmp(end, "%") != 0))
        return cli_usage_error(c, "--read-data must be 0%% to 100%%, as in "
                                  "--read-data=10%%");
    *ret_percent = (unsigned)percent;
    return 0;
}

static int verify_packs(struct opened *o, unsigned percent, json_t *j,
                        struct cm_detail *detail)
{
    struct snapshot_keys keys = {.encrypted = false};
    uint64_t count = UINT64_MAX;
    struct snapshot_sample sample = {.packs = 0};
    bool has_keys = o->manifest.sealed.size > 0 && o->recovery.has_key;
    int error = has_keys ? cli_recovery_unlock(&o->recovery, &o->manifest,
                                               &keys, detail)
                         : 0;

    if (error == 0)
        error =
            snapshot_packs_sample(&o->store, &o->manifest,
                                  percent < 100 ? percent : 0, &sample, detail);
    if (error == 0 && percent == 100) {
        error = snapshot_objects_read(&o->store, &o->manifest,
                                      has_keys ? &keys : NULL, NULL, NULL,
                                      &count, detail);
        sample.read = sample.packs;
    }
    sodium_memzero(&keys, sizeof keys);
    if (error != 0)
        return error;
    if (count != UINT64_MAX)
        set_number(j, "keys", count);
    set_number(j, "packs", sample.packs);
    set_number(j, "packs_read", sample.read);
    return 0;
}

static void print_verified(const struct cli *c, const struct opened *o,
                           json_t *j)
{
    const json_t *keys = json_object_get(j, "keys");
    char when[32];

    if (c->json) {
        cli_print_json(j);
        return;
    }
    format_time(when, o->listed.created_ms);
    (void)printf("%s  %s  %s #%" PRIu64 "  generation %" PRIu64 "  %" PRIu64
                 " entries",
                 o->listed.name, when, o->listed.signer, o->listed.sequence,
                 o->listed.generation.number, o->listed.entries);
    if (keys != NULL)
        (void)printf(" (%" PRId64 " keys and elements)",
                     (int64_t)json_integer_value(keys));
    (void)printf("  %" PRId64 " of %" PRId64 " packs read  good\n",
                 (int64_t)json_integer_value(json_object_get(j, "packs_read")),
                 (int64_t)json_integer_value(json_object_get(j, "packs")));
}

int cli_verb_snapshot_verify(struct cli *c)
{
    struct cm_detail detail = {""};
    unsigned percent;
    struct opened o;
    json_t *j;
    int code = read_percent(c, &percent);
    int error;

    if (code == 0)
        code = open_one(c, &o);
    if (code != 0)
        return code;
    j = listed_json(&o.listed);
    error = verify_packs(&o, percent, j, &detail);
    if (error != 0)
        code = cli_failed_as(c, cli_exit_of(error), "%s", detail.text);
    if (code == CLI_INTEGRITY)
        cli_note(MENDING);
    else if (error == 0)
        code = check_trust(c, &o);
    if (code == 0)
        print_verified(c, &o, j);
    json_decref(j);
    close_one(&o);
    return code;
}

/* ---- drill ---- */

static json_t *drill_json(const struct snapshot_drill *d)
{
    char when[32];
    json_t *j = json_object();

    CHECK(j != NULL);
    set_text(j, "name", d->name);
    set_text(j, "signer", d->signer);
    set_number(j, "sequence", d->sequence);
    format_time(when, d->created_ms);
    set_text(j, "created", when);
    format_time(when, d->covered_ms);
    set_text(j, "newest_write", when);
    set_number(j, "entries", d->entries);
    set_number(j, "keys", d->keys);
    set_number(j, "bytes", d->bytes);
    set_hex(j, "root", d->root.bytes, HASH_SIZE);
    set_number(j, "deltas", d->deltas);
    set_number(j, "events", d->events);
    set_number(j, "lost", d->lost);
    if (d->lost > 0)
        set_text(j, "lost_first", d->lost_text);
    return j;
}

int cli_verb_snapshot_drill(struct cli *c)
{
    const char *target = target_of(c, 1);
    const char *directory = cli_value(c, "scratch");
    const char *temporary = getenv("TMPDIR");
    char scratch[PATH_MAX];
    struct object_store store;
    struct cli_recovery recovery;
    struct cm_detail detail = {""};
    struct snapshot_drill drill;
    struct snapshot_drill_config config = {
        .store = &store,
        .name = c->words_count > 0 && target != NULL ? c->words[0] : NULL,
        .scratch = scratch,
        .unlock = cli_recovery_unlock,
        .context = &recovery,
    };
    int code;
    int error;

    if (target == NULL)
        return CLI_USAGE;
    if (directory == NULL)
        directory =
            temporary != NULL && temporary[0] != '\0' ? temporary : "/tmp";
    (void)snprintf(scratch, sizeof scratch, "%.4000s/confmesh-drill",
                   directory);
    code = cli_recovery_open(c, &recovery);
    if (code != 0)
        return code;
    error = object_store_open(&store, target, OBJECT_STORE_MAY_EXEC, &detail);
    if (error != 0) {
        cli_recovery_close(&recovery);
        return cli_failed_as(c, cli_exit_of(error), "%s", detail.text);
    }
    error = snapshot_drill(&drill, &config, &detail);
    if (error != 0) {
        code = cli_failed_as(c, cli_exit_of(error), "not restorable: %s",
                             detail.text);
        if (code == CLI_INTEGRITY)
            cli_note(MENDING);
    } else {
        if (!c->json)
            (void)printf("restored and compared: good\n");
        print_object(c, drill_json(&drill));
        if (drill.lost > 0)
            code = cli_failed_as(c, CLI_PARTIAL,
                                 "%zu deltas could not be used: %s", drill.lost,
                                 drill.lost_text);
    }
    object_store_close(&store);
    cli_recovery_close(&recovery);
    return code;
}
