/* Where the counting of marks is plugged in; nothing in ordinary builds. */
#include "crdt/base/mark.h"

#include <stddef.h>

#ifdef CM_MARKS
void (*cm_mark_counter)(const struct cm_mark *mark) = NULL;
#else
_Static_assert(sizeof(size_t) > 0, "not an empty translation unit");
#endif
