/*
 * Existence check before writing. An existing object is not stored twice; instead the mtime of its pack or loose file
 * is set to now (I9), so that git does not prune it before something refers to it. A pack whose mtime cannot be set,
 * because it belongs to another user or is a cruft pack, does not count, as in git.
 *
 * The reader's last scan is used, and no directory is listed for a new object: if another writer added a pack with it
 * since, the object is stored twice. If a pack has been deleted since, setting its mtime fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "write/writer.h"


/* ---- in pages of this writer ---- */

static const sealed_row *find_sealed(gpa_writer *w, const unsigned char *oid)
{
	char path[PATH_ROOM];
	const sealed_row *row = sealed_find(&w->lately, oid, w->hash_size);
	if (!row)
		return NULL;
	sealed_page *page = &w->lately.pages[row->page];
	if (snprintf(path, sizeof(path), "%s/%s", w->pack_dir, page->name) >= (int)sizeof(path))
		return NULL;
	int status = freshen_pack(&page->freshened_ns, &w->door, path);
	page->gone |= status == GPA_ENOTFOUND;
	return status ? NULL : row;
}

int writer_holds(gpa_writer *w, const unsigned char *oid)
{
	return open_page_find(w->open, oid, w->hash_size) ||
	       (w->closing && open_page_find(w->closing, oid, w->hash_size)) || find_sealed(w, oid);
}

/* ---- in packs and loose files ---- */

typedef struct asked {
	const gpa_writer *w;
	const snapshot *s;
	const unsigned char *oid;
	int lost;		/* a pack that should have it is gone */
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

int writer_has_stored(gpa_writer *w, gpa_reader *r, const unsigned char *oid, int with_loose, gpa_error *err)
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
