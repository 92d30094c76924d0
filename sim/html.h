/* HTML: a run as one page that needs nothing else.
 *
 * A lane for each host, coloured by the state it shows, so that convergence is
 * one colour from top to bottom; bars for faults; messages when looked at
 * closely; the violation pinned. Everything can be done by keyboard, and all
 * that the picture says is there as text, without scripts too. */
#ifndef SIM_HTML_H
#define SIM_HTML_H

#include "sim/html_data.h"
#include "sim/run.h"

#define SIM_HTML_SIZE_MAX (16u << 20)
#define SIM_HTML_FAULTS_MAX 3000     /* bars, and rows of text */
#define SIM_HTML_OPERATIONS_MAX 8000 /* ticks */
#define SIM_HTML_SPANS_MAX 400       /* rows of who agreed with whom */

/* Appends the page to out, whose limit should be SIM_HTML_SIZE_MAX; its error
 * tells. repro (one line) is how to see the run again. */
void sim_html_write(struct buffer *out, const struct sim_html_data *d,
                    const struct sim_plan *plan,
                    const struct sim_run_result *result, const char *repro);

/* The page around the data (html_page.html), and where the parts go. */
struct slice sim_html_page(void);

#endif
