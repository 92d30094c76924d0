/* Copies of a machine's disk: see host_image.h. */
#include "sim/host_image.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crdt/base/check.h"
#include "sim/host_internal.h"
#include "sim/memory.h"

struct sim_image {
    uint8_t *bytes; /* owned; of data.mdb */
    size_t size;
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    char name[NAME_SIZE_MAX + 1];
};

static FILE *open_data(const struct sim_host *h, const char *mode)
{
    char path[SIM_HOST_PATH_MAX + 16];

    (void)snprintf(path, sizeof path, "%s/data.mdb", h->directory);
    return fopen(path, mode);
}

struct sim_image *sim_image_take(const struct sim_host *h)
{
    FILE *file = open_data(h, "rb");
    struct sim_image *i;
    long size;

    if (file == NULL)
        return NULL;
    i = sim_calloc(1, sizeof *i);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    size = ftell(file);
    CHECK(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
    i->size = (size_t)size;
    i->bytes = sim_alloc(i->size + 1);
    CHECK(fread(i->bytes, 1, i->size, file) == i->size);
    (void)fclose(file);
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
    sim_free(i);
}

bool sim_image_is_of(const struct sim_image *i, const struct sim_host *h)
{
    return memcmp(i->public_key, h->public_key, sizeof i->public_key) == 0;
}

void sim_image_put(const struct sim_image *i, struct sim_host *h)
{
    FILE *file;

    CHECK(h->node == NULL);
    sim_disk_wipe(h->disk);
    file = open_data(h, "wb");
    CHECK(file != NULL);
    CHECK(fwrite(i->bytes, 1, i->size, file) == i->size);
    CHECK(fclose(file) == 0);
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
