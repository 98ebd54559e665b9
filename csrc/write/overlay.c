/*
 * The writer as an overlay of its reader (read/overlay.h): objects that are not sealed, and objects of pages that were
 * sealed after the reader's last scan. So neither reading nor adding has to scan the directories after each page.
 */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "write/writer.h"

/* ---- finding an object ---- */

static int take_entry(overlay_object *out, const open_page *p, const page_row *row, gpa_error *err)
{
	const unsigned char *entry;
	if (!(out->room = malloc(row->length)))
		return out_of_memory(err);
	int status = open_page_read(&entry, out->room, p, row, err);
	if (status) {
		free(out->room);
		out->room = NULL;
		return status;
	}
	if (entry != out->room)
		memcpy(out->room, entry, row->length);
	out->entry = (gpa_bytes){out->room, row->length};
	return GPA_OK;
}

static int take_place(overlay_object *out, gpa_writer *w, const gpa_reader *r, const sealed_row *row, gpa_error *err)
{
	sealed_page *page = &w->lately.pages[row->page];
	if (!page->file && pack_file_new(&page->file, r->maps, w->objects, 0, page->name, err))
		return GPA_ENOMEM;
	out->at = (place){pack_file_share(page->file), row->offset};
	return GPA_OK;
}

static int find_locked(overlay_object *out, gpa_writer *w, const gpa_reader *r, const unsigned char *oid,
		       int with_entry, gpa_error *err)
{
	const open_page *p = w->open;
	const page_row *row = open_page_find(p, oid, w->hash_size);
	if (!row && (p = w->closing))
		row = open_page_find(p, oid, w->hash_size);
	if (!row) {
		/* another reader may not use these maps */
		const sealed_row *found = r == w->reader ? sealed_find(&w->lately, oid, w->hash_size) : NULL;
		return found ? take_place(out, w, r, found, err) : GPA_ENOTFOUND;
	}
	out->type = (int)row->type;
	out->size = row->size;
	return with_entry ? take_entry(out, p, row, err) : GPA_OK;
}

int writer_find(overlay_object *out, overlay *o, const gpa_reader *r, const unsigned char *oid, int with_entry,
		gpa_error *err)
{
	gpa_writer *w = (gpa_writer *)o;
	*out = (overlay_object){0};
	writer_lock(w);
	int status = find_locked(out, w, r, oid, with_entry, err);
	writer_unlock(w);
	return status;
}

void writer_forget(overlay *o, const pack_file *file)
{
	gpa_writer *w = (gpa_writer *)o;
	writer_lock(w);
	for (uint32_t i = 0; i < w->lately.page_count; i++)
		if (w->lately.pages[i].file == file)
			w->lately.pages[i].gone = 1;
	writer_unlock(w);
}

int writer_put_back(overlay *o)
{
	gpa_writer *w = (gpa_writer *)o;
	writer_lock(w);
	int any = guard_put_back(w);
	writer_unlock(w);
	return any;
}

static int add_ids(gpa_buffer *oids, size_t *room, const void *rows, size_t stride, uint32_t count, size_t size)
{
	if (array_reserve(oids->ptr, *room, oids->len + count * size, 64 * size))
		return -1;
	for (uint32_t i = 0; i < count; i++, oids->len += size)
		memcpy(oids->ptr + oids->len, (const unsigned char *)rows + i * stride, size);
	return 0;
}

int writer_ids(gpa_buffer *oids, size_t *room, overlay *o, gpa_error *err)
{
	gpa_writer *w = (gpa_writer *)o;
	int failed = 0;
	writer_lock(w);
	const open_page *pages[] = {w->open, w->closing};
	for (int i = 0; i < 2 && !failed; i++)
		if (pages[i])
			failed = add_ids(oids, room, pages[i]->rows, sizeof(page_row), pages[i]->count, w->hash_size);
	/* if a page is gone, the reader finds its objects in their new place */
	for (uint32_t i = 0; i < w->lately.map.count && !failed; i++)
		if (!w->lately.pages[w->lately.rows[i].page].gone)
			failed = add_ids(oids, room, &w->lately.rows[i], sizeof(sealed_row), 1, w->hash_size);
	writer_unlock(w);
	return failed ? out_of_memory(err) : GPA_OK;
}

/* ---- scans of the directories ---- */

int writer_is_due(const gpa_writer *w)
{
	return !w->looking && (w->lately.map.count > SEALED_MOST || coarse_ns() - w->looked_ns > LOOK_NS);
}

void writer_look(gpa_writer *w, gpa_reader *r)
{
	gpa_error ignored;
	int changed;
	writer_lock(w);
	int due = writer_is_due(w);
	uint64_t end = sealed_end(&w->lately);
	w->looking |= due;
	writer_unlock(w);
	if (!due)
		return;
	snapshot *s = reader_snapshot(r);
	int failed = reader_look_again(&changed, &s, r, 0, &ignored);
	snapshot_drop(s);
	writer_lock(w);
	if (!failed && r == w->reader)
		sealed_drop(&w->lately, end);
	w->looked_ns = coarse_ns();
	w->looking = 0;
	guard_look(w, w->looked_ns);
	writer_unlock(w);
}

uint64_t writer_before_scan(overlay *o)
{
	gpa_writer *w = (gpa_writer *)o;
	writer_lock(w);
	uint64_t end = sealed_end(&w->lately);
	writer_unlock(w);
	return end;
}

void writer_after_scan(overlay *o, const gpa_reader *r, uint64_t end)
{
	gpa_writer *w = (gpa_writer *)o;
	writer_lock(w);
	if (r == w->reader)
		sealed_drop(&w->lately, end);
	writer_unlock(w);
}
