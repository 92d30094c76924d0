/* Full alarm: since when a disk has had no room for what is to be written.
 *
 * On a full disk small batches find room where larger ones do not, so that the
 * outcome of the last commit says nothing: the alarm would come and go with
 * each. It ends when a batch goes through that is as large as the largest one
 * refused since it began, or when one goes through after none has been refused
 * for a while: whoever wanted the large one has got it in parts, or given up.
 */
#ifndef NODE_FULL_ALARM_H
#define NODE_FULL_ALARM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Peers offer again within seconds what was refused (repair.c). */
#define FULL_ALARM_QUIET_MS 10000

struct full_alarm {
    bool raised;
    size_t refused_bytes; /* of the largest batch refused since it was */
    uint64_t refused_ms;  /* monotonic: the last time */
};

/* bytes: of what was to be written, and of the events that were; now_ms:
 * monotonic. */
void full_alarm_refused(struct full_alarm *a, size_t bytes, uint64_t now_ms);
void full_alarm_wrote(struct full_alarm *a, size_t bytes, uint64_t now_ms);

#endif
