/* The contract, part v1: archives of the old format (docs/formats/archive-v1.md). */
#ifndef GPA_CONTRACT_V1_H
#define GPA_CONTRACT_V1_H

#include "base/gpa_base.h"

#pragma GCC visibility push(default)

/* ---- page.c: a page of a v1 archive; docs/formats/archive-v1.md ---- */

#define GPA_ARCHIVE_CAPACITY 2000
#define GPA_ARCHIVE_KEY 20
#define GPA_ARCHIVE_DATA_START 56024

/*
 * Faults of a whole page. There is no room for a header; the header is all zeros, so the page was never saved; and so
 * on.
 */
#define GPA_FAULT_SHORT 1
#define GPA_FAULT_UNSAVED 2
#define GPA_FAULT_VERSION 3
#define GPA_FAULT_CAPACITY 4
#define GPA_FAULT_INDEX_START 5
#define GPA_FAULT_DATA_START 6
/* More entries than the capacity; the file ends before its data does. */
#define GPA_FAULT_ITEMS 7
#define GPA_FAULT_CUT 8

/* Faults of an entry. Its value is beyond the data but inside the file; beyond the file. */
#define GPA_FAULT_BEYOND_DATA 16
#define GPA_FAULT_BEYOND_FILE 17
/* The value is too short for an object's type; it has no valid type; its content has another id than the key. */
#define GPA_FAULT_NO_TYPE 18
#define GPA_FAULT_BAD_TYPE 19
#define GPA_FAULT_WRONG_ID 20
/* The value is sound, but an earlier entry of the page has the key. In a rescued page: the entry is all zeros. */
#define GPA_FAULT_DUPLICATE 21
#define GPA_FAULT_EMPTY 22

/* A parsed page. Borrows its file. It never changes after parsing, so any number of threads may read from it. */
typedef struct gpa_archive_page {
	gpa_bytes file;
	uint32_t item_count;
	uint32_t data_size;
	int32_t is_rescued;
} gpa_archive_page;

/* An entry of a page's index, and what the checks found. */
typedef struct gpa_archive_row {
	unsigned char key[20];
	uint32_t page;			/* number of the page in its archive; the oldest is 0 */
	uint32_t slot;			/* its place in the page's index */
	uint32_t offset;		/* of the value, from the beginning of the page's data */
	uint32_t size;			/* of the value */
	int32_t type;			/* GPA_COMMIT ... GPA_TAG, or 0 */
	int32_t fault;			/* GPA_FAULT_*, or 0 */
	int32_t wins;			/* of all rows of this key, this one is read */
} gpa_archive_row;

/* Parse a page: check the header, and that the file holds all that it says. GPA_ECORRUPT with err->fault. */
int gpa_archive_parse(gpa_archive_page *out, gpa_bytes file, gpa_error *err);
/* Open a page whose header is not trusted, with all entries and all data that its file may hold. */
void gpa_archive_rescue(gpa_archive_page *out, gpa_bytes file);
/* Whether the index has bytes other than zero after the last entry, so that the page was not written as a whole. */
int gpa_archive_is_torn(const gpa_archive_page *page);
/*
 * Read all entries into item_count rows, each with its fault. With `objects`, values are git objects, whose types and
 * ids are checked too. `progress` may be NULL; it counts entries. GPA_ESTOPPED between two of them.
 */
int gpa_archive_rows(gpa_archive_row *rows, const gpa_archive_page *page, uint32_t number, int objects,
		     gpa_progress *progress, gpa_error *err);
/*
 * Find the first entry in index order whose key begins with these bytes. Sets only key, slot, offset and size of the
 * row.
 */
int gpa_archive_find(gpa_archive_row *row, const gpa_archive_page *page, const unsigned char *key, size_t key_size);
/* Read the entry in `slot`; sets the same fields as gpa_archive_find(). GPA_ENOTFOUND beyond the last. */
int gpa_archive_entry(gpa_archive_row *row, const gpa_archive_page *page, uint32_t slot);
/* The value of an entry, borrowed from the file. GPA_ECORRUPT with err->fault. */
int gpa_archive_value(gpa_bytes *out, const gpa_archive_page *page, const gpa_archive_row *row, gpa_error *err);
/* The git object that the value of an entry is; the row's key must be its id. GPA_ECORRUPT with err->fault. */
int gpa_archive_object(int *type, gpa_bytes *content, const gpa_archive_page *page, const gpa_archive_row *row,
		       gpa_error *err);
/*
 * Sort rows by key, those of a key by page, the newest first, then by slot. The first row of each key wins, sound or
 * not. With `only_sound`, sound rows come before damaged ones, and none wins if all are damaged. Sets `wins`. Returns
 * how many win.
 */
uint32_t gpa_archive_choose(gpa_archive_row *rows, uint32_t count, int only_sound);
/* Sort rows by page, then in the order in which their values were set. */
void gpa_archive_sort_stored(gpa_archive_row *rows, uint32_t count);

/* ---- index.c: one index over many pages of a v1 archive ---- */

#define GPA_ARCHIVE_PAGE_ROW 48

/* A parsed index. Borrows its file. It never changes after parsing, so any number of threads may look up in it. */
typedef struct gpa_archive_index {
	gpa_bytes file;
	uint32_t kind;
	uint32_t page_count;
	uint32_t object_count;
	const unsigned char *pages;	/* page_count rows of GPA_ARCHIVE_PAGE_ROW bytes */
	const unsigned char *fanout;
	const unsigned char *keys;
	const unsigned char *places;
} gpa_archive_index;

/*
 * Parse an index. Checked here: magic, version, that the size fits the counts, fanout order. Checked at each look-up:
 * page number and slot.
 */
int gpa_archive_index_parse(gpa_archive_index *out, gpa_bytes file, gpa_error *err);
/* Check the checksum, the order of the keys, and every place. */
int gpa_archive_index_check(const gpa_archive_index *index, gpa_error *err);
/* Look a key up: its page number and slot. GPA_ENOTFOUND. */
int gpa_archive_index_find(uint32_t *page, uint32_t *slot, const gpa_archive_index *index, const unsigned char *key,
			   gpa_error *err);
/* The keys that begin with these bytes: `count` of them from position `first` on. */
void gpa_archive_index_range(uint32_t *first, uint32_t *count, const gpa_archive_index *index,
			     const unsigned char *prefix, size_t prefix_size);
/* The key at `pos`, which must be below object_count. */
const unsigned char *gpa_archive_index_key(const gpa_archive_index *index, uint32_t pos);
/* Make the index of those of `rows` that win. They are sorted by key, as by gpa_archive_choose(). */
int gpa_archive_index_make(gpa_buffer *out, uint32_t kind, const unsigned char *pages, uint32_t page_count,
			   const gpa_archive_row *rows, uint32_t count, gpa_error *err);

/* ---- write.c: a page of a v1 archive, as the original writes it ---- */

typedef struct gpa_archive_writer gpa_archive_writer;	/* one thread at a time; memory: 0.4 MiB */

/* Begin a page in an empty file. */
int gpa_archive_writer_new(gpa_archive_writer **out, int fd, gpa_error *err);
void gpa_archive_writer_free(gpa_archive_writer *writer);
/* 1 if a value of `size` bytes (an object's `size`, if `type` is not 0) has room, else 0. */
int gpa_archive_writer_has_room(const gpa_archive_writer *writer, int type, uint64_t size);
/*
 * Begin the next value: an object of `size` bytes and this type, or with type 0 a plain value. Its bytes follow, in one
 * or several pieces. After any failure the page cannot be continued. GPA_EUNSUPPORTED if there is no room, or if a
 * value gets more or fewer bytes than `size`. No key may come twice; the caller takes care of that.
 */
int gpa_archive_writer_begin(gpa_archive_writer *writer, const unsigned char *key, int type, uint64_t size,
			     gpa_error *err);
int gpa_archive_writer_piece(gpa_archive_writer *writer, gpa_bytes piece, gpa_error *err);
/* Write header and index. `hash` receives 20 bytes that depend only on the page's content. */
int gpa_archive_writer_finish(gpa_archive_writer *writer, unsigned char *hash, gpa_error *err);

/* ---- values.c, view.c: the values of an archive by key, including those that wait for a page ---- */

/*
 * An archive. Keys are looked up among the values that wait to be saved, then in tables that lead into pages. Any
 * number of threads may call at once. gpa_archive_share() and gpa_archive_free() count owners. Memory: the values that
 * wait, the tables made from images, and the maps of all pages; no descriptor is kept.
 *
 * A damaged page is named in err->file, without its folder.
 */
typedef struct gpa_archive gpa_archive;

/* A sorted index with any number of owners: of a file, which stays mapped, or of an image, which is copied. */
typedef struct gpa_archive_table gpa_archive_table;
int gpa_archive_table_open(gpa_archive_table **out, const char *path, gpa_error *err);
int gpa_archive_table_make(gpa_archive_table **out, gpa_bytes image, gpa_error *err);
const gpa_archive_index *gpa_archive_table_index(const gpa_archive_table *table);
void gpa_archive_table_free(gpa_archive_table *table);

/*
 * How a value is read: as it is stored; as a git object of which only type and size are needed; as a git object whose
 * id must be its key. If an object is damaged, an older page is searched for another copy.
 */
#define GPA_ARCHIVE_STORED 0
#define GPA_ARCHIVE_HEADER 1
#define GPA_ARCHIVE_OBJECT 2

/* A value, or an object's content and type. Valid until gpa_archive_return(). */
typedef struct gpa_archive_lease {
	gpa_bytes bytes;
	unsigned char key[20];
	int32_t type;
	void *view;
	void *waiting;
} gpa_archive_lease;

/* Make an archive without pages. */
int gpa_archive_new(gpa_archive **out, gpa_error *err);
gpa_archive *gpa_archive_share(gpa_archive *archive);
void gpa_archive_free(gpa_archive *archive);
/* For fork(): between these two no other thread is inside the archive, so it works in the child too. */
void gpa_archive_before_fork(gpa_archive *archive);
void gpa_archive_after_fork(gpa_archive *archive);
/*
 * What an archive consists of: pages, oldest first, and tables that cover all of them and are asked one after the other.
 * For each table, `numbers` has the index in `paths` of each page that it names, or UINT32_MAX. The first `later` pages
 * are mapped when they are first needed, the others at once. The first `saved` of the waiting values are forgotten.
 */
typedef struct gpa_archive_shown {
	const char *const *paths;
	uint32_t count;
	uint32_t later;
	gpa_archive_table *const *tables;
	const uint32_t *const *numbers;
	uint32_t table_count;
	uint32_t saved;
} gpa_archive_shown;
/*
 * Replace the pages of the archive. A page that the archive has already is not opened again. On failure nothing changes;
 * err->source is the page that the failure is about, or -1.
 */
int gpa_archive_show(gpa_archive *archive, const gpa_archive_shown *shown, gpa_error *err);
int gpa_archive_lend(gpa_archive_lease *out, gpa_archive *archive, const unsigned char *key, int as, gpa_error *err);
/* Lend the waiting value number `place`, counted as they were set. GPA_ENOTFOUND beyond the last. */
int gpa_archive_lend_waiting(gpa_archive_lease *out, gpa_archive *archive, uint32_t place);
void gpa_archive_return(gpa_archive_lease *lease);
/* GPA_OK if there is an entry for the key, sound or not. */
int gpa_archive_has(gpa_archive *archive, const unsigned char *key);
/* Find the entry of a key in the pages; row->page is an index into their paths. GPA_ENOTFOUND, or its page's error. */
int gpa_archive_locate(gpa_archive_row *row, gpa_archive *archive, const unsigned char *key, gpa_error *err);
/* Count the mapped pages, and the searches through all pages for want of a table. */
void gpa_archive_counts(uint32_t *mapped, uint32_t *searches, gpa_archive *archive);
/*
 * Add an object, or with type 0 a plain value, which waits until it is saved. Does nothing if the key exists; for an
 * object, if it has a sound copy. GPA_EUNSUPPORTED if the value is too large for any page.
 */
int gpa_archive_add(gpa_archive *archive, const unsigned char *key, int type, gpa_bytes content, gpa_error *err);
/* Count the waiting values and their bytes. */
void gpa_archive_waiting(uint32_t *count, uint64_t *bytes, gpa_archive *archive);
/* All keys, ascending, each once. */
int gpa_archive_list(gpa_buffer *keys, gpa_archive *archive, gpa_error *err);

/* ---- backend.c: an archive for libgit2 ---- */

/*
 * Let the values of `archive` be the objects of `repository`, a git_repository, for reading and for writing. The
 * archive gets another owner until the repository's object database is freed. `library` as in gpa_libgit2_attach().
 */
int gpa_archive_attach(const char *library, void *repository, gpa_archive *archive, gpa_error *err);

#pragma GCC visibility pop

#endif
