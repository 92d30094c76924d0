/* Copies of a machine's disk: see host_image.h. */
#include "sim/host_image.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "node/heal_facts.h"
#include "sim/host_internal.h"
#include "sim/memory.h"

#define DATA_NAME "data.mdb"

struct sim_image {
    uint8_t *bytes; /* owned; of data.mdb */
    size_t size;
    uint8_t *facts; /* owned; NULL: there was no copy of the facts yet */
    size_t facts_size;
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    char name[NAME_SIZE_MAX + 1];
};

static FILE *open_file(const struct sim_host *h, const char *name,
                       const char *mode)
{
    char path[SIM_HOST_PATH_MAX + 16];

    (void)snprintf(path, sizeof path, "%s/%s", h->directory, name);
    return fopen(path, mode);
}

/* NULL: there is none. */
static uint8_t *read_whole(const struct sim_host *h, const char *name,
                           size_t *ret_size)
{
    FILE *file = open_file(h, name, "rb");
    uint8_t *bytes;
    long size;

    if (file == NULL)
        return NULL;
    CHECK(fseek(file, 0, SEEK_END) == 0);
    size = ftell(file);
    CHECK(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
    *ret_size = (size_t)size;
    bytes = sim_alloc(*ret_size + 1);
    CHECK(fread(bytes, 1, *ret_size, file) == *ret_size);
    (void)fclose(file);
    return bytes;
}

static void write_whole(const struct sim_host *h, const char *name,
                        const uint8_t *bytes, size_t size)
{
    FILE *file = open_file(h, name, "wb");

    CHECK(file != NULL);
    CHECK(fwrite(bytes, 1, size, file) == size);
    CHECK(fclose(file) == 0);
}

struct sim_image *sim_image_take(const struct sim_host *h)
{
    struct sim_image *i;
    size_t size = 0;
    uint8_t *bytes = read_whole(h, DATA_NAME, &size);

    if (bytes == NULL)
        return NULL;
    i = sim_calloc(1, sizeof *i);
    i->bytes = bytes;
    i->size = size;
    i->facts = read_whole(h, HEAL_FACTS_NAME, &i->facts_size);
    memcpy(i->public_key, h->public_key, sizeof i->public_key);
    memcpy(i->secret_key, h->secret_key, sizeof i->secret_key);
    memcpy(i->name, h->name, sizeof i->name);
    return i;
}

void sim_image_free(struct sim_image *i)
{
    if (i == NULL)
        return;
    sodium_memzero(i->secret_key, sizeof i->secret_key);
    sim_free(i->bytes);
    sim_free(i->facts);
    sim_free(i);
}

bool sim_image_is_of(const struct sim_image *i, const struct sim_host *h)
{
    return memcmp(i->public_key, h->public_key, sizeof i->public_key) == 0;
}

void sim_image_put(const struct sim_image *i, struct sim_host *h)
{
    CHECK(h->node == NULL);
    sim_disk_wipe(h->disk);
    write_whole(h, DATA_NAME, i->bytes, i->size);
    if (i->facts != NULL)
        write_whole(h, HEAL_FACTS_NAME, i->facts, i->facts_size);
    if (!sim_image_is_of(i, h))
        h->life++;
    memcpy(h->public_key, i->public_key, sizeof h->public_key);
    memcpy(h->secret_key, i->secret_key, sizeof h->secret_key);
    memcpy(h->name, i->name, sizeof h->name);
    sim_sched_note(h->place.sched, "image", h->number, i->size,
                   slice_of(h->public_key, sizeof h->public_key));
}

void sim_host_set_machine(struct sim_host *h, unsigned machine)
{
    CHECK(h->node == NULL);
    memset(h->fingerprint, 0, sizeof h->fingerprint);
    put_be64(h->fingerprint, machine);
}

void sim_host_copy_machine(struct sim_host *h, const struct sim_host *from)
{
    CHECK(h->node == NULL && h != from);
    memcpy(h->fingerprint, from->fingerprint, sizeof h->fingerprint);
}
