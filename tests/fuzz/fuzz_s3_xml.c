/* Goal: no answer of an S3 server makes the reader of its XML crash, leak or
 * loop. Method: the input as a listing, as an error, and as text to unescape.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "node/s3_xml.h"

#define OUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice xml = slice_of(data, size);
    struct object_list list = {0};
    struct buffer out;
    struct slice text;
    size_t i;

    buffer_init(&out, OUT_MAX);
    (void)s3_xml_list(&list, xml, "v1/", &out);
    for (i = 0; i < list.count; i++)
        if (list.names[i][0] == '\0')
            abort();
    object_list_release(&list);
    buffer_clear(&out);
    if (s3_xml_find(&text, xml, "Code"))
        (void)s3_xml_unescape(&out, text);
    buffer_clear(&out);
    if (s3_xml_unescape(&out, xml) == 0 && out.size > size)
        abort(); /* an entity is never shorter than what it stands for */
    buffer_release(&out);
    return 0;
}
