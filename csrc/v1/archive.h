/*
 * The old format, from inside: page.c, view.c (pages and the tables over them), values.c (these and the values that
 * wait to be saved), backend.c.
 */
#ifndef GPA_ARCHIVE_H
#define GPA_ARCHIVE_H

#include "v1/gpa_v1.h"

#define ARCHIVE_HEADER_SIZE 24
#define ARCHIVE_ENTRY_SIZE (GPA_ARCHIVE_KEY + 8)
#define ARCHIVE_TYPE_SIZE 4
#define ARCHIVE_DATA_MOST (UINT32_MAX - GPA_ARCHIVE_DATA_START)	/* so that the file ends below 4 GiB */

/* ---- page.c ---- */

/*
 * Split a value into an object's type and content. `place` in its page is for the message. GPA_ECORRUPT with
 * err->fault.
 */
int archive_split_value(int *type, gpa_bytes *content, gpa_bytes value, size_t place, gpa_error *err);

/* ---- view.c: the pages of an archive and the tables over them; immutable, with any number of owners ---- */

typedef struct archive_view archive_view;

/* Make a view. Pages of these paths are shared with `before`, which may be NULL. */
int archive_view_new(archive_view **out, const archive_view *before, const gpa_archive_shown *shown, gpa_error *err);
archive_view *archive_view_share(archive_view *view);
void archive_view_drop(archive_view *view);
/*
 * Find the entry that is read for a key, as the original finds it. row->page is the page's place. GPA_ENOTFOUND, or the
 * error of the page that has it.
 */
int archive_view_find(gpa_archive_row *row, const archive_view *view, const unsigned char *key, gpa_error *err);
/* Count the mapped pages, and the searches through all pages for want of a table. */
void archive_view_counts(uint32_t *mapped, uint32_t *searches, const archive_view *view);
/* gpa_archive_lend() without the values that wait. The view keeps the bytes. */
int archive_view_read(int *type, gpa_bytes *out, const archive_view *view, const unsigned char *key, int as,
		      gpa_error *err);
/*
 * The number of keys in all tables, with repetitions; and the keys themselves, for which `keys` has room.
 * archive_view_keys() returns how many it wrote: keys of pages that are in no list any more are left out.
 */
uint64_t archive_view_most_keys(const archive_view *view);
uint64_t archive_view_keys(unsigned char *keys, const archive_view *view);

/* Keys with a common prefix, each once, at most two. */
typedef struct archive_found {
	unsigned char keys[2][GPA_ARCHIVE_KEY];
	uint32_t count;
} archive_found;

/* Whether the first `digits` hex digits of both are the same. */
int archive_begins_so(const unsigned char *key, const unsigned char *prefix, size_t digits);
void archive_note_found(archive_found *found, const unsigned char *key);
/* Find up to two keys that begin with these digits. */
void archive_view_expand(archive_found *found, const archive_view *view, const unsigned char *prefix, size_t digits);

/* ---- values.c ---- */

/* archive_view_expand() with the values that wait. */
void archive_expand(archive_found *found, gpa_archive *archive, const unsigned char *prefix, size_t digits);
/* Whether the archive has a sound object of this id, so that adding it would change nothing. */
int archive_has_sound(gpa_archive *archive, const unsigned char *key);

#endif
