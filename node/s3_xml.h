/* The little XML that S3 answers with: listings and errors.
 *
 * Not an XML parser: elements, their text and the five entities, which is all
 * that S3 sends. What it does not understand, it does not find. */
#ifndef NODE_S3_XML_H
#define NODE_S3_XML_H

#include <stdbool.h>

#include "crdt/base/buffer.h"
#include "node/object_name.h"

/* The text of the first <element> (not unescaped, borrowed from xml); false if
 * there is none. */
bool s3_xml_find(struct slice *ret_text, struct slice xml, const char *element);
/* Unescaped into out. CM_ERR_MALFORMED. */
int s3_xml_unescape(struct buffer *out, struct slice text);

/* One page of ListObjectsV2: adds the names below prefix (not encoded), those
 * of common prefixes as directories. ret_token gets the continuation token,
 * empty after the last page. CM_ERR_MALFORMED: not such a page, or not a whole
 * one. */
int s3_xml_list(struct object_list *l, struct slice xml, const char *prefix,
                struct buffer *ret_token);

#endif
