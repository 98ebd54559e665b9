/* The contract, part v1: archives of the old format (docs/formats/archive-v1.md). */
#ifndef GPA_CONTRACT_V1_H
#define GPA_CONTRACT_V1_H

#include "base/gpa_base.h"

#pragma GCC visibility push(default)

/* ---- page.c: a page of a v1 archive; docs/formats/archive-v1.md ---- */

#define GPA_ARCHIVE_CAPACITY 2000
#define GPA_ARCHIVE_KEY 20
#define GPA_ARCHIVE_DATA_START 56024

/* What may be wrong with a page as a whole: no room for a header, a header of zeros (it was never saved), ... */
#define GPA_FAULT_SHORT 1
#define GPA_FAULT_UNSAVED 2
#define GPA_FAULT_VERSION 3
#define GPA_FAULT_CAPACITY 4
#define GPA_FAULT_INDEX_START 5
#define GPA_FAULT_DATA_START 6
/* ... more entries than the capacity, a file that ends before its data does. */
#define GPA_FAULT_ITEMS 7
#define GPA_FAULT_CUT 8

/* With one entry: a value beyond the data but inside the file, beyond the file, ... */
#define GPA_FAULT_BEYOND_DATA 16
#define GPA_FAULT_BEYOND_FILE 17
/* ... too short for an object's type, of no type, with content that has not the key for its id; ... */
#define GPA_FAULT_NO_TYPE 18
#define GPA_FAULT_BAD_TYPE 19
#define GPA_FAULT_WRONG_ID 20
/* ... sound, but an earlier entry of the page has the key. Of a page that is rescued: an entry of zeros. */
#define GPA_FAULT_DUPLICATE 21
#define GPA_FAULT_EMPTY 22

/* A parsed page. Borrows its file; never changes after parsing: any number of threads may read from it. */
typedef struct gpa_archive_page {
	gpa_bytes file;
	uint32_t item_count;
	uint32_t data_size;
	int32_t is_rescued;
} gpa_archive_page;

/* An entry of a page's index, and what is known of it. */
typedef struct gpa_archive_row {
	unsigned char key[20];
	uint32_t page;			/* which page of its archive; the oldest is 0 */
	uint32_t slot;			/* its place in the page's index */
	uint32_t offset;		/* of the value, from where the page's data begins */
	uint32_t size;			/* of the value */
	int32_t type;			/* GPA_COMMIT ... GPA_TAG, or 0 */
	int32_t fault;			/* GPA_FAULT_*, or 0 */
	int32_t wins;			/* of all rows of this key it is the one to be read */
} gpa_archive_row;

/* Checks the header, and that the file holds all that it says. GPA_ECORRUPT with err->fault. */
int gpa_archive_parse(gpa_archive_page *out, gpa_bytes file, gpa_error *err);
/* A page whose header is not to be trusted: all entries and all data that its file may hold. */
void gpa_archive_rescue(gpa_archive_page *out, gpa_bytes file);
/* Whether anything but zeros stands in the index behind the last entry: it was not written as a whole. */
int gpa_archive_is_torn(const gpa_archive_page *page);
/*
 * All entries, item_count rows, each with its fault. With `objects` values are git objects, whose types and ids are
 * checked too. `progress` may be NULL and counts entries; GPA_ESTOPPED between two of them.
 */
int gpa_archive_rows(gpa_archive_row *rows, const gpa_archive_page *page, uint32_t number, int objects,
		     gpa_progress *progress, gpa_error *err);
/* The first entry in index order whose key begins with these bytes; only key, slot, offset and size of the row are set. */
int gpa_archive_find(gpa_archive_row *row, const gpa_archive_page *page, const unsigned char *key, size_t key_size);
/* The entry in `slot`, likewise; GPA_ENOTFOUND beyond the last. */
int gpa_archive_entry(gpa_archive_row *row, const gpa_archive_page *page, uint32_t slot);
/* The value of an entry, borrowed from the file. GPA_ECORRUPT with err->fault. */
int gpa_archive_value(gpa_bytes *out, const gpa_archive_page *page, const gpa_archive_row *row, gpa_error *err);
/* The git object that a value is, whose id is the row's key. GPA_ECORRUPT with err->fault. */
int gpa_archive_object(int *type, gpa_bytes *content, const gpa_archive_page *page, const gpa_archive_row *row,
		       gpa_error *err);
/*
 * Sort rows by key, those of a key by page, the newest first, then by slot. The first of each key wins, sound or not; or
 * with `only_sound` sound rows come before damaged ones, and none wins where all are damaged. Sets `wins`; gives how many.
 */
uint32_t gpa_archive_choose(gpa_archive_row *rows, uint32_t count, int only_sound);
/* Sort rows by page, then in the order in which their values were set. */
void gpa_archive_sort_stored(gpa_archive_row *rows, uint32_t count);

/* ---- index.c: one index over many pages of a v1 archive ---- */

#define GPA_ARCHIVE_PAGE_ROW 48

/* A parsed index. Borrows its file; never changes after parsing: any number of threads may look up in it. */
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

/* Checked here: magic, version, that the size fits the counts, fanout order. At each look-up: page number and slot. */
int gpa_archive_index_parse(gpa_archive_index *out, gpa_bytes file, gpa_error *err);
/* The checksum, the order of the keys, and every place. */
int gpa_archive_index_check(const gpa_archive_index *index, gpa_error *err);
/* Page number and slot of a key; GPA_ENOTFOUND. */
int gpa_archive_index_find(uint32_t *page, uint32_t *slot, const gpa_archive_index *index, const unsigned char *key,
			   gpa_error *err);
/* Where the keys stand that begin with these bytes: `count` of them from `first` on. */
void gpa_archive_index_range(uint32_t *first, uint32_t *count, const gpa_archive_index *index,
			     const unsigned char *prefix, size_t prefix_size);
/* `pos` must be below object_count. */
const unsigned char *gpa_archive_index_key(const gpa_archive_index *index, uint32_t pos);
/* The index of those of `rows` that win; they are sorted by key, as gpa_archive_choose() leaves them. */
int gpa_archive_index_make(gpa_buffer *out, uint32_t kind, const unsigned char *pages, uint32_t page_count,
			   const gpa_archive_row *rows, uint32_t count, gpa_error *err);

/* ---- write.c: a page of a v1 archive, as the original writes it ---- */

typedef struct gpa_archive_writer gpa_archive_writer;	/* one thread at a time; memory: 0.4 MiB */

/* Begin a page in an empty file. */
int gpa_archive_writer_new(gpa_archive_writer **out, int fd, gpa_error *err);
void gpa_archive_writer_free(gpa_archive_writer *writer);
/* 1 while a value of `size` bytes (an object's `size`, where `type` is not 0) has room, else 0. */
int gpa_archive_writer_has_room(const gpa_archive_writer *writer, int type, uint64_t size);
/*
 * Begin the next value: an object of `size` bytes and this type, or with type 0 a plain value. Its bytes follow, in one
 * or several pieces. Whatever fails, the page cannot be gone on with. GPA_EUNSUPPORTED when there is no room, or a value
 * gets more or fewer bytes than it was begun with. No key may come twice: that is the caller's business.
 */
int gpa_archive_writer_begin(gpa_archive_writer *writer, const unsigned char *key, int type, uint64_t size,
			     gpa_error *err);
int gpa_archive_writer_piece(gpa_archive_writer *writer, gpa_bytes piece, gpa_error *err);
/* Write header and index. `hash` gets 20 bytes that depend on nothing but the page's content. */
int gpa_archive_writer_finish(gpa_archive_writer *writer, unsigned char *hash, gpa_error *err);

/* ---- values.c, view.c: the values of an archive by key, those that no page has yet included ---- */

/*
 * Keys are looked for among the values that wait to be saved, then in tables that lead into pages. Any number of threads
 * may call at once; gpa_archive_share() and gpa_archive_free() count owners. Memory: the values that wait, the tables that
 * are given as images, and the maps of all pages; no descriptor is kept.
 *
 * A page that is damaged is named in err->file, without its folder.
 */
typedef struct gpa_archive gpa_archive;

/* A sorted index, shared by whoever needs it: of a file, which stays mapped, or of an image, which is copied. */
typedef struct gpa_archive_table gpa_archive_table;
int gpa_archive_table_open(gpa_archive_table **out, const char *path, gpa_error *err);
int gpa_archive_table_make(gpa_archive_table **out, gpa_bytes image, gpa_error *err);
const gpa_archive_index *gpa_archive_table_index(const gpa_archive_table *table);
void gpa_archive_table_free(gpa_archive_table *table);

/* What a value is looked at for: as it is stored; as a git object, of which type and size count; or as one that has its
 * key for its id. A damaged object is passed over for one in an older page. */
#define GPA_ARCHIVE_STORED 0
#define GPA_ARCHIVE_HEADER 1
#define GPA_ARCHIVE_OBJECT 2

/* A value, or an object's content and type, lent until gpa_archive_return(). */
typedef struct gpa_archive_lease {
	gpa_bytes bytes;
	unsigned char key[20];
	int32_t type;
	void *view;
	void *waiting;
} gpa_archive_lease;

/* An archive without pages. */
int gpa_archive_new(gpa_archive **out, gpa_error *err);
gpa_archive *gpa_archive_share(gpa_archive *archive);
void gpa_archive_free(gpa_archive *archive);
/* Between the two no other thread is inside, so that fork() leaves an archive that works in the child too. */
void gpa_archive_before_fork(gpa_archive *archive);
void gpa_archive_after_fork(gpa_archive *archive);
/*
 * From now on the archive consists of these pages, the oldest first, all of which the tables cover, asked one after the
 * other; the first `saved` values that wait do so no longer. `numbers` gives for each table the places of the pages that
 * it names among these, or UINT32_MAX. A page that the archive had already is not opened again. On failure all is as
 * before; err->source says which page it is about, or is -1.
 */
int gpa_archive_show(gpa_archive *archive, const char *const *paths, uint32_t count, gpa_archive_table *const *tables,
		     const uint32_t *const *numbers, uint32_t table_count, uint32_t saved, gpa_error *err);
int gpa_archive_lend(gpa_archive_lease *out, gpa_archive *archive, const unsigned char *key, int as, gpa_error *err);
/* The value that was set as the number `place` of those that wait; GPA_ENOTFOUND beyond the last. */
int gpa_archive_lend_waiting(gpa_archive_lease *out, gpa_archive *archive, uint32_t place);
void gpa_archive_return(gpa_archive_lease *lease);
/* GPA_OK when there is an entry for the key, sound or not. */
int gpa_archive_has(gpa_archive *archive, const unsigned char *key);
/*
 * Add an object, or with type 0 a plain value; it waits until it is saved. Nothing happens where the key is there, of an
 * object: in a sound copy. GPA_EUNSUPPORTED when no page has room for so large a value.
 */
int gpa_archive_add(gpa_archive *archive, const unsigned char *key, int type, gpa_bytes content, gpa_error *err);
/* How many values wait, and their bytes. */
void gpa_archive_waiting(uint32_t *count, uint64_t *bytes, gpa_archive *archive);
/* All keys, ascending, each once. */
int gpa_archive_list(gpa_buffer *keys, gpa_archive *archive, gpa_error *err);

/* ---- backend.c: an archive, lent to libgit2 ---- */

/*
 * Let the values of `archive` be the objects of `repository`, a git_repository: all it reads, and where it writes. A
 * share is kept for as long as its object database lives. `library` as for gpa_libgit2_attach().
 */
int gpa_archive_attach(const char *library, void *repository, gpa_archive *archive, gpa_error *err);

#pragma GCC visibility pop

#endif
