/* The text of a plan: see plan.h. What is read comes from files that people
 * edit, so every refusal names the line and the word. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/op.h"
#include "sim/plan.h"

#define MAGIC "confmesh-plan"
#define CORE_SEEN (UINT64_C(1) << 63) /* beside a bit for each number */

static const struct {
    const char *name;
    int64_t low, high;
} params[SIM_PARAMS] = {
#define PARAM_ROW(name, text, low, high) [name] = {text, low, high},
    SIM_PARAM_MAP(PARAM_ROW)
#undef PARAM_ROW
};

/* Everything of the header that is a number: name, field, greatest. */
#define HEADER_MAP(X)                                                          \
    X("seed", seed, UINT64_MAX)                                                \
    X("nodes", nodes, SIM_PLAN_HOSTS_MAX)                                      \
    X("joined", joined, SIM_PLAN_HOSTS_MAX)                                    \
    X("duration", duration_ms, SIM_PLAN_MS_MAX)                                \
    X("core-within", core_ms, SIM_PLAN_MS_MAX)                                 \
    X("heal-within", heal_ms, SIM_PLAN_MS_MAX)                                 \
    X("floor", floor_ms, SIM_PLAN_MS_MAX)                                      \
    X("format", format_level, LEVEL_LAST)                                      \
    X("uploaders", uploaders, SIM_PLAN_HOSTS_MAX)                              \
    X("delta", delta_ms, SIM_PLAN_MS_MAX)                                      \
    X("targets", targets, SIM_PLAN_TARGETS_MAX)                                \
    X("drill", drill_ms, SIM_PLAN_MS_MAX)                                      \
    X("sync-min", sync_us_min, 10000000)                                       \
    X("sync-max", sync_us_max, 10000000)                                       \
    X("latency", net.latency_us, 10000000)                                     \
    X("jitter", net.jitter_us, 10000000)                                       \
    X("loss", net.loss_ppm, 1000000)                                           \
    X("duplicate", net.duplicate_ppm, 1000000)                                 \
    X("reorder", net.reorder_ppm, 1000000)                                     \
    X("reorder-by", net.reorder_us, 10000000)                                  \
    X("rate", net.bytes_per_ms, 1000000000)                                    \
    X("slice", net.slice_ppm, 1000000)                                         \
    X("give-up", net.give_up_us, SIM_PLAN_MS_MAX)

/* ---- printing ---- */

static void print_hosts(const struct sim_hosts *s, struct buffer *out)
{
    const char *comma = "";

    for (unsigned i = 0; i < SIM_PLAN_HOSTS_MAX; i++) {
        unsigned last = i;
        if (!sim_hosts_has(s, i))
            continue;
        while (last + 1 < SIM_PLAN_HOSTS_MAX && sim_hosts_has(s, last + 1))
            last++;
        if (last > i + 1) { /* three and more */
            buffer_printf(out, "%sn%u-n%u", comma, i, last);
            i = last;
        } else {
            buffer_printf(out, "%sn%u", comma, i);
        }
        comma = ",";
    }
}

void sim_plan_print_line(const struct sim_plan_line *l, struct buffer *out)
{
    buffer_printf(out, "%" PRIu64 " %" PRIu64 " %s ", l->id, l->at_ms,
                  sim_deed_name(l->deed));
    print_hosts(&l->hosts, out);
    if (sim_deed_targets(l->deed) == SIM_TARGET_PAIR) {
        buffer_append_string(out, " to=");
        print_hosts(&l->to, out);
    }
    for (unsigned p = 0; p < SIM_PARAMS; p++)
        if (sim_deed_takes(l->deed, (enum sim_param)p) &&
            (l->params[p] != 0 || !sim_deed_spares(l->deed, (enum sim_param)p)))
            buffer_printf(out, " %s=%" PRId64, params[p].name, l->params[p]);
}

void sim_plan_print(const struct sim_plan *p, struct buffer *out)
{
    buffer_printf(out, MAGIC " %d", SIM_PLAN_FORMAT);
#define PRINT_FIELD(name, field, high)                                         \
    buffer_printf(out, " " name "=%" PRIu64, (uint64_t)p->field);
    HEADER_MAP(PRINT_FIELD)
#undef PRINT_FIELD
    buffer_append_string(out, " core=");
    print_hosts(&p->core, out);
    buffer_append_byte(out, '\n');
    for (size_t i = 0; i < p->count; i++) {
        sim_plan_print_line(&p->lines[i], out);
        buffer_append_byte(out, '\n');
    }
}

/* ---- parsing ---- */

struct reader {
    char *next; /* of the line, words cut off in place */
    unsigned long line;
    struct cm_detail *detail;
};

static int refuse(const struct reader *r, const char *word, const char *what)
{
    return cm_fail(r->detail, CM_ERR_MALFORMED, "line %lu, \"%.60s\": %s",
                   r->line, word, what);
}

/* NULL at the line's end. */
static char *next_word(struct reader *r)
{
    r->next += strspn(r->next, " \t\r");
    if (*r->next == 0)
        return NULL;
    char *word = r->next;
    r->next += strcspn(r->next, " \t\r");
    if (*r->next != 0)
        *r->next++ = 0;
    return word;
}

static bool read_unsigned(const char *text, uint64_t *ret)
{
    char *end = NULL;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno != 0 || *end != 0)
        return false;
    *ret = v;
    return true;
}

static bool read_signed(const char *text, int64_t *ret)
{
    uint64_t v = 0;
    bool negative = *text == '-';

    if (!read_unsigned(text + negative, &v) || v > INT64_MAX)
        return false;
    *ret = negative ? -(int64_t)v : (int64_t)v;
    return true;
}

/* n5, with what follows it left in *text. */
static bool read_host(const char **text, unsigned *ret)
{
    const char *p = *text;
    unsigned v = 0;

    if (*p++ != 'n' || *p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        v = v * 10 + (unsigned)(*p - '0');
        if (v >= SIM_PLAN_HOSTS_MAX)
            return false;
    }
    *text = p;
    *ret = v;
    return true;
}

static int read_hosts(const struct reader *r, const char *word,
                      struct sim_hosts *ret)
{
    const char *p = word;

    for (;;) {
        unsigned first = 0;
        if (!read_host(&p, &first))
            break;
        unsigned last = first;
        if (*p == '-') {
            p++;
            if (!read_host(&p, &last) || last < first)
                break;
        }
        for (unsigned i = first; i <= last; i++)
            sim_hosts_add(ret, i);
        if (*p == 0)
            return 0;
        if (*p++ != ',')
            break;
    }
    return refuse(r, word, "hosts are written as n0,n2-n5");
}

static int read_header_word(const struct reader *r, struct sim_plan *p,
                            const char *word, char *value, uint64_t *seen)
{
    uint64_t v = 0;
    unsigned number = 0;

    if (strcmp(word, "core") == 0) {
        if ((*seen & CORE_SEEN) != 0)
            return refuse(r, word, "given twice");
        *seen |= CORE_SEEN;
        p->core = (struct sim_hosts){{0}};
        return read_hosts(r, value, &p->core);
    }
    if (!read_unsigned(value, &v))
        return refuse(r, value, "not a number");
#define READ_FIELD(name, field, high)                                          \
    if (strcmp(word, name) == 0) {                                             \
        if ((*seen >> number & 1) != 0)                                        \
            return refuse(r, word, "given twice");                             \
        if (v > (uint64_t)(high))                                              \
            return refuse(r, value, "too large for " name);                    \
        p->field = (__typeof__(p->field))v;                                    \
        *seen |= UINT64_C(1) << number;                                        \
        return 0;                                                              \
    }                                                                          \
    number++;
    HEADER_MAP(READ_FIELD)
#undef READ_FIELD
    return refuse(r, word, "no such field of a header");
}

static int read_header(struct reader *r, struct sim_plan *p)
{
    uint64_t version = 0;
    uint64_t seen = 0;
    char *word = next_word(r);

    if (word == NULL || strcmp(word, MAGIC) != 0)
        return refuse(r, word == NULL ? "" : word,
                      "a plan begins with \"" MAGIC " 1\"");
    word = next_word(r);
    if (word == NULL || !read_unsigned(word, &version))
        return refuse(r, word == NULL ? "" : word,
                      "the format's number is missing");
    if (version != SIM_PLAN_FORMAT)
        return cm_fail(r->detail, CM_ERR_FORMAT_VERSION,
                       "line %lu: format %" PRIu64
                       " of plans; this program reads %d",
                       r->line, version, SIM_PLAN_FORMAT);
    while ((word = next_word(r)) != NULL) {
        char *value = strchr(word, '=');
        if (value == NULL)
            return refuse(r, word, "not of the form name=value");
        *value++ = 0;
        int error = read_header_word(r, p, word, value, &seen);
        if (error != 0)
            return error;
    }
    if ((seen & 3) != 3)
        return refuse(r, MAGIC, "seed= and nodes= are needed");
    return 0;
}

static int read_param(const struct reader *r, struct sim_plan_line *l,
                      const char *word, const char *value, uint32_t *seen)
{
    for (unsigned p = 0; p < SIM_PARAMS; p++) {
        if (strcmp(word, params[p].name) != 0)
            continue;
        if (!sim_deed_takes(l->deed, (enum sim_param)p))
            return refuse(r, word, "this deed takes no such parameter");
        if ((*seen >> p & 1) != 0)
            return refuse(r, word, "given twice");
        if (!read_signed(value, &l->params[p]))
            return refuse(r, value, "not a number");
        if (l->params[p] < params[p].low || l->params[p] > params[p].high)
            return cm_fail(r->detail, CM_ERR_LIMIT,
                           "line %lu, %s=%s: from %" PRId64 " to %" PRId64,
                           r->line, word, value, params[p].low, params[p].high);
        *seen |= 1u << p;
        return 0;
    }
    return refuse(r, word, "no such parameter");
}

static int read_rest(struct reader *r, struct sim_plan_line *l)
{
    uint32_t seen = 0;
    char *word;

    while ((word = next_word(r)) != NULL) {
        char *value = strchr(word, '=');
        if (value == NULL)
            return refuse(r, word, "not of the form name=value");
        *value++ = 0;
        if (strcmp(word, "to") == 0 && sim_hosts_count(&l->to) > 0)
            return refuse(r, word, "given twice");
        int error = strcmp(word, "to") == 0
                        ? read_hosts(r, value, &l->to)
                        : read_param(r, l, word, value, &seen);
        if (error != 0)
            return error;
    }
    for (unsigned p = 0; p < SIM_PARAMS; p++)
        if (sim_deed_takes(l->deed, (enum sim_param)p) && !(seen >> p & 1) &&
            !sim_deed_spares(l->deed, (enum sim_param)p))
            return refuse(r, params[p].name, "parameter is missing");
    return 0;
}

static int read_line(struct reader *r, struct sim_plan *p)
{
    struct sim_plan_line l = {.text_line = (unsigned)r->line};
    char *id = next_word(r);

    CHECK(id != NULL);
    char *at = next_word(r);
    char *deed = next_word(r);
    char *hosts = next_word(r);
    if (hosts == NULL)
        return refuse(r, id, "a line is: id time deed hosts parameters");
    if (!read_unsigned(id, &l.id))
        return refuse(r, id, "the id is not a number");
    if (!read_unsigned(at, &l.at_ms) || l.at_ms > SIM_PLAN_MS_MAX)
        return refuse(r, at, "the time is not a number of milliseconds");
    unsigned d = 0;
    while (d < SIM_DEEDS && strcmp(sim_deed_name((enum sim_deed)d), deed) != 0)
        d++;
    if (d == SIM_DEEDS)
        return refuse(r, deed, "no such deed");
    l.deed = (enum sim_deed)d;
    int error = read_hosts(r, hosts, &l.hosts);
    if (error == 0)
        error = read_rest(r, &l);
    if (error != 0)
        return error;
    error = sim_plan_add(p, &l);
    return error == CM_ERR_LIMIT
               ? cm_fail(r->detail, error,
                         "line %lu: a plan has at most %d lines", r->line,
                         SIM_PLAN_LINES_MAX)
               : error;
}

static int read_text(struct sim_plan *p, char *text, struct cm_detail *detail)
{
    struct reader r = {.detail = detail};
    bool headed = false;

    while (text != NULL) {
        char *end = strchr(text, '\n');
        if (end != NULL)
            *end++ = 0;
        r.line++;
        r.next = text + strspn(text, " \t\r");
        text = end;
        if (*r.next == 0 || *r.next == '#')
            continue;
        if (strlen(r.next) > SIM_PLAN_LINE_TEXT_MAX)
            return refuse(&r, r.next, "the line is too long");
        if (!headed)
            p->text_line = (unsigned)r.line;
        int error = headed ? read_line(&r, p) : read_header(&r, p);
        if (error != 0)
            return error;
        headed = true;
    }
    if (!headed)
        return refuse(&r, "", "a plan begins with \"" MAGIC " 1\"");
    return sim_plan_check(p, detail);
}

int sim_plan_parse(struct sim_plan *ret, struct slice text,
                   struct cm_detail *detail)
{
    sim_plan_init(ret);
    if (text.size > SIM_PLAN_TEXT_MAX)
        return cm_fail(detail, CM_ERR_LIMIT, "a plan has at most %u bytes",
                       SIM_PLAN_TEXT_MAX);
    if (text.size > 0 && memchr(text.data, 0, text.size) != NULL)
        return cm_fail(detail, CM_ERR_MALFORMED, "a plan is text");
    char *copy = cm_alloc(text.size + 1);
    if (copy == NULL)
        return CM_ERR_NOMEM;
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    int error = read_text(ret, copy, detail);
    cm_free(copy);
    if (error != 0)
        sim_plan_release(ret);
    return error;
}

int sim_plan_read(struct sim_plan *ret, const char *path,
                  struct cm_detail *detail)
{
    struct buffer text;
    size_t size = 0;

    sim_plan_init(ret);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return cm_fail(detail, CM_ERR_IO, "cannot open %s: %s", path,
                       strerror(errno));
    buffer_init(&text, SIM_PLAN_TEXT_MAX);
    do {
        uint8_t chunk[4096];
        size = fread(chunk, 1, sizeof chunk, f);
        buffer_append(&text, chunk, size);
    } while (size > 0 && text.error == 0);
    int error = ferror(f) ? cm_fail(detail, CM_ERR_IO, "cannot read %s", path)
                          : text.error;
    if (error == CM_ERR_TOO_LARGE || error == CM_ERR_LIMIT)
        error = cm_fail(detail, error, "%s: a plan has at most %u bytes", path,
                        SIM_PLAN_TEXT_MAX);
    (void)fclose(f);
    if (error == 0)
        error = sim_plan_parse(ret, buffer_slice(&text), detail);
    buffer_release(&text);
    return error;
}
