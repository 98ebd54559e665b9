/*
 * Pages of v1 archives: the page, all its entries, the index made of them, and an index as it comes. A page has 56,024
 * bytes before its data, nearly all of them zeros. So the input has only the bytes before the zeros: two bytes for
 * their number, these bytes of the page's head, and the data. If the head is shorter than its number says, the page
 * ends there.
 */
#include <stdlib.h>
#include <string.h>

#include "v1/gpa_v1.h"

#define PAGES 2

/* Expand an input to a page, which the caller frees. */
static gpa_bytes expand(const uint8_t *data, size_t size)
{
	size_t head = size < 2 ? 0 : (size_t)data[0] << 8 | data[1];
	const uint8_t *rest = data + (size < 2 ? size : 2);
	size_t left = size < 2 ? 0 : size - 2, whole = head <= left;
	head = whole ? head : left;
	head = head < GPA_ARCHIVE_DATA_START ? head : GPA_ARCHIVE_DATA_START;
	size_t page_size = whole ? GPA_ARCHIVE_DATA_START + left - head : head;
	unsigned char *page = calloc(1, page_size ? page_size : 1);
	if (!page)
		abort();
	memcpy(page, rest, head);
	if (whole)
		memcpy(page + GPA_ARCHIVE_DATA_START, rest + head, left - head);
	return (gpa_bytes){page, page_size};
}

/*
 * Read all rows. The value and the object of a row are inside the file, or an error; those of a sound row are inside.
 */
static uint32_t read_rows(const gpa_archive_page *page, const gpa_archive_row *rows, int objects)
{
	uint32_t checksum = 0;
	for (uint32_t i = 0; i < page->item_count; i++) {
		if (rows[i].fault == GPA_FAULT_EMPTY)
			continue;	/* in a rescued page nearly all are faulty */
		gpa_archive_row found;
		gpa_bytes value = {0}, content;
		gpa_error err;
		int type, has_value = !gpa_archive_value(&value, page, &rows[i], &err);
		int is_object = !gpa_archive_object(&type, &content, page, &rows[i], &err);
		if (has_value)
			checksum += gpa_crc32(0, value);	/* reads each byte */
		if (is_object && (!has_value || content.len + 4 != value.len || type < GPA_COMMIT || type > GPA_TAG))
			abort();
		if ((!rows[i].fault || rows[i].fault == GPA_FAULT_DUPLICATE) && !(objects ? is_object : has_value))
			abort();
		if (gpa_archive_find(&found, page, rows[i].key, GPA_ARCHIVE_KEY) || found.slot > rows[i].slot ||
		    memcmp(found.key, rows[i].key, GPA_ARCHIVE_KEY))
			abort();
		gpa_archive_find(&found, page, rows[i].key, 3);
		if (gpa_archive_entry(&found, page, i) || found.offset != rows[i].offset)
			abort();
	}
	gpa_archive_row beyond;
	if (gpa_archive_entry(&beyond, page, page->item_count) != GPA_ENOTFOUND)
		abort();
	return checksum;
}

/* Make an index of the rows that win, and check that it leads to them. */
static void index_rows(gpa_archive_row *rows, uint32_t count, int only_sound)
{
	unsigned char table[PAGES * GPA_ARCHIVE_PAGE_ROW] = {0};
	uint32_t winners = gpa_archive_choose(rows, count, only_sound), page, slot, first, found;
	gpa_buffer image;
	gpa_archive_index index;
	gpa_error err;
	if (gpa_archive_index_make(&image, 0, table, PAGES, rows, count, &err) ||
	    gpa_archive_index_parse(&index, (gpa_bytes){image.ptr, image.len}, &err) ||
	    gpa_archive_index_check(&index, &err) || index.object_count != winners)
		abort();
	for (uint32_t i = 0; i < count; i++) {
		if (rows[i].wins && (gpa_archive_index_find(&page, &slot, &index, rows[i].key, &err) ||
				     page != rows[i].page || slot != rows[i].slot))
			abort();
		gpa_archive_index_range(&first, &found, &index, rows[i].key, GPA_ARCHIVE_KEY);
		if (found > 1 || first + found > winners || (!found && !only_sound))
			abort();
	}
	gpa_buffer_free(&image);
	gpa_archive_sort_stored(rows, count);
}

static void run_page(gpa_bytes file)
{
	static gpa_archive_row rows[PAGES * GPA_ARCHIVE_CAPACITY];
	gpa_archive_page page;
	gpa_error err;
	for (int way = 0; way < 4; way++) {
		int objects = way & 1;
		uint32_t count = 0;
		if (way & 2)
			gpa_archive_rescue(&page, file);
		else if (gpa_archive_parse(&page, file, &err))
			continue;
		gpa_archive_is_torn(&page);
		for (uint32_t number = 0; number < (way & 2 ? 1 : PAGES); number++) {
			if (gpa_archive_rows(rows + count, &page, number, objects, NULL, &err))
				abort();
			read_rows(&page, rows + count, objects);
			count += page.item_count;
		}
		if (!(way & 2))
			index_rows(rows, count, objects);
	}
}

static void run_index(unsigned char *data, size_t size)
{
	gpa_archive_index index;
	gpa_error err;
	uint32_t page, slot, first, count;
	if (gpa_archive_index_parse(&index, (gpa_bytes){data, size}, &err))
		return;
	gpa_archive_index_check(&index, &err);
	for (uint32_t i = 0; i < index.object_count; i++) {
		const unsigned char *key = gpa_archive_index_key(&index, i);
		if (!gpa_archive_index_find(&page, &slot, &index, key, &err) && page >= index.page_count)
			abort();
		gpa_archive_index_range(&first, &count, &index, key, 2);
		if (count > index.object_count || first > index.object_count - count)
			abort();
	}
	if (gpa_hash_bytes(data + size - 20, GPA_SHA1, (gpa_bytes){data, size - 20}, &err))
		abort();
	if (gpa_archive_index_check(&index, &err))
		return;
	for (uint32_t i = 0; i < index.object_count; i++)
		if (gpa_archive_index_find(&page, &slot, &index, gpa_archive_index_key(&index, i), &err))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gpa_bytes page = expand(data, size);
	unsigned char *copy = malloc(size ? size : 1);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	run_page(page);
	run_index(copy, size);
	free(copy);
	free((void *)page.ptr);
	return 0;
}
