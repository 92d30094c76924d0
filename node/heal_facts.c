#include "node/heal_facts.h"

#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"
#include "node/datadir.h"
#include "node/node_internal.h"

#define FIRST_LINE "confmesh facts 1\n"
#define CHECKSUM_WORD "checksum "

void heal_facts_init(struct heal_facts *f)
{
    memset(f, 0, sizeof *f);
    buffer_init(&f->certificate, CERTIFICATE_SIZE_MAX);
    buffer_init(&f->generation, GENERATION_ORDER_SIZE_MAX);
}

void heal_facts_release(struct heal_facts *f)
{
    buffer_release(&f->certificate);
    buffer_release(&f->generation);
}

/* ---- text ---- */

static void put_hex(struct buffer *out, const char *word, struct slice bytes)
{
    uint8_t *to;
    char pair[3];

    buffer_append_string(out, word);
    buffer_append_byte(out, ' ');
    to = buffer_extend(out, 2 * bytes.size);
    for (size_t i = 0; to != NULL && i < bytes.size; i++) {
        hex_encode(pair, slice_of(bytes.data + i, 1));
        memcpy(to + 2 * i, pair, 2);
    }
    buffer_append_byte(out, '\n');
}

void heal_facts_format(struct buffer *out, const struct heal_facts *f)
{
    char text[ADDRESS_TEXT_SIZE];
    char id[2 * KEY_ID_SIZE + 1];
    uint8_t sum[8];

    CHECK(out->size == 0 && f->peers_count <= HEAL_FACTS_PEERS_MAX);
    buffer_append_string(out, FIRST_LINE);
    put_hex(out, "authority", slice_of(f->authority, 32));
    put_hex(out, "certificate", buffer_slice(&f->certificate));
    put_hex(out, "generation", buffer_slice(&f->generation));
    put_hex(out, "incarnation",
            slice_of(f->incarnation.bytes, INCARNATION_SIZE));
    if (f->bind.family != 0) {
        address_format(text, &f->bind);
        buffer_printf(out, "bind %s\n", text);
    }
    for (size_t i = 0; i < f->peers_count; i++) {
        hex_encode(id, slice_of(f->peers[i].peer.bytes, KEY_ID_SIZE));
        address_format(text, &f->peers[i].address);
        buffer_printf(out, "peer %s %s\n", id, text);
    }
    put_be64(sum, record_checksum(slice_of_string(HEAL_FACTS_NAME),
                                  buffer_slice(out)));
    put_hex(out, "checksum", slice_of(sum, sizeof sum));
}

static int take_hex(struct slice digits, struct buffer *out)
{
    buffer_clear(out);
    if (digits.size % 2 != 0)
        return CM_ERR_DAMAGED;
    for (size_t i = 0; i < digits.size; i += 2) {
        char pair[3] = {(char)digits.data[i], (char)digits.data[i + 1], '\0'};
        uint8_t byte;

        if (hex_decode(&byte, 1, pair) != 0)
            return CM_ERR_DAMAGED;
        buffer_append_byte(out, byte);
    }
    return out->error;
}

static int take_bytes(struct slice digits, void *ret, size_t size)
{
    struct buffer bytes;
    int error;

    buffer_init(&bytes, size);
    error = take_hex(digits, &bytes);
    if (error == 0 && bytes.size != size)
        error = CM_ERR_DAMAGED;
    if (error == 0)
        memcpy(ret, bytes.data, size);
    buffer_release(&bytes);
    return error;
}

static int take_address(struct slice text, struct address *ret)
{
    char copy[ADDRESS_TEXT_SIZE] = {0};

    if (text.size == 0 || text.size >= sizeof copy)
        return CM_ERR_DAMAGED;
    memcpy(copy, text.data, text.size);
    return address_parse(ret, copy) == 0 ? 0 : CM_ERR_DAMAGED;
}

static int take_peer(struct heal_facts *f, struct slice rest)
{
    struct heal_facts_peer *p = &f->peers[f->peers_count];
    const size_t id = 2 * KEY_ID_SIZE;
    int error;

    if (f->peers_count == HEAL_FACTS_PEERS_MAX)
        return 0;
    if (rest.size < id + 2 || rest.data[id] != ' ')
        return CM_ERR_DAMAGED;
    error = take_bytes(slice_of(rest.data, id), p->peer.bytes, KEY_ID_SIZE);
    if (error == 0)
        error = take_address(slice_of(rest.data + id + 1, rest.size - id - 1),
                             &p->address);
    f->peers_count += error == 0;
    return error;
}

static int take_line(struct heal_facts *f, struct slice line)
{
    const uint8_t *blank = memchr(line.data, ' ', line.size);
    struct slice word, rest;

    if (blank == NULL)
        return CM_ERR_DAMAGED;
    word = slice_of(line.data, (size_t)(blank - line.data));
    rest = slice_of(blank + 1, line.size - word.size - 1);
    if (slice_equal(word, slice_of_string("authority")))
        return take_bytes(rest, f->authority, 32);
    if (slice_equal(word, slice_of_string("certificate")))
        return take_hex(rest, &f->certificate);
    if (slice_equal(word, slice_of_string("generation")))
        return take_hex(rest, &f->generation);
    if (slice_equal(word, slice_of_string("incarnation")))
        return take_bytes(rest, f->incarnation.bytes, INCARNATION_SIZE);
    if (slice_equal(word, slice_of_string("bind")))
        return take_address(rest, &f->bind);
    if (slice_equal(word, slice_of_string("peer")))
        return take_peer(f, rest);
    return 0; /* of a later version */
}

/* The text without its last line, whose checksum it has. */
static int check_sum(struct slice *text)
{
    const struct slice word = slice_of_string(CHECKSUM_WORD);
    const size_t last = word.size + 16 + 1;
    uint8_t sum[8];
    struct slice body, end;

    if (text->size < last || text->data[text->size - 1] != '\n')
        return CM_ERR_DAMAGED;
    body = slice_of(text->data, text->size - last);
    end = slice_of(body.data + body.size, last);
    if (!slice_starts_with(end, word) ||
        take_bytes(slice_of(end.data + word.size, 16), sum, sizeof sum) != 0 ||
        get_be64(sum) !=
            record_checksum(slice_of_string(HEAL_FACTS_NAME), body))
        return CM_ERR_DAMAGED;
    *text = body;
    return 0;
}

int heal_facts_parse(struct heal_facts *ret, struct slice text)
{
    struct slice first = slice_of_string(FIRST_LINE);
    int error = check_sum(&text);
    size_t at = first.size;

    if (error != 0 || !slice_starts_with(text, first))
        return CM_ERR_DAMAGED;
    while (at < text.size && error == 0) {
        const uint8_t *line = text.data + at;
        const uint8_t *newline = memchr(line, '\n', text.size - at);

        if (newline == NULL)
            return CM_ERR_DAMAGED;
        error = take_line(ret, slice_of(line, (size_t)(newline - line)));
        at += (size_t)(newline - line) + 1;
    }
    if (error == 0 && (ret->certificate.size == 0 || ret->generation.size == 0))
        error = CM_ERR_DAMAGED;
    return error;
}

/* ---- kept by a running node ---- */

struct facts_work {
    struct work work; /* first */
    struct node *node;
    char *path; /* the node's, which outlives its works */
    struct buffer text;
    struct hash hash;
    int error;
    struct cm_detail detail;
};

static bool write_step(struct work *w)
{
    struct facts_work *f = (struct facts_work *)w;

    f->error = datadir_write_file(f->path, buffer_slice(&f->text), 0600, false,
                                  &f->detail);
    return false;
}

static void write_done(struct work *w)
{
    struct facts_work *f = (struct facts_work *)w;
    struct node *n = f->node;

    n->heal.facts_busy = false;
    if (f->error == 0)
        n->heal.facts_hash = f->hash;
    else
        node_log(n, 'W', "the copy of this node's facts was not written: %s",
                 f->detail.text);
    buffer_release(&f->text);
    cm_free(f);
}

static void gather(struct node *n, struct heal_facts *f)
{
    memcpy(f->authority, n->authority_public_key, 32);
    buffer_append_slice(&f->certificate, buffer_slice(&n->certificate));
    buffer_append_slice(&f->generation, buffer_slice(&n->generation_order));
    f->incarnation = n->incarnation;
    f->bind = n->address;
    for (size_t i = 0; i < n->peers_count; i++) {
        if (key_id_equal(&n->peers[i].peer, &n->key_id))
            continue;
        f->peers[f->peers_count].peer = n->peers[i].peer;
        f->peers[f->peers_count++].address = n->peers[i].address;
    }
}

void heal_facts_changed(struct node *n)
{
    if (n->heal.facts_path != NULL && n->heal.facts_ms == UINT64_MAX)
        n->heal.facts_ms = node_now(n) + HEAL_FACTS_MS;
}

void heal_facts_tick(struct node *n, uint64_t now)
{
    struct heal *h = &n->heal;
    struct heal_facts *facts;
    struct facts_work *f;

    if (now < heal_facts_deadline(n))
        return;
    h->facts_ms = UINT64_MAX;
    facts = cm_calloc(1, sizeof *facts);
    f = cm_calloc(1, sizeof *f);
    if (facts == NULL || f == NULL) {
        cm_free(facts);
        cm_free(f);
        return; /* with the next change */
    }
    heal_facts_init(facts);
    gather(n, facts);
    buffer_init(&f->text, HEAL_FACTS_SIZE_MAX);
    heal_facts_format(&f->text, facts);
    heal_facts_release(facts);
    cm_free(facts);
    f->hash = hash_of("confmesh facts", buffer_slice(&f->text));
    if (f->text.error != 0 || hash_equal(&f->hash, &h->facts_hash)) {
        buffer_release(&f->text);
        cm_free(f);
        return;
    }
    f->node = n;
    f->path = h->facts_path;
    f->work = (struct work){
        .step = write_step, .done = write_done, .lane = WORK_LANE_SNAPSHOT};
    h->facts_busy = true;
    n->ports.work->submit(n->ports.ctx, &f->work);
}

uint64_t heal_facts_deadline(const struct node *n)
{
    const struct heal *h = &n->heal;

    return h->facts_busy || !n->ready ? UINT64_MAX : h->facts_ms;
}
