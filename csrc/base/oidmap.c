/*
 * A hash table of ids. Ids are hashes already, so their first bytes are the hash value. One thread at a time changes
 * it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/oidmap.h"

#define LEAST_ROOM 64

static const unsigned char *row_oid(const void *rows, size_t stride, uint32_t row)
{
	return (const unsigned char *)rows + row * stride;
}

uint32_t oid_map_find(const oid_map *map, const void *rows, size_t stride, const unsigned char *oid, size_t size)
{
	if (!map->count)
		return NO_ROW;
	for (uint32_t at = be32(oid);; at++) {
		uint32_t slot = map->slots[at & (map->room - 1)];
		if (!slot)
			return NO_ROW;
		if (!memcmp(row_oid(rows, stride, slot - 1), oid, size))
			return slot - 1;
	}
}

static void put(oid_map *map, const unsigned char *oid, uint32_t row)
{
	uint32_t at = be32(oid);
	while (map->slots[at & (map->room - 1)])
		at++;
	map->slots[at & (map->room - 1)] = row + 1;
}

static int grow(oid_map *map, const void *rows, size_t stride)
{
	uint32_t room = map->room ? 2 * map->room : LEAST_ROOM;
	uint32_t *slots = room ? calloc(room, sizeof(*slots)) : NULL;
	if (!slots)
		return -1;
	free(map->slots);
	map->slots = slots;
	map->room = room;
	for (uint32_t row = 0; row < map->count; row++)
		put(map, row_oid(rows, stride, row), row);
	return 0;
}

int oid_map_add(oid_map *map, const void *rows, size_t stride)
{
	if (map->count >= map->room / 2 && grow(map, rows, stride))
		return -1;
	put(map, row_oid(rows, stride, map->count), map->count);
	map->count++;
	return 0;
}

void oid_map_clear(oid_map *map)
{
	if (map->room)
		memset(map->slots, 0, map->room * sizeof(*map->slots));
	map->count = 0;
}

void oid_map_free(oid_map *map)
{
	free(map->slots);
	*map = (oid_map){0};
}
