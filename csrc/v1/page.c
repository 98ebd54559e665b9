/*
 * A page of a v1 archive (docs/formats/archive-v1.md): header, index, values. The original library trusted its files.
 * Here every number is compared with the file, and an object's content with its key.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "format/types.h"
#include "v1/archive.h"

#define VERSION 1

_Static_assert(ARCHIVE_HEADER_SIZE + GPA_ARCHIVE_CAPACITY * ARCHIVE_ENTRY_SIZE == GPA_ARCHIVE_DATA_START,
	       "the data follows the index");

static const unsigned char zeros[ARCHIVE_ENTRY_SIZE];

/* ---- the header ---- */

#define wrong(err, what, place, ...) (corrupt_at((err), (place), __VA_ARGS__), (err)->fault = (what), GPA_ECORRUPT)

static int check_constants(const unsigned char *header, gpa_error *err)
{
	static const struct { int fault; const char *name; uint32_t offset, value; } constants[] = {
		{GPA_FAULT_CAPACITY, "capacity", 4, GPA_ARCHIVE_CAPACITY},
		{GPA_FAULT_INDEX_START, "index_start", 12, ARCHIVE_HEADER_SIZE},
		{GPA_FAULT_DATA_START, "data_start", 16, GPA_ARCHIVE_DATA_START},
	};
	for (size_t i = 0; i < sizeof(constants) / sizeof(*constants); i++) {
		uint32_t found = be32(header + constants[i].offset);
		if (found != constants[i].value)
			return wrong(err, constants[i].fault, constants[i].offset, "%s is %u, expected %u",
				     constants[i].name, found, constants[i].value);
	}
	return GPA_OK;
}

int gpa_archive_parse(gpa_archive_page *out, gpa_bytes file, gpa_error *err)
{
	const unsigned char *header = file.ptr;
	if (file.len < ARCHIVE_HEADER_SIZE)
		return wrong(err, GPA_FAULT_SHORT, 0, "page is %zu bytes, too short for its header", file.len);
	if (!memcmp(header, zeros, ARCHIVE_HEADER_SIZE))
		return wrong(err, GPA_FAULT_UNSAVED, 0, "page was never saved: its header is zeros");
	if (be32(header) != VERSION)
		return wrong(err, GPA_FAULT_VERSION, 0, "page version is %u, expected %d", be32(header), VERSION);
	int status = check_constants(header, err);
	if (status)
		return status;
	out->file = file;
	out->is_rescued = 0;
	out->item_count = be32(header + 8);
	out->data_size = be32(header + 20);
	if (out->item_count > GPA_ARCHIVE_CAPACITY)
		return wrong(err, GPA_FAULT_ITEMS, 8, "page has %u entries, at most %d fit", out->item_count,
			     GPA_ARCHIVE_CAPACITY);
	if (file.len < GPA_ARCHIVE_DATA_START || out->data_size > file.len - GPA_ARCHIVE_DATA_START)
		return wrong(err, GPA_FAULT_CUT, 20, "page is %zu bytes, its header says %llu", file.len,
			     GPA_ARCHIVE_DATA_START + (unsigned long long)out->data_size);
	return GPA_OK;
}

void gpa_archive_rescue(gpa_archive_page *out, gpa_bytes file)
{
	size_t index = file.len < GPA_ARCHIVE_DATA_START ? file.len : GPA_ARCHIVE_DATA_START;
	size_t data = file.len - index;
	out->file = file;
	out->is_rescued = 1;
	out->item_count = index < ARCHIVE_HEADER_SIZE ? 0 : (uint32_t)((index - ARCHIVE_HEADER_SIZE) / ARCHIVE_ENTRY_SIZE);
	out->data_size = data < UINT32_MAX ? (uint32_t)data : UINT32_MAX;
}

/* ---- entries ---- */

static const unsigned char *entry_at(const gpa_archive_page *page, uint32_t slot)
{
	return page->file.ptr + ARCHIVE_HEADER_SIZE + (size_t)slot * ARCHIVE_ENTRY_SIZE;
}

int gpa_archive_is_torn(const gpa_archive_page *page)
{
	for (uint32_t slot = page->item_count; !page->is_rescued && slot < GPA_ARCHIVE_CAPACITY; slot++)
		if (memcmp(entry_at(page, slot), zeros, ARCHIVE_ENTRY_SIZE))
			return 1;
	return 0;
}

static void read_row(gpa_archive_row *row, const gpa_archive_page *page, uint32_t slot)
{
	const unsigned char *entry = entry_at(page, slot);
	memset(row, 0, sizeof(*row));
	memcpy(row->key, entry, GPA_ARCHIVE_KEY);
	row->slot = slot;
	row->offset = be32(entry + GPA_ARCHIVE_KEY);
	row->size = be32(entry + GPA_ARCHIVE_KEY + 4);
}

int gpa_archive_find(gpa_archive_row *row, const gpa_archive_page *page, const unsigned char *key, size_t key_size)
{
	for (uint32_t slot = 0; slot < page->item_count; slot++)
		if (!memcmp(entry_at(page, slot), key, key_size)) {
			read_row(row, page, slot);
			return GPA_OK;
		}
	return GPA_ENOTFOUND;
}

int gpa_archive_entry(gpa_archive_row *row, const gpa_archive_page *page, uint32_t slot)
{
	if (slot >= page->item_count)
		return GPA_ENOTFOUND;
	read_row(row, page, slot);
	return GPA_OK;
}

int gpa_archive_value(gpa_bytes *out, const gpa_archive_page *page, const gpa_archive_row *row, gpa_error *err)
{
	/* A rescued page may end inside its index: then it has no data, and only an empty value fits. */
	size_t room = page->file.len < GPA_ARCHIVE_DATA_START ? 0 : page->file.len - GPA_ARCHIVE_DATA_START;
	size_t place = ARCHIVE_HEADER_SIZE + (size_t)row->slot * ARCHIVE_ENTRY_SIZE;
	if (row->offset > room || row->size > room - row->offset)
		return wrong(err, GPA_FAULT_BEYOND_FILE, place, "value of %u bytes at %u reaches beyond the file",
			     row->size, row->offset);
	if (row->offset > page->data_size || row->size > page->data_size - row->offset)
		return wrong(err, GPA_FAULT_BEYOND_DATA, place,
			     "value of %u bytes at %u reaches beyond the page's %u bytes of data", row->size,
			     row->offset, page->data_size);
	*out = (gpa_bytes){row->size ? page->file.ptr + GPA_ARCHIVE_DATA_START + row->offset : zeros, row->size};
	return GPA_OK;
}

/* ---- objects ---- */

/*
 * Split a value. The type is in the byte order of the machine that wrote it; at most one of the two readings is a type.
 */
int archive_split_value(int *type, gpa_bytes *content, gpa_bytes value, size_t place, gpa_error *err)
{
	if (value.len < ARCHIVE_TYPE_SIZE)
		return wrong(err, GPA_FAULT_NO_TYPE, place, "value is %zu bytes, too short for an object's type",
			     value.len);
	uint32_t little = le32(value.ptr), big = be32(value.ptr);
	uint32_t found = little >= GPA_COMMIT && little <= GPA_TAG ? little : big;
	if (found < GPA_COMMIT || found > GPA_TAG)
		return wrong(err, GPA_FAULT_BAD_TYPE, place, "object type is %u", little);
	*type = (int)found;
	*content = (gpa_bytes){value.ptr + ARCHIVE_TYPE_SIZE, value.len - ARCHIVE_TYPE_SIZE};
	return GPA_OK;
}

static int read_object(int *type, gpa_bytes *content, const gpa_archive_page *page, const gpa_archive_row *row,
		       hasher *hash, gpa_error *err)
{
	unsigned char id[GPA_OID_MAX];
	char hex[2 * GPA_OID_MAX + 1];
	size_t place = GPA_ARCHIVE_DATA_START + (size_t)row->offset;
	gpa_bytes value;
	int status = gpa_archive_value(&value, page, row, err);
	if (!status)
		status = archive_split_value(type, content, value, place, err);
	if (status)
		return status;
	object_id_begin(hash, *type, content->len);
	hasher_update(hash, content->ptr, content->len);
	hasher_final(hash, id);
	if (!memcmp(id, row->key, GPA_ARCHIVE_KEY))
		return GPA_OK;
	oid_to_hex(hex, id, GPA_ARCHIVE_KEY);
	return wrong(err, GPA_FAULT_WRONG_ID, place, "content has the id %s", hex);
}

int gpa_archive_object(int *type, gpa_bytes *content, const gpa_archive_page *page, const gpa_archive_row *row,
		       gpa_error *err)
{
	hasher hash;
	int status = hasher_init(&hash, GPA_SHA1, err);
	if (status)
		return status;
	status = read_object(type, content, page, row, &hash, err);
	hasher_free(&hash);
	return status;
}

/* ---- all entries of a page ---- */

static int by_key_and_slot(const void *left, const void *right)
{
	const gpa_archive_row *a = *(const gpa_archive_row *const *)left, *b = *(const gpa_archive_row *const *)right;
	int c = memcmp(a->key, b->key, GPA_ARCHIVE_KEY);
	return c ? c : a->slot < b->slot ? -1 : a->slot > b->slot;
}

/*
 * Mark entries whose key occurs before. The first entry of a key is read; a later one is a fault even if it is sound.
 */
static void mark_duplicates(gpa_archive_row *rows, uint32_t count)
{
	gpa_archive_row *order[GPA_ARCHIVE_CAPACITY];
	for (uint32_t i = 0; i < count; i++)
		order[i] = &rows[i];
	qsort(order, count, sizeof(*order), by_key_and_slot);
	for (uint32_t i = 1; i < count; i++)
		if (!order[i]->fault && !memcmp(order[i]->key, order[i - 1]->key, GPA_ARCHIVE_KEY))
			order[i]->fault = GPA_FAULT_DUPLICATE;
}

static void check_row(gpa_archive_row *row, const gpa_archive_page *page, hasher *hash)
{
	gpa_bytes ignored;
	gpa_error err;
	int type = 0, status = hash ? read_object(&type, &ignored, page, row, hash, &err) :
				      gpa_archive_value(&ignored, page, row, &err);
	row->fault = status ? err.fault : 0;
	row->type = status ? 0 : type;
	if ((status || page->is_rescued) && !memcmp(entry_at(page, row->slot), zeros, ARCHIVE_ENTRY_SIZE))
		row->fault = GPA_FAULT_EMPTY;
}

int gpa_archive_rows(gpa_archive_row *rows, const gpa_archive_page *page, uint32_t number, int objects,
		     gpa_progress *progress, gpa_error *err)
{
	hasher hash = {0};
	int status = objects ? hasher_init(&hash, GPA_SHA1, err) : GPA_OK;
	for (uint32_t slot = 0; !status && slot < page->item_count; slot++) {
		if (is_stopped(progress)) {
			status = stopped(err);
			break;
		}
		read_row(&rows[slot], page, slot);
		rows[slot].page = number;
		check_row(&rows[slot], page, objects ? &hash : NULL);
		if (progress)
			progress->done++;
	}
	if (!status)
		mark_duplicates(rows, page->item_count);
	hasher_free(&hash);
	return status;
}

/* ---- rows of many pages ---- */

static int is_sound(const gpa_archive_row *row)
{
	return !row->fault || row->fault == GPA_FAULT_DUPLICATE;
}

static int by_age(const void *left, const void *right)
{
	const gpa_archive_row *a = left, *b = right;
	int c = memcmp(a->key, b->key, GPA_ARCHIVE_KEY);
	if (c)
		return c;
	if (a->page != b->page)
		return a->page > b->page ? -1 : 1;
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static int by_soundness(const void *left, const void *right)
{
	const gpa_archive_row *a = left, *b = right;
	int c = memcmp(a->key, b->key, GPA_ARCHIVE_KEY);
	return c ? c : is_sound(a) != is_sound(b) ? is_sound(b) - is_sound(a) : by_age(a, b);
}

uint32_t gpa_archive_choose(gpa_archive_row *rows, uint32_t count, int only_sound)
{
	uint32_t winners = 0;
	qsort(rows, count, sizeof(*rows), only_sound ? by_soundness : by_age);
	for (uint32_t i = 0; i < count; i++) {
		int is_first = !i || memcmp(rows[i].key, rows[i - 1].key, GPA_ARCHIVE_KEY);
		rows[i].wins = is_first && (!only_sound || is_sound(&rows[i]));
		winners += (uint32_t)rows[i].wins;
	}
	return winners;
}

static int by_place(const void *left, const void *right)
{
	const gpa_archive_row *a = left, *b = right;
	if (a->page != b->page)
		return a->page < b->page ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

void gpa_archive_sort_stored(gpa_archive_row *rows, uint32_t count)
{
	qsort(rows, count, sizeof(*rows), by_place);
}
