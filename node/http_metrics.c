/* GET /metrics: Prometheus' text format, version 0.0.4.
 *
 * Specification: https://prometheus.io/docs/instrumenting/exposition_formats/
 */
#include "crdt/base/check.h"
#include "node/http_handlers.h"

#define METRICS_SIZE_MAX (320u << 10) /* URLs of targets among them */

static void metric(struct buffer *out, const char *name, const char *type,
                   const char *help, uint64_t value)
{
    CHECK(out != NULL && name != NULL);
    buffer_printf(out,
                  "# HELP confmesh_%s %s\n# TYPE confmesh_%s %s\n"
                  "confmesh_%s %llu\n",
                  name, help, name, type, name, (unsigned long long)value);
}

static void counter(struct buffer *out, const char *name, const char *help,
                    uint64_t value)
{
    metric(out, name, "counter", help, value);
}

static void gauge(struct buffer *out, const char *name, const char *help,
                  uint64_t value)
{
    metric(out, name, "gauge", help, value);
}

/* One family, every reason from the start: a rate needs the zero before. */
static void put_refused(struct buffer *out, const struct refusals *s)
{
    buffer_append_string(
        out, "# HELP confmesh_bad_input_total What peers sent that was "
             "refused, counts for nothing, or waits.\n"
             "# TYPE confmesh_bad_input_total counter\n");
    for (size_t i = 0; i < REFUSAL_KINDS; i++) {
        const struct refusal_text *t = refusal_text((enum refusal)i);

        buffer_printf(
            out, "confmesh_bad_input_total{what=\"%s\",reason=\"%s\"} %llu\n",
            t->what, t->reason, (unsigned long long)s->of[i].count);
    }
}

static void put_floor(struct buffer *out, const struct node_status *s)
{
    const struct standing_view *v = s->standing;

    gauge(out, "events_above_floor",
          "Events that not everyone is known to have.", s->above_floor);
    gauge(out, "floor_time_seconds", "Time of the floor; 0: there is none.",
          hlc_wall_ms(s->floor_time) / 1000);
    counter(out, "floor_moves_total", "Floors since the start.", s->floors);
    gauge(out, "floor_holders",
          "Members of which an acknowledgement or a fence is missing.",
          v != NULL ? v->holders_total : 0);
    gauge(out, "evictees", "Members that are being evicted.",
          v != NULL ? v->evictees : 0);
    counter(out, "orders_refused_total",
            "Eviction orders of peers refused: forged, of another mesh.",
            s->orders_refused);
    gauge(out, "alarm_evicted", "1 when this incarnation is out.",
          s->alarm_evicted);
    gauge(out, "alarm_orders_conflict",
          "1 when two eviction orders have one epoch.", s->alarm_conflict);
}

static void put_levels(struct buffer *out, const struct node_status *s)
{
    const struct standing_view *v = s->standing;

    gauge(out, "program_format_level", "Format level of this program.",
          s->program_level);
    gauge(out, "format_level", "Format level that every member knows.",
          v != NULL ? v->level : 0);
    gauge(out, "members_behind",
          "Members that know a lower format level than another one does.",
          v != NULL ? v->behind : 0);
}

static void node_metrics(struct buffer *out, const struct node_status *s)
{
    gauge(out, "ready", "1 once the state is complete.", s->ready);
    gauge(out, "revision", "Commits that wrote, since the store was made.",
          s->revision);
    gauge(out, "version_vector_entries", "Incarnations that have written.",
          s->vv_entries);
    gauge(out, "roster_members", "Incarnations that may write.",
          s->roster_count);
    gauge(out, "members_alive", "Living members, this node included.",
          s->members_alive);
    gauge(out, "members_total", "Known members, this node included.",
          s->members_total);
    gauge(out, "members_in_sync", "Peers whose last digest equals ours.",
          s->members_in_sync);
    gauge(out, "pending_events", "Events that wait for what they depend on.",
          s->pending_events);
    gauge(out, "pending_bytes", "Bytes of pending events.", s->pending_bytes);
    gauge(out, "held_events", "Events dated too far ahead of the clocks.",
          s->held.events);
    gauge(out, "clock_ahead",
          "1 while local writes are refused because of this node's clock.",
          s->clock_ahead);
    gauge(out, "streams", "Open streams to peers.", s->streams);
    put_floor(out, s);
    put_levels(out, s);
    counter(out, "commits_total", "Commits since the start.", s->commits);
    counter(out, "local_intents_total", "Local writes since the start.",
            s->local_intents);
    counter(out, "own_events_total", "Events made by this node.",
            s->own_events);
    counter(out, "foreign_events_total", "Events taken from peers.",
            s->foreign_events);
    put_refused(out, &s->refused);
    gauge(out, "awaits", "Requests that wait for an event, here or elsewhere.",
          s->awaits);
    counter(out, "repairs_total", "Anti-entropy sessions.", s->repairs);
    counter(out, "disk_full_total", "Batches refused for want of space.",
            s->disk_full);
    gauge(out, "alarm_full", "1 while commits find no room.", s->alarm_full);
    gauge(out, "alarm_disk", "1 when the disk refused the last commit.",
          s->alarm_disk);
    gauge(out, "alarm_fork", "1 when two events were proved to bear one name.",
          s->alarm_fork);
    gauge(out, "alarm_hazard",
          "1 when a peer knows events of this node that its disk lacks.",
          s->alarm_hazard);
    gauge(out, "alarm_generation",
          "1 when a peer is of another generation with this one's number.",
          s->alarm_generation);
    gauge(out, "alarm_returning", "1 while this node's incarnation has to end.",
          s->return_reason[0] != '\0');
    counter(out, "returns_total", "Times that this node returned.", s->returns);
    gauge(out, "unsent_waiting",
          "Writes of earlier incarnations that wait for a seal.",
          s->unsent.waiting);
    gauge(out, "unsent_parked",
          "Such writes that somebody has to decide about.", s->unsent.parked);
}

static void drill_metrics(struct buffer *out, const struct node_status *s)
{
    uint64_t drills = 0;
    uint64_t failures = 0;
    uint64_t age_ms = 0;

    for (size_t i = 0; i < s->snapshot_targets_count; i++) {
        drills += s->drills[i].count;
        failures += s->drills[i].failures;
        if (s->drills[i].verified_age_ms > age_ms)
            age_ms = s->drills[i].verified_age_ms;
    }
    gauge(out, "snapshot_verified_age_seconds",
          "Since what the last good drill restored, of the target where that "
          "is longest ago; 0: this node does not upload.",
          age_ms / 1000);
    counter(out, "snapshot_drills_total", "Restores for practice.", drills);
    counter(out, "snapshot_drill_failures_total", "Such that failed.",
            failures);
}

static void snapshot_metrics(struct buffer *out, const struct node_status *s)
{
    gauge(out, "snapshot_sequence", "Number of the last snapshot.",
          s->snapshot_sequence);
    gauge(out, "snapshot_timestamp_seconds",
          "When the last verified snapshot was taken; 0: never.",
          s->snapshot_wall_ms / 1000);
    gauge(out, "snapshot_age_seconds",
          "Since all that is here was at the target, or since the start.",
          s->snapshot_age_ms / 1000);
    counter(out, "snapshot_deltas_total", "Deltas put at the target.",
            s->snapshot_deltas);
    counter(out, "snapshot_delta_bytes_total",
            "Bytes of deltas and heartbeats put at the target.",
            s->snapshot_delta_bytes);
    counter(out, "snapshot_failures_total", "Snapshots that failed.",
            s->snapshot_failures);
    counter(out, "snapshot_hook_calls_total", "Calls of the snapshots' hook.",
            s->snapshot_hook_calls);
    counter(out, "snapshot_hook_failures_total", "Of them, those that failed.",
            s->snapshot_hook_failures);
    http_put_snapshot_metrics(out, s);
    drill_metrics(out, s);
}

static void cut_metrics(struct buffer *out, const struct cut_status *s)
{
    const struct cut_counters *c = &s->counters;

    gauge(out, "cut_unconfirmed",
          "1 while an adopted cut waits for a second member to have the same.",
          s->unconfirmed);
    gauge(out, "cut_serving", "Peers that a cut is sent to.", s->serving);
    gauge(out, "cut_spool_bytes", "Bytes of cuts kept to be sent.",
          s->spool_bytes);
    gauge(out, "cut_received_bytes", "Bytes of the cut that is received.",
          s->bytes);
    gauge(out, "cut_received_of_bytes", "Of so many; 0: none, or not told.",
          s->bytes_total);
    counter(out, "cuts_served_total", "Cuts sent whole.", c->served);
    counter(out, "cuts_resumed_total",
            "Cuts that went on where a link had broken.", c->resumed);
    counter(out, "cuts_adopted_total", "Cuts adopted.", c->adopted);
    counter(out, "cuts_refused_damaged_total",
            "Cuts refused: truncated or altered.", c->refused_damaged);
    counter(out, "cuts_refused_generation_total",
            "Cuts refused: of another generation or mesh.",
            c->refused_generation);
    counter(out, "cuts_refused_sealed_total", "Cuts refused: beyond a seal.",
            c->refused_sealed);
    counter(out, "cuts_refused_fork_total",
            "Cuts refused: two events bear one name.", c->refused_fork);
    counter(out, "cuts_refused_order_total",
            "Cuts refused: of another chain of eviction orders.",
            c->refused_order);
    counter(out, "cuts_refused_fence_total",
            "Cuts refused: events of an evictee that no known fence covers.",
            c->refused_fence);
    counter(out, "cuts_failed_total", "Cuts that could not be had.", c->failed);
    counter(out, "cuts_held_clock_total",
            "Cuts that waited: dated ahead of the clocks.", c->held_clock);
    counter(out, "cuts_held_deletion_total",
            "Cuts that waited: they would delete much.", c->held_deletion);
}

static void heal_metrics(struct buffer *out, const struct heal_status *h)
{
    const struct heal_counters *c = &h->counters;

    gauge(out, "alarm_law",
          "1 while a member has the same version vector and another state.",
          h->alarm_law);
    gauge(out, "damaged_records", "Records that the last scrub could not read.",
          h->damaged);
    gauge(out, "scrub_timestamp_seconds",
          "When the last scrub ended; 0: none did.", h->scrub_wall_ms / 1000);
    gauge(out, "scrub_records", "Records that the last scrub has seen.",
          h->scrub_records);
    counter(out, "scrubs_total", "Scrubs finished.", c->scrubs);
    counter(out, "comparisons_total", "Comparisons with another member.",
            c->comparisons);
    counter(out, "divergences_total",
            "Times that another state was proved at the same vector.",
            c->divergences);
    counter(out, "healed_total", "Entries and records written again.",
            c->healed);
    counter(out, "rebuilds_total",
            "Cuts asked for in place of a state that was wrong.", c->rebuilds);
}

static void gossip_metrics(struct buffer *out, const struct gossip_counters *g)
{
    counter(out, "gossip_packets_sent_total", "Datagrams sent.",
            g->packets_sent);
    counter(out, "gossip_packets_received_total", "Datagrams received.",
            g->packets_received);
    counter(out, "gossip_bytes_sent_total", "Bytes of datagrams sent.",
            g->bytes_sent);
    counter(out, "gossip_bytes_received_total", "Bytes of datagrams received.",
            g->bytes_received);
    counter(out, "gossip_packets_refused_total",
            "Datagrams that did not authenticate or decode.",
            g->packets_refused);
    counter(out, "gossip_packets_unknown_total",
            "Datagrams of senders without a known certificate.",
            g->packets_unknown);
    counter(out, "gossip_packets_dropped_total",
            "Datagrams dropped because the own queue was full.",
            g->packets_dropped);
    counter(out, "gossip_events_pushed_total", "Events pushed to peers.",
            g->events_pushed);
    counter(out, "gossip_events_received_total", "Events pushed by peers.",
            g->events_received);
    counter(out, "gossip_suspicions_total", "Members suspected.",
            g->suspicions);
    counter(out, "gossip_refutations_total", "Suspicions refuted.",
            g->refutations);
    counter(out, "gossip_deaths_total", "Members declared dead.", g->deaths);
}

static void store_metrics(struct buffer *out, const struct store_usage *u)
{
    gauge(out, "store_map_bytes", "Size of the store's map.", u->map_size);
    gauge(out, "store_used_bytes", "Bytes of data.mdb in use.", u->used_bytes);
    gauge(out, "store_records", "Records in the store.", u->entries);
}

static void http_own_metrics(struct buffer *out, const struct http_context *c)
{
    const struct http_counters *n = &c->counters;

    counter(out, "http_requests_total", "Requests.", n->requests);
    counter(out, "http_reads_total", "Reads of keys and sets.", n->reads);
    counter(out, "http_writes_total", "Writes submitted.", n->writes);
    counter(out, "http_refused_total", "Answers 4xx, 404 apart.", n->refused);
    counter(out, "http_failed_total", "Answers 5xx.", n->failed);
    gauge(out, "http_connections", "Open connections.", n->connections);
    counter(out, "http_connections_total", "Connections since the start.",
            n->connections_total);
    counter(out, "http_deadlines_passed_total",
            "Connections closed because a request came too slowly.",
            n->deadlines_passed);
    gauge(out, "http_waiting", "Blocking queries and watches parked.",
          c->block.count);
    gauge(out, "http_watchers", "Watches.", n->watchers);
    gauge(out, "http_watch_bytes", "Event text not yet taken by watchers.",
          c->watch_bytes);
    counter(out, "http_watch_changes_total", "Changes told to watchers.",
            n->watch_changes_total);
}

void http_metrics(struct http_request *r)
{
    struct store *store = node_store(r->context->node);
    struct store_usage usage = {0};
    struct node_status status;
    struct buffer out;

    if (r->method != HTTP_GET) {
        http_refuse(r, 405, CM_ERR_INVALID, "metrics can only be read");
        return;
    }
    node_status_read(r->context->node, &status);
    if (store != NULL)
        store_usage(store, &usage);
    buffer_init(&out, METRICS_SIZE_MAX);
    node_metrics(&out, &status);
    snapshot_metrics(&out, &status);
    cut_metrics(&out, &status.cuts);
    heal_metrics(&out, &status.heal);
    gossip_metrics(&out, &status.gossip);
    store_metrics(&out, &usage);
    http_own_metrics(&out, r->context);
    CHECK(out.error != CM_ERR_TOO_LARGE);
    if (out.error != 0)
        http_refuse_code(r, out.error, NULL);
    else
        http_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8",
                    buffer_slice(&out));
    buffer_release(&out);
}
