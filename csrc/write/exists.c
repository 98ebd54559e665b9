/*
 * What is there already. An object that is stored is not written again, but made young (I9): the pack or loose file that
 * holds it gets the present as its time, so that git does not prune it before something refers to it. A pack whose time
 * cannot be set, since it is somebody else's or holds cruft, does not count, as with git.
 *
 * The reader's last look is believed, and no directory is listed for an object that is new: a pack of others that came
 * since then costs a second copy. That a pack which is believed in has gone shows when its time is set.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "write/writer.h"


/* ---- in pages of this writer ---- */

static const recent_row *find_recent(gpa_writer *w, const unsigned char *oid)
{
	char path[PATH_ROOM];
	const recent_row *row = recent_find(&w->recent, oid, w->hash_size);
	if (!row)
		return NULL;
	recent_page *page = &w->recent.pages[row->page];
	if (snprintf(path, sizeof(path), "%s/%s", w->pack_dir, page->name) >= (int)sizeof(path))
		return NULL;
	int status = freshen_pack(&page->freshened_ns, &w->door, path);
	page->gone |= status == GPA_ENOTFOUND;
	return status ? NULL : row;
}

int writer_holds(gpa_writer *w, const unsigned char *oid)
{
	return open_page_find(w->open, oid, w->hash_size) ||
	       (w->closing && open_page_find(w->closing, oid, w->hash_size)) || find_recent(w, oid);
}

/* ---- in packs and loose files ---- */

typedef struct asked {
	const gpa_writer *w;
	const snapshot *s;
	const unsigned char *oid;
	int lost;		/* a pack that should hold it is gone */
} asked;

static int is_in(asked *a, const place *at)
{
	int status = freshen_pack(&at->pack->freshened_ns, &a->w->door, at->pack->path);
	if (status == GPA_ENOTFOUND) {
		__atomic_store_n(&at->pack->suspect, 1, __ATOMIC_RELAXED);
		a->lost = 1;
	}
	return !status;
}

static int is_packed(asked *a)
{
	gpa_error ignored;
	place at;
	for (uint32_t dir = 0; dir < a->s->dir_count; dir++) {
		uint32_t turn = 0;
		if (!view_find_indexed(&at, &a->s->dirs[dir], dir, a->oid, &ignored) && is_in(a, &at))
			return 1;
		while (!view_find_unindexed(&at, a->s->dirs[dir].view, &turn, a->oid, &ignored))
			if (is_in(a, &at))
				return 1;
	}
	return 0;
}

int writer_knows(gpa_writer *w, gpa_reader *r, const unsigned char *oid, int with_loose, gpa_error *err)
{
	writer_lock(w);
	int known = writer_holds(w, oid), status;
	writer_unlock(w);
	for (int tries = 0; !known; tries++) {
		snapshot *s = reader_snapshot(r);
		asked a = {w, s, oid, 0};
		known = is_packed(&a);
		snapshot_drop(s);
		if (known || !a.lost || tries)
			break;
		if ((status = gpa_reader_refresh(r, err)))
			return status;
	}
	if (known)
		return GPA_OK;
	return with_loose ? freshen_loose(r, &w->door, oid) : GPA_ENOTFOUND;
}

int writer_is_due(const gpa_writer *w)
{
	return !w->looking && (w->recent.map.count > RECENT_MOST || coarse_ns() - w->looked_ns > LOOK_NS);
}

void writer_look(gpa_writer *w, gpa_reader *r)
{
	gpa_error ignored;
	int changed;
	writer_lock(w);
	int due = writer_is_due(w);
	uint64_t end = recent_end(&w->recent);
	w->looking |= due;
	writer_unlock(w);
	if (!due)
		return;
	snapshot *s = reader_snapshot(r);
	int failed = reader_look_again(&changed, &s, r, 0, &ignored);
	snapshot_drop(s);
	writer_lock(w);
	if (!failed && r == w->reader)
		recent_drop(&w->recent, end);
	w->looked_ns = coarse_ns();
	w->looking = 0;
	watch_look(w, w->looked_ns);
	writer_unlock(w);
}

uint64_t writer_before_scan(overlay *o)
{
	gpa_writer *w = (gpa_writer *)o;
	writer_lock(w);
	uint64_t end = recent_end(&w->recent);
	writer_unlock(w);
	return end;
}

void writer_after_scan(overlay *o, const gpa_reader *r, uint64_t end)
{
	gpa_writer *w = (gpa_writer *)o;
	writer_lock(w);
	if (r == w->reader)
		recent_drop(&w->recent, end);
	writer_unlock(w);
}

/* ---- reading what is not sealed, or was so lately ---- */

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

static int take_place(overlay_object *out, gpa_writer *w, const gpa_reader *r, const recent_row *row, gpa_error *err)
{
	recent_page *page = &w->recent.pages[row->page];
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
		/* what another reader has mapped is its own */
		const recent_row *found = r == w->reader ? recent_find(&w->recent, oid, w->hash_size) : NULL;
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
	for (uint32_t i = 0; i < w->recent.page_count; i++)
		if (w->recent.pages[i].file == file)
			w->recent.pages[i].gone = 1;
	writer_unlock(w);
}

int writer_put_back(overlay *o)
{
	gpa_writer *w = (gpa_writer *)o;
	writer_lock(w);
	int any = watch_put_back(w);
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
	/* of a page that is gone the reader finds the objects where they went */
	for (uint32_t i = 0; i < w->recent.map.count && !failed; i++)
		if (!w->recent.pages[w->recent.rows[i].page].gone)
			failed = add_ids(oids, room, &w->recent.rows[i], sizeof(recent_row), 1, w->hash_size);
	writer_unlock(w);
	return failed ? out_of_memory(err) : GPA_OK;
}
