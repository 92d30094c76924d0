/* confmesh issuer: the authority lets a member make join tokens. It signs the
 * member's own keys and name again, with that right; both stay what they are
 * in the roster. */
#include <string.h>
#include <time.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "crdt/certificate.h"
#include "node/authority_file.h"
#include "node/cli/cli.h"

#define AUTHORITY_DEFAULT "authority.key"
#define VALID_MS (UINT64_C(10) * 365 * 86400 * 1000)

static uint64_t wall_ms(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int read_certificate(struct cli *c, struct buffer *out)
{
    json_t *answer = NULL;
    int code = cli_get_json(c, "/v1/mesh/issuer", NULL, 0, &answer);
    if (code != 0)
        return code;
    const char *text =
        json_string_value(json_object_get(answer, "certificate"));
    size_t size = text != NULL ? strlen(text) / 2 : 0;
    uint8_t *bytes = size > 0 ? buffer_extend(out, size) : NULL;
    if (bytes == NULL || hex_decode(bytes, size, text) != 0)
        code = cli_failed(c, "the node's answer has an unknown form");
    json_decref(answer);
    return code;
}

static int give(struct cli *c, struct slice bytes)
{
    struct client_request request = {
        .method = "POST", .has_body = true, .body = bytes};
    struct client_response response;
    struct buffer target;
    buffer_init(&target, 64);
    buffer_append_string(&target, "/v1/mesh/issuer");
    int code = cli_call(c, &request, &target, &response);
    buffer_release(&target);
    if (code != 0)
        return code;
    if (response.status != 200)
        code = cli_refused(c, &response);
    client_response_release(&response);
    return code;
}

static int sign_and_give(struct cli *c, const struct authority *authority,
                         struct slice own)
{
    struct certificate cert;
    struct buffer out;
    int code = 0;
    if (certificate_decode(&cert, own, authority->public_key) != 0)
        return cli_failed(c, "the authority's key is another mesh's than the "
                             "node's");
    cert.roles = ROLE_WRITER | ROLE_ISSUER;
    cert.prefixes[0] = slice_of("", 0);
    cert.prefixes_count = 1;
    cert.not_before_ms = wall_ms();
    cert.not_after_ms = cert.not_before_ms + VALID_MS;
    cert.issuer = slice_of(NULL, 0);
    buffer_init(&out, CERTIFICATE_SIZE_MAX);
    int error = certificate_encode(&out, &cert, authority->secret_key);
    if (error != 0)
        code = cli_failed(c, "the certificate cannot be signed: %s",
                          cm_strerror(error));
    if (code == 0)
        code = give(c, buffer_slice(&out));
    buffer_release(&out);
    if (code != 0)
        return code;
    if (c->json) {
        json_t *told = json_pack("{s:s, s:b}", "name", cert.name, "issuer", 1);
        CHECK(told != NULL);
        cli_print_json(told);
        json_decref(told);
    } else {
        (void)printf("%s may make join tokens now\n", cert.name);
    }
    return 0;
}

int cli_verb_issuer(struct cli *c)
{
    const char *path = cli_value(c, "authority");
    struct passphrase_source source = {
        .file = cli_value(c, "passphrase-file"),
        .none = cli_has(c, "no-passphrase"),
    };
    struct authority authority;
    struct cm_detail detail = {""};
    struct buffer own;
    if (path == NULL)
        path = AUTHORITY_DEFAULT;
    if (passphrase_source_check(&source, &detail) != 0)
        return cli_usage_error(c, "%s", detail.text);
    buffer_init(&own, CERTIFICATE_SIZE_MAX);
    /* What the node refuses should cost no passphrase. */
    int code = read_certificate(c, &own);
    if (code == 0 &&
        authority_file_read(&authority, path, &source, &detail) != 0) {
        code = cli_failed(c, "%s", detail.text);
    } else if (code == 0) {
        code = sign_and_give(c, &authority, buffer_slice(&own));
        authority_clear(&authority);
    }
    buffer_release(&own);
    return code;
}
