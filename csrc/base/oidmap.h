/* A table of rows that begin with an id of GPA_OID_MAX bytes, found by that id (oidmap.c). */
#ifndef GPA_OIDMAP_H
#define GPA_OIDMAP_H

#include "base/gpa_base.h"

#define NO_ROW UINT32_MAX

typedef struct oid_map {
	uint32_t *slots;	/* a row's number plus one; 0: free */
	uint32_t room;		/* a power of two, or 0 */
	uint32_t count;
} oid_map;

/* The number of the row with this id, whose length is `size`; NO_ROW if there is none. */
uint32_t oid_map_find(const oid_map *map, const void *rows, size_t stride, const unsigned char *oid, size_t size);
/* Add row `map->count` of `rows`. Returns -1 without memory. */
int oid_map_add(oid_map *map, const void *rows, size_t stride);
void oid_map_clear(oid_map *map);
void oid_map_free(oid_map *map);

#endif
