/*
 * Packs. Input: a pack, whose count and trailer need not be right. Its entries are found by inflating one after the
 * other, and get an idx: named by their content if they are whole, else by their offset. Then everything that reads a
 * pack runs: each header at each offset, unpacking, and the check of every byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/chain.h"
#include "format/types.h"

#define ENTRIES_MAX 64
#define IDX_MAX (8 + 1024 + ENTRIES_MAX * (GPA_OID_MAX + 8) + 2 * GPA_OID_MAX)

typedef struct entry {
	unsigned char oid[GPA_OID_MAX];
	uint32_t offset;
	uint32_t crc;
} entry;

static uint32_t hash_size;

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, hash_size);
}

static void name_whole(entry *e, int algo, const gpa_entry *parsed, gpa_bytes pack, inflater *z)
{
	char header[32];
	hasher h;
	gpa_error err;
	size_t used;
	gpa_bytes stream = {pack.ptr + e->offset + parsed->header_size, pack.len - e->offset - parsed->header_size};
	unsigned char *content = malloc(parsed->size ? parsed->size : 1);
	if (!content || inflate_whole(z, content, parsed->size, &used, stream, &err) || hasher_init(&h, algo, &err)) {
		free(content);
		return;
	}
	int n = snprintf(header, sizeof(header), "%s %llu", type_name(parsed->type), (unsigned long long)parsed->size);
	hasher_update(&h, header, (size_t)n + 1);
	hasher_update(&h, content, parsed->size);
	hasher_final(&h, e->oid);
	hasher_free(&h);
	free(content);
}

static uint32_t find_entries(entry *entries, gpa_bytes pack, int algo, inflater *z)
{
	gpa_error err;
	gpa_entry parsed;
	uint64_t at = 12;
	uint32_t count = 0;
	for (size_t used; count < ENTRIES_MAX && !gpa_entry_parse(&parsed, pack, at, algo, &err); count++) {
		gpa_bytes stream = {pack.ptr + at + parsed.header_size, pack.len - hash_size - at - parsed.header_size};
		if (parsed.size > 1 << 20 || inflate_pieces(parsed.size, &used, stream, NULL, NULL, NULL, &err))
			break;
		entry *e = &entries[count];
		memset(e, 0, sizeof(*e));
		put_be32(e->oid, (uint32_t)at * 2654435761u);
		e->offset = (uint32_t)at;
		e->crc = gpa_crc32(0, (gpa_bytes){pack.ptr + at, parsed.header_size + used});
		if (parsed.type <= GPA_TAG)
			name_whole(e, algo, &parsed, pack, z);
		at += parsed.header_size + used;
	}
	return count;
}

static size_t make_idx(unsigned char *out, entry *entries, uint32_t count, gpa_bytes pack, int algo)
{
	gpa_error err;
	unsigned char *oids = out + 8 + 1024, *crcs = oids + count * hash_size, *offsets = crcs + 4 * count;
	unsigned char *trailer = offsets + 4 * count;
	qsort(entries, count, sizeof(*entries), compare);
	memset(out, 0, 8 + 1024);
	memcpy(out, "\377tOc\0\0\0\2", 8);
	for (uint32_t i = 0; i < count; i++) {
		memcpy(oids + i * hash_size, entries[i].oid, hash_size);
		put_be32(crcs + 4 * i, entries[i].crc);
		put_be32(offsets + 4 * i, entries[i].offset);
		put_be32(out + 8 + 4 * entries[i].oid[0], be32_at(out + 8, entries[i].oid[0]) + 1);
	}
	for (unsigned first = 1; first < 256; first++)
		put_be32(out + 8 + 4 * first, be32_at(out + 8, first) + be32_at(out + 8, first - 1));
	memcpy(trailer, pack.ptr + pack.len - hash_size, hash_size);
	if (gpa_hash_bytes(trailer + hash_size, algo, (gpa_bytes){out, (size_t)(trailer + hash_size - out)}, &err))
		abort();
	return (size_t)(trailer + 2 * hash_size - out);
}

/* Read all objects. A pack that the check finds sound must unpack; in any other, nothing may crash. */
static void read_all(gpa_bytes pack, const gpa_idx *idx, inflater *z)
{
	gpa_error err;
	gpa_report report = {0};
	made_object *made;
	chain_source source = {.pack = pack, .idx = idx};
	if (gpa_pack_check(&report, pack, idx, 1, NULL, &err) && err.text[0] == 0)
		abort();
	for (uint32_t i = 0; i < idx->object_count; i++) {
		uint64_t offset;
		if (gpa_idx_offset(&offset, idx, i, &err))
			abort();
		int status = chain_read(&made, &source, offset, z, &err);
		if (status && !report.count)
			abort();
		if (!status)
			made_object_drop(made);
	}
	gpa_report_free(&report);
}

/* Read entries at every offset, whatever the idx says. */
static void read_anywhere(gpa_bytes pack, const gpa_idx *idx, inflater *z)
{
	gpa_error err;
	made_object *made;
	gpa_entry parsed;
	chain_source source = {.pack = pack, .idx = idx};
	for (uint64_t at = 0; at < pack.len + 2; at++) {
		if (gpa_entry_parse(&parsed, pack, at, idx->algo, &err))
			continue;
		if (at + parsed.header_size > pack.len - hash_size)
			abort();
		if (at % 16 == 12 && parsed.size < 1 << 16 && !chain_read(&made, &source, at, z, &err))
			made_object_drop(made);
	}
}

static void run(unsigned char *data, size_t size, int algo, inflater *z)
{
	static entry entries[ENTRIES_MAX];
	static unsigned char file[IDX_MAX];
	gpa_error err;
	gpa_idx idx;
	gpa_bytes pack = {data, size};
	uint32_t count;
	hash_size = (uint32_t)gpa_hash_size(algo);
	if (gpa_pack_parse(&count, pack, algo, &err))
		return;
	count = find_entries(entries, pack, algo, z);
	put_be32(data + 8, count);
	if (gpa_hash_bytes(data + size - hash_size, algo, (gpa_bytes){data, size - hash_size}, &err) ||
	    gpa_idx_parse(&idx, (gpa_bytes){file, make_idx(file, entries, count, pack, algo)}, algo, &err))
		abort();
	read_all(pack, &idx, z);
	read_anywhere(pack, &idx, z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	inflater *z;
	gpa_error err;
	unsigned char *copy = malloc(size ? size : 1);
	if (!copy || inflater_new(&z, &err))
		abort();
	memcpy(copy, data, size);
	run(copy, size, GPA_SHA1, z);
	memcpy(copy, data, size);
	run(copy, size, GPA_SHA256, z);
	inflater_free(z);
	free(copy);
	return 0;
}
