/* Short turns for threads that wait often; see uv_slice.h. */
#include "node/uv_slice.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crdt/base/check.h"

/* The C library of Debian 12 has neither the structure nor the calls; Linux's
 * own header of it cannot stand beside <sched.h>. */
struct slice_attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* of a thread with the usual policy: its slice */
    uint64_t deadline_ns;
    uint64_t period_ns;
};

_Static_assert(sizeof(struct slice_attributes) == 48,
               "the structure's first version, which every kernel knows");

void uv_slice_shorten(void)
{
    struct slice_attributes a = {.size = sizeof a};

    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0 ||
        a.policy != SCHED_OTHER)
        return;
    CHECK(a.size <= sizeof a);
    a.runtime_ns = UV_SLICE_NS;
    (void)syscall(SYS_sched_setattr, 0, &a, 0); /* slower, but right */
}
