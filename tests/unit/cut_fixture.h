/* Cuts carried between the nodes of writer_fixture.h by hand: scanned by a
 * source, verified by a sink, compared, adopted. */
#ifndef TESTS_UNIT_CUT_FIXTURE_H
#define TESTS_UNIT_CUT_FIXTURE_H

#include "tests/unit/writer_fixture.h"

#include "node/cut_diff.h"
#include "node/snapshot_source.h"

struct fixture_cut {
    struct snapshot_source *source;
    struct snapshot_sink *sink;
};

static inline struct snapshot_source *fixture_source(struct fixture_node *from)
{
    struct snapshot_source *s;
    struct cm_detail detail = {""};
    int error = snapshot_source_create(&s, from->store, from->secret_key,
                                       from->dir, from->wall_ms, &detail);

    while (error >= 0) {
        error = snapshot_source_step(s, &detail);
        if (error == SNAPSHOT_DONE)
            return s;
    }
    fail_msg("a scan: %s", detail.text);
    return NULL;
}

/* A verified cut of from's state. */
static inline void fixture_cut_take(struct fixture_cut *ret,
                                    const struct fixture_mesh *m,
                                    struct fixture_node *from)
{
    struct cm_detail detail = {""};
    struct slice message;
    int error = SNAPSHOT_MORE;

    ret->source = fixture_source(from);
    assert_int_equal(snapshot_sink_create(&ret->sink, m->authority.public_key,
                                          from->dir, &detail),
                     0);
    while (error == SNAPSHOT_MORE) {
        assert_int_equal(snapshot_source_next(ret->source, &message, &detail),
                         0);
        error = snapshot_sink_feed(ret->sink, message, &detail);
    }
    assert_int_equal(error, SNAPSHOT_DONE);
}

static inline void fixture_cut_release(struct fixture_cut *c)
{
    snapshot_sink_free(c->sink);
    snapshot_source_free(c->source);
}

/* From here until the cut is adopted, or until NULL is told. */
static inline void fixture_adopting(struct fixture_node *to,
                                    const struct fixture_cut *c)
{
    struct intent *i = intent_new(INTENT_ADOPTING);

    assert_non_null(i);
    i->adopting = c != NULL ? &snapshot_sink_manifest(c->sink)->vv : NULL;
    commit_result_free(fixture_commit(to, i));
    assert_int_equal(i->result, 0);
    intent_free(i);
}

static inline int fixture_diff_try(struct cut_diff **ret_diff,
                                   struct fixture_node *to,
                                   struct fixture_cut *c,
                                   struct cm_detail *detail)
{
    struct cut_diff *d;
    int error;

    detail->text[0] = '\0';
    error =
        cut_diff_create(&d, to->store, c->sink, to->dir, to->wall_ms, detail);
    if (error != 0)
        return error;
    do
        error = cut_diff_step(d, detail);
    while (error == SNAPSHOT_MORE);
    if (error == 0)
        *ret_diff = d;
    else
        cut_diff_free(d);
    return error;
}

static inline struct cut_diff *fixture_diff(struct fixture_node *to,
                                            struct fixture_cut *c)
{
    struct cm_detail detail;
    struct cut_diff *d = NULL;

    if (fixture_diff_try(&d, to, c, &detail) != 0)
        fail_msg("a comparison: %s", detail.text);
    return d;
}

static inline int fixture_replace(struct fixture_node *to,
                                  struct replacement *r,
                                  struct cm_detail *detail)
{
    struct intent *i = intent_new(INTENT_REPLACE);
    int ret;

    assert_non_null(i);
    i->replacement = r;
    commit_result_free(fixture_commit(to, i));
    ret = i->result;
    if (detail != NULL)
        *detail = i->detail;
    else if (ret != 0)
        print_message("adopting: %s: %s\n", cm_strerror(ret), i->detail.text);
    intent_free(i);
    return ret;
}

/* A step of staging; *ret_more as the writer says. */
static inline int fixture_stage(struct fixture_node *to, struct stage *s,
                                bool *ret_more, struct cm_detail *detail)
{
    struct intent *i = intent_new(INTENT_STAGE);
    int ret;

    assert_non_null(i);
    assert_non_null(s);
    i->replacement = s;
    commit_result_free(fixture_commit(to, i));
    ret = i->result;
    *ret_more = i->more;
    if (ret != 0 && detail != NULL)
        *detail = i->detail;
    intent_free(i);
    stage_free(s);
    return ret;
}

static inline int fixture_stage_until(struct fixture_node *to,
                                      enum stage_step step,
                                      struct staged *staged)
{
    struct stage *s;
    bool more;
    int ret;

    do {
        s = stage_new(step);
        s->staged = staged;
        ret = fixture_stage(to, s, &more, NULL);
    } while (ret == 0 && more);
    return ret;
}

/* What the node does between the steps of staging; NULL: nothing. */
typedef void (*fixture_meanwhile)(void *context, struct fixture_node *to);

/* What was announced is staged, settled and flipped to. */
static inline int fixture_stage_cut(struct fixture_node *to,
                                    struct fixture_cut *c,
                                    fixture_meanwhile meanwhile, void *context,
                                    struct cm_detail *detail)
{
    struct stage *s = stage_new(STAGE_BEGIN);
    struct cm_detail text = {""};
    struct cut_diff *d = NULL;
    struct replacement r;
    bool more;
    int ret = fixture_stage_until(to, STAGE_SWEEP, NULL);

    s->vv = &snapshot_sink_manifest(c->sink)->vv;
    assert_int_equal(fixture_stage(to, s, &more, &text), 0);
    if (ret == 0)
        ret = cut_diff_create(&d, to->store, c->sink, to->dir, to->wall_ms,
                              &text);
    if (ret == 0) {
        cut_diff_stage(d, snapshot_sink_digest(c->sink));
        ret = SNAPSHOT_MORE;
    }
    while (ret == SNAPSHOT_MORE) {
        int put;

        s = stage_new(STAGE_BLOCK);
        ret = cut_diff_fill(d, &s->block, &text);
        s->bank = cut_diff_bank(d);
        put = fixture_stage(to, s, &more, &text);
        ret = put != 0 ? put : ret;
        if (meanwhile != NULL)
            meanwhile(context, to);
    }
    while (ret == 0) {
        ret = fixture_stage_until(to, STAGE_SETTLE, cut_diff_staged(d));
        if (meanwhile != NULL)
            meanwhile(context, to);
        cut_diff_replacement(d, &r);
        assert_non_null(r.staged);
        if (ret == 0)
            ret = fixture_replace(to, &r, &text);
        if (ret != CM_ERR_BUSY)
            break;
        ret = 0;
    }
    if (ret != 0 && detail != NULL)
        *detail = text;
    else if (ret != 0)
        print_message("staging: %s: %s\n", cm_strerror(ret), text.text);
    cut_diff_free(d);
    return ret;
}

/* The same by the long way: staged beside the state. */
static inline int fixture_join_staged(struct fixture_node *to,
                                      struct fixture_cut *c,
                                      fixture_meanwhile meanwhile,
                                      void *context, struct cm_detail *detail)
{
    int ret;

    fixture_adopting(to, c);
    ret = fixture_stage_cut(to, c, meanwhile, context, detail);
    if (ret != 0)
        fixture_adopting(to, NULL);
    return ret;
}

static inline int fixture_join_cut(struct fixture_node *to,
                                   struct fixture_cut *c,
                                   struct cm_detail *detail)
{
    struct cm_detail unwanted;
    struct replacement r;
    struct cut_diff *d = NULL;
    int ret;

    fixture_adopting(to, c);
    ret = fixture_diff_try(&d, to, c, detail != NULL ? detail : &unwanted);
    if (ret == 0) {
        cut_diff_replacement(d, &r);
        ret = fixture_replace(to, &r, detail);
        cut_diff_free(d);
    }
    if (ret != 0)
        fixture_adopting(to, NULL);
    return ret;
}

/* to takes the state of from over, joined with its own. */
static inline int fixture_join(const struct fixture_mesh *m,
                               struct fixture_node *to,
                               struct fixture_node *from,
                               struct cm_detail *detail)
{
    struct fixture_cut c;
    int ret;

    fixture_cut_take(&c, m, from);
    ret = fixture_join_cut(to, &c, detail);
    fixture_cut_release(&c);
    return ret;
}

/* As if it had been added up from the entries: nothing was forgotten. */
static inline void fixture_audit(struct fixture_node *n)
{
    struct store_reader *r;
    struct digest kept, found;

    digest_init(&found);
    assert_int_equal(store_reader_begin(n->store, &r), 0);
    assert_int_equal(store_digest(r, &kept), 0);
    for (int space = SPACE_REGISTER; space <= SPACE_LAST; space++) {
        struct store_cursor *c;
        const struct store_item *item;

        assert_int_equal(store_cursor_open(r, (enum space)space,
                                           slice_of(NULL, 0), false, NULL, &c),
                         0);
        while (store_cursor_next(c, &item) == 0)
            for (size_t i = 0; i < item->entry.count; i++)
                digest_add(&found, &item->id, &item->entry.siblings[i]);
        store_cursor_close(c);
    }
    store_reader_release(r);
    assert_true(digest_equal(&kept, &found));
}

#endif
