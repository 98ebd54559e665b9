/*
 * One sorted index over many pages of a v1 archive (docs/formats/archive-v1.md), from a key to page and slot. It is
 * only a shortcut: the page's own entry is read afterwards, and must have the same key.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "v1/gpa_v1.h"

#define MAGIC 0x47504158u	/* "GPAX" */
#define VERSION 1
#define HEADER_SIZE 20
#define PLACE_SIZE 8
#define TRAILER_SIZE 20

static int parse_fanout(gpa_archive_index *index, gpa_error *err)
{
	for (unsigned i = 1; i < 256; i++) {
		uint32_t before = be32_at(index->fanout, i - 1), here = be32_at(index->fanout, i);
		if (here < before)
			return corrupt(err, "fanout goes down at 0x%02x: %u, then %u", i, before, here);
	}
	if (be32_at(index->fanout, 255) != index->object_count)
		return corrupt(err, "fanout ends with %u, expected %u", be32_at(index->fanout, 255),
			       index->object_count);
	return GPA_OK;
}

int gpa_archive_index_parse(gpa_archive_index *out, gpa_bytes file, gpa_error *err)
{
	if (file.len < HEADER_SIZE)
		return corrupt(err, "index is %zu bytes, too short for its header", file.len);
	if (be32(file.ptr) != MAGIC)
		return corrupt_at(err, 0, "index signature is 0x%08x, expected 0x%08x", be32(file.ptr), MAGIC);
	if (be32(file.ptr + 4) != VERSION)
		return unsupported(err, "index version %u", be32(file.ptr + 4));
	out->file = file;
	out->kind = be32(file.ptr + 8);
	out->page_count = be32(file.ptr + 12);
	out->object_count = be32(file.ptr + 16);
	uint64_t expected = HEADER_SIZE + (uint64_t)out->page_count * GPA_ARCHIVE_PAGE_ROW + FANOUT_SIZE +
			    (uint64_t)out->object_count * (GPA_ARCHIVE_KEY + PLACE_SIZE) + TRAILER_SIZE;
	if (file.len != expected)
		return corrupt(err, "index is %zu bytes, expected %llu for %u pages and %u objects", file.len,
			       (unsigned long long)expected, out->page_count, out->object_count);
	out->pages = file.ptr + HEADER_SIZE;
	out->fanout = out->pages + (size_t)out->page_count * GPA_ARCHIVE_PAGE_ROW;
	out->keys = out->fanout + FANOUT_SIZE;
	out->places = out->keys + (size_t)out->object_count * GPA_ARCHIVE_KEY;
	return parse_fanout(out, err);
}

const unsigned char *gpa_archive_index_key(const gpa_archive_index *index, uint32_t pos)
{
	return index->keys + (size_t)pos * GPA_ARCHIVE_KEY;
}

static int read_place(uint32_t *page, uint32_t *slot, const gpa_archive_index *index, uint32_t pos, gpa_error *err)
{
	const unsigned char *place = index->places + (size_t)pos * PLACE_SIZE;
	*page = be32(place);
	*slot = be32(place + 4);
	if (*page < index->page_count && *slot < GPA_ARCHIVE_CAPACITY)
		return GPA_OK;
	return corrupt_at(err, place - index->file.ptr, "object %u is in slot %u of page %u, of %u pages", pos, *slot,
			  *page, index->page_count);
}

int gpa_archive_index_find(uint32_t *page, uint32_t *slot, const gpa_archive_index *index, const unsigned char *key,
			   gpa_error *err)
{
	uint32_t pos;
	if (oid_find(&pos, index->fanout, index->keys, GPA_ARCHIVE_KEY, GPA_ARCHIVE_KEY, key))
		return GPA_ENOTFOUND;
	return read_place(page, slot, index, pos, err);
}

/* The first key that is not below `prefix`, or with `after` the first one beyond all that begin with it. */
static uint32_t bound(const gpa_archive_index *index, const unsigned char *prefix, size_t prefix_size, int after)
{
	uint32_t low = 0, high = index->object_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int c = memcmp(gpa_archive_index_key(index, middle), prefix, prefix_size);
		if (c < 0 || (after && !c))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void gpa_archive_index_range(uint32_t *first, uint32_t *count, const gpa_archive_index *index,
			     const unsigned char *prefix, size_t prefix_size)
{
	*first = bound(index, prefix, prefix_size, 0);
	uint32_t end = bound(index, prefix, prefix_size, 1);
	*count = end > *first ? end - *first : 0;	/* if the index is out of order, the two may cross */
}

int gpa_archive_index_check(const gpa_archive_index *index, gpa_error *err)
{
	unsigned char hash[GPA_OID_MAX];
	size_t body = index->file.len - TRAILER_SIZE;
	int status = gpa_hash_bytes(hash, GPA_SHA1, (gpa_bytes){index->file.ptr, body}, err);
	if (status)
		return status;
	if (memcmp(hash, index->file.ptr + body, TRAILER_SIZE))
		return corrupt_at(err, body, "checksum mismatch");
	for (uint32_t pos = 0; pos < index->object_count; pos++) {
		const unsigned char *key = gpa_archive_index_key(index, pos);
		uint32_t page, slot;
		if (pos && memcmp(key - GPA_ARCHIVE_KEY, key, GPA_ARCHIVE_KEY) >= 0)
			return corrupt_at(err, key - index->file.ptr, "keys are out of order at %u", pos);
		if (pos < fanout_begin(index->fanout, key[0]) || pos >= fanout_end(index->fanout, key[0]))
			return corrupt_at(err, key - index->file.ptr, "fanout does not lead to key %u", pos);
		if ((status = read_place(&page, &slot, index, pos, err)))
			return status;
	}
	return GPA_OK;
}

/* ---- making one ---- */

static void put_tables(unsigned char *fanout, uint32_t object_count, const gpa_archive_row *rows, uint32_t count)
{
	unsigned char *key = fanout + FANOUT_SIZE, *place = key + (size_t)object_count * GPA_ARCHIVE_KEY;
	uint32_t ends[256] = {0}, sum = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (!rows[i].wins)
			continue;
		memcpy(key, rows[i].key, GPA_ARCHIVE_KEY);
		put_be32(place, rows[i].page);
		put_be32(place + 4, rows[i].slot);
		ends[rows[i].key[0]]++;
		key += GPA_ARCHIVE_KEY;
		place += PLACE_SIZE;
	}
	for (unsigned i = 0; i < 256; i++)
		put_be32(fanout + 4 * i, sum += ends[i]);
}

int gpa_archive_index_make(gpa_buffer *out, uint32_t kind, const unsigned char *pages, uint32_t page_count,
			   const gpa_archive_row *rows, uint32_t count, gpa_error *err)
{
	uint32_t object_count = 0;
	for (uint32_t i = 0; i < count; i++)
		object_count += rows[i].wins != 0;
	size_t pages_size = (size_t)page_count * GPA_ARCHIVE_PAGE_ROW;
	size_t body = HEADER_SIZE + pages_size + FANOUT_SIZE + (size_t)object_count * (GPA_ARCHIVE_KEY + PLACE_SIZE);
	unsigned char *at = malloc(body + TRAILER_SIZE);
	if (!at)
		return out_of_memory(err);
	put_be32(at, MAGIC);
	put_be32(at + 4, VERSION);
	put_be32(at + 8, kind);
	put_be32(at + 12, page_count);
	put_be32(at + 16, object_count);
	memcpy(at + HEADER_SIZE, pages, pages_size);
	put_tables(at + HEADER_SIZE + pages_size, object_count, rows, count);
	int status = gpa_hash_bytes(at + body, GPA_SHA1, (gpa_bytes){at, body}, err);
	if (status)
		free(at);
	else
		*out = (gpa_buffer){at, body + TRAILER_SIZE};
	return status;
}
