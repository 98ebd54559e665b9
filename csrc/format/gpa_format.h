/*
 * The contract, part format: idx, pack entries, deltas, loose objects, the combined index; checks of packs and of
 * objects.
 */
#ifndef GPA_CONTRACT_FORMAT_H
#define GPA_CONTRACT_FORMAT_H

#include "base/gpa_base.h"

#pragma GCC visibility push(default)

/* ---- delta.c ---- */

/* Read the two sizes at the start of a delta program. GPA_ECORRUPT if it is too short. */
int gpa_delta_sizes(uint64_t *source_size, uint64_t *target_size, gpa_bytes delta, gpa_error *err);
/*
 * Write the target of `delta` on `base`, exactly `out_len` bytes. GPA_ECORRUPT if it has another size, or copies beyond
 * the base.
 */
int gpa_delta_apply(unsigned char *out, size_t out_len, gpa_bytes base, gpa_bytes delta, gpa_error *err);

/* ---- idx.c: pack index, version 1 and 2 ---- */

/* A parsed idx. Borrows its file. It never changes after parsing, so any number of threads may look up in it. */
typedef struct gpa_idx {
	gpa_bytes file;
	int algo;
	int version;
	uint32_t hash_size;
	uint32_t object_count;
	uint32_t large_count;
	uint32_t oid_stride;		/* bytes between two oids; in v1 an offset precedes each */
	const unsigned char *fanout;
	const unsigned char *oids;
	const unsigned char *crcs;	/* NULL in v1 */
	const unsigned char *offsets;
	const unsigned char *large;
	const unsigned char *pack_trailer;
} gpa_idx;

/*
 * Parse an idx. Checked here: magic, version, fanout order, and that the size fits the counts. Checked at each look-up:
 * large-offset row. Checked only by gpa_idx_check(), because it reads the whole file: oid order and the checksum. An
 * oid may occur twice, because git accepts a pack that has an object twice; gpa_idx_find() then finds one of them.
 */
int gpa_idx_parse(gpa_idx *out, gpa_bytes file, int algo, gpa_error *err);
int gpa_idx_check(const gpa_idx *idx, gpa_error *err);
int gpa_idx_find(uint32_t *pos, const gpa_idx *idx, const unsigned char *oid);
/* In the next three functions `pos` must be below object_count. */
const unsigned char *gpa_idx_oid(const gpa_idx *idx, uint32_t pos);
int gpa_idx_offset(uint64_t *offset, const gpa_idx *idx, uint32_t pos, gpa_error *err);
uint32_t gpa_idx_crc(const gpa_idx *idx, uint32_t pos);

#define GPA_UNREADABLE 0xffffffff

/*
 * Map and parse many idx files, by their names in a directory. If one fails, none stays open, and err->source is its
 * number.
 */
int gpa_idx_open_many(gpa_idx *out, uint32_t count, int dir_fd, const char *const *names, int algo, gpa_error *err);
void gpa_idx_close_many(gpa_idx *idx, uint32_t count);
/* Read the object count of each idx; GPA_UNREADABLE for a file that cannot be opened or parsed. */
void gpa_idx_counts(uint32_t *counts, uint32_t count, int dir_fd, const char *const *names, int algo);

typedef struct gpa_idx_entry {
	unsigned char oid[32];
	uint64_t offset;
	uint32_t crc;
} gpa_idx_entry;

/* Sort `entries` by oid, and write an idx v2 to `fd`, byte for byte as git index-pack does. */
int gpa_idx_write(int fd, int algo, gpa_idx_entry *entries, uint32_t count, const unsigned char *pack_trailer,
		  gpa_error *err);

/* ---- pack.c ---- */

typedef struct gpa_entry {
	int type;			/* 1-4, 6 or 7 */
	uint32_t header_size;		/* bytes before the zlib stream, base distance or oid included */
	uint64_t size;			/* of the inflated data: the object, or the delta program */
	uint64_t base_offset;		/* for GPA_OFS_DELTA */
	const unsigned char *base_oid;	/* for GPA_REF_DELTA; borrowed from the pack */
} gpa_entry;

/* Check magic, version, and that header and trailer fit. *object_count is what the header says. */
int gpa_pack_parse(uint32_t *object_count, gpa_bytes pack, int algo, gpa_error *err);
/* gpa_pack_parse(), and check that count and trailer agree with `idx`, so that the two files belong together. */
int gpa_pack_match(gpa_bytes pack, const gpa_idx *idx, gpa_error *err);
int gpa_entry_parse(gpa_entry *out, gpa_bytes pack, uint64_t offset, int algo, gpa_error *err);

/* ---- delta_make.c ---- */

/*
 * Make a delta program of at most `most` bytes that yields `target` on `base`. GPA_ENOTFOUND if it would be longer, or
 * nearly so.
 */
int gpa_delta_make(gpa_buffer *out, gpa_bytes base, gpa_bytes target, size_t most, gpa_error *err);

/* ---- loose.c ---- */

/*
 * Read a loose object from the content of its file. gpa_loose_read() also checks that it inflates to exactly its size.
 */
int gpa_loose_header(int *type, uint64_t *size, gpa_bytes file, gpa_error *err);
int gpa_loose_read(gpa_object *out, gpa_bytes file, gpa_error *err);

typedef struct gpa_loose_head {
	int32_t type;			/* GPA_COMMIT ... GPA_TAG; 0 if this is no regular file or its header cannot be read */
	uint64_t size;			/* of the object, as its header says */
} gpa_loose_head;

/* Read the headers of many loose objects, found by path. Only the first 4096 bytes of each file are read. */
int gpa_loose_heads(gpa_loose_head *out, uint32_t count, int dir_fd, const char *const *paths, gpa_progress *progress,
		    gpa_error *err);

/* ---- midx.c: multi-pack-index, version 1 ---- */

/*
 * A parsed combined index. Borrows its file and owns `names`. It never changes after parsing, so threads may share it.
 */
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

/*
 * Parse a combined index. Checked here: header, chunk bounds and sizes, fanout order, pack names. Checked at each
 * look-up: pack number and LOFF row.
 */
int gpa_midx_parse(gpa_midx *out, gpa_bytes file, int algo, gpa_error *err);
void gpa_midx_free(gpa_midx *midx);
/* Compare the trailer with the hash of the file. GPA_ECORRUPT if they differ: nothing may be based on such an index. */
int gpa_midx_check_trailer(const gpa_midx *midx, gpa_error *err);
int gpa_midx_find(uint32_t *pos, const gpa_midx *midx, const unsigned char *oid);
const unsigned char *gpa_midx_oid(const gpa_midx *midx, uint32_t pos);
int gpa_midx_entry(uint32_t *pack, uint64_t *offset, const gpa_midx *midx, uint32_t pos, gpa_error *err);
/* Add to refs[i] the number of objects whose winner is in pack i. `refs` has pack_count numbers. */
int gpa_midx_count(uint32_t *refs, const gpa_midx *midx, gpa_error *err);

/*
 * Check what `git multi-pack-index verify` checks, in its order and words. idx[i] is NULL if pack i could not be
 * loaded. Returns GPA_OK however many findings there are, also when stopped. `progress` may be NULL; it counts objects.
 */
int gpa_midx_verify(gpa_report *report, const gpa_midx *midx, const gpa_idx *const *idx, gpa_progress *progress,
		    gpa_error *err);

/* ---- midx_write.c ---- */

/* One pack of the index to be written. The caller passes them in strictly ascending order of name. */
typedef struct gpa_midx_source {
	const char *name;		/* "pack-<hex>.idx" */
	const gpa_idx *idx;		/* its entries; NULL if only its entries in the old index count */
	int64_t old_id;			/* its number in the old index, or -1 */
	uint32_t rank;			/* of its idx entries: of two copies the one with the lower rank wins */
} gpa_midx_source;

/*
 * Merge the entries of `old` and of each source's idx, and write the index to `fd`. `old` may be NULL; its entries have
 * rank `old_rank`, and those of packs that no source names are dropped. Time is linear in the unchanged entries; new
 * ones are sorted first. `trailer` receives the hash that names the index. GPA_ECORRUPT with err->source if an idx is
 * not in order. Memory: 8 bytes an object, and up to 48 for each entry outside the largest sorted sequence. `progress`
 * may be NULL; it counts entries as they are merged. GPA_ESTOPPED leaves an unfinished file.
 */
int gpa_midx_write(int fd, int algo, const gpa_midx *old, uint32_t old_rank, const gpa_midx_source *sources,
		   uint32_t source_count, unsigned char *trailer, uint32_t *object_count, gpa_progress *progress,
		   gpa_error *err);

/* ---- pack_check.c: every byte of a pack ---- */

/*
 * Check the trailer, every entry's CRC32 and every object's id, delta chains included, with `threads` threads. Findings
 * go to `report`, each with an offset or an oid. Returns GPA_OK however many there are, also when stopped. Memory: for
 * each thread the objects of one path of deltas.
 */
int gpa_pack_check(gpa_report *report, gpa_bytes pack, const gpa_idx *idx, unsigned threads, gpa_progress *progress,
		   gpa_error *err);

/* ---- object_check.c: whether an object is one of its type ---- */

/*
 * Check a tree, a commit or a tag as `git hash-object` does. A blob may hold anything. GPA_ECORRUPT: err->text is the
 * id of git's rule and what is wrong, as in "treeNotSorted: not properly sorted". Or GPA_ENOMEM.
 */
int gpa_object_check(int algo, int type, const unsigned char *data, size_t len, gpa_error *err);
/*
 * gpa_object_check() for `count` objects whose contents lie one after the other. *bad is the first object that is
 * refused.
 */
int gpa_objects_check(uint32_t *bad, int algo, const unsigned char *types, const uint64_t *sizes,
		      const unsigned char *data, uint32_t count, gpa_error *err);

#pragma GCC visibility pop

#endif
