/* The two hand-overs between the loop and other threads: intents to the writer,
 * works to the lanes. Bounded; what is finished waits in a list until the loop
 * takes it. */
#ifndef NODE_UV_QUEUE_H
#define NODE_UV_QUEUE_H

#include <uv.h>

#include "node/port.h"
#include "node/writer.h"

/* While one commit syncs, the next batch gathers; so of busy clients one half
 * takes turns with the other. Where the disk is slow it is better to wait until
 * those who have just been answered come back, and to serve all with one
 * commit.
 *
 * Let n clients each have one write under way, let a commit of b writes take
 * f + c b, of which f only waits, and let each client add r until all are back.
 * In halves that makes n / (2 f + c n) writes per second, all at once
 * n / (f + c n + r n): the latter is more if r n < f. f is measured at each
 * commit: the time in which its thread did not run. */
#define WRITER_GATHER_MIN 8 /* intents; a few clients are not waited for */
#define WRITER_RETURN_NS UINT64_C(50000) /* r: one request over HTTP */
#define WRITER_GATHER_NS_MAX UINT64_C(10000000)

/* The writer's thread. */
struct uv_writer {
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t wake;
    struct writer *writer; /* owned once started */
    struct intent *first;  /* gathering */
    struct intent *last;
    size_t count;
    size_t bytes;
    size_t goal;          /* intents worth waiting for; 0: none */
    uint64_t goal_end_ns; /* uv_hrtime until which it is waited */
    bool started;
    bool stopping;
    struct committed *done; /* newest last */
    struct committed *done_last;
    uv_async_t *notify; /* the loop's */
};

struct committed {
    struct committed *next;
    struct commit_result *result;
};

int uv_writer_init(struct uv_writer *w, uv_async_t *notify);
int uv_writer_start(struct uv_writer *w, struct writer *writer);
int uv_writer_submit(struct uv_writer *w, struct intent *intent);
/* The oldest finished result; NULL if there is none. On the loop. */
struct commit_result *uv_writer_take(struct uv_writer *w);
/* Commits what has been submitted, then ends the thread. */
void uv_writer_stop(struct uv_writer *w);
void uv_writer_release(struct uv_writer *w);

/* One thread that runs works in order. */
struct uv_lane {
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t wake;
    struct work *running; /* or NULL */
    struct work *first;
    struct work *last;
    struct work *done;
    struct work *done_last;
    bool prompt;
    bool background; /* set before the first work: others come first */
    bool lowered;
    bool started;
    bool stopping;
    uv_async_t *notify;
};

/* prompt: works are short and somebody waits for each (uv_slice.h). */
int uv_lane_init(struct uv_lane *l, uv_async_t *notify, bool prompt);
/* The thread begins with the first work; if it cannot, works run where they are
 * submitted. */
int uv_lane_init_later(struct uv_lane *l, uv_async_t *notify);
void uv_lane_submit(struct uv_lane *l, struct work *w);
struct work *uv_lane_take(struct uv_lane *l);
/* Runs what was submitted to its end, then ends the thread. */
void uv_lane_stop(struct uv_lane *l);
void uv_lane_release(struct uv_lane *l);

#endif
