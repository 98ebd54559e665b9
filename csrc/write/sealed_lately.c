/*
 * Pages sealed since the reader's last scan, and where their objects are, so that neither reading nor adding lists the
 * pack directory after each page. Call with the writer's lock held.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "read/parallel.h"
#include "write/writer.h"

#define FIRST_ROOM 256

static int make_room(sealed_lately *r, uint32_t count)
{
	if (array_reserve(r->pages, r->page_room, (uint64_t)r->page_count + 1, FIRST_ROOM))
		return -1;
	return array_reserve(r->rows, r->room, (uint64_t)r->map.count + count, FIRST_ROOM);
}

/* Add a row. If an object is in several pages, the last one counts. */
static int add_row(sealed_lately *r, const sealed_row *row)
{
	uint32_t at = oid_map_find(&r->map, r->rows, sizeof(*r->rows), row->oid, GPA_OID_MAX);
	if (at != NO_ROW) {
		r->rows[at] = *row;
		return 0;
	}
	r->rows[r->map.count] = *row;
	return oid_map_add(&r->map, r->rows, sizeof(*r->rows));
}

int sealed_add(sealed_lately *r, const char *idx_name, const gpa_idx_entry *entries, uint32_t count, int64_t now_ns)
{
	if (make_room(r, count))
		return -1;
	sealed_page *page = &r->pages[r->page_count++];
	*page = (sealed_page){.freshened_ns = now_ns};
	snprintf(page->name, sizeof(page->name), "%s", idx_name);
	for (uint32_t i = 0; i < count; i++) {
		sealed_row row = {.offset = entries[i].offset, .page = r->page_count - 1};
		memcpy(row.oid, entries[i].oid, sizeof(row.oid));
		if (add_row(r, &row))
			return -1;
	}
	return 0;
}

const sealed_row *sealed_find(const sealed_lately *r, const unsigned char *oid, size_t size)
{
	uint32_t row = oid_map_find(&r->map, r->rows, sizeof(*r->rows), oid, size);
	return row == NO_ROW || r->pages[r->rows[row].page].gone ? NULL : &r->rows[row];
}

uint64_t sealed_end(const sealed_lately *r)
{
	return r->dropped + r->page_count;
}

void sealed_drop(sealed_lately *r, uint64_t end)
{
	uint64_t wanted = end > r->dropped ? end - r->dropped : 0;	/* another thread may have dropped some already */
	uint32_t count = wanted < r->page_count ? (uint32_t)wanted : r->page_count;
	uint32_t kept = 0, rows = r->map.count;
	if (!count)
		return;
	oid_map_clear(&r->map);
	for (uint32_t i = 0; i < rows; i++)
		if (r->rows[i].page >= count) {
			r->rows[kept] = r->rows[i];
			r->rows[kept++].page -= count;
			oid_map_add(&r->map, r->rows, sizeof(*r->rows));	/* cannot fail: the map has room */
		}
	for (uint32_t i = 0; i < count; i++)
		pack_file_drop(r->pages[i].file);
	memmove(r->pages, r->pages + count, (r->page_count - count) * sizeof(*r->pages));
	r->page_count -= count;
	r->dropped += count;
}

void sealed_free(sealed_lately *r)
{
	for (uint32_t i = 0; i < r->page_count; i++)
		pack_file_drop(r->pages[i].file);
	free(r->pages);
	free(r->rows);
	oid_map_free(&r->map);
	*r = (sealed_lately){0};
}
