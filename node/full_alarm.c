/* When a full disk is told, and when it is over: see full_alarm.h. */
#include "node/full_alarm.h"

#include "crdt/base/check.h"

void full_alarm_refused(struct full_alarm *a, size_t bytes, uint64_t now_ms)
{
    CHECK(a != NULL);
    CHECK(!a->raised || now_ms >= a->refused_ms);
    if (!a->raised || bytes > a->refused_bytes)
        a->refused_bytes = bytes;
    a->raised = true;
    a->refused_ms = now_ms;
}

void full_alarm_wrote(struct full_alarm *a, size_t bytes, uint64_t now_ms)
{
    CHECK(a != NULL);
    if (!a->raised)
        return;
    CHECK(now_ms >= a->refused_ms);
    if (bytes >= a->refused_bytes ||
        now_ms - a->refused_ms >= FULL_ALARM_QUIET_MS)
        a->raised = false;
}
