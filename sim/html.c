/* Numbers are written for the script as arrays, times as differences, so that
 * a page stays small; tables are written for the reader. */
#include "sim/html.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "crdt/base/check.h"

/* ---- text ---- */

static void escape(struct buffer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            buffer_append_string(out, "&amp;");
            break;
        case '<':
            buffer_append_string(out, "&lt;");
            break;
        case '>':
            buffer_append_string(out, "&gt;");
            break;
        case '"':
            buffer_append_string(out, "&quot;");
            break;
        default:
            buffer_append_byte(out, (uint8_t)*text);
        }
    }
}

/* In a script: no quote, no end of the element, no control character. */
static void quote(struct buffer *out, const char *text)
{
    buffer_append_byte(out, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == '"' || c == '\\' || c == '<' || c == '>')
            buffer_printf(out, "\\u%04x", c);
        else
            buffer_append_byte(out, c);
    }
    buffer_append_byte(out, '"');
}

static void seconds(struct buffer *out, int64_t ms)
{
    buffer_printf(out, "%s%" PRId64 ".%03d s", ms < 0 ? "-" : "",
                  ms < 0 ? -ms / 1000 : ms / 1000,
                  (int)(ms < 0 ? -ms % 1000 : ms % 1000));
}

static void hosts(struct buffer *out, const struct sim_hosts *s, unsigned nodes)
{
    const char *before = "";

    for (unsigned h = 0; h < nodes; h++) {
        if (!sim_hosts_has(s, h))
            continue;
        buffer_printf(out, "%sn%u", before, h);
        before = " ";
    }
}

static bool is_fault(const struct sim_plan_line *l)
{
    return sim_deed_family(l->deed) != SIM_FAMILY_WORK;
}

static uint64_t length_ms(const struct sim_plan_line *l)
{
    return l->params[SIM_PARAM_FOR] > 0 ? (uint64_t)l->params[SIM_PARAM_FOR]
                                        : 0;
}

static bool has_violation(const struct sim_run_result *r)
{
    return r->outcome != SIM_PASS;
}

static int64_t violation_ms(const struct sim_html_data *d,
                            const struct sim_run_result *r)
{
    return (int64_t)(r->at_us / 1000) - (int64_t)(d->start_us / 1000);
}

/* ---- data for the script ---- */

static void lanes(struct buffer *out, const struct sim_html_data *d)
{
    buffer_append_string(out, "lanes:[");
    for (unsigned h = 0; h < d->nodes; h++) {
        const struct sim_html_lane *l = &d->lanes[h];
        int64_t before = d->begin_ms;

        buffer_append_string(out, h > 0 ? ",\n[" : "\n[");
        for (size_t i = 0; i < l->count; i++) {
            const struct sim_html_change *c = &l->changes[i];
            int64_t state = c->state == SIM_HTML_DOWN   ? -1
                            : c->state == SIM_HTML_NONE ? -2
                                                        : (int64_t)c->state;

            buffer_printf(out, "%s%" PRId64 ",%" PRId64, i > 0 ? "," : "",
                          c->at_ms - before, state);
            before = c->at_ms;
        }
        buffer_append_byte(out, ']');
    }
    buffer_append_string(out, "],\n");
}

/* Slices without any are told by how many there are: [-12,3,5,-4,…]. */
static void traffic(struct buffer *out, const struct sim_html_data *d)
{
    buffer_append_string(out, "traffic:[");
    for (unsigned h = 0; h < d->nodes; h++) {
        const uint64_t *m = d->lanes[h].messages;
        unsigned empty = 0;

        buffer_append_string(out, h > 0 ? ",\n[" : "\n[");
        for (size_t i = 0; i < SIM_HTML_SLICES; i++) {
            empty += m[i] == 0;
            if (m[i] == 0)
                continue;
            if (empty > 0)
                buffer_printf(out, "-%u,", empty);
            buffer_printf(out, "%" PRIu64 ",", m[i]);
            empty = 0;
        }
        buffer_append_string(out, "0]");
    }
    buffer_append_string(out, "],\n");
}

static void arrow(struct buffer *out, const struct sim_html_arrow *a,
                  int64_t *before)
{
    buffer_printf(out, "%" PRId64 ",%u,%u,", a->at_ms - *before, a->from,
                  a->to);
    *before = a->at_ms;
}

static void arrows(struct buffer *out, const struct sim_html_data *d)
{
    uint64_t kept =
        d->messages < SIM_HTML_LAST_MAX ? d->messages : SIM_HTML_LAST_MAX;
    uint64_t first = d->messages - kept;
    int64_t whole_ms =
        kept > 0 ? d->last[first % SIM_HTML_LAST_MAX].at_ms : d->end_ms;
    int64_t before = d->begin_ms;

    buffer_printf(out, "stride:%" PRIu64 ",whole:%" PRId64 ",arrows:[",
                  d->arrows_stride, whole_ms);
    for (size_t i = 0; i < d->arrows_count; i++) {
        if (d->arrows[i].at_ms < whole_ms)
            arrow(out, &d->arrows[i], &before);
    }
    for (uint64_t i = first; i < d->messages; i++)
        arrow(out, &d->last[i % SIM_HTML_LAST_MAX], &before);
    buffer_append_string(out, "0],\n");
}

/* [at, length, deed, hosts…] */
static void plan_lines(struct buffer *out, const struct sim_plan *p,
                       bool faults, size_t limit)
{
    size_t count = 0;

    buffer_printf(out, "%s:[", faults ? "faults" : "operations");
    for (size_t i = 0; i < p->count && count < limit; i++) {
        const struct sim_plan_line *l = &p->lines[i];

        if (is_fault(l) != faults)
            continue;
        buffer_printf(out, "%s[%" PRIu64 ",%" PRIu64 ",%u",
                      count++ > 0 ? "," : "", l->at_ms, length_ms(l),
                      (unsigned)l->deed);
        for (unsigned h = 0; h < p->nodes; h++) {
            if (sim_hosts_has(&l->hosts, h))
                buffer_printf(out, ",%u", h);
        }
        buffer_append_byte(out, ']');
    }
    buffer_append_string(out, "],\n");
}

static void data(struct buffer *out, const struct sim_html_data *d,
                 const struct sim_plan *p, const struct sim_run_result *r)
{
    buffer_printf(out,
                  "{nodes:%u,begin:%" PRId64 ",end:%" PRId64
                  ",duration:%" PRIu64 ",slice:%" PRIu64
                  ",slices:%d,states:%u,messages:%" PRIu64 ",\n",
                  d->nodes, d->begin_ms, d->end_ms, p->duration_ms, d->slice_ms,
                  SIM_HTML_SLICES, d->states_count, d->messages);
    buffer_append_string(out, "deeds:[");
    for (unsigned i = 0; i < SIM_DEEDS; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        quote(out, sim_deed_name((enum sim_deed)i));
    }
    buffer_append_string(out, "],\n");
    lanes(out, d);
    traffic(out, d);
    arrows(out, d);
    plan_lines(out, p, true, SIM_HTML_FAULTS_MAX);
    plan_lines(out, p, false, SIM_HTML_OPERATIONS_MAX);
    if (has_violation(r)) {
        buffer_printf(
            out, "violation:{at:%" PRId64 ",host:%d,name:", violation_ms(d, r),
            r->host < d->nodes ? (int)r->host : -1);
        quote(out, r->fingerprint);
        buffer_append_string(out, ",words:");
        quote(out, r->words);
        buffer_append_string(out, "}}");
    } else {
        buffer_append_string(out, "violation:null}");
    }
}

/* ---- tables for the reader ---- */

static void summary(struct buffer *out, const struct sim_html_data *d,
                    const struct sim_plan *p, const struct sim_run_result *r,
                    const char *repro)
{
    buffer_printf(out, "<p class=\"outcome %s\"><strong>%s</strong>",
                  has_violation(r) ? "bad" : "good",
                  sim_outcome_name(r->outcome));
    if (has_violation(r)) {
        buffer_append_string(out, ": <code>");
        escape(out, r->fingerprint);
        buffer_append_string(out, "</code> at ");
        seconds(out, violation_ms(d, r));
        if (r->host < d->nodes)
            buffer_printf(out, " on n%u", r->host);
        buffer_append_string(out, "<br>");
        escape(out, r->words);
    }
    buffer_append_string(out, "</p>\n<p>");
    buffer_printf(out,
                  "%u nodes, %" PRIu64 " s of plan, seed %" PRIu64
                  ", %zu lines, %zu of them faults; %" PRIu64
                  " operations, %" PRIu64 " acknowledged; %" PRIu64
                  " datagrams arrived; %u different states.</p>\n<p>Again: "
                  "<code>",
                  p->nodes, p->duration_ms / 1000, p->seed, p->count,
                  sim_plan_faults(p), r->operations, r->acknowledged,
                  d->messages, d->states_count);
    escape(out, repro);
    buffer_append_string(out, "</code></p>\n");
}

static void fault_table(struct buffer *out, const struct sim_plan *p)
{
    size_t count = 0;

    for (size_t i = 0; i < p->count && count < SIM_HTML_FAULTS_MAX; i++) {
        const struct sim_plan_line *l = &p->lines[i];

        if (!is_fault(l))
            continue;
        count++;
        buffer_append_string(out, "<tr><td>");
        seconds(out, (int64_t)l->at_ms);
        buffer_append_string(out, "<td>");
        if (length_ms(l) > 0)
            seconds(out, (int64_t)length_ms(l));
        buffer_printf(out, "<td>%s<td>", sim_deed_name(l->deed));
        hosts(out, &l->hosts, p->nodes);
        if (sim_deed_targets(l->deed) == SIM_TARGET_PAIR) {
            buffer_append_string(out, " to ");
            hosts(out, &l->to, p->nodes);
        }
        buffer_append_string(out, "</tr>\n");
    }
}

/* How many states the hosts that are up show at a time. */
static unsigned agreement(const struct sim_html_data *d, int64_t at_ms,
                          unsigned *ret_up)
{
    uint32_t seen[SIM_PLAN_HOSTS_MAX];
    unsigned count = 0;

    *ret_up = 0;
    for (unsigned h = 0; h < d->nodes; h++) {
        uint32_t state = sim_html_data_state(&d->lanes[h], at_ms);
        unsigned i = 0;

        if (state == SIM_HTML_DOWN)
            continue;
        (*ret_up)++;
        while (i < count && seen[i] != state)
            i++;
        if (i == count)
            seen[count++] = state;
    }
    return count;
}

static void span(struct buffer *out, int64_t from_ms, int64_t to_ms,
                 unsigned up, unsigned states)
{
    buffer_append_string(out, "<tr><td>");
    seconds(out, from_ms);
    buffer_append_string(out, "<td>");
    seconds(out, to_ms);
    buffer_printf(out, "<td>%u<td>%s</tr>\n", up,
                  states == 1 ? "one" : "several");
}

/* When the hosts that were up agreed, slice by slice. */
static void span_table(struct buffer *out, const struct sim_html_data *d)
{
    int64_t from_ms = d->begin_ms;
    unsigned up_before = 0, states_before = 0;
    size_t count = 0;

    for (size_t i = 0; i <= SIM_HTML_SLICES; i++) {
        int64_t at_ms = d->begin_ms + (int64_t)((i + 1) * d->slice_ms) - 1;
        unsigned up = 0;
        unsigned states =
            i < SIM_HTML_SLICES ? agreement(d, at_ms, &up) : UINT_MAX;
        int64_t begin_ms = at_ms + 1 - (int64_t)d->slice_ms;

        states = states > 1 && i < SIM_HTML_SLICES ? 2 : states;
        if (up == up_before && states == states_before)
            continue;
        if (up_before > 0 && count++ < SIM_HTML_SPANS_MAX)
            span(out, from_ms, begin_ms, up_before, states_before);
        from_ms = begin_ms;
        up_before = up;
        states_before = states;
    }
    if (count > SIM_HTML_SPANS_MAX)
        buffer_printf(out, "<tr><td colspan=4>… %zu more</tr>\n",
                      count - SIM_HTML_SPANS_MAX);
}

static void node_table(struct buffer *out, const struct sim_html_data *d)
{
    for (unsigned h = 0; h < d->nodes; h++) {
        const struct sim_html_lane *l = &d->lanes[h];
        uint64_t messages = 0;

        for (size_t i = 0; i < SIM_HTML_SLICES; i++)
            messages += l->messages[i];
        buffer_printf(out,
                      "<tr><th scope=row>n%u<td>%" PRIu64 "<td>%" PRIu64
                      "<td>%u<td>",
                      h, l->commits, messages, l->power_cuts);
        if (l->state == SIM_HTML_DOWN)
            buffer_append_string(out, "down");
        else if (l->state == SIM_HTML_NONE)
            buffer_append_string(out, "nothing yet");
        else
            buffer_printf(out, "state %u", l->state);
        buffer_append_string(out, "</tr>\n");
    }
}

/* ---- the page ---- */

void sim_html_write(struct buffer *out, const struct sim_html_data *d,
                    const struct sim_plan *plan,
                    const struct sim_run_result *result, const char *repro)
{
    struct slice page = sim_html_page();
    const char *at = (const char *)page.data;
    const char *end = at + page.size;

    CHECK(d->nodes == plan->nodes);
    while (at < end) {
        const char *mark = strstr(at, "@@");
        size_t size = (size_t)((mark != NULL ? mark : end) - at);

        buffer_append(out, at, size);
        at += size;
        if (mark == NULL)
            break;
        if (strncmp(at, "@@SUMMARY@@", 11) == 0)
            summary(out, d, plan, result, repro);
        else if (strncmp(at, "@@FAULTS@@", 10) == 0)
            fault_table(out, plan);
        else if (strncmp(at, "@@SPANS@@", 9) == 0)
            span_table(out, d);
        else if (strncmp(at, "@@NODES@@", 9) == 0)
            node_table(out, d);
        else if (strncmp(at, "@@DATA@@", 8) == 0)
            data(out, d, plan, result);
        else
            CHECK(!"a place of the page that nobody fills");
        at = strstr(at + 2, "@@") + 2;
    }
}
