/* Packs, version 2 and 3 (docs/formats/page.md): headers and entries. chain.c makes objects of them. */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "format/pack.h"

#define SIGNATURE 0x5041434bu

int gpa_pack_parse(uint32_t *object_count, gpa_bytes pack, int algo, gpa_error *err)
{
	size_t h = gpa_hash_size(algo);
	if (pack.len < PACK_HEADER + h)
		return corrupt(err, "pack is %zu bytes, too short for header and trailer", pack.len);
	if (be32(pack.ptr) != SIGNATURE)
		return corrupt_at(err, 0, "pack signature is 0x%08x, expected 0x%08x", be32(pack.ptr), SIGNATURE);
	uint32_t version = be32(pack.ptr + 4);
	if (version != 2 && version != 3)
		return unsupported(err, "pack version %u", version);
	*object_count = be32(pack.ptr + 8);
	return GPA_OK;
}

int gpa_pack_match(gpa_bytes pack, const gpa_idx *idx, gpa_error *err)
{
	uint32_t count;
	int status = gpa_pack_parse(&count, pack, idx->algo, err);
	if (status)
		return status;
	if (count != idx->object_count)
		return corrupt_at(err, 8, "pack holds %u objects, its idx %u", count, idx->object_count);
	if (memcmp(pack.ptr + pack.len - idx->hash_size, idx->pack_trailer, idx->hash_size))
		return corrupt_at(err, pack.len - idx->hash_size, "pack trailer is not the one its idx names");
	return GPA_OK;
}

/* Read type and inflated size: 4 bits of the size are in the first byte, 7 in each that follows. */
static int take_type_and_size(cursor *c, gpa_entry *out)
{
	unsigned char byte;
	if (cursor_byte(c, &byte))
		return -1;
	out->type = (byte >> 4) & 7;
	out->size = byte & 15;
	for (unsigned shift = 4; byte & 0x80; shift += 7) {
		if (cursor_byte(c, &byte) || shift > 60 || (shift == 60 && (byte & 0x70)))
			return -1;
		out->size |= (uint64_t)(byte & 0x7f) << shift;
	}
	return 0;
}

/* Read the distance back to the base: most significant group first, with one added for each continuation. */
static int take_distance(cursor *c, uint64_t *distance)
{
	unsigned char byte;
	if (cursor_byte(c, &byte))
		return -1;
	*distance = byte & 0x7f;
	while (byte & 0x80) {
		if (cursor_byte(c, &byte) || *distance >= UINT64_MAX >> 8)
			return -1;
		*distance = ((*distance + 1) << 7) | (byte & 0x7f);
	}
	return 0;
}

int entry_parse_bytes(gpa_entry *out, gpa_bytes head, uint64_t offset, uint32_t hash_size, gpa_error *err)
{
	cursor c = {head.ptr, head.ptr + head.len};
	memset(out, 0, sizeof(*out));
	if (take_type_and_size(&c, out))
		return corrupt_at(err, offset, "entry header is cut short or too long");
	if (out->type == 0 || out->type == 5)
		return corrupt_at(err, offset, "entry has invalid type %d", out->type);
	if (out->type == GPA_OFS_DELTA) {
		uint64_t distance;
		if (take_distance(&c, &distance) || !distance || distance >= offset)
			return corrupt_at(err, offset, "delta base lies outside the pack");
		out->base_offset = offset - distance;
	} else if (out->type == GPA_REF_DELTA) {
		if (cursor_left(&c) < hash_size)
			return corrupt_at(err, offset, "entry header is cut short");
		out->base_oid = c.at;
		c.at += hash_size;
	}
	out->header_size = (uint32_t)(c.at - head.ptr);
	return GPA_OK;
}

int gpa_entry_parse(gpa_entry *out, gpa_bytes pack, uint64_t offset, int algo, gpa_error *err)
{
	uint32_t h = (uint32_t)gpa_hash_size(algo);
	if (pack.len < PACK_HEADER + h || offset < PACK_HEADER || offset >= pack.len - h)
		return corrupt_at(err, offset, "entry lies outside the pack of %zu bytes", pack.len);
	return entry_parse_bytes(out, (gpa_bytes){pack.ptr + offset, pack.len - h - offset}, offset, h, err);
}

size_t entry_header_write(unsigned char *out, int type, uint64_t size)
{
	size_t n = 0;
	unsigned char byte = (unsigned char)(type << 4 | (size & 15));
	for (size >>= 4; size; size >>= 7) {
		out[n++] = byte | 0x80;
		byte = size & 0x7f;
	}
	out[n++] = byte;
	return n;
}

size_t entry_distance_write(unsigned char *out, uint64_t distance)
{
	unsigned char reversed[10];
	size_t n = 0;
	reversed[n++] = distance & 0x7f;
	while (distance >>= 7)
		reversed[n++] = 0x80 | (--distance & 0x7f);
	for (size_t i = 0; i < n; i++)
		out[i] = reversed[n - 1 - i];
	return n;
}

int entry_stream(gpa_bytes *stream, gpa_bytes pack, const gpa_entry *entry, uint64_t offset, uint32_t hash_size,
		 gpa_error *err)
{
	uint64_t start = offset + entry->header_size;
	*stream = (gpa_bytes){pack.ptr + start, pack.len - hash_size - start};
	if (entry->size / INFLATES_MOST > stream->len)
		return corrupt_at(err, offset, "entry claims %llu bytes, more than its file can hold",
				  (unsigned long long)entry->size);
	return GPA_OK;
}
