/* What is told of drills: the member "drills" of the status, and metrics. */
#include "node/http_handlers.h"
#include "node/http_json.h"
#include "node/node.h"

static void number(struct buffer *out, const char *name, uint64_t v)
{
    buffer_append_byte(out, ',');
    http_json_text(out, name);
    buffer_append_byte(out, ':');
    http_json_u64(out, v);
}

static void put_one(struct buffer *out, const char *url,
                    const struct drill_status *d)
{
    buffer_append_string(out, "{\"target\":");
    http_json_text(out, url);
    number(out, "count", d->count);
    number(out, "failures", d->failures);
    number(out, "done_ms", d->done_wall_ms);
    number(out, "took_ms", d->took_ms);
    number(out, "entries", d->entries);
    number(out, "verified_ms", d->verified_wall_ms);
    number(out, "verified_age_ms", d->verified_age_ms);
    buffer_append_string(out, ",\"error\":");
    http_json_text(out, d->error);
    buffer_append_byte(out, '}');
}

void http_put_drills(struct buffer *out, const struct node_status *s)
{
    buffer_append_string(out, ",\"drills\":{\"interval_ms\":");
    http_json_u64(out, s->drill_interval_ms);
    buffer_append_string(out, ",\"targets\":[");
    for (size_t i = 0; i < s->snapshot_targets_count; i++) {
        if (i > 0)
            buffer_append_byte(out, ',');
        put_one(out, s->snapshot_targets[i].url, &s->drills[i]);
    }
    buffer_append_string(out, "]}");
}
