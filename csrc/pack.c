/*
 * Packs, version 2 and 3 (docs/formats/page.md): headers, entries, and one object with its chain of deltas. A chain is
 * followed with a stack of offsets, never by recursion; a cyclic one is longer than the pack has objects.
 */
#include "core.h"

#define SIGNATURE 0x5041434bu
#define HEADER_SIZE 12

static const char *const type_names[] = {"none", "commit", "tree", "blob", "tag", "reserved", "ofs-delta", "ref-delta"};

const char *type_name(int type)
{
	return type_names[type & 7];
}

int gpa_pack_parse(uint32_t *object_count, gpa_bytes pack, int algo, gpa_error *err)
{
	size_t h = gpa_hash_size(algo);
	if (pack.len < HEADER_SIZE + h)
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

/* Type and inflated size: 4 bits of size in the first byte, 7 in each that follows. */
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

/* Distance back to the base: most significant group first, one added for each continuation. */
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
	if (pack.len < HEADER_SIZE + h || offset < HEADER_SIZE || offset >= pack.len - h)
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

void gpa_buffer_free(gpa_buffer *buffer)
{
	free(buffer->ptr);
	buffer->ptr = NULL;
	buffer->len = 0;
}

/* Inflate the entry's own content. A stream never inflates by more than 1032 to 1, so a size beyond that is a lie. */
static int unpack_entry(gpa_buffer *out, gpa_bytes pack, const gpa_entry *entry, uint64_t offset, uint32_t hash_size,
			inflater *z, gpa_error *err)
{
	uint64_t start = offset + entry->header_size;
	gpa_bytes stream = {pack.ptr + start, pack.len - hash_size - start};
	size_t used;
	if (entry->size / 1040 > stream.len)
		return corrupt_at(err, offset, "entry claims %llu bytes, more than its file can hold",
				  (unsigned long long)entry->size);
	out->len = entry->size;
	out->ptr = malloc(entry->size ? entry->size : 1);
	if (!out->ptr)
		return out_of_memory(err);
	int status = inflate_whole(z, out->ptr, out->len, &used, stream, err);
	if (status) {
		err->offset = (int64_t)offset;
		gpa_buffer_free(out);
	}
	return status;
}

static int base_offset_of(uint64_t *base, const gpa_idx *idx, const gpa_entry *entry, uint64_t offset, gpa_error *err)
{
	uint32_t pos;
	if (entry->type == GPA_OFS_DELTA) {
		*base = entry->base_offset;
		return GPA_OK;
	}
	if (gpa_idx_find(&pos, idx, entry->base_oid))
		return corrupt_at(err, offset, "delta base is not in this pack");
	return gpa_idx_offset(base, idx, pos, err);
}

/* Turn `object` into the target of the delta entry at `offset`. */
static int apply_entry(gpa_buffer *object, gpa_bytes pack, uint64_t offset, const gpa_idx *idx, inflater *z,
		       gpa_error *err)
{
	gpa_entry entry;
	gpa_buffer delta = {0}, target = {0};
	uint64_t source_size, target_size;
	int status = gpa_entry_parse(&entry, pack, offset, idx->algo, err);
	if (!status)
		status = unpack_entry(&delta, pack, &entry, offset, idx->hash_size, z, err);
	if (!status)
		status = gpa_delta_sizes(&source_size, &target_size, (gpa_bytes){delta.ptr, delta.len}, err);
	/* one copy operation of at most 7 bytes makes at most 16 MiB */
	if (!status && target_size / 0xffffff > delta.len)
		status = corrupt_at(err, offset, "delta claims a target of %llu bytes", (unsigned long long)target_size);
	if (!status) {
		target.len = target_size;
		target.ptr = malloc(target_size ? target_size : 1);
		status = !target.ptr ? out_of_memory(err) :
			 gpa_delta_apply(target.ptr, target.len, (gpa_bytes){object->ptr, object->len},
					 (gpa_bytes){delta.ptr, delta.len}, err);
	}
	gpa_buffer_free(&delta);
	if (status) {
		if (status == GPA_ECORRUPT && err->offset == GPA_NO_OFFSET)
			err->offset = (int64_t)offset;
		gpa_buffer_free(&target);
		return status;
	}
	gpa_buffer_free(object);
	*object = target;
	return GPA_OK;
}

int pack_unpack(int *type, gpa_buffer *out, gpa_bytes pack, const gpa_idx *idx, uint64_t offset, inflater *z,
		gpa_error *err)
{
	uint64_t near[64], *chain = near, length = 0, room = 64;
	gpa_entry entry;
	int status;
	out->ptr = NULL;
	while (!(status = gpa_entry_parse(&entry, pack, offset, idx->algo, err)) && entry.type > GPA_TAG) {
		if (length >= idx->object_count) {
			status = corrupt_at(err, offset, "delta chain is a cycle");
			break;
		}
		if (length == room) {
			uint64_t *longer = malloc(2 * room * sizeof(*longer));
			if (!longer) {
				status = out_of_memory(err);
				break;
			}
			memcpy(longer, chain, room * sizeof(*longer));
			if (chain != near)
				free(chain);
			chain = longer;
			room *= 2;
		}
		chain[length++] = offset;
		if ((status = base_offset_of(&offset, idx, &entry, offset, err)))
			break;
	}
	if (!status)
		status = unpack_entry(out, pack, &entry, offset, idx->hash_size, z, err);
	if (!status)
		*type = entry.type;
	while (!status && length)
		status = apply_entry(out, pack, chain[--length], idx, z, err);
	if (status)
		gpa_buffer_free(out);
	if (chain != near)
		free(chain);
	return status;
}

int gpa_pack_unpack(int *type, gpa_buffer *out, gpa_bytes pack, const gpa_idx *idx, uint64_t offset, gpa_error *err)
{
	inflater *z;
	int status = inflater_new(&z, err);
	if (status)
		return status;
	status = pack_unpack(type, out, pack, idx, offset, z, err);
	inflater_free(z);
	return status;
}
