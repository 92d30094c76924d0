/* Goal: a member that lacks what nobody has the bytes of any more catches up by
 * a cut, whatever is cut short meanwhile, and ends with the same state; a
 * joiner whose sponsor is gone is brought up by another node.
 * Method: three hosts. Host 1 writes while host 2 is off, host 0 joins… see the
 * two tests; then, for many seeds, power cuts at random instants.
 *
 * SIM_SEED=N starts from that seed, SIM_SEEDS=N tries so many; SIM_LOG=1 shows
 * the nodes' own lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>

#include "sim/world.h"
