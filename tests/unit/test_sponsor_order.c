/* Goal: after an eviction order a thief is let in by nobody, whatever he signs
 * himself; an honest newcomer and a member that merely moved are.
 * Method: one node's view of an order, its roster, and certificates of every
 * age and issuer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "node/node_internal.h"
#include "tests/unit/support.h"

#define ORDER_MS 2000

struct world {
    struct key_pair authority;
    struct key_pair issuer;
    struct key_pair newcomer;
    struct node node;
    struct standing_view view;
    struct standing_view_member member;
    struct buffer issuer_bytes;
    struct buffer bytes;
};

static struct certificate body(const struct world *w,
                               const struct key_pair *keys, const char *name,
                               uint64_t made_ms)
{
    struct certificate c = {.mesh = mesh_id_of(w->authority.public_key),
                            .roles = ROLE_WRITER,
                            .prefixes_count = 1,
                            .not_before_ms = made_ms,
                            .not_after_ms = 1000000};

    memcpy(c.sign_key, keys->public_key, sizeof c.sign_key);
    memset(c.box_key, 7, sizeof c.box_key);
    memcpy(c.name, name, strlen(name));
    return c;
}

static void begin(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->authority = support_key_pair(1);
    w->issuer = support_key_pair(2);
    w->newcomer = support_key_pair(3);
    buffer_init(&w->issuer_bytes, CERTIFICATE_SIZE_MAX);
    buffer_init(&w->bytes, CERTIFICATE_SIZE_MAX);
    w->view.epoch = 1;
    w->view.members = &w->member;
    w->node.standing = &w->view;
    w->node.order_ms = ORDER_MS;
    memcpy(w->node.authority_public_key, w->authority.public_key, 32);
    w->node.roster = roster_new();
    assert_non_null(w->node.roster);
}

static void end(struct world *w)
{
    roster_release(w->node.roster);
    buffer_release(&w->issuer_bytes);
    buffer_release(&w->bytes);
}

static void certify_issuer(struct world *w, uint64_t made_ms)
{
    struct certificate c = body(w, &w->issuer, "issuer", made_ms);

    c.roles |= ROLE_ISSUER;
    buffer_clear(&w->issuer_bytes);
    assert_int_equal(
        certificate_encode(&w->issuer_bytes, &c, w->authority.secret_key), 0);
}

/* The issuer becomes a member, which stays or is named by the order. */
static void make_member(struct world *w, bool stays)
{
    static const struct dot dot = {.seq = 1};

    memset(w->member.incarnation.bytes, 9, INCARNATION_SIZE);
    w->member.stays = stays;
    w->view.members_count = 1;
    assert_int_equal(roster_insert(w->node.roster, &w->member.incarnation,
                                   buffer_slice(&w->issuer_bytes),
                                   w->authority.public_key, 1, &dot),
                     0);
}

static bool may_enter(struct world *w, bool by_issuer, uint64_t made_ms)
{
    struct certificate c = body(w, &w->newcomer, "newcomer", made_ms);
    struct certificate decoded;

    if (by_issuer)
        c.issuer = buffer_slice(&w->issuer_bytes);
    buffer_clear(&w->bytes);
    assert_int_equal(certificate_encode(&w->bytes, &c,
                                        by_issuer ? w->issuer.secret_key
                                                  : w->authority.secret_key),
                     0);
    assert_int_equal(certificate_decode(&decoded, buffer_slice(&w->bytes),
                                        w->authority.public_key),
                     0);
    return sponsor_may_enter(&w->node, &decoded);
}

static void test_no_order(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    certify_issuer(&w, 1);
    w.view.epoch = 0;
    assert_true(may_enter(&w, true, 1));
    assert_true(may_enter(&w, false, 1));
    end(&w);
}

static void test_of_the_authority(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    assert_false(may_enter(&w, false, ORDER_MS));
    assert_true(may_enter(&w, false, ORDER_MS + 1));
    end(&w);
}

static void test_of_an_issuer_that_stays(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    certify_issuer(&w, 1);
    make_member(&w, true);
    assert_false(may_enter(&w, true, ORDER_MS));
    assert_true(may_enter(&w, true, ORDER_MS + 1));
    end(&w);
}

/* The thief has the issuer's key and dates as he likes. */
static void test_of_an_evicted_issuer(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    certify_issuer(&w, 1);
    assert_false(may_enter(&w, true, ORDER_MS + 1)); /* sealed: not there */
    make_member(&w, false);
    assert_false(may_enter(&w, true, ORDER_MS + 1)); /* not sealed yet */
    certify_issuer(&w, ORDER_MS + 1); /* the authority's word, since then */
    assert_true(may_enter(&w, true, ORDER_MS + 1));
    end(&w);
}

/* A moved directory: its certificate is old, and a member's that stays. */
static void test_of_a_member(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    w.issuer = w.newcomer;
    certify_issuer(&w, 1);
    make_member(&w, true);
    assert_true(may_enter(&w, false, 1));
    w.member.stays = false;
    assert_false(may_enter(&w, false, 1));
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_order),
        cmocka_unit_test(test_of_the_authority),
        cmocka_unit_test(test_of_an_issuer_that_stays),
        cmocka_unit_test(test_of_an_evicted_issuer),
        cmocka_unit_test(test_of_a_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
