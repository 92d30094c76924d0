/* What status and metrics tell of snapshots: in sum, and of each target. */
#include "node/http_field.h"
#include "node/http_handlers.h"
#include "node/http_json.h"

#include "crdt/base/check.h"

static void put_uploaders(struct buffer *out, const struct upload_status *t)
{
    field_name(out, "uploaders");
    buffer_append_byte(out, '[');
    for (size_t i = 0; i < UPLOADERS_WANTED && t->uploaders[i][0] != '\0';
         i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        http_json_text(out, t->uploaders[i]);
    }
    buffer_append_byte(out, ']');
}

static void put_target(struct buffer *out, const struct upload_status *t)
{
    buffer_append_byte(out, '{');
    field_text(out, "url", t->url);
    field_bool(out, "uploads", t->uploads);
    field_text(out, "reason", t->reason);
    put_uploaders(out, t);
    field_number(out, "sequence", t->sequence);
    field_number(out, "wall_ms", t->wall_ms);
    field_number(out, "covered_wall_ms", t->covered_wall_ms);
    field_number(out, "age_ms", t->age_ms);
    field_number(out, "snapshots", t->snapshots);
    field_number(out, "deltas", t->deltas);
    field_number(out, "delta_bytes", t->delta_bytes);
    field_number(out, "bytes", t->bytes);
    field_number(out, "failures", t->failures);
    field_text(out, "error", t->error);
    field_text(out, "phase", t->phase);
    if (t->phase[0] != '\0') {
        field_number(out, "bytes_done", t->bytes_done);
        field_number(out, "bytes_total", t->bytes_total);
        field_number(out, "left_ms", t->left_ms);
    }
    buffer_append_byte(out, '}');
}

void http_put_snapshots(struct buffer *out, const struct node_status *s)
{
    CHECK(s->snapshot_targets_count <= UPLOAD_TARGETS_MAX);
    field_name(out, "snapshot");
    buffer_append_byte(out, '{');
    field_number(out, "sequence", s->snapshot_sequence);
    field_number(out, "wall_ms", s->snapshot_wall_ms);
    field_number(out, "covered_wall_ms", s->snapshot_covered_wall_ms);
    field_number(out, "interval_ms", s->snapshot_interval_ms);
    field_number(out, "age_ms", s->snapshot_age_ms);
    field_number(out, "deltas", s->snapshot_deltas);
    field_number(out, "delta_bytes", s->snapshot_delta_bytes);
    field_number(out, "failures", s->snapshot_failures);
    field_text(out, "error", s->snapshot_error);
    if (s->snapshot_elsewhere.url != NULL) {
        field_name(out, "elsewhere");
        put_target(out, &s->snapshot_elsewhere);
    }
    field_number(out, "hook_calls", s->snapshot_hook_calls);
    field_number(out, "hook_failures", s->snapshot_hook_failures);
    field_text(out, "hook_error", s->snapshot_hook_error);
    field_name(out, "targets");
    buffer_append_byte(out, '[');
    for (size_t i = 0; i < s->snapshot_targets_count; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        put_target(out, &s->snapshot_targets[i]);
    }
    buffer_append_byte(out, ']');
    buffer_append_byte(out, '}');
}

/* ---- metrics ---- */

struct family {
    const char *name;
    const char *type;
    const char *help;
    uint64_t (*value)(const struct upload_status *t);
};

static uint64_t uploads_of(const struct upload_status *t)
{
    return t->uploads;
}

static uint64_t age_of(const struct upload_status *t)
{
    return t->age_ms / 1000;
}

static uint64_t snapshots_of(const struct upload_status *t)
{
    return t->snapshots;
}

static uint64_t deltas_of(const struct upload_status *t)
{
    return t->deltas;
}

static uint64_t bytes_of(const struct upload_status *t)
{
    return t->bytes + t->delta_bytes;
}

static uint64_t failures_of(const struct upload_status *t)
{
    return t->failures;
}

static const struct family families[] = {
    {"snapshot_target_uploads", "gauge", "1 if this node uploads there.",
     uploads_of},
    {"snapshot_target_age_seconds", "gauge",
     "Since all that is here was there; 0 while others upload.", age_of},
    {"snapshot_target_snapshots_total", "counter", "Snapshots put there.",
     snapshots_of},
    {"snapshot_target_deltas_total", "counter", "Deltas put there.", deltas_of},
    {"snapshot_target_bytes_total", "counter", "Bytes put there.", bytes_of},
    {"snapshot_target_failures_total", "counter", "Uploads that failed.",
     failures_of},
};

/* Within a label backslash, quote and newline are escaped. */
static void put_label(struct buffer *out, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            buffer_append_byte(out, '\\');
        if (*value == '\n')
            buffer_append_string(out, "\\n");
        else
            buffer_append_byte(out, (uint8_t)*value);
    }
}

void http_put_snapshot_metrics(struct buffer *out, const struct node_status *s)
{
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        const struct family *m = &families[f];

        if (s->snapshot_targets_count == 0)
            return;
        buffer_printf(out, "# HELP confmesh_%s %s\n# TYPE confmesh_%s %s\n",
                      m->name, m->help, m->name, m->type);
        for (size_t i = 0; i < s->snapshot_targets_count; i++) {
            const struct upload_status *t = &s->snapshot_targets[i];

            buffer_printf(out, "confmesh_%s{target=\"", m->name);
            put_label(out, t->url);
            buffer_printf(out, "\"} %llu\n", (unsigned long long)m->value(t));
        }
    }
}
