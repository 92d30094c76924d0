/* What every target has to agree on: which names are names, and in which order
 * they are listed. */
#include "node/object_name.h"

#include <stdlib.h>
#include <string.h>

#include "crdt/base/alloc.h"
#include "crdt/base/check.h"

int object_name_check(const char *name, bool prefix, struct cm_detail *detail)
{
    size_t size = strlen(name);
    bool at_start = true;
    size_t i;

    if (size > OBJECT_NAME_MAX)
        return cm_fail(detail, CM_ERR_INVALID,
                       "an object's name has %zu bytes, the limit is %d", size,
                       OBJECT_NAME_MAX);
    for (i = 0; i < size; i++) {
        char c = name[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-';

        if (!word && (at_start || (c != '.' && c != '/')))
            return cm_fail(detail, CM_ERR_INVALID,
                           "an object's name must be of [a-z0-9._-] parts "
                           "joined by single slashes, none beginning with a "
                           "dot; '%.60s' is not",
                           name);
        at_start = c == '/';
    }
    if (at_start != (prefix || size == 0) || (size == 0 && !prefix))
        return cm_fail(detail, CM_ERR_INVALID,
                       "an object's name must not be empty or end in a "
                       "slash; '%.60s' is not one",
                       name);
    return 0;
}

int object_list_add(struct object_list *l, struct slice name, bool directory)
{
    char *copy;

    CHECK(l->count <= l->capacity);
    if (name.size == 0 || name.data[0] == '.' ||
        memchr(name.data, '\0', name.size) != NULL)
        return 0;
    if (l->count == OBJECT_LIST_MAX)
        return CM_ERR_LIMIT;
    if (l->count == l->capacity) {
        size_t grown = l->capacity > 0 ? 2 * l->capacity : 64;
        char **names = cm_realloc(l->names, grown * sizeof *names);

        if (names == NULL)
            return CM_ERR_NOMEM;
        l->names = names;
        l->capacity = grown;
    }
    copy = cm_alloc(name.size + 2);
    if (copy == NULL)
        return CM_ERR_NOMEM;
    memcpy(copy, name.data, name.size);
    copy[name.size] = directory ? '/' : '\0';
    copy[name.size + directory] = '\0';
    l->names[l->count++] = copy;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void object_list_sort(struct object_list *l)
{
    CHECK(l != NULL);
    if (l->count > 1)
        qsort(l->names, l->count, sizeof *l->names, compare_names);
}

void object_list_release(struct object_list *l)
{
    size_t i;

    CHECK(l != NULL);
    for (i = 0; i < l->count; i++)
        cm_free(l->names[i]);
    cm_free(l->names);
    *l = (struct object_list){0};
}
