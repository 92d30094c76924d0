/* Goal: the authority's file gives back the key, or says why not. Method:
 * round trips with and without passphrase, every character changed, texts of
 * other formats. */
#include "support.h"

#include <string.h>

#include "crdt/authority.h"

static const uint8_t random_bytes[AUTHORITY_RANDOM_SIZE] = {1, 2, 3};

static struct authority make(void)
{
    uint8_t seed[32];
    struct authority ret;

    memset(seed, 5, sizeof seed);
    authority_make(&ret, seed);
    return ret;
}

static struct buffer encoded(const struct authority *a, const char *passphrase)
{
    struct buffer ret;

    buffer_init(&ret, AUTHORITY_FILE_SIZE_MAX);
    assert_int_equal(
        authority_encode(&ret, a, support_text(passphrase), random_bytes), 0);
    return ret;
}

static void test_clear(void **state)
{
    struct authority a = make();
    struct authority b;
    struct buffer text = encoded(&a, "");
    bool encrypted = true;

    (void)state;
    assert_true(slice_starts_with(buffer_slice(&text),
                                  support_text("confmesh-authority-1:")));
    assert_int_equal(text.data[text.size - 1], '\n');
    assert_null(memchr(text.data, '\n', text.size - 1)); /* one line */
    assert_int_equal(
        authority_decode(&b, buffer_slice(&text), support_text(""), &encrypted),
        0);
    assert_false(encrypted);
    assert_memory_equal(&a, &b, sizeof a);
    /* A hand that copies it adds or loses blanks around it. */
    assert_int_equal(authority_decode(&b, slice_of(text.data, text.size - 1),
                                      support_text(""), NULL),
                     0);
    text.size--;
    buffer_append_string(&text, " \r\n\n");
    assert_int_equal(
        authority_decode(&b, buffer_slice(&text), support_text(""), NULL), 0);
    buffer_release(&text);
}

static void test_passphrase(void **state)
{
    struct authority a = make();
    struct authority b;
    struct buffer text = encoded(&a, "correct horse");
    bool encrypted = false;

    (void)state;
    assert_int_equal(
        authority_decode(&b, buffer_slice(&text), support_text(""), &encrypted),
        CM_ERR_PASSPHRASE);
    assert_true(encrypted);
    assert_int_equal(authority_decode(&b, buffer_slice(&text),
                                      support_text("correct hors"), NULL),
                     CM_ERR_PASSPHRASE);
    assert_int_equal(authority_decode(&b, buffer_slice(&text),
                                      support_text("correct horse"), NULL),
                     0);
    assert_memory_equal(&a, &b, sizeof a);
    buffer_release(&text);
}

static void test_every_character(void **state)
{
    struct authority a = make();
    struct authority b;
    struct buffer text = encoded(&a, "");
    size_t i;
    unsigned bit;

    (void)state;
    for (i = 0; i + 1 < text.size; i++) {
        for (bit = 1; bit < 256; bit *= 2) {
            int error;

            text.data[i] ^= (uint8_t)bit;
            error = authority_decode(&b, buffer_slice(&text), support_text(""),
                                     NULL);
            /* Only the last character becoming a blank may go unseen, and
             * then what is left is too short. */
            assert_true(error == CM_ERR_MALFORMED ||
                        error == CM_ERR_FORMAT_VERSION);
            text.data[i] ^= (uint8_t)bit;
        }
        assert_true(authority_decode(&b, slice_of(text.data, i),
                                     support_text(""), NULL) < 0);
    }
    buffer_release(&text);
}

static int decode_text(const char *text)
{
    struct authority a;

    return authority_decode(&a, support_text(text), support_text("p"), NULL);
}

static void test_other_texts(void **state)
{
    static char large[AUTHORITY_FILE_SIZE_MAX + 1];
    struct authority a;

    (void)state;
    assert_int_equal(decode_text(""), CM_ERR_MALFORMED);
    assert_int_equal(decode_text("hello"), CM_ERR_MALFORMED);
    assert_int_equal(decode_text("confmesh-authority-2:AAAA"),
                     CM_ERR_FORMAT_VERSION);
    assert_int_equal(decode_text("confmesh-authority-1:"), CM_ERR_MALFORMED);
    assert_int_equal(decode_text("confmesh-authority-1:AAAA"),
                     CM_ERR_MALFORMED);
    assert_int_equal(decode_text("confmesh-authority-1:A A="),
                     CM_ERR_MALFORMED);
    memset(large, 'A', sizeof large);
    assert_int_equal(authority_decode(&a, slice_of(large, sizeof large),
                                      support_text(""), NULL),
                     CM_ERR_MALFORMED);
}

static void test_fingerprint_and_clear(void **state)
{
    static const struct authority zero;
    struct authority a = make();
    char first[AUTHORITY_FINGERPRINT_SIZE];
    char second[AUTHORITY_FINGERPRINT_SIZE];

    (void)state;
    authority_fingerprint(first, a.public_key);
    assert_int_equal(strlen(first), 64);
    a.public_key[0] ^= 1;
    authority_fingerprint(second, a.public_key);
    assert_string_not_equal(first, second);
    authority_clear(&a);
    assert_memory_equal(&a, &zero, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clear),
        cmocka_unit_test(test_passphrase),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_other_texts),
        cmocka_unit_test(test_fingerprint_and_clear),
    };

    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
