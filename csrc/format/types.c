/* The types of objects (types.h). */
#include <stdio.h>

#include "format/types.h"

static const char *const type_names[] = {"none", "commit", "tree", "blob", "tag", "reserved", "ofs-delta", "ref-delta"};

const char *type_name(int type)
{
	return type_names[type & 7];
}

void object_id_begin(hasher *h, int type, uint64_t size)
{
	char header[32];
	int n = snprintf(header, sizeof(header), "%s %llu", type_name(type), (unsigned long long)size);
	hasher_update(h, header, (size_t)n + 1);
}

void object_id(unsigned char *oid, hasher *h, int type, gpa_bytes content)
{
	object_id_begin(h, type, content.len);
	hasher_update(h, content.ptr, content.len);
	hasher_final(h, oid);
}
