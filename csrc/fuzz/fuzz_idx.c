/*
 * Pack indexes of both versions and both hashes. A copy with the right checksum passes that check, and reaches the code
 * after it: order, look-ups, and the order of offsets.
 */
#include <stdlib.h>
#include <string.h>

#include "format/idx.h"

#define CLAIMED_PACK_SIZE 5000

static void look_up_all(const gpa_idx *idx)
{
	gpa_error err;
	for (uint32_t i = 0; i < idx->object_count; i++) {
		uint32_t pos;
		uint64_t offset;
		if (!gpa_idx_find(&pos, idx, gpa_idx_oid(idx, i)) &&
		    memcmp(gpa_idx_oid(idx, pos), gpa_idx_oid(idx, i), idx->hash_size))
			abort();
		gpa_idx_offset(&offset, idx, i, &err);
		gpa_idx_crc(idx, i);
	}
}

/* Check that every object of a valid idx is found at its place, and each place by its offset. */
static void demand_order(const gpa_idx *idx)
{
	gpa_error err;
	uint32_t pos;
	idx_place *places = malloc((idx->object_count + (size_t)1) * sizeof(*places));
	if (!places)
		abort();
	for (uint32_t i = 0; i < idx->object_count; i++)
		if (gpa_idx_find(&pos, idx, gpa_idx_oid(idx, i)) || pos != i)
			abort();
	if (!idx_places(places, idx, CLAIMED_PACK_SIZE, &err))
		for (uint32_t i = 0; i < idx->object_count; i++)
			if (idx_place_find(places, idx->object_count, places[i].offset) != i)
				abort();
	free(places);
}

static void run(unsigned char *data, size_t size, int algo)
{
	gpa_error err;
	gpa_idx idx;
	size_t h = gpa_hash_size(algo);
	if (gpa_idx_parse(&idx, (gpa_bytes){data, size}, algo, &err))
		return;
	look_up_all(&idx);
	gpa_idx_check(&idx, &err);
	if (gpa_hash_bytes(data + size - h, algo, (gpa_bytes){data, size - h}, &err))
		abort();
	if (!gpa_idx_check(&idx, &err))
		demand_order(&idx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *copy = malloc(size ? size : 1);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	run(copy, size, GPA_SHA1);
	run(copy, size, GPA_SHA256);
	free(copy);
	return 0;
}
