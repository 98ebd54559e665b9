/* The contract, part merge: packs and loose objects into pages, and the proof that a pack may be deleted. */
#ifndef GPA_CONTRACT_MERGE_H
#define GPA_CONTRACT_MERGE_H

#include "format/gpa_format.h"

#pragma GCC visibility push(default)

/* ---- prove_doomed.c ---- */

/* The remaining copy of an object of a doomed pack. */
typedef struct gpa_holder {
	uint64_t offset;
	uint32_t pack;		/* number in the index; the outside packs are numbered after those of the index */
	uint32_t doomed;	/* number of the doomed pack */
	uint32_t pos;		/* of the object in the idx of the doomed pack */
	uint32_t is_other;	/* 1: this copy cannot be made, or its content is another object */
} gpa_holder;

/*
 * The input and the result of a proof. The caller sets all fields except the holders, and may change them from one
 * doomed pack to the next.
 */
typedef struct gpa_proof {
	const gpa_midx *midx;			/* may be NULL */
	const gpa_idx *const *live;		/* for each pack of the index: its idx if the pack stays, else NULL */
	const gpa_idx *const *outside;		/* packs that stay and that the index does not name */
	uint32_t outside_count;
	const unsigned char *trusted;		/* 1 for each pack that was merged from the doomed one; numbers as in gpa_holder */
	gpa_holder *holders;			/* of all proved doomed packs, those in packs that are not trusted */
	uint32_t holder_count;
	uint32_t holder_room;
	uint64_t bytes_made;			/* counts the bytes of the objects that gpa_proof_check() makes one by one */
} gpa_proof;
void gpa_proof_free(gpa_proof *proof);

/*
 * Prove that every object of `doomed` is elsewhere, as expire needs it. Its winner in the index is in a pack i with
 * live[i] != NULL, and that idx has it at that offset. An object that the index does not name, or any object if `midx`
 * is NULL, is in one of the `outside` packs.
 *
 * GPA_ENOTFOUND, with the object in err->text, if one is unproved; then no holder is added. winners[i] (pack_count of
 * them, zeroed at first) becomes 1 for each pack that wins an object of `doomed`, and used[i] (outside_count of them)
 * for each outside pack that the proof relies on. They are complete also if the only fault is that some live[i] is
 * NULL.
 */
int gpa_midx_prove(unsigned char *winners, unsigned char *used, gpa_proof *proof, const gpa_idx *doomed, uint32_t number,
		   gpa_error *err);

/* Order the holders by pack and offset, as gpa_proof_check() needs them. */
void gpa_proof_sort(gpa_proof *proof);
/* The end of the holders that are in the same pack as the one at `first`. */
uint32_t gpa_proof_span(const gpa_proof *proof, uint32_t first);
/*
 * Make the copies `first` to `end` of the holders, which are all those of one pack, compute their ids, and set
 * is_other. doomed[i] is the idx of doomed pack i. Memory: two of the objects at a time, and 32 MiB of bases.
 */
int gpa_proof_check(gpa_proof *proof, uint32_t first, uint32_t end, gpa_bytes pack, const gpa_idx *idx,
		    const gpa_idx *const *doomed, gpa_progress *progress, gpa_error *err);
/* The first holder from `at` on whose copy is another object; `end` if there is none. */
uint32_t gpa_proof_next_other(const gpa_proof *proof, uint32_t at, uint32_t end);

/* ---- merge.c, sources.c, plan.c, write_pages.c, prove_pages.c: the verbatim merge ---- */

typedef struct gpa_merge gpa_merge;	/* one thread at a time */

typedef struct gpa_merge_options {
	int algo;
	uint32_t page_objects;		/* objects in a full page, at least 1 */
	uint64_t page_bytes;		/* a page is closed before it grows beyond; one larger object stands alone */
	uint32_t depth;			/* longest delta chain */
	int level;			/* zlib level where an object must be deflated anew */
	uint32_t entry_count;		/* entries of all sources together, to allocate once; may be a guess */
} gpa_merge_options;

typedef struct gpa_merge_stats {
	uint64_t entry_count;		/* stored copies in all sources */
	uint32_t object_count;		/* distinct objects that go into pages */
	uint32_t page_count;
	uint32_t rebuilt_count;		/* inflated and deflated, because no whole copy could end a chain */
	uint32_t cut_count;		/* whole objects added because a delta family was cut */
	uint32_t made_count;		/* whole objects for which a delta was made */
	uint32_t left_out_count;	/* objects that cannot be read from any source; see gpa_merge_left_out() */
	uint32_t conflict_count;	/* copies that disagree on an object's type or size; see gpa_merge_check() */
	uint64_t bytes;			/* expected size of all pages */
} gpa_merge_stats;

typedef struct gpa_page_info {
	uint32_t object_count;
	uint64_t bytes;
} gpa_page_info;

int gpa_merge_new(gpa_merge **out, const gpa_merge_options *options, gpa_error *err);
void gpa_merge_free(gpa_merge *merge);
/*
 * Add a source, oldest first. `idx` is borrowed until gpa_merge_free(). Reads the idx whole (checksum, order) and every
 * entry header of the pack, whose file is opened again by (dir_fd, path) when its entries are copied. After
 * GPA_ECORRUPT and GPA_ESTOPPED the merge is unchanged, without this source. `progress` may be NULL; nothing is
 * counted.
 */
int gpa_merge_add(gpa_merge *merge, const gpa_idx *idx, int dir_fd, const char *path, gpa_progress *progress,
		  gpa_error *err);
#define GPA_NO_SOURCE 0xffffffff
#define GPA_NOT_COUNTED 0xfffffffe
/*
 * Decide which copy of each object goes where. sources[i] is the number of the source that is pack i of `midx`, or
 * GPA_NO_SOURCE if that pack is no source, or GPA_NOT_COUNTED if it is none and its copies do not count. An object is
 * taken unless `midx`, which may be NULL, has its winner in a pack that is GPA_NO_SOURCE. The delta bases that taken
 * copies need are taken too.
 *
 * May be called again: copies found to be damaged since are no longer chosen. With `reverse` objects have another
 * order, so that a page equal to one of its sources, byte for byte, becomes another.
 */
int gpa_merge_plan(gpa_merge_stats *stats, gpa_merge *merge, const gpa_midx *midx, const uint32_t *sources,
		   int reverse, gpa_progress *progress, gpa_error *err);
int gpa_merge_page(gpa_page_info *out, const gpa_merge *merge, uint32_t page);
/* Set is_source[n] to 1 if source n, counted as they were added, has a copy of an object of this page, else to 0. */
int gpa_merge_page_sources(unsigned char *is_source, const gpa_merge *merge, uint32_t page);
/*
 * Write one planned page and its idx. Each copied entry is checked against its CRC32 before it is written; if the
 * source's idx is v1, the object is made and hashed instead. GPA_ECORRUPT with err->source: that copy is now known as
 * damaged; plan again. `progress` may be NULL; it counts objects. GPA_ESTOPPED, within a MiB, leaves an unfinished
 * page.
 */
int gpa_merge_write(gpa_merge *merge, uint32_t page, int pack_fd, int idx_fd, unsigned char *trailer,
		    gpa_progress *progress, gpa_error *err);
/*
 * Wait until the pages written so far are proved. Threads make, and compute the id of, each object whose copies in the
 * sources are not alike, or whose base in the page is another copy than in its own pack. gpa_merge_write() reports
 * failures of earlier pages. GPA_ECORRUPT with err->source: a source has wrong content under an id; call
 * gpa_merge_check(), then plan again.
 */
int gpa_merge_prove(gpa_merge *merge, gpa_error *err);
/*
 * Check every copy of the merge as gpa_merge_write() would, so that one new plan is enough. After a conflict or a
 * failed proof, make every object and compute its id. `progress` may be NULL; nothing is counted. After GPA_ESTOPPED
 * the findings so far are kept.
 */
int gpa_merge_check(uint32_t *damaged, gpa_merge *merge, gpa_progress *progress, gpa_error *err);
/* The oid of the n-th object that was left out, and the source that has it. GPA_ENOTFOUND beyond the last. */
int gpa_merge_left_out(unsigned char *oid, uint32_t *source, const gpa_merge *merge, uint32_t n);
/*
 * The number of entries read so far to make objects from deltas: at most a few for each object, however long its chain
 * is.
 */
uint64_t gpa_merge_entries_read(const gpa_merge *m);
/*
 * Find the next copy whose content is another object than its id says, of an object that has another, sound copy. Sets
 * the id and the source. *next is 0 at first. GPA_ENOTFOUND beyond the last.
 */
int gpa_merge_lie(unsigned char *oid, uint32_t *source, uint32_t *next, const gpa_merge *merge);

/* ---- loose_pages.c: objects into a page ---- */

typedef struct gpa_page gpa_page;	/* a pack of whole objects, written once from its start; one thread at a time */

/*
 * Begin a page of exactly `object_count` objects, at least 1, deflated at zlib's `level`. Memory: 3 MiB, and 48 bytes
 * for each object, whatever their sizes.
 */
int gpa_page_new(gpa_page **out, int pack_fd, int algo, int level, uint32_t object_count, gpa_error *err);
void gpa_page_free(gpa_page *page);
/*
 * Inflate the loose object file `path`, deflate it into the pack as a whole entry, and check that its id is `oid` and
 * its size the one in its header. A symbolic link, a FIFO or a device is neither followed nor waited for.
 *
 * After any status except GPA_OK the page is half-written: begin it again, without this object. err->source is 0 if the
 * failure is about the loose file (GPA_ECORRUPT, or GPA_ESYS if it cannot be read), else -1. `progress` may be NULL; it
 * counts objects. GPA_ESTOPPED within 1 MiB.
 */
int gpa_page_add_loose(gpa_page *page, const unsigned char *oid, int dir_fd, const char *path, gpa_progress *progress,
		       gpa_error *err);
/*
 * Add an object in memory, after a check of its id. After GPA_ECORRUPT, with err->source 0, the page is unchanged;
 * after any other failure it is half-written.
 */
int gpa_page_add(gpa_page *page, const unsigned char *oid, int type, gpa_bytes content, gpa_progress *progress,
		 gpa_error *err);
/*
 * Check a loose object as gpa_page_add_loose() does, without writing or counting it. Allowed also if the page is
 * half-written.
 */
int gpa_page_check_loose(gpa_page *page, const unsigned char *oid, int dir_fd, const char *path, gpa_progress *progress,
			 gpa_error *err);
/* End the pack and write its idx, byte for byte as git index-pack does. `trailer` receives the pack's checksum. */
int gpa_page_finish(gpa_page *page, int idx_fd, unsigned char *trailer, gpa_error *err);

#pragma GCC visibility pop

#endif
