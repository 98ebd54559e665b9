/* Sorting references to oids (oidsort.c). */
#ifndef GPA_OIDSORT_H
#define GPA_OIDSORT_H

#include "base/gpa_base.h"

typedef struct oid_ref {
	uint64_t key;		/* the oid's first eight bytes as a number */
	uint32_t source;
	uint32_t pos;
} oid_ref;
typedef const unsigned char *(*oid_of)(const void *context, const oid_ref *ref);
/* Sort `refs` by oid, then by source. `scratch` has room for `count`. */
void oid_sort(oid_ref *refs, oid_ref *scratch, size_t count, uint32_t hash_size, oid_of oid, const void *context);

#endif
