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
    bool trusted; /* whom enters was asked about last */
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

static enum refusal enters(struct world *w, bool by_issuer, uint64_t made_ms)
{
    enum refusal why = REFUSAL_NONE;
    bool refused;
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
    refused = sponsor_refuses(&w->node, &decoded, &why);
    assert_true(refused == (why != REFUSAL_NONE));
    w->trusted = sponsor_trusts(&w->node, &decoded);
    return why;
}

static void test_no_order(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    certify_issuer(&w, 1);
    w.view.epoch = 0;
    assert_int_equal(enters(&w, true, 1), REFUSAL_NONE);
    assert_int_equal(enters(&w, false, 1), REFUSAL_NONE);
    end(&w);
}

static void test_of_the_authority(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    assert_int_equal(enters(&w, false, ORDER_MS), REFUSAL_ENTRY_ORDER);
    assert_int_equal(enters(&w, false, ORDER_MS + 1), REFUSAL_NONE);
    assert_true(w.trusted);
    end(&w);
}

static void test_of_an_issuer_that_stays(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    certify_issuer(&w, 1);
    make_member(&w, true);
    assert_int_equal(enters(&w, true, ORDER_MS), REFUSAL_ENTRY_ORDER);
    assert_true(w.trusted); /* it may be a reader, or known to others */
    assert_int_equal(enters(&w, true, ORDER_MS + 1), REFUSAL_NONE);
    end(&w);
}

/* The thief has the issuer's key and dates as he likes. */
static void test_of_an_evicted_issuer(void **state)
{
    static const uint64_t made[] = {1, ORDER_MS, ORDER_MS + 1, 900000};
    struct world w;

    (void)state;
    begin(&w);
    certify_issuer(&w, 1);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        /* Sealed: its key is in no roster any more. */
        assert_int_equal(enters(&w, true, made[i]), REFUSAL_ENTRY_ISSUER);
        assert_false(w.trusted);
    }
    make_member(&w, false);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        /* Not sealed yet. */
        assert_int_equal(enters(&w, true, made[i]), REFUSAL_ENTRY_ISSUER);
        assert_false(w.trusted);
    }
    certify_issuer(&w, ORDER_MS + 1); /* the authority's word, since then */
    assert_int_equal(enters(&w, true, ORDER_MS + 1), REFUSAL_NONE);
    end(&w);
}

/* Whom he had certified while he was honest, and who is a member, needs
 * nobody: the add is part of the state. */
static void test_member_of_an_evicted_issuer(void **state)
{
    static const struct dot dot = {.seq = 2};
    struct standing_view_member members[2];
    struct world w;

    (void)state;
    begin(&w);
    certify_issuer(&w, 1);
    make_member(&w, false);
    members[0] = w.member;
    members[1] = w.member;
    memset(members[1].incarnation.bytes, 10, INCARNATION_SIZE);
    members[1].stays = true;
    w.view.members = members;
    w.view.members_count = 2;
    assert_int_equal(enters(&w, true, 5), REFUSAL_ENTRY_ISSUER);
    assert_int_equal(roster_insert(w.node.roster, &members[1].incarnation,
                                   buffer_slice(&w.bytes),
                                   w.authority.public_key, 1, &dot),
                     0);
    assert_int_equal(enters(&w, true, 5), REFUSAL_NONE);
    assert_true(w.trusted);
    members[1].stays = false; /* until it is evicted itself */
    assert_int_equal(enters(&w, true, ORDER_MS + 1), REFUSAL_ENTRY_ISSUER);
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
    assert_int_equal(enters(&w, false, 1), REFUSAL_NONE);
    w.member.stays = false;
    assert_int_equal(enters(&w, false, 1), REFUSAL_ENTRY_ORDER);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_order),
        cmocka_unit_test(test_of_the_authority),
        cmocka_unit_test(test_of_an_issuer_that_stays),
        cmocka_unit_test(test_of_an_evicted_issuer),
        cmocka_unit_test(test_member_of_an_evicted_issuer),
        cmocka_unit_test(test_of_a_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
