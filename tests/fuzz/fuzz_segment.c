/* Goal: no segment makes its decoder crash, leak or place anything outside of
 * what a pack can hold. Method: decode; what was accepted is encoded again and
 * must be the same bytes. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "backup/snapshot_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice content = slice_of(data, size);
    struct snapshot_map map = {0};
    size_t i;

    if (snapshot_map_decode(&map, content, NULL) == 0) {
        struct buffer back;

        for (i = 0; i < map.count; i++)
            if (map.places[i].pack >= map.packs_count ||
                (uint64_t)map.places[i].offset + map.places[i].size >
                    SNAPSHOT_PACK_MAX)
                abort();
        buffer_init(&back, SNAPSHOT_CHUNK_MAX);
        if (snapshot_map_encode(&back, &map) != 0 ||
            !slice_equal(buffer_slice(&back), content))
            abort();
        buffer_release(&back);
        snapshot_map_sort(&map);
    }
    snapshot_map_release(&map);
    return 0;
}
