/* The file is INI: [profile] and name = value lines; comments begin with # or
 * ; at the start of a line. Other names are other tools' business. */
#include "node/s3_credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crdt/base/check.h"

#define FILE_SIZE_MAX 65536

void s3_credentials_clear(struct s3_credentials *c)
{
    CHECK(c != NULL);
    sodium_memzero(c, sizeof *c);
}

/* Only what can stand in a header: no control characters, no blanks. */
static int take(char *to, size_t max, struct slice value, const char *what,
                struct cm_detail *detail)
{
    size_t i;

    if (value.size > max)
        return cm_fail(detail, CM_ERR_INVALID,
                       "%s has %zu bytes, the limit is %zu", what, value.size,
                       max);
    for (i = 0; i < value.size; i++)
        if (value.data[i] <= ' ' || value.data[i] >= 0x7f)
            return cm_fail(detail, CM_ERR_INVALID,
                           "%s has a blank or a character beyond ASCII in it",
                           what);
    if (value.size > 0)
        memcpy(to, value.data, value.size);
    to[value.size] = '\0';
    return 0;
}

static struct slice trim(struct slice s)
{
    while (s.size > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size > 0 &&
           (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t' ||
            s.data[s.size - 1] == '\r'))
        s.size--;
    return s;
}

static bool is(struct slice s, const char *text)
{
    return slice_equal(s, slice_of_string(text));
}

static int take_line(struct s3_credentials *c, struct slice line,
                     struct cm_detail *detail)
{
    const uint8_t *equals = memchr(line.data, '=', line.size);
    struct slice name;
    struct slice value;

    if (equals == NULL)
        return 0;
    name = trim(slice_of(line.data, (size_t)(equals - line.data)));
    value = trim(
        slice_of(equals + 1, (size_t)(line.data + line.size - equals - 1)));
    if (is(name, "aws_access_key_id"))
        return take(c->access_key, S3_ACCESS_MAX, value, "aws_access_key_id",
                    detail);
    if (is(name, "aws_secret_access_key"))
        return take(c->secret_key, S3_SECRET_MAX, value,
                    "aws_secret_access_key", detail);
    if (is(name, "aws_session_token"))
        return take(c->session_token, S3_SESSION_MAX, value,
                    "aws_session_token", detail);
    return 0;
}

int s3_credentials_parse(struct s3_credentials *ret_credentials,
                         struct slice text, const char *profile,
                         struct cm_detail *detail)
{
    struct s3_credentials c = {{0}, {0}, {0}};
    bool inside = false;
    int error = 0;

    CHECK(ret_credentials != NULL && profile != NULL);
    while (text.size > 0 && error == 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end != NULL ? (size_t)(end - text.data) : text.size;
        struct slice line = trim(slice_of(text.data, size));

        size += end != NULL;
        text = slice_of(text.data + size, text.size - size);
        if (line.size == 0 || line.data[0] == '#' || line.data[0] == ';')
            continue;
        if (line.data[0] == '[' && line.data[line.size - 1] == ']')
            inside = is(trim(slice_of(line.data + 1, line.size - 2)), profile);
        else if (inside)
            error = take_line(&c, line, detail);
    }
    if (error == 0 && (c.access_key[0] == '\0' || c.secret_key[0] == '\0'))
        error = cm_fail(detail, CM_ERR_NOT_FOUND,
                        "the profile [%.60s] lacks aws_access_key_id or "
                        "aws_secret_access_key",
                        profile);
    if (error == 0)
        *ret_credentials = c;
    s3_credentials_clear(&c);
    return error;
}

static int from_environment(struct s3_credentials *c, const char *access,
                            const char *secret, struct cm_detail *detail)
{
    const char *session = getenv("AWS_SESSION_TOKEN");
    int error = take(c->access_key, S3_ACCESS_MAX, slice_of_string(access),
                     "AWS_ACCESS_KEY_ID", detail);

    if (error == 0)
        error = take(c->secret_key, S3_SECRET_MAX, slice_of_string(secret),
                     "AWS_SECRET_ACCESS_KEY", detail);
    if (error == 0)
        error = take(c->session_token, S3_SESSION_MAX,
                     slice_of_string(session != NULL ? session : ""),
                     "AWS_SESSION_TOKEN", detail);
    if (error != 0)
        s3_credentials_clear(c);
    return error;
}

static int read_file(const char *path, struct buffer *text,
                     struct cm_detail *detail)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = 0;

    if (fd < 0)
        return cm_fail(
            detail, CM_ERR_NOT_FOUND,
            "no S3 credentials: neither AWS_ACCESS_KEY_ID with "
            "AWS_SECRET_ACCESS_KEY nor a file (%.80s: %s); give this "
            "program the one or the other",
            path, strerror(errno));
    for (;;) {
        uint8_t *to = buffer_extend(text, 4096);
        ssize_t got;

        if (to == NULL) {
            error = cm_fail(detail, CM_ERR_INVALID,
                            "%.150s is no credentials file: it has more than "
                            "%d bytes",
                            path, FILE_SIZE_MAX);
            break;
        }
        got = read(fd, to, 4096);
        text->size -= got > 0 ? 4096 - (size_t)got : 4096;
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR) {
            error = cm_fail(detail, CM_ERR_IO, "cannot read %.150s: %s", path,
                            strerror(errno));
            break;
        }
    }
    (void)close(fd);
    return error;
}

int s3_credentials_load(struct s3_credentials *ret_credentials,
                        struct cm_detail *detail)
{
    const char *access = getenv("AWS_ACCESS_KEY_ID");
    const char *secret = getenv("AWS_SECRET_ACCESS_KEY");
    const char *path = getenv("AWS_SHARED_CREDENTIALS_FILE");
    const char *profile = getenv("AWS_PROFILE");
    const char *home = getenv("HOME");
    char usual[PATH_MAX];
    struct buffer text;
    int error;

    CHECK(ret_credentials != NULL);
    if (access != NULL && access[0] != '\0' && secret != NULL &&
        secret[0] != '\0')
        return from_environment(ret_credentials, access, secret, detail);
    if (path == NULL || path[0] == '\0') {
        (void)snprintf(usual, sizeof usual, "%.3000s/.aws/credentials",
                       home != NULL ? home : "");
        path = usual;
    }
    buffer_init(&text, FILE_SIZE_MAX);
    error = read_file(path, &text, detail);
    if (error == 0)
        error = s3_credentials_parse(
            ret_credentials, buffer_slice(&text),
            profile != NULL && profile[0] != '\0' ? profile : "default",
            detail);
    if (text.data != NULL)
        sodium_memzero(text.data, text.capacity);
    buffer_release(&text);
    return error;
}
