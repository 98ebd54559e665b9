/*
 * The contract of the C core: every type and function that Python may use. The cffi cdef is made from this file by
 * dropping the preprocessor lines and keeping the numbers, so it stays plain: typedefs, structs, prototypes, numbers.
 *
 * Every function returns GPA_OK or a negative GPA_E*; `out` comes first, `err` last. A miss (GPA_ENOTFOUND) is an answer
 * and leaves `err` alone. `_parse` borrows the bytes it is given, `_open` owns what it makes, `_free(NULL)` is fine.
 * Nothing here keeps global state, prints, or knows a file name outside base/map.c: any number of threads may call in, each
 * with its own values; what two threads may share is said at the type.
 */
#ifndef GPA_H
#define GPA_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

#define GPA_OK 0
#define GPA_ENOTFOUND -1
#define GPA_ECORRUPT -2
#define GPA_EUNSUPPORTED -3
#define GPA_ENOMEM -4
#define GPA_ESYS -5
#define GPA_ESTOPPED -6

#define GPA_SHA1 1
#define GPA_SHA256 2
#define GPA_OID_MAX 32
#define GPA_ERROR_TEXT 256
#define GPA_NO_OFFSET -1

#define GPA_COMMIT 1
#define GPA_TREE 2
#define GPA_BLOB 3
#define GPA_TAG 4
#define GPA_OFS_DELTA 6
#define GPA_REF_DELTA 7

/* Borrowed bytes: somebody else keeps them alive. */
typedef struct gpa_bytes {
	const unsigned char *ptr;
	size_t len;
} gpa_bytes;

/* What went wrong, without the file's name: the caller knows it. One a call, so threads cannot mix messages. */
typedef struct gpa_error {
	char text[256];
	int64_t offset;		/* byte offset in the file, or GPA_NO_OFFSET */
	int32_t source;		/* which of several given sources, or -1 */
	int32_t sys_errno;	/* with GPA_ESYS */
	int32_t git_dies;	/* git itself refuses every command while this file is there */
	int32_t fault;		/* GPA_FAULT_*, of a v1 archive; else 0 */
	char file[288];		/* set by reader and writer: a path, or one below the object directory `source`; else empty */
} gpa_error;

/* Counts how far a long call has come, and asks it to end: another thread reads `done` and sets `stop` meanwhile. */
typedef struct gpa_progress {
	volatile uint64_t done;
	volatile int32_t stop;		/* end soon: with GPA_ESTOPPED, or with GPA_OK where the function says so */
} gpa_progress;

/* ---- base/map.c: read-only maps; regular files only; no descriptor is kept ---- */

int gpa_map_open(gpa_bytes *out, int dir_fd, const char *path, gpa_error *err);
void gpa_map_close(gpa_bytes *map);
void gpa_close_all(const int *fds, uint32_t count);
/* Have the kernel begin to read files that are about to be read whole, as far as it reads ahead; no failure matters. */
void gpa_files_ahead(uint32_t count, int dir_fd, const char *const *names);

/* ---- base/processes.c ---- */

/*
 * The numbers of the processes with one of these names, by /proc: none where it is not there. *count says how many there
 * are, also when they are more than `room`. Of a name the first 15 bytes count, since the kernel keeps no more.
 */
int gpa_processes_named(uint32_t *count, int64_t *pids, uint32_t room, const char *const *names, uint32_t name_count);

/* ---- base/hash.c ---- */

/* Hash size in bytes of GPA_SHA1 or GPA_SHA256; 0 for anything else. */
size_t gpa_hash_size(int algo);
int gpa_hash_bytes(unsigned char *out, int algo, gpa_bytes data, gpa_error *err);
/* "crypto and compression libraries in use", for --version: a static string. */
const char *gpa_build_info(void);
uint32_t gpa_crc32(uint32_t crc, gpa_bytes data);

/* ---- format/delta.c ---- */

/* The two sizes a delta program starts with. GPA_ECORRUPT when it is shorter than they need. */
int gpa_delta_sizes(uint64_t *source_size, uint64_t *target_size, gpa_bytes delta, gpa_error *err);
/* Write exactly `out_len` bytes, the target of `delta` on `base`, or fail with GPA_ECORRUPT. */
int gpa_delta_apply(unsigned char *out, size_t out_len, gpa_bytes base, gpa_bytes delta, gpa_error *err);

/* ---- format/idx.c: pack index, version 1 and 2 ---- */

/* A parsed idx. Borrows its file; never changes after parsing: any number of threads may look up in it. */
typedef struct gpa_idx {
	gpa_bytes file;
	int algo;
	int version;
	uint32_t hash_size;
	uint32_t object_count;
	uint32_t large_count;
	uint32_t oid_stride;		/* v1 keeps the offset before each oid */
	const unsigned char *fanout;
	const unsigned char *oids;
	const unsigned char *crcs;	/* NULL in v1 */
	const unsigned char *offsets;
	const unsigned char *large;
	const unsigned char *pack_trailer;
} gpa_idx;

/*
 * Checked here: magic, version, fanout order, and that the size fits the counts. Checked at each look-up: large-offset
 * row. Checked by gpa_idx_check() only, since it reads the whole file: oid order and the checksum. An oid may stand there
 * twice, since git accepts a pack that has an object twice; gpa_idx_find() then gives one of the two.
 */
int gpa_idx_parse(gpa_idx *out, gpa_bytes file, int algo, gpa_error *err);
int gpa_idx_check(const gpa_idx *idx, gpa_error *err);
int gpa_idx_find(uint32_t *pos, const gpa_idx *idx, const unsigned char *oid);
/* `pos` must be below object_count in the next three. */
const unsigned char *gpa_idx_oid(const gpa_idx *idx, uint32_t pos);
int gpa_idx_offset(uint64_t *offset, const gpa_idx *idx, uint32_t pos, gpa_error *err);
uint32_t gpa_idx_crc(const gpa_idx *idx, uint32_t pos);

#define GPA_UNREADABLE 0xffffffff

/* Map and parse many idx files, found by name in a directory. All or none: err->source says which one failed. */
int gpa_idx_open_many(gpa_idx *out, uint32_t count, int dir_fd, const char *const *names, int algo, gpa_error *err);
void gpa_idx_close_many(gpa_idx *idx, uint32_t count);
/* Only how many objects each holds: GPA_UNREADABLE for a file that cannot be opened or parsed. */
void gpa_idx_counts(uint32_t *counts, uint32_t count, int dir_fd, const char *const *names, int algo);

typedef struct gpa_idx_entry {
	unsigned char oid[32];
	uint64_t offset;
	uint32_t crc;
} gpa_idx_entry;

/* Sorts `entries` by oid, then writes an idx v2 byte-identical to that of git index-pack to `fd`. */
int gpa_idx_write(int fd, int algo, gpa_idx_entry *entries, uint32_t count, const unsigned char *pack_trailer,
		  gpa_error *err);

/* ---- format/pack.c ---- */

typedef struct gpa_entry {
	int type;			/* 1-4, 6 or 7 */
	uint32_t header_size;		/* bytes before the zlib stream, base distance or oid included */
	uint64_t size;			/* of what inflates: the object, or the delta program */
	uint64_t base_offset;		/* GPA_OFS_DELTA */
	const unsigned char *base_oid;	/* GPA_REF_DELTA; borrowed from the pack */
} gpa_entry;

/* Checks magic, version, and room for header and trailer. */
int gpa_pack_parse(uint32_t *object_count, gpa_bytes pack, int algo, gpa_error *err);
/* As gpa_pack_parse, and that count and trailer agree with `idx`: the two files belong together. */
int gpa_pack_match(gpa_bytes pack, const gpa_idx *idx, gpa_error *err);
int gpa_entry_parse(gpa_entry *out, gpa_bytes pack, uint64_t offset, int algo, gpa_error *err);

/* A buffer that C made and the caller releases. */
typedef struct gpa_buffer {
	unsigned char *ptr;
	size_t len;
} gpa_buffer;
void gpa_buffer_free(gpa_buffer *buffer);

/* An object's content, lent to the caller until gpa_object_free(); it never changes. */
typedef struct gpa_object {
	int32_t type;
	const unsigned char *ptr;
	size_t len;
	void *owner;
} gpa_object;
void gpa_object_free(gpa_object *object);
void gpa_objects_free(gpa_object *objects, uint32_t count);

/* ---- format/delta_make.c ---- */

/* A delta program that makes `target` of `base`, in at most `most` bytes. GPA_ENOTFOUND: it takes more, or nearly. */
int gpa_delta_make(gpa_buffer *out, gpa_bytes base, gpa_bytes target, size_t most, gpa_error *err);

/* ---- format/loose.c ---- */

/* `file` is a loose object file's content. gpa_loose_read() also checks that it inflates to exactly its size. */
int gpa_loose_header(int *type, uint64_t *size, gpa_bytes file, gpa_error *err);
int gpa_loose_read(gpa_object *out, gpa_bytes file, gpa_error *err);

typedef struct gpa_loose_head {
	int32_t type;			/* GPA_COMMIT ... GPA_TAG; 0: no regular file, or no header that can be read */
	uint64_t size;			/* of the object, as its header says */
} gpa_loose_head;

/* The headers of many loose objects, found by path; only the first 4096 bytes of each file are read. */
int gpa_loose_heads(gpa_loose_head *out, uint32_t count, int dir_fd, const char *const *paths, gpa_progress *progress,
		    gpa_error *err);

/* ---- format/midx.c: multi-pack-index, version 1 ---- */

/* A parsed index. Borrows its file, owns `names`; never changes after parsing: threads may share it. */
typedef struct gpa_midx {
	gpa_bytes file;
	int algo;
	uint32_t hash_size;
	uint32_t pack_count;
	uint32_t object_count;
	uint32_t large_count;
	int has_bitmap_chunks;
	const char **names;		/* pack_count of them: "pack-<hex>.idx", ascending; borrowed from the file */
	const unsigned char *fanout;
	const unsigned char *oids;
	const unsigned char *offsets;
	const unsigned char *large;	/* NULL without an LOFF chunk */
} gpa_midx;

/* Checked here: header, chunk bounds and sizes, fanout order, pack names. At each look-up: pack number and LOFF row. */
int gpa_midx_parse(gpa_midx *out, gpa_bytes file, int algo, gpa_error *err);
void gpa_midx_free(gpa_midx *midx);
/* GPA_ECORRUPT when the trailer is not the hash of the file: such an index must not be built upon. */
int gpa_midx_check_trailer(const gpa_midx *midx, gpa_error *err);
int gpa_midx_find(uint32_t *pos, const gpa_midx *midx, const unsigned char *oid);
const unsigned char *gpa_midx_oid(const gpa_midx *midx, uint32_t pos);
int gpa_midx_entry(uint32_t *pack, uint64_t *offset, const gpa_midx *midx, uint32_t pos, gpa_error *err);
/* Adds to refs[pack] (pack_count numbers) the objects whose winner it is. */
int gpa_midx_count(uint32_t *refs, const gpa_midx *midx, gpa_error *err);

/* A list of findings, one text each; grows as needed. Zeroed to begin with. */
typedef struct gpa_report {
	char **lines;
	uint32_t count;
	uint32_t room;
} gpa_report;
void gpa_report_free(gpa_report *report);

/*
 * What `git multi-pack-index verify` checks, in its order and words; idx[i] is NULL where pack i could not be loaded.
 * GPA_OK however much is found, also when it is stopped; `progress` may be NULL and counts objects.
 */
int gpa_midx_verify(gpa_report *report, const gpa_midx *midx, const gpa_idx *const *idx, gpa_progress *progress,
		    gpa_error *err);

/* ---- merge/prove_doomed.c ---- */

/* The copy that stays of an object of a doomed pack. */
typedef struct gpa_holder {
	uint64_t offset;
	uint32_t pack;		/* number in the index; the outside packs are numbered after those of the index */
	uint32_t doomed;	/* number of the doomed pack */
	uint32_t pos;		/* of the object in the idx of the doomed pack */
	uint32_t is_other;	/* 1: this copy cannot be made, or its content is another object */
} gpa_holder;

/* What a proof goes by. The caller sets all but the holders, and may change it from one doomed pack to the next. */
typedef struct gpa_proof {
	const gpa_midx *midx;			/* may be NULL */
	const gpa_idx *const *live;		/* for each pack of the index: its idx where the pack stays, or NULL */
	const gpa_idx *const *outside;		/* packs that stay and that the index does not name */
	uint32_t outside_count;
	const unsigned char *trusted;		/* 1 for each pack that was merged from the doomed one; numbers as in gpa_holder */
	gpa_holder *holders;			/* of all doomed packs that were proved, those in packs that are not trusted */
	uint32_t holder_count;
	uint32_t holder_room;
	uint64_t bytes_made;			/* counts those of the objects that gpa_proof_check() makes one by one */
} gpa_proof;
void gpa_proof_free(gpa_proof *proof);

/*
 * The proof that expire needs: every object of `doomed` has a winner in a pack i with live[i] != NULL, and that idx
 * holds it at that offset; one that the index does not name, or every one when `midx` is NULL, is in one of the
 * `outside` packs. GPA_ENOTFOUND, with an unproved object in err->text, when one is not; then no holder is added.
 * winners[i] (pack_count of them, zeroed to begin with) becomes 1 for each pack that wins an object of `doomed`, and
 * used[i] (outside_count of them) for each outside pack that is relied on; all of them also when the only thing missing
 * is that some live[i] is NULL.
 */
int gpa_midx_prove(unsigned char *winners, unsigned char *used, gpa_proof *proof, const gpa_idx *doomed, uint32_t number,
		   gpa_error *err);

/* Order the holders by pack and offset, as gpa_proof_check() wants them. */
void gpa_proof_sort(gpa_proof *proof);
/* One after the last holder in the same pack as the one at `first`. */
uint32_t gpa_proof_span(const gpa_proof *proof, uint32_t first);
/*
 * Make the copies `first` to `end` of the holders, which are all those of one pack, and compute their ids: is_other tells
 * what came of it. doomed[i] is the idx of doomed pack i. Memory: what the objects take, two at a time, and 32 MiB of bases.
 */
int gpa_proof_check(gpa_proof *proof, uint32_t first, uint32_t end, gpa_bytes pack, const gpa_idx *idx,
		    const gpa_idx *const *doomed, gpa_progress *progress, gpa_error *err);
/* The first from `at` on whose copy is another object, or `end`. */
uint32_t gpa_proof_next_other(const gpa_proof *proof, uint32_t at, uint32_t end);

/* ---- format/midx_write.c ---- */

/* One pack of the index to be written; given in strictly ascending order of name. */
typedef struct gpa_midx_source {
	const char *name;		/* "pack-<hex>.idx" */
	const gpa_idx *idx;		/* its entries, or NULL when only what the old index says of it counts */
	int64_t old_id;			/* its number in the old index, or -1 */
	uint32_t rank;			/* of its idx entries: of two copies the one with the lower rank wins */
} gpa_midx_source;

/*
 * Merge the entries of `old` (may be NULL; ranked `old_rank`; those of packs that no source names are dropped) and of
 * each source's idx, and write the index to `fd`. Linear in what does not change; what is new is sorted first.
 * `trailer` gets the hash that names the index. GPA_ECORRUPT with err->source when an idx is not in order.
 * Memory: 8 bytes an object, and up to 48 for each entry outside the largest sorted sequence.
 * `progress` may be NULL and counts entries as they are merged; GPA_ESTOPPED leaves an unfinished file.
 */
int gpa_midx_write(int fd, int algo, const gpa_midx *old, uint32_t old_rank, const gpa_midx_source *sources,
		   uint32_t source_count, unsigned char *trailer, uint32_t *object_count, gpa_progress *progress,
		   gpa_error *err);

/* ---- merge/merge.c, merge/write_pages.c: the verbatim merge ---- */

typedef struct gpa_merge gpa_merge;	/* one thread at a time */

typedef struct gpa_merge_options {
	int algo;
	uint32_t page_objects;		/* objects in a full page, at least 1 */
	uint64_t page_bytes;		/* a page is closed before it grows beyond; one larger object stands alone */
	uint32_t depth;			/* longest delta chain */
	int level;			/* zlib level where an object must be deflated anew */
	uint32_t entry_count;		/* entries of all sources together, so that room is made once; may be a guess */
} gpa_merge_options;

typedef struct gpa_merge_stats {
	uint64_t entry_count;		/* stored copies seen */
	uint32_t object_count;		/* distinct objects that go into pages */
	uint32_t page_count;
	uint32_t rebuilt_count;		/* inflated and deflated: no whole copy was there to end a chain */
	uint32_t cut_count;		/* whole objects added where a delta family was cut */
	uint32_t made_count;		/* whole objects for which a delta was made */
	uint32_t left_out_count;	/* objects that cannot be read from any source; see gpa_merge_left_out() */
	uint32_t conflict_count;	/* copies that disagree on an object's type or size: nothing is planned before
					   gpa_merge_check() has found which lie */
	uint64_t bytes;			/* expected size of all pages */
} gpa_merge_stats;

typedef struct gpa_page_info {
	uint32_t object_count;
	uint64_t bytes;
} gpa_page_info;

int gpa_merge_new(gpa_merge **out, const gpa_merge_options *options, gpa_error *err);
void gpa_merge_free(gpa_merge *merge);
/*
 * Add a source, oldest first. `idx` stays borrowed until gpa_merge_free(). Reads the idx whole (checksum, order) and
 * every entry header of the pack, whose file is found again by (dir_fd, path) when its entries are copied.
 * GPA_ECORRUPT and GPA_ESTOPPED leave the merge as it was, without this source. `progress` may be NULL; here nothing is
 * counted.
 */
int gpa_merge_add(gpa_merge *merge, const gpa_idx *idx, int dir_fd, const char *path, gpa_progress *progress,
		  gpa_error *err);
#define GPA_NO_SOURCE 0xffffffff
#define GPA_NOT_COUNTED 0xfffffffe
/*
 * Decide which copy of each object goes where. sources[i] is the number of the source that pack i of `midx` is;
 * GPA_NO_SOURCE when it is none; or GPA_NOT_COUNTED when it is none and its copies do not count. An object is taken unless
 * `midx` (may be NULL) names a winner for it in a pack that is GPA_NO_SOURCE; so are the delta bases that taken copies need. May be called again: copies found to be
 * damaged since are not chosen any more. With `reverse` objects stand in another order, so that a page that came out as
 * one of its sources, byte for byte, becomes another.
 */
int gpa_merge_plan(gpa_merge_stats *stats, gpa_merge *merge, const gpa_midx *midx, const uint32_t *sources,
		   int reverse, gpa_progress *progress, gpa_error *err);
int gpa_merge_page(gpa_page_info *out, const gpa_merge *merge, uint32_t page);
/* Set is_source[n] to 1 when source n, the n-th that was added, has a copy of an object of this page, else to 0. */
int gpa_merge_page_sources(unsigned char *is_source, const gpa_merge *merge, uint32_t page);
/*
 * Write one planned page and its idx. Each copied entry is checked against its CRC32 (or the object made and hashed,
 * where the source idx is v1) before it is written. GPA_ECORRUPT with err->source: that copy is now known as damaged; plan again.
 * `progress` may be NULL and counts objects; GPA_ESTOPPED, within a MiB, leaves an unfinished page.
 */
int gpa_merge_write(gpa_merge *merge, uint32_t page, int pack_fd, int idx_fd, unsigned char *trailer,
		    gpa_progress *progress, gpa_error *err);
/*
 * Wait until the pages written so far are proved: threads make each object of which the sources have several copies that
 * are not alike, or that stands on another copy of its base than in its own pack, and compute its id. gpa_merge_write()
 * tells of earlier pages. GPA_ECORRUPT with err->source: a source lies about what an id is; gpa_merge_check(), then plan
 * again.
 */
int gpa_merge_prove(gpa_merge *merge, gpa_error *err);
/*
 * Check every copy of the merge as gpa_merge_write() would, so that planning again needs to happen only once; after a
 * conflict or a failed proof, make every object and compute its id. `progress` may be NULL; here nothing is counted.
 * After GPA_ESTOPPED what was found so far is known.
 */
int gpa_merge_check(uint32_t *damaged, gpa_merge *merge, gpa_progress *progress, gpa_error *err);
/* The oid of the n-th object left out, and the source that holds it; GPA_ENOTFOUND beyond the last. */
int gpa_merge_left_out(unsigned char *oid, uint32_t *source, const gpa_merge *merge, uint32_t n);
/* Entries that were read so far to make objects of deltas: at most a few for each object, however long its chain is. */
uint64_t gpa_merge_entries_read(const gpa_merge *m);
/*
 * The next copy whose content is another object than its id says, while another copy of that object is sound: the id and
 * the source. *next begins at 0. GPA_ENOTFOUND beyond the last.
 */
int gpa_merge_lie(unsigned char *oid, uint32_t *source, uint32_t *next, const gpa_merge *merge);

/* ---- merge/loose_pages.c: objects into a page ---- */

typedef struct gpa_page gpa_page;	/* a pack of whole objects, written once from its start; one thread at a time */

/*
 * Begin a page of exactly `object_count` objects, at least 1, which are deflated with zlib's `level`. Memory: 3 MiB, and
 * 48 bytes an object; the size of objects does not count.
 */
int gpa_page_new(gpa_page **out, int pack_fd, int algo, int level, uint32_t object_count, gpa_error *err);
void gpa_page_free(gpa_page *page);
/*
 * Inflate the loose object file `path`, deflate it into the pack as a whole entry, and check on the way that its id is
 * `oid` and its size what its header says. A symbolic link, a FIFO or a device is neither followed nor waited for.
 *
 * After anything but GPA_OK the page is half-written: begin it again, without this object. err->source is 0 when the
 * failure is about the loose file (GPA_ECORRUPT, or GPA_ESYS where it cannot be read), else -1.
 * `progress` may be NULL and counts objects; GPA_ESTOPPED within 1 MiB.
 */
int gpa_page_add_loose(gpa_page *page, const unsigned char *oid, int dir_fd, const char *path, gpa_progress *progress,
		       gpa_error *err);
/*
 * Add an object that is at hand, after the same check of its id. GPA_ECORRUPT, with err->source 0, leaves the page as it
 * was; after any other failure it is half-written.
 */
int gpa_page_add(gpa_page *page, const unsigned char *oid, int type, gpa_bytes content, gpa_progress *progress,
		 gpa_error *err);
/* The same checks, and nothing is written or counted: also for the objects of a page that is half-written. */
int gpa_page_check_loose(gpa_page *page, const unsigned char *oid, int dir_fd, const char *path, gpa_progress *progress,
			 gpa_error *err);
/* End the pack and write its idx, byte-identical to that of git index-pack. `trailer` gets the pack's checksum. */
int gpa_page_finish(gpa_page *page, int idx_fd, unsigned char *trailer, gpa_error *err);

/* ---- v1/page.c: a page of a v1 archive; docs/formats/archive-v1.md ---- */

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

/* ---- v1/index.c: one index over many pages of a v1 archive ---- */

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

/* ---- v1/write.c: a page of a v1 archive, as the original writes it ---- */

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

/* ---- v1/values.c, v1/view.c: the values of an archive by key, those that no page has yet included ---- */

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

/* ---- v1/backend.c: an archive, lent to libgit2 ---- */

/*
 * Let the values of `archive` be the objects of `repository`, a git_repository: all it reads, and where it writes. A
 * share is kept for as long as its object database lives. `library` as for gpa_libgit2_attach().
 */
int gpa_archive_attach(const char *library, void *repository, gpa_archive *archive, gpa_error *err);

/* ---- format/pack_check.c: every byte of a pack ---- */

/*
 * Trailer, every entry's CRC32 and every object's id, delta chains included, with `threads` threads. Findings go to
 * `report`, each naming offset or oid. GPA_OK however much is found, also when stopped. Memory: per thread the objects of
 * one delta path.
 */
int gpa_pack_check(gpa_report *report, gpa_bytes pack, const gpa_idx *idx, unsigned threads, gpa_progress *progress,
		   gpa_error *err);

/* ---- read/reader.c, read/find.c, read/read.c: any object, wherever it is ---- */

/*
 * Reads the objects of one or more object directories: combined index, the packs it does not name, loose objects. Any
 * number of threads may call in at once with the same reader; gpa_reader_share() and gpa_reader_free() count owners.
 *
 * Maintenance may run beside it: whatever moved is looked for again, so a miss (GPA_ENOTFOUND) means that the object was
 * nowhere at some moment of the call. A copy that is damaged is passed over for another one; GPA_ECORRUPT, when there
 * is none, names the file in err->source (which directory) and err->file. No descriptor is kept open.
 */
typedef struct gpa_reader gpa_reader;

typedef struct gpa_reader_options {
	int algo;
	int verify;			/* hash each object that is read, and refuse (or find elsewhere) what has not its id */
	uint64_t cache_bytes;		/* delta bases kept */
	uint64_t map_bytes;		/* of mapped packs, resident at a time */
	uint32_t map_count;		/* files mapped at a time; those being read from may exceed it */
} gpa_reader_options;

typedef struct gpa_reader_stats {
	uint64_t scan_count;		/* how often a pack directory was listed */
	uint64_t open_count;		/* how often a pack was mapped */
	uint64_t map_count;
	uint64_t map_bytes;
	uint64_t cache_bytes;
	uint64_t cache_hits;
	uint64_t cache_misses;
} gpa_reader_stats;

/* `dirs`: absolute paths, the repository's own objects/ first, then its alternates. One that is not there is empty. */
int gpa_reader_open(gpa_reader **out, const char *const *dirs, uint32_t dir_count, const gpa_reader_options *options,
		    gpa_error *err);
gpa_reader *gpa_reader_share(gpa_reader *reader);
void gpa_reader_free(gpa_reader *reader);
/* Look at the directories now, as each call does by itself when it misses something. */
int gpa_reader_refresh(gpa_reader *reader, gpa_error *err);
void gpa_reader_count(gpa_reader_stats *out, gpa_reader *reader);
/* Between the two no other thread is inside, so that fork() leaves a reader that works in the child too. */
void gpa_reader_before_fork(gpa_reader *reader);
void gpa_reader_after_fork(gpa_reader *reader);
/* In the child, after gpa_reader_after_fork(): a writer of this reader forgets what waits in it, which is the parent's. */
void gpa_reader_in_child(gpa_reader *reader);

/* GPA_OK when it is there, in a pack that fits its idx or in a loose file; what is inside is not looked at. */
int gpa_reader_has(gpa_reader *reader, const unsigned char *oid, gpa_error *err);
int gpa_reader_info(int *type, uint64_t *size, gpa_reader *reader, const unsigned char *oid, gpa_error *err);
int gpa_reader_read(gpa_object *out, gpa_reader *reader, const unsigned char *oid, gpa_error *err);

/*
 * The same for callers to whom each argument and each field of an answer costs, as Python is. What comes back is type and
 * size in one number, or a negative status, about which `err` is. Of sizes above GPA_SIZE_MOST none is told: GPA_ECORRUPT.
 */
typedef struct gpa_answer {
	gpa_error err;
	gpa_object object;		/* what has no room in `content`; to be freed */
	unsigned char content[32768];
} gpa_answer;
/* The number is the size, shifted by so many bits, and the type. */
#define GPA_TYPE_BITS 3
#define GPA_SIZE_MOST 0xfffffffffffffff
int64_t gpa_answer_info(gpa_answer *answer, gpa_reader *reader, const unsigned char *oid);
int64_t gpa_answer_read(gpa_answer *answer, gpa_reader *reader, const unsigned char *oid);

/*
 * Where it is read from: the path of a pack, the entry's offset, and that of its delta base, or 0. An empty path for a
 * loose object.
 */
int gpa_reader_locate(char *pack, size_t room, uint64_t *offset, uint64_t *base_offset, gpa_reader *reader,
		      const unsigned char *oid, gpa_error *err);

/*
 * Many objects, read by several threads in the order in which they are stored: begun, taken a run at a time while others
 * are read, ended. One thread at a time. Memory: the ids' places, the run that was taken and those that wait.
 */
typedef struct gpa_many gpa_many;

typedef struct gpa_run_row {
	uint32_t number;	/* its place among the ids */
	int32_t type;
	uint64_t size;
} gpa_run_row;

typedef struct gpa_run {
	uint32_t count;
	const gpa_run_row *rows;
	gpa_bytes content;	/* of the objects, one after the other */
} gpa_run;

/*
 * `oids`, of `count` objects, is borrowed until the end; of the reader a share is kept. The calling thread counts as one
 * of `threads`.
 */
int gpa_many_begin(gpa_many **out, gpa_reader *reader, const unsigned char *oids, uint32_t count, unsigned threads,
		   gpa_error *err);
/*
 * A run that is done, valid until the next call; *out is NULL after the last one. That there are objects which could not
 * be read is told then: *failed is the number of the first that is damaged, or else of the first that is missing.
 */
int gpa_many_next(const gpa_run **out, uint32_t *failed, gpa_many *many, gpa_error *err);
void gpa_many_end(gpa_many *many);

/*
 * Type and size of each, as gpa_answer_info() says it, or GPA_ENOTFOUND. The status is about *failed, the first that is
 * damaged, when that is not `count`.
 */
int gpa_many_info(int64_t *answers, uint32_t *failed, gpa_reader *reader, const unsigned char *oids, uint32_t count,
		  unsigned threads, gpa_error *err);
/* The same without them: 0, or GPA_ENOTFOUND, also for what has no sound copy. */
int gpa_many_has(int64_t *answers, uint32_t *failed, gpa_reader *reader, const unsigned char *oids, uint32_t count,
		 unsigned threads, gpa_error *err);

/*
 * The ids that begin with the first `digits` hex digits of `prefix`, ascending, each once. `oids` has room for `room` of
 * them; *count may be larger: then so many there are, or at least one more than `room`.
 */
int gpa_reader_expand(unsigned char *oids, uint32_t *count, uint32_t room, gpa_reader *reader,
		      const unsigned char *prefix, unsigned digits, gpa_error *err);
/* All ids, ascending, each once. Memory: 32 bytes an object while it works, and the ids. */
int gpa_reader_list(gpa_buffer *oids, gpa_reader *reader, gpa_error *err);
/* Put `count` ids into the order in which they are stored, pack by pack; those in no pack come last. */
int gpa_reader_order(unsigned char *oids, gpa_reader *reader, uint32_t count, unsigned threads, gpa_error *err);

/* An object read piece by piece; one thread at a time. What is not stored as a delta takes constant memory. */
typedef struct gpa_stream gpa_stream;
int gpa_stream_open(gpa_stream **out, int *type, uint64_t *size, gpa_reader *reader, const unsigned char *oid,
		    gpa_error *err);
/* Fewer than `room` bytes come only at the end. With `verify` the last piece is kept back when the id is wrong. */
int gpa_stream_read(size_t *got, gpa_stream *stream, unsigned char *out, size_t room, gpa_error *err);
void gpa_stream_free(gpa_stream *stream);

/* ---- lend/cat_file.c: what git cat-file --batch answers ---- */

#define GPA_FIELD_TEXT 0
#define GPA_FIELD_NAME 1
#define GPA_FIELD_TYPE 2
#define GPA_FIELD_SIZE 3
#define GPA_FIELD_DISK_SIZE 4
#define GPA_FIELD_DELTA_BASE 5
#define GPA_FIELD_REST 6

/* A part of the line that says what an object is. `text` is that of GPA_FIELD_TEXT. */
typedef struct gpa_field {
	int32_t kind;
	gpa_bytes text;
} gpa_field;

typedef struct gpa_batch_options {
	int fd;				/* where answers go */
	int with_content;		/* an object's content follows its line */
	int buffered;			/* answers are written when there are many, and made by `threads` threads */
	unsigned threads;
	int delimiter;			/* of input lines: a newline, or 0 */
	int with_rest;			/* a name ends at white space */
	int are_known;			/* ids are of objects that are there: none is looked up without need */
	uint32_t field_count;
	const gpa_field *fields;	/* borrowed, with their texts */
	uint32_t replaced_count;
	const unsigned char *replaced;	/* pairs of oids, ascending: the second is read for the first; borrowed */
} gpa_batch_options;

/* One thread at a time. Keeps the reader; memory: 32 MiB at most beside it, and 16 bytes an object of packs whose
 * objects are asked for size on disk or delta base. */
typedef struct gpa_batch gpa_batch;
int gpa_batch_new(gpa_batch **out, gpa_reader *reader, const gpa_batch_options *options, gpa_error *err);
void gpa_batch_free(gpa_batch *batch);
/*
 * Answer the whole lines of `input`, of which *used bytes are done with then. GPA_ENOTFOUND: the line that begins there
 * has a name that is not a whole id. Any other failure is about the object of that line.
 */
int gpa_batch_lines(size_t *used, gpa_batch *batch, gpa_bytes input, gpa_error *err);
/* Answer for `count` objects, of which *done are answered when this fails; `name` (empty: the id) is what one is called
 * if it is missing, `rest` what followed the name. */
int gpa_batch_objects(uint32_t *done, gpa_batch *batch, const unsigned char *oids, uint32_t count, gpa_bytes name,
		      gpa_bytes rest, gpa_error *err);
/* Answer with `text` itself. As an answer that something is missing, it is written at once. */
int gpa_batch_say(gpa_batch *batch, gpa_bytes text, gpa_error *err);
int gpa_batch_flush(gpa_batch *batch, gpa_error *err);

/* ---- format/object_check.c: is this what an object of its type looks like? ---- */

/*
 * Check a tree, a commit or a tag as `git hash-object` does; a blob may hold anything. GPA_ECORRUPT: err->text is the id
 * of git's rule and what is wrong, as "treeNotSorted: not properly sorted". Or GPA_ENOMEM.
 */
int gpa_object_check(int algo, int type, const unsigned char *data, size_t len, gpa_error *err);
/* The same for `count` objects whose contents lie one after the other. *bad: the first one that is refused. */
int gpa_objects_check(uint32_t *bad, int algo, const unsigned char *types, const uint64_t *sizes,
		      const unsigned char *data, uint32_t count, gpa_error *err);

/* ---- write/writer.c: new objects into pages ---- */

/*
 * Takes objects for the own object directory of a reader, through which they can be read at once. They wait in an open
 * page, of which a journal in `journal_dir` holds all that was acknowledged; the page is sealed, that is made a pack that
 * everybody sees, when it is full, before a commit or a tag is acknowledged, and when it is asked for. An object that is
 * there already is not written again: the pack or loose file that holds it gets a new time, as git gives it.
 *
 * Any number of threads may call at once, without anything of Python; gpa_writer_share() and gpa_writer_free() count
 * owners. Of several writers, in one process or many, each has journals of its own.
 *
 * GPA_ESYS and GPA_ECORRUPT name the file in err->file. What was acknowledged before a failure stays so: the journal has
 * it, and the next call tries to seal again.
 */
typedef struct gpa_writer gpa_writer;

/* What is durable, that is safe from a power cut, when a call returns: nothing, since no file is synced; */
#define GPA_DURABLE_NONE 0
/* what was sealed; */
#define GPA_DURABLE_PAGE 1
/* what was added, unless in a batch. */
#define GPA_DURABLE_JOURNAL 2

/* fsync each file; hand the bytes to the disk and do not wait for its own cache; or both, for many files at once. */
#define GPA_FSYNC_FULL 0
#define GPA_FSYNC_WRITEOUT_ONLY 1
#define GPA_FSYNC_BATCH 2

/*
 * For tests: asked before each operation that changes a file ("create", "write", "fsync", "truncate", "link", "rename",
 * "unlink", "utime"). Gives 0, or the errno that it shall fail with; a write is first done for *bytes of its bytes, which may be
 * made fewer.
 */
typedef int (*gpa_step)(void *context, const char *operation, const char *path, uint64_t *bytes);

typedef struct gpa_writer_options {
	const char *journal_dir;	/* absolute, and there */
	const char *gc_pid;		/* the file that tells that `git gc` runs; or NULL */
	int level;			/* zlib's */
	int durability;
	int fsync_method;		/* GPA_FSYNC_*, as core.fsyncMethod */
	int shared;			/* permission bits of core.sharedRepository; negative: the exact mode; 0: umask */
	uint32_t page_objects;		/* a page is sealed when it holds so many objects, at least 1 */
	uint64_t page_bytes;		/* or so many bytes */
	uint32_t delta_depth;		/* longest chain of deltas in a page; 0: every object is stored whole */
	gpa_step step;			/* may be NULL */
	void *step_context;
} gpa_writer_options;

typedef struct gpa_writer_stats {
	uint64_t page_count;		/* sealed so far */
	uint64_t object_count;		/* written so far, those of the open page included */
	uint64_t known_count;		/* asked for, and there already */
	uint64_t sync_count;		/* journals synced */
	uint32_t open_count;		/* objects that wait to be sealed */
	uint64_t open_bytes;
} gpa_writer_stats;

/* One writer a reader, which is shared. */
int gpa_writer_open(gpa_writer **out, gpa_reader *reader, const gpa_writer_options *options, gpa_error *err);
gpa_writer *gpa_writer_share(gpa_writer *writer);
/* Of a writer that was not closed the journals stay, for the next one to recover. */
void gpa_writer_free(gpa_writer *writer);
/* Seal, and remove the journals. After a failure the writer is as it was. */
int gpa_writer_close(gpa_writer *writer, gpa_error *err);
/* Go over to another reader of the same object directory, opened just now. */
void gpa_writer_move(gpa_writer *writer, gpa_reader *reader);
void gpa_writer_count(gpa_writer_stats *out, gpa_writer *writer);

/* `oid` gets the id of the object, of type GPA_COMMIT ... GPA_TAG. Whoever adds a commit or a tag finds it sealed. */
int gpa_writer_add(unsigned char *oid, gpa_writer *writer, int type, const unsigned char *data, size_t len,
		   gpa_error *err);
/* The same, and an object of which there is only a loose one is put into a page too; the loose file stays. */
int gpa_writer_pack_loose(unsigned char *oid, gpa_writer *writer, int type, const unsigned char *data, size_t len,
			  gpa_error *err);
/*
 * Add `count` objects whose contents lie one after the other in `data`, as one group: the journal is written once, and
 * what is to be sealed is sealed at the end. After a failure some may have been added.
 */
int gpa_writer_add_many(unsigned char *oids, gpa_writer *writer, const unsigned char *types, const uint64_t *sizes,
			const unsigned char *data, uint32_t count, gpa_error *err);
/* GPA_OK when the object is there, and safe as if it had been added now; GPA_ENOTFOUND when it has to be added. */
int gpa_writer_freshen(gpa_writer *writer, const unsigned char *oid, gpa_error *err);
/* Seal what is open. */
int gpa_writer_seal(gpa_writer *writer, gpa_error *err);
/*
 * Until the same thread ends its batch, nothing that it adds is sealed, but full pages, and up to 4 MiB of it are not in
 * the journal yet. Batches of a thread may be inside one another; the end of the outermost one seals.
 */
int gpa_writer_begin_batch(gpa_writer *writer, gpa_error *err);
int gpa_writer_end_batch(gpa_writer *writer, gpa_error *err);

/* An object that comes in pieces; one thread at a time. A large one goes into a page of its own, in constant memory. */
typedef struct gpa_new_object gpa_new_object;
int gpa_new_object_open(gpa_new_object **out, gpa_writer *writer, int type, uint64_t size, gpa_error *err);
int gpa_new_object_write(gpa_new_object *object, const unsigned char *data, size_t len, gpa_error *err);
/* When exactly `size` bytes have come. The object is still to be freed. */
int gpa_new_object_finish(unsigned char *oid, gpa_new_object *object, gpa_error *err);
void gpa_new_object_free(gpa_new_object *object);

typedef struct gpa_recovery {
	uint32_t object_count;		/* put into pages */
	uint32_t known_count;		/* that were there already */
	uint64_t cut_bytes;		/* behind the last complete record */
} gpa_recovery;

/*
 * Put the objects of a dead writer's journal, the file `name` in journal_dir, into pages, durably, and remove it.
 * GPA_ENOTFOUND when its writer lives, or it is gone. GPA_ECORRUPT or GPA_EUNSUPPORTED when it is no journal of this
 * version and hash: it stays.
 */
int gpa_writer_recover(gpa_recovery *out, gpa_writer *writer, const char *name, gpa_error *err);

/* ---- lend/odb_backend.c: a reader, lent to libgit2 ---- */

/*
 * Let `repository`, a git_repository, read through `reader`, of which it keeps a share for as long as its object database
 * lives. `library` is a loaded file that is linked with the libgit2 that made the repository: nothing else of it may be
 * in use meanwhile. With `replace` nothing else is read from, and what libgit2 writes goes to the reader's first directory:
 * objects through `writer`, of which a share is kept too, or where that is NULL as loose ones (synced, with `fsync`), and
 * what is fetched as packs. Without `replace` the reader is asked before libgit2's own backends, which write as before.
 *
 * GPA_EUNSUPPORTED where libgit2 is not 1.7 to 1.9, and for SHA-256.
 */
int gpa_libgit2_attach(const char *library, void *repository, gpa_reader *reader, gpa_writer *writer,
		       int replace, int fsync, gpa_error *err);

#pragma GCC visibility pop

#endif
