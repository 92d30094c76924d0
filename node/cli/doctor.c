/* confmesh doctor: what is wrong with the mesh as this node sees it, and what
 * to do about it. It draws its conclusions from what status and members tell,
 * so that it says nothing that a program could not see for itself. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/refusal.h"
#include "node/writer.h"

#define EXIT_FINDINGS 1
#define FINDING_SIZE 512
/* What was refused longer ago is told by status and metrics alone. */
#define RECENT_MS (INT64_C(24) * 3600 * 1000)

/* Adds {"about", "found", "remedy"} to the list. */
__attribute__((format(printf, 4, 5))) static void find(json_t *findings,
                                                       const char *about,
                                                       const char *remedy,
                                                       const char *format, ...)
{
    char text[FINDING_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)json_array_append_new(findings,
                                json_pack("{s:s, s:s, s:s}", "about", about,
                                          "found", text, "remedy", remedy));
}

static int64_t number_in(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static const char *text_in(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

/* ---- clocks ---- */

static void examine_own_clock(json_t *findings, const json_t *clocks)
{
    int64_t offset = number_in(clocks, "median_offset_ms");
    int64_t count = number_in(clocks, "count");

    if (json_is_true(json_object_get(clocks, "ahead")))
        find(findings, "clocks",
             "set this node's clock right (ntp); writes are taken again at "
             "once",
             "this node's clock is %lld ms ahead of the median of %lld "
             "nodes: it refuses local writes",
             (long long)-offset, (long long)count);
    else if (count >= CLOCKS_JUDGE_MIN && offset > CLOCK_DRIFT_MAX_MS)
        find(findings, "clocks", "set this node's clock right (ntp)",
             "this node's clock is %lld ms behind the median of %lld nodes",
             (long long)offset, (long long)count);
}

static void examine_held(json_t *findings, const json_t *clocks)
{
    const json_t *held = json_object_get(clocks, "held");
    int64_t events = number_in(held, "events");

    if (events > 0)
        find(findings, "clocks",
             "set that node's clock right; if it never catches up, restart it "
             "afterwards",
             "%lld events are held, because they are dated ahead of the "
             "clocks; the farthest is of %s, %lld ms ahead",
             (long long)events, text_in(held, "name"),
             (long long)number_in(held, "ahead_ms"));
}

/* A clock is bad if it is far from the median, whoever looks at it. */
static void examine_peer_clock(json_t *findings, const json_t *member,
                               int64_t median, int64_t count)
{
    const json_t *offset = json_object_get(member, "clock_offset_ms");
    int64_t off = json_integer_value(offset) - median;

    if (!json_is_integer(offset) || llabs(off) <= CLOCK_DRIFT_MAX_MS)
        return;
    if (count >= CLOCKS_JUDGE_MIN)
        find(findings, "clocks", "set that node's clock right (ntp)",
             "the clock of %s is %lld ms %s the median of %lld nodes",
             text_in(member, "name"), llabs(off),
             off > 0 ? "ahead of" : "behind", (long long)count);
    else
        find(findings, "clocks",
             "find out which of the two is wrong and set it right (ntp)",
             "the clock of %s is %lld ms %s this node's",
             text_in(member, "name"), llabs(off),
             off > 0 ? "ahead of" : "behind");
}

/* ---- the rest ---- */

static void examine_members(json_t *findings, const json_t *members,
                            const json_t *clocks)
{
    size_t i;
    json_t *m;

    json_array_foreach((json_t *)(uintptr_t)members, i, m)
    {
        const char *state = text_in(m, "state");

        examine_peer_clock(findings, m, number_in(clocks, "median_offset_ms"),
                           number_in(clocks, "count"));
        if (strcmp(state, "dead") == 0 || strcmp(state, "suspect") == 0)
            find(findings, "members",
                 "see whether it runs and whether its address can be reached",
                 "%s at %s does not answer (%s)", text_in(m, "name"),
                 text_in(m, "address"), state);
    }
}

static void examine_return(json_t *findings, const json_t *status)
{
    const json_t *returning = json_object_get(status, "returning");
    const json_t *unsent = json_object_get(status, "unsent");
    const char *waits = text_in(returning, "waits");
    int64_t own = number_in(unsent, "parked") - number_in(unsent, "others");

    if (text_in(returning, "reason")[0] != '\0' && waits[0] != '\0')
        find(findings, "returning",
             "if a member lives, see that it can be reached; an evicted node "
             "needs a fresh token (confmesh node --data DIR --join TOKEN); if "
             "no node of the mesh lives, restore a new mesh from the best "
             "local state (confmesh-restore, mode new-mesh)",
             "this node has to begin a new incarnation (%s) and cannot yet: "
             "%s",
             text_in(returning, "reason"), waits);
    if (own > 0)
        find(findings, "unsent",
             "look at them with \"confmesh unsent\", then drop or apply each",
             "%lld writes of this node never reached the mesh and lost there",
             (long long)own);
    if (number_in(unsent, "others") > 0)
        find(findings, "unsent",
             "their nodes write them again, and they go from the list, unless "
             "a disk is gone: then look at them with \"confmesh unsent\", and "
             "drop or apply each",
             "%lld writes of other nodes, which this one had when it returned, "
             "are not in the mesh",
             (long long)number_in(unsent, "others"));
    if (number_in(unsent, "waiting") > 0)
        find(findings, "unsent",
             "every member that stays has to be reached once; see 'confmesh "
             "members'",
             "%lld writes of this node wait until its earlier incarnation is "
             "sealed",
             (long long)number_in(unsent, "waiting"));
}

static void format_time(char *ret, size_t size, int64_t wall_ms)
{
    time_t at = (time_t)(wall_ms / 1000);
    struct tm tm;

    ret[0] = '\0';
    if (gmtime_r(&at, &tm) != NULL)
        (void)strftime(ret, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* What each alarm asks for, by the word that it begins with. */
static const char *alarm_remedy(const char *text)
{
    static const struct {
        const char *word;
        const char *remedy;
    } remedies[] = {
        {"full:", "free space on the disk of --data; writes are taken again by "
                  "themselves, and the next one ends this alarm"},
        {"disk:", "look at the disk (dmesg, smartctl) and whether it may be "
                  "written; writes are tried again by themselves, and the "
                  "next one that goes through ends this alarm"},
        {"fork:", "two machines run one node, or one was rolled back: stop "
                  "the copy; the original returns by itself, or 'confmesh "
                  "evict' it"},
        {"identity:", "this directory was rolled back or copied: it returns "
                      "by itself as soon as it reaches another member; see "
                      "'confmesh unsent' afterwards"},
        {"evicted:", "if that was a mistake, let it return: keep it running "
                     "with the others in reach; if not, stop it"},
        {"orders:",
         "give the mesh the authority's next order, on a node that keeps to "
         "the one that shall stand: 'confmesh evict --none --authority FILE', "
         "or NODE... instead of --none if more are to go"},
        {"generation:",
         "the mesh was restored twice: choose the one that stays; on a node of "
         "the other one 'confmesh snapshot now --to URL', stop its nodes, and "
         "on one that stays 'confmesh restore --merge URL'; then let the "
         "others join with fresh tokens in new directories"},
        {"returning (",
         "it goes on by itself under another incarnation as soon as it "
         "reaches another member; an evicted node needs a fresh token "
         "(confmesh node --data DIR --join TOKEN); see 'confmesh unsent' "
         "afterwards"},
        {"sealed:", "it returns by itself as soon as it reaches another "
                    "member; see 'confmesh unsent' afterwards"},
    };

    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++) {
        if (strncmp(text, remedies[i].word, strlen(remedies[i].word)) == 0)
            return remedies[i].remedy;
    }
    return "confmesh compare shows what differs; docs/ARCHITECTURE.md, "
           "damage, says what happens by itself";
}

/* What peers sent that was refused, counts for nothing or was put aside. */
static void examine_refused(json_t *findings, const json_t *status)
{
    const json_t *refused = json_object_get(status, "refused");
    int64_t now = number_in(json_object_get(status, "clocks"), "wall_ms");
    const char *name;
    json_t *one;

    json_object_foreach((json_t *)(uintptr_t)refused, name, one)
    {
        enum refusal reason = refusal_by_name(name);
        const char *from = text_in(one, "from");
        const struct refusal_text *t;
        char when[32];

        if (reason == REFUSAL_NONE ||
            number_in(one, "last_ms") + RECENT_MS < now)
            continue;
        t = refusal_text(reason);
        if (t->remedy[0] == '\0')
            continue;
        format_time(when, sizeof when, number_in(one, "last_ms"));
        find(findings, "refused", t->remedy,
             "%lld %ss %s (%s; the last at %s%s%s)",
             (long long)number_in(one, "count"), t->what, t->found, t->reason,
             when, from[0] != '\0' ? ", sent by " : "", from);
    }
}

static void examine_pending(json_t *findings, const json_t *pending)
{
    const json_t *waits = json_object_get(pending, "waits_for");
    const char *reason;
    json_t *number;
    size_t told = 0;

    json_object_foreach((json_t *)(uintptr_t)waits, reason, number)
    {
        char name[64];
        enum refusal why;

        (void)snprintf(name, sizeof name, "event-%s", reason);
        why = refusal_by_name(name);
        if (why == REFUSAL_NONE || why == REFUSAL_EVENT_CLOCK)
            continue; /* that one is told with the clocks */
        told++;
        find(findings, "pending",
             refusal_text(why)->remedy[0] != '\0'
                 ? refusal_text(why)->remedy
                 : "if it stays so, a node that has what they wait for is "
                   "away: 'confmesh members'; 'confmesh explain KEY' names "
                   "it for one key",
             "%lld events %s", (long long)json_integer_value(number),
             refusal_text(why)->found);
    }
    if (told == 0 && number_in(pending, "events") > 0 && waits == NULL)
        find(findings, "pending",
             "if it stays so, a node that has what they depend on is away",
             "%lld events wait for others that they depend on",
             (long long)number_in(pending, "events"));
}

static void examine_target(json_t *findings, const json_t *target,
                           long long interval_ms)
{
    long long age_ms = (long long)number_in(target, "age_ms");

    if (interval_ms > 0 && age_ms > 3 * interval_ms)
        find(findings, "snapshot",
             "see the node's log; 'confmesh snapshot now' tries at once and "
             "says what is wrong",
             "for %lld s nothing of this node has come to its snapshot target "
             "%s, three intervals are %lld s",
             age_ms / 1000, text_in(target, "url"), 3 * interval_ms / 1000);
    if (number_in(target, "failures") > 0 && text_in(target, "error")[0] != 0)
        find(findings, "snapshot",
             "mend the target; 'confmesh snapshot now' tries again at once",
             "the last upload to %s failed: %s", text_in(target, "url"),
             text_in(target, "error"));
}

static void examine_snapshots(json_t *findings, const json_t *snapshot)
{
    const json_t *targets = json_object_get(snapshot, "targets");
    size_t i;
    json_t *target;

    json_array_foreach((json_t *)(uintptr_t)targets, i, target) examine_target(
        findings, target, (long long)number_in(snapshot, "interval_ms"));
    if (text_in(snapshot, "hook_error")[0] != '\0')
        find(findings, "hook", "mend what --snapshot-hook names",
             "the last call of the snapshots' hook failed: %s",
             text_in(snapshot, "hook_error"));
    if (json_array_size(targets) == 0 && number_in(snapshot, "failures") > 0 &&
        text_in(snapshot, "error")[0] != '\0')
        find(findings, "snapshot",
             "mend the target; 'confmesh snapshot now' "
             "tries again at once",
             "the last snapshot failed: %s", text_in(snapshot, "error"));
}

static void examine_drills(json_t *findings, const json_t *drills)
{
    const json_t *targets = json_object_get(drills, "targets");
    long long interval_ms = (long long)number_in(drills, "interval_ms");
    size_t i;
    json_t *one;

    json_array_foreach((json_t *)(uintptr_t)targets, i, one)
    {
        long long age_ms = (long long)number_in(one, "verified_age_ms");

        if (interval_ms > 0 && age_ms > 3 * interval_ms)
            find(findings, "drill",
                 "'confmesh snapshot drill URL' says why; the node's log, too",
                 "the newest snapshot at %s that was restored for practice is "
                 "%lld s old, three intervals are %lld s",
                 text_in(one, "target"), age_ms / 1000, 3 * interval_ms / 1000);
        if (text_in(one, "error")[0] != '\0')
            find(findings, "drill",
                 "'confmesh snapshot now' makes a new one; 'confmesh snapshot "
                 "drill URL' tries again",
                 "the last drill at %s failed: %s", text_in(one, "target"),
                 text_in(one, "error"));
    }
}

/* Who does not know yet what others know: nobody may write it. */
static void examine_format(json_t *findings, const json_t *format)
{
    size_t i;
    json_t *m;

    if (number_in(format, "program") < number_in(format, "greatest"))
        find(findings, "format",
             "bring this node's program up to date, or leave --format-level "
             "away",
             "this node's program knows format level %lld, others know %lld",
             (long long)number_in(format, "program"),
             (long long)number_in(format, "greatest"));
    json_array_foreach(json_object_get(format, "behind"), i, m)
        find(findings, "format",
             "bring that node's program up to date; if it is gone for good, "
             "'confmesh evict'",
             "%s holds back what is new in format level %lld (a revoke with a "
             "reason): it knows %lld",
             text_in(m, "name"), (long long)number_in(format, "greatest"),
             (long long)number_in(m, "knows"));
}

/* A node that joins, or joins anew after damage, asks members one after the
 * other for ever. */
static const char *ready_remedy(const char *why)
{
    if (strncmp(why, "joining: refused", strlen("joining: refused")) == 0 ||
        strncmp(why, "joining failed", strlen("joining failed")) == 0)
        return "give it a fresh token: 'confmesh token create' on a member, "
               "then 'confmesh node --data DIR --join TOKEN' here";
    if (strncmp(why, "joining:", strlen("joining:")) == 0)
        return "see that a member runs and can be reached from here, by UDP "
               "and TCP; if all are gone for good, stop this node and restore "
               "a snapshot into another directory with confmesh-restore";
    return "restart the node, and look at its log";
}

static void examine_status(json_t *findings, const json_t *status)
{
    const json_t *snapshot = json_object_get(status, "snapshot");
    const json_t *alarms = json_object_get(status, "alarms");
    size_t i;
    json_t *alarm;

    if (!json_is_true(json_object_get(status, "ready")))
        find(findings, "ready", ready_remedy(text_in(status, "not_ready")),
             "the node is not ready: %s", text_in(status, "not_ready"));
    json_array_foreach((json_t *)(uintptr_t)alarms, i, alarm)
    {
        const char *text = json_is_string(alarm) ? json_string_value(alarm)
                                                 : text_in(alarm, "text");

        find(findings, "alarms", alarm_remedy(text), "%s", text);
    }
    examine_format(findings, json_object_get(status, "format"));
    examine_pending(findings, json_object_get(status, "pending"));
    examine_refused(findings, status);
    examine_snapshots(findings, snapshot);
    examine_drills(findings, json_object_get(status, "drills"));
}

static void examine_cut_counters(json_t *findings, const json_t *counters)
{
    static const struct {
        const char *name;
        const char *found;
        const char *remedy;
    } kinds[] = {
        {"refused_damaged", "truncated or altered",
         "another member is asked by itself; if it goes on, look at the disk "
         "and the memory of the node that gave it"},
        {"refused_generation", "of another generation or mesh",
         "the mesh was restored: see which of the two nodes has the right "
         "generation ('confmesh status'); the other one returns with a token"},
        {"refused_sealed", "beyond the seal of an evicted incarnation",
         "the node that gave it has to return, and does so by itself: see "
         "its 'confmesh doctor'"},
        {"refused_fork", "two events bear one name",
         "a node was cloned or rolled back: see the alarms, 'confmesh evict' "
         "it unless it returns by itself"},
        {"refused_order", "they carry another chain of eviction orders",
         "give the mesh the authority's next order: 'confmesh evict --none "
         "--authority FILE' on a node that keeps to the one that shall stand"},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (number_in(counters, kinds[i].name) > 0)
            find(findings, "cuts", kinds[i].remedy,
                 "%lld whole states were refused since the start: %s",
                 (long long)number_in(counters, kinds[i].name), kinds[i].found);
    }
}

static void examine_cuts(json_t *findings, const json_t *cuts, int64_t now_ms)
{
    const char *waits = text_in(cuts, "waits");
    const char *refusal = text_in(cuts, "last_refusal");

    if (number_in(cuts, "last_refused_ms") + RECENT_MS >= now_ms)
        examine_cut_counters(findings, json_object_get(cuts, "counters"));
    if (waits[0] != '\0')
        find(findings, "cuts",
             "compare with another node; 'confmesh adopt --yes' agrees to it",
             "the state that this node caught up with is not adopted yet: %s",
             waits);
    if (refusal[0] != '\0')
        find(findings, "cuts", "see the log of the node that gave it",
             "the last whole state that this node asked for was refused: %s",
             refusal);
}

/* Absence alone evicts nobody: the operator has to know whom to look for. */
static void examine_floor(json_t *findings, const json_t *status)
{
    const json_t *floor = json_object_get(status, "floor");
    const json_t *evictions = json_object_get(status, "evictions");
    const json_t *leaving = json_object_get(evictions, "leaving");
    size_t i;
    json_t *h;

    json_array_foreach(json_object_get(floor, "held_back_by"), i, h)
    {
        char when[32];

        format_time(when, sizeof when, number_in(h, "since_ms"));
        find(findings, "floor",
             "bring that node back; if it is gone for good, 'confmesh evict'",
             "%s holds back what could be collected: its %s is missing since "
             "%s",
             text_in(h, "name")[0] != '\0' ? text_in(h, "name")
                                           : text_in(h, "incarnation"),
             text_in(h, "lacks"), when);
    }
    json_array_foreach(leaving, i, h)
    {
        find(findings, "evictions",
             "it is sealed when every member that stays has said how much of "
             "it has: see 'confmesh roster'",
             "%s is being evicted", json_string_value(h));
    }
}

static void examine_heal(json_t *findings, const json_t *heal)
{
    if (json_is_true(json_object_get(heal, "undecided")))
        find(findings, "heal",
             "confmesh compare shows what differs; on the node that is wrong: "
             "confmesh adopt --from OTHER --yes",
             "nobody can tell whose state is right: as many members have one "
             "as have the other");
    if (number_in(heal, "damaged_records") > 0)
        find(findings, "damage",
             "they are fetched from the others; if it stays so, stop the node "
             "and look at its disk (smartctl, dmesg)",
             "%s", text_in(heal, "damage"));
    if (json_is_true(json_object_get(heal, "inconsistent")))
        find(findings, "damage", "they are compared with another member's",
             "the entries here do not add up to their digest");
    if (number_in(heal, "rebuilds") > 0)
        find(findings, "heal", "look at this node's disk (smartctl, dmesg)",
             "the state had to be replaced by another member's, %lld times "
             "since the start",
             (long long)number_in(heal, "rebuilds"));
}

static void print_findings(const json_t *findings)
{
    size_t i;
    json_t *f;

    json_array_foreach((json_t *)(uintptr_t)findings, i, f)
    {
        (void)printf("%s: ", text_in(f, "about"));
        cli_print_escaped(
            stdout, slice_of(text_in(f, "found"), strlen(text_in(f, "found"))));
        (void)printf("\n  -> %s\n", text_in(f, "remedy"));
    }
    if (json_array_size(findings) == 0)
        (void)puts("nothing to do: all looks well from this node");
}

int cli_verb_doctor(struct cli *c)
{
    json_t *status = NULL;
    json_t *members = NULL;
    json_t *findings;
    int code = cli_get_json(c, "/v1/mesh/status", NULL, 0, &status);

    if (code == 0)
        code = cli_get_json(c, "/v1/mesh/members", NULL, 0, &members);
    if (code != 0) {
        json_decref(status);
        return code;
    }
    findings = json_array();
    CHECK(findings != NULL);
    examine_status(findings, status);
    examine_cuts(findings, json_object_get(status, "cuts"),
                 number_in(json_object_get(status, "clocks"), "wall_ms"));
    examine_heal(findings, json_object_get(status, "heal"));
    examine_return(findings, status);
    examine_own_clock(findings, json_object_get(status, "clocks"));
    examine_held(findings, json_object_get(status, "clocks"));
    examine_floor(findings, status);
    examine_members(findings, json_object_get(members, "members"),
                    json_object_get(status, "clocks"));
    if (c->json) {
        json_t *answer = json_pack("{s:O}", "findings", findings);

        cli_print_json(answer);
        json_decref(answer);
    } else {
        print_findings(findings);
    }
    code = json_array_size(findings) > 0 ? EXIT_FINDINGS : 0;
    json_decref(findings);
    json_decref(members);
    json_decref(status);
    return code;
}
