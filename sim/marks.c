/* The linker gathers the records of all marks in one section and names its
 * ends. Counters lie beside, in the same order, in shared memory; places with
 * one name are one mark. */
#include "sim/marks.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "crdt/base/check.h"
#include "crdt/base/error.h"
#include "crdt/base/mark.h"

#ifdef CM_MARKS

/* GNU ld: the ends of section cm_marks; weak, for a program without any. */
extern const struct cm_mark __start_cm_marks[] __attribute__((weak));
extern const struct cm_mark __stop_cm_marks[] __attribute__((weak));

static uint64_t *counts; /* shared; as long as the section */

bool sim_marks_built(void)
{
    return true;
}

static size_t places(void)
{
    return (size_t)(__stop_cm_marks - __start_cm_marks);
}

static void count(const struct cm_mark *mark)
{
    size_t i = (size_t)(mark - __start_cm_marks);

    CHECK(i < places());
    (void)__atomic_fetch_add(&counts[i], 1, __ATOMIC_RELAXED);
}

int sim_marks_start(void)
{
    void *memory;

    CHECK(places() > 0 && places() <= SIM_MARKS_MAX);
    if (counts != NULL)
        return 0;
    memory = mmap(NULL, SIM_MARKS_MAX * sizeof *counts, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return CM_ERR_NOMEM;
    counts = memory;
    cm_mark_counter = count;
    return 0;
}

/* The first place of this name. */
static size_t first_of(size_t place)
{
    size_t i = 0;

    while (strcmp(__start_cm_marks[i].name, __start_cm_marks[place].name) != 0)
        i++;
    return i;
}

uint64_t sim_marks_hits(const char *name)
{
    uint64_t ret = 0;

    for (size_t i = 0; i < places() && counts != NULL; i++) {
        if (strcmp(__start_cm_marks[i].name, name) == 0)
            ret += __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
    }
    return ret;
}

unsigned sim_marks_count(void)
{
    unsigned ret = 0;

    for (size_t i = 0; i < places(); i++)
        ret += first_of(i) == i;
    return ret;
}

unsigned sim_marks_report(FILE *out)
{
    unsigned missed = 0;

    for (int never = 0; never < 2; never++) {
        for (size_t i = 0; i < places(); i++) {
            const char *name = __start_cm_marks[i].name;
            uint64_t hits = sim_marks_hits(name);

            if (first_of(i) != i || (hits == 0) != (never == 1))
                continue;
            missed += hits == 0;
            if (out != NULL && hits > 0)
                (void)fprintf(out, "mark %12" PRIu64 "  %s\n", hits, name);
            else if (out != NULL)
                (void)fprintf(out, "mark    NEVER HIT  %s\n", name);
        }
    }
    return missed;
}

#else

bool sim_marks_built(void)
{
    return false;
}

int sim_marks_start(void)
{
    return 0;
}

unsigned sim_marks_count(void)
{
    return 0;
}

uint64_t sim_marks_hits(const char *name)
{
    CHECK(name != NULL);
    return 0;
}

unsigned sim_marks_report(FILE *out)
{
    (void)out;
    return 0;
}

#endif
