/* Goal: whatever listens where a node should, the command line neither crashes
 * nor hangs nor takes what no node said. Method: the input is what the other
 * end of a socket pair sends before it closes; the client's own reading of head
 * and body runs on it. The client is included, because its reading has no
 * other way in than a connection. First byte: the request was a HEAD. */
#include "node/cli/event_stream.c" // NOLINT(bugprone-suspicious-include)
#include "node/cli/http_client.c"  // NOLINT(bugprone-suspicious-include)

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SENT_MAX (32u << 10) /* fits into a socket's buffer */
#define BODY_MAX (1u << 20)
#define PATIENCE_MS 1000

/* What a body is taken for: server-sent events, in two parts. */
static void try_events(struct slice body)
{
    struct event_stream e;
    struct event_stream_event event;
    size_t half = body.size / 2;

    if (body.size == 0)
        return;
    event_stream_init(&e);
    buffer_append_slice(&e.input, slice_of(body.data, half));
    while (event_stream_next(&e, &event) == 0)
        CHECK(strlen(event.name) < EVENT_STREAM_NAME_MAX);
    buffer_append_slice(&e.input, slice_of(body.data + half, body.size - half));
    while (event_stream_next(&e, &event) == 0)
        CHECK(strlen(event.id) < EVENT_STREAM_ID_MAX);
    event_stream_release(&e);
}

static void read_all(struct client_stream *s)
{
    struct cm_detail detail = {""};
    struct slice value;
    int error = head_read(s, now_ms() + PATIENCE_MS, &detail);

    if (error != 0) {
        CHECK(detail.text[0] != '\0');
        return;
    }
    CHECK(s->response.status >= 200 && s->response.status <= 599);
    if (client_response_header(&s->response, "X-Consul-Index", &value))
        CHECK(value.size <= s->response.head.size);
    while (error == 0)
        error = stream_read(s, now_ms() + PATIENCE_MS, true, &s->response.body,
                            &detail);
    CHECK(error != CM_ERR_TIMEOUT);
    CHECK(s->framing != FRAMING_NONE || s->response.body.size == 0);
    if (s->response.body.error == 0)
        try_events(buffer_slice(&s->response.body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_stream *s;
    int ends[2];

    if (size == 0 || size - 1 > SENT_MAX)
        return 0;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(send(ends[1], data + 1, size - 1, MSG_NOSIGNAL) ==
          (ssize_t)(size - 1));
    CHECK(close(ends[1]) == 0);
    CHECK(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->fd = ends[0];
    s->is_head = (data[0] & 1) != 0;
    s->input = malloc(READ_SIZE);
    CHECK(s->input != NULL);
    buffer_init(&s->response.head, CLIENT_HEAD_MAX);
    buffer_init(&s->response.body, BODY_MAX);
    read_all(s);
    client_stream_close(s);
    return 0;
}
