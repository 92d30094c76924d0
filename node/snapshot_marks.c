/* Lists that go away meanwhile were dealt with: a prune puts those of their
 * names that it could not delete into its own list first. */
#include "node/snapshot_marks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/snapshot_object.h"
#include "crdt/base/check.h"

int snapshot_marks_read(struct object_list *to, struct slice text)
{
    size_t at = 0;
    int error = 0;

    while (at < text.size && error == 0) {
        const uint8_t *end = memchr(text.data + at, '\n', text.size - at);
        size_t size =
            end == NULL ? text.size - at : (size_t)(end - (text.data + at));

        error = object_list_add(to, slice_of(text.data + at, size), false);
        at += size + 1;
    }
    return error;
}

int snapshot_marks_load(struct snapshot_marks *ret_marks,
                        struct object_store *store, const struct mesh_id *mesh,
                        struct cm_detail *detail)
{
    char mesh_text[MESH_ID_TEXT_SIZE];
    char folder[SNAPSHOT_NAME_SIZE];
    struct object_list lists;
    struct buffer bytes;
    int error;

    *ret_marks = (struct snapshot_marks){.names = {0}};
    mesh_id_format(mesh_text, mesh);
    (void)snprintf(folder, sizeof folder, "v1/%s/t/", mesh_text);
    error = object_store_list(store, folder, &lists, detail);
    if (error != 0)
        return error;
    buffer_init(&bytes, SNAPSHOT_MARKS_MAX);
    for (size_t i = 0; i < lists.count && error == 0; i++) {
        char name[SNAPSHOT_NAME_SIZE + 48];

        (void)snprintf(name, sizeof name, "%s%.40s", folder, lists.names[i]);
        error = object_store_get(store, name, &bytes, detail);
        if (error == 0)
            error =
                snapshot_marks_read(&ret_marks->names, buffer_slice(&bytes));
        else if (error == CM_ERR_NOT_FOUND)
            error = 0;
    }
    buffer_release(&bytes);
    object_list_release(&lists);
    object_list_sort(&ret_marks->names);
    return error;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, *(char *const *)b);
}

bool snapshot_marks_have(const struct snapshot_marks *m, const char *name)
{
    CHECK(name != NULL);
    return m->names.count > 0 &&
           bsearch(name, m->names.names, m->names.count, sizeof *m->names.names,
                   compare_text) != NULL;
}

void snapshot_marks_release(struct snapshot_marks *m)
{
    object_list_release(&m->names);
}
