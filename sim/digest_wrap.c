/* What a sibling adds to a state's digest, computed once for all nodes: it is
 * a pure function of the sibling, and every host of a mesh adds the same one,
 * and so does the check's model. What was asked is kept whole and compared
 * whole, which is much quicker than to hash and to expand it. Answers are those
 * of crdt/digest.c. Linked with the options of wrap.flags, as crypto_wrap.c. */
#include <string.h>

#include "crdt/base/check.h"
#include "crdt/digest.h"
#include "sim/memory.h"

#define SLOTS 1024 /* the newest stays */
#define BYTES_MAX                                                              \
    16384 /* of key, element, author and value; the rest is rare */
#define VALUE_HASHED 64

/* Numbers of a sibling, and how long the bytes are that follow. */
struct digest_name {
    uint64_t space;
    uint64_t kind;
    struct dot dot;
    uint64_t hlc;
    uint64_t expires;
    uint64_t flags;
    uint64_t key_size;
    uint64_t element_size;
    uint64_t author_size;
    uint64_t value_size;
};

struct digest_answer {
    struct digest_name name;
    uint8_t *bytes; /* owned: key, element, author, value; NULL: free */
    size_t room;
    struct digest lanes;
};

static struct digest_answer answers[SLOTS];

_Static_assert(sizeof(struct digest_name) == 96, "compared without padding");

/* Names that the linker gives; gcc would want prototypes. */
void __real_digest_add(struct digest *d, const struct entry_id *id,
                       const struct sibling *s);
void __real_digest_remove(struct digest *d, const struct entry_id *id,
                          const struct sibling *s);
void __wrap_digest_add(struct digest *d, const struct entry_id *id,
                       const struct sibling *s);
void __wrap_digest_remove(struct digest *d, const struct entry_id *id,
                          const struct sibling *s);

static struct digest_name name_of(const struct entry_id *id,
                                  const struct sibling *s)
{
    return (struct digest_name){
        .space = (uint64_t)id->space,
        .kind = (uint64_t)s->kind,
        .dot = s->dot,
        .hlc = s->hlc,
        .expires = s->expires,
        .flags = s->flags,
        .key_size = id->key.size,
        .element_size = id->element.size,
        .author_size = s->author.size,
        .value_size = s->value.size,
    };
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b185ebca87);
    return hash ^ hash >> 29;
}

static uint64_t mix_bytes(uint64_t hash, struct slice bytes)
{
    for (size_t at = 0; at < bytes.size; at += 8) {
        uint64_t word = 0;
        size_t left = bytes.size - at;

        memcpy(&word, bytes.data + at, left < 8 ? left : 8);
        hash = mix(hash, word);
    }
    return hash;
}

/* Of one dot there is one value for each key: more of it need not be hashed. */
static struct digest_answer *answer_of(const struct entry_id *id,
                                       const struct sibling *s)
{
    uint64_t hash = mix(s->dot.seq, s->hlc);
    struct slice value = s->value;

    if (value.size > VALUE_HASHED)
        value.size = VALUE_HASHED;
    hash = mix_bytes(hash, slice_of(s->dot.incarnation.bytes, 16));
    hash = mix_bytes(hash, id->key);
    hash = mix_bytes(hash, id->element);
    hash = mix_bytes(hash, value);
    return &answers[hash % SLOTS];
}

static bool is_next(const uint8_t **at, struct slice wanted)
{
    const uint8_t *from = *at;

    *at += wanted.size;
    return wanted.size == 0 || memcmp(from, wanted.data, wanted.size) == 0;
}

static bool is_answer(const struct digest_answer *a,
                      const struct digest_name *name, const struct entry_id *id,
                      const struct sibling *s)
{
    const uint8_t *at = a->bytes;

    return at != NULL && memcmp(&a->name, name, sizeof *name) == 0 &&
           is_next(&at, id->key) && is_next(&at, id->element) &&
           is_next(&at, s->author) && is_next(&at, s->value);
}

static void append(uint8_t **at, struct slice bytes)
{
    if (bytes.size > 0)
        memcpy(*at, bytes.data, bytes.size);
    *at += bytes.size;
}

/* What the sibling adds; NULL if it is too large to be kept. */
static const struct digest *lanes_of(const struct entry_id *id,
                                     const struct sibling *s)
{
    const struct digest_name name = name_of(id, s);
    size_t size =
        id->key.size + id->element.size + s->author.size + s->value.size;

    if (size > BYTES_MAX)
        return NULL;
    struct digest_answer *a = answer_of(id, s);
    if (is_answer(a, &name, id, s))
        return &a->lanes;
    if (a->bytes == NULL || a->room < size) {
        sim_free(a->bytes);
        a->bytes = sim_alloc(size);
        a->room = size;
    }
    a->name = name;
    uint8_t *at = a->bytes;
    append(&at, id->key);
    append(&at, id->element);
    append(&at, s->author);
    append(&at, s->value);
    CHECK(at == a->bytes + size);
    digest_init(&a->lanes);
    __real_digest_add(&a->lanes, id, s);
    return &a->lanes;
}

/* Of a copy: where nothing can alias, these loops are vector instructions. */
void __wrap_digest_add(struct digest *d, const struct entry_id *id,
                       const struct sibling *s)
{
    const struct digest *lanes = lanes_of(id, s);

    if (lanes == NULL) {
        __real_digest_add(d, id, s);
        return;
    }
    struct digest copy = *lanes;
    uint16_t *restrict to = d->lanes;
    for (size_t i = 0; i < DIGEST_LANES; i++)
        to[i] = (uint16_t)(to[i] + copy.lanes[i]);
}

void __wrap_digest_remove(struct digest *d, const struct entry_id *id,
                          const struct sibling *s)
{
    const struct digest *lanes = lanes_of(id, s);

    if (lanes == NULL) {
        __real_digest_remove(d, id, s);
        return;
    }
    struct digest copy = *lanes;
    uint16_t *restrict to = d->lanes;
    for (size_t i = 0; i < DIGEST_LANES; i++)
        to[i] = (uint16_t)(to[i] - copy.lanes[i]);
}
