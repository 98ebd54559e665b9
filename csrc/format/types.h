/* The types of objects, and how an object's id begins. */
#ifndef GPA_TYPES_H
#define GPA_TYPES_H

#include "base/hash.h"

/* git's word for a type, also for those of entries: "commit", "ofs-delta". */
const char *type_name(int type);
/* Begin the hash that is an object's id: "<type> <size>\0" goes before the content. */
void object_id_begin(hasher *h, int type, uint64_t size);
/* The id of an object whose content is in memory: h->size bytes. */
void object_id(unsigned char *oid, hasher *h, int type, gpa_bytes content);

#endif
