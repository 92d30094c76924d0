/* Goal: the timeline says what the trace says, is one file that needs nothing
 * else, and stays small for a long run of a large mesh.
 * Method: traces made up line by line, as trace.c writes them. HTML_OUT=FILE
 * keeps the page of the large run, to be looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/expand.h"
#include "sim/html.h"

#define START_US UINT64_C(4000000)
#define PAGE_MAX (3u << 20) /* of the large run; measured: 1.4 MB */

static void line(struct sim_html_data *d, uint64_t at_us, const char *kind,
                 unsigned node, uint64_t body)
{
    char text[256];

    (void)snprintf(text, sizeof text,
                   "%" PRIu64 " %" PRIu64 " %s node=%u n=7 size=32 "
                   "body=%016" PRIx64 " chain=%016" PRIx64 "\n",
                   d->lines, at_us, kind, node, body, at_us);
    assert_int_equal(sim_html_data_line(d, text), 0);
}

static void datagram(struct sim_html_data *d, uint64_t at_us, unsigned from,
                     unsigned to)
{
    line(d, at_us, "datagram", to, 0);
    line(d, at_us, "packet", from, 0);
}

static struct sim_plan small_plan(void)
{
    struct sim_plan p;

    assert_int_equal(sim_expand(&p, 7, SIM_PROFILE_DEFAULT, 3), 0);
    p.count = 0;
    return p;
}

static void test_states(void **state)
{
    struct sim_plan p = small_plan();
    struct sim_html_data d;

    (void)state;
    assert_int_equal(sim_html_data_init(&d, &p, START_US, START_US + 60000000),
                     0);
    assert_int_equal(d.begin_ms, -4000);
    line(&d, 1000, "boot", 0, 0);
    line(&d, 500000, "commit", 0, 0xaa);
    line(&d, START_US + 1000000, "commit", 0, 0xbb);
    line(&d, START_US + 1200000, "commit", 1, 0xbb);
    line(&d, START_US + 2000000, "power-cut", 0, 0);
    line(&d, START_US + 3000000, "boot", 0, 0);
    assert_int_equal(sim_html_data_state(&d.lanes[0], -3999), SIM_HTML_NONE);
    assert_int_equal(sim_html_data_state(&d.lanes[0], 0), 0);
    assert_int_equal(sim_html_data_state(&d.lanes[0], 1100), 1);
    assert_int_equal(sim_html_data_state(&d.lanes[1], 1100), SIM_HTML_DOWN);
    assert_int_equal(sim_html_data_state(&d.lanes[1], 1300), 1);
    assert_int_equal(sim_html_data_state(&d.lanes[0], 2500), SIM_HTML_DOWN);
    /* What it held before it went down, until it says otherwise. */
    assert_int_equal(sim_html_data_state(&d.lanes[0], 3500), 1);
    assert_int_equal(d.lanes[0].commits, 2);
    assert_int_equal(d.lanes[0].power_cuts, 1);
    assert_int_equal(d.states_count, 2);
    sim_html_data_release(&d);
    sim_plan_release(&p);
}

static void test_messages(void **state)
{
    struct sim_plan p = small_plan();
    struct sim_html_data d;
    uint64_t count = 3 * SIM_HTML_ARROWS_MAX;

    (void)state;
    assert_int_equal(sim_html_data_init(&d, &p, START_US, START_US + 60000000),
                     0);
    for (uint64_t i = 0; i < count; i++)
        datagram(&d, START_US + i * 800, (unsigned)(i % 3),
                 (unsigned)((i + 1) % 3));
    assert_int_equal(d.messages, count);
    assert_int_equal(d.arrows_stride, 4);
    assert_int_equal(d.arrows_count, count / 4);
    for (size_t i = 0; i < d.arrows_count; i++) {
        assert_int_equal(d.arrows[i].at_ms, i * 4 * 800 / 1000);
        assert_int_equal(d.arrows[i].to, (d.arrows[i].from + 1) % 3);
    }
    /* A packet without an event that receives it, and what is no line. */
    line(&d, START_US, "packet", 1, 0);
    assert_int_equal(d.messages, count);
    assert_int_equal(sim_html_data_line(&d, ""), 0);
    assert_int_equal(sim_html_data_line(&d, "12 x y"), 0);
    assert_int_equal(sim_html_data_line(&d, "1 2 commit node=9 n=1 body=0"), 0);
    assert_int_equal(d.lines_strange, 2);
    sim_html_data_release(&d);
    sim_plan_release(&p);
}

static size_t count_of(const char *text, const char *what)
{
    size_t ret = 0;

    for (; (text = strstr(text, what)) != NULL; text++)
        ret++;
    return ret;
}

/* Ten minutes of 64 nodes in chaos: every commit another state. */
static void large_run(struct sim_html_data *d, unsigned nodes)
{
    uint64_t state = 1;

    for (unsigned h = 0; h < nodes; h++)
        line(d, 1000 + h, "boot", h, 0);
    for (uint64_t ms = 0; ms < 600000; ms += 4) {
        uint64_t at_us = START_US + ms * 1000;
        unsigned h = (unsigned)(ms / 4 * 31 % nodes);

        datagram(d, at_us, h, (h + 17) % nodes);
        if (ms % 1000 == 0)
            state++;
        if (ms % 8 == 0)
            line(d, at_us, "commit", h, state * 0x9e3779b97f4a7c15u);
        if (ms % 30000 == 15000)
            line(d, at_us, "power-cut", h, 0);
        if (ms % 30000 == 15000)
            line(d, at_us + 2000000, "boot", h, 0);
    }
}

static void keep_page(const struct buffer *page)
{
    const char *path = getenv("HTML_OUT");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;

    if (file == NULL)
        return;
    (void)fwrite(page->data, 1, page->size, file);
    (void)fclose(file);
}

static void check_page(const char *text, size_t size)
{
    static const char *const pairs[][2] = {
        {"<table>", "</table>"},   {"<details>", "</details>"},
        {"<script>", "</script>"}, {"<style>", "</style>"},
        {"<tr>", "</tr>"},         {"<html", "</html>"},
        {"<main>", "</main>"},     {"<body>", "</body>"},
    };
    static const char *const never[] = {
        "http:",       "https:",  "@@",     "<link rel=\"stylesheet",
        "<script src", "import(", "fetch(", "XMLHttpRequest",
        "WebSocket",
    };

    assert_int_equal(strlen(text), size);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        assert_int_equal(count_of(text, pairs[i][0]),
                         count_of(text, pairs[i][1]));
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        if (strstr(text, never[i]) != NULL)
            fail_msg("the page has \"%s\"", never[i]);
    }
}

static void test_large_page(void **state)
{
    struct sim_run_result r = {.outcome = SIM_SAFETY,
                               .at_us = START_US + 590000000,
                               .start_us = START_US,
                               .host = 12,
                               .fingerprint = "acknowledged"};
    struct sim_html_data d;
    struct buffer page;
    struct sim_plan p;

    (void)state;
    (void)snprintf(r.words, sizeof r.words,
                   "n12 lost a write </script><b>&\"that\" it had answered");
    assert_int_equal(sim_expand(&p, 64, SIM_PROFILE_FULL, 64), 0);
    assert_int_equal(sim_html_data_init(&d, &p, START_US, START_US + 600000000),
                     0);
    large_run(&d, 64);
    buffer_init(&page, SIM_HTML_SIZE_MAX);
    sim_html_write(&page, &d, &p, &r, "confmesh-sim replay 64 --profile full");
    buffer_append_byte(&page, 0);
    assert_int_equal(page.error, 0);
    print_message("page of 64 nodes, 10 minutes, %" PRIu64
                  " lines of trace: %zu bytes\n",
                  d.lines, page.size);
    assert_true(page.size < PAGE_MAX);
    check_page((const char *)page.data, page.size - 1);
    page.size--;
    /* What a violation says is text, wherever it stands. */
    assert_null(strstr((const char *)page.data, "<b>"));
    assert_non_null(strstr((const char *)page.data, "&lt;/script&gt;"));
    assert_non_null(strstr((const char *)page.data, "590.000 s on n12"));
    keep_page(&page);
    buffer_release(&page);
    sim_html_data_release(&d);
    sim_plan_release(&p);
}

/* A run that passed, and in which nothing happened. */
static void test_empty_page(void **state)
{
    struct sim_run_result r = {.outcome = SIM_PASS, .host = SIM_PLAN_HOSTS_MAX};
    struct sim_plan p = small_plan();
    struct sim_html_data d;
    struct buffer page;

    (void)state;
    assert_int_equal(sim_html_data_init(&d, &p, 0, 0), 0);
    buffer_init(&page, SIM_HTML_SIZE_MAX);
    sim_html_write(&page, &d, &p, &r, "");
    buffer_append_byte(&page, 0);
    assert_int_equal(page.error, 0);
    check_page((const char *)page.data, page.size - 1);
    assert_non_null(strstr((const char *)page.data, "violation:null"));
    buffer_release(&page);
    sim_html_data_release(&d);
    sim_plan_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_large_page),
        cmocka_unit_test(test_empty_page),
    };

    return cmocka_run_group_tests_name("html", tests, NULL, NULL);
}
