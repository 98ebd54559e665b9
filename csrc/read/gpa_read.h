/* The contract, part read: any object of a repository, from any thread. */
#ifndef GPA_CONTRACT_READ_H
#define GPA_CONTRACT_READ_H

#include "base/gpa_base.h"

#pragma GCC visibility push(default)

/* ---- reader.c, find.c, read.c: any object of some object directories ---- */

/*
 * A reader for the objects of one or more object directories: combined index, the packs that it does not name, loose
 * objects. Any number of threads may use one reader at once. gpa_reader_share() and gpa_reader_free() count owners.
 *
 * Maintenance may run at the same time. An object that moves is looked for again, so a miss (GPA_ENOTFOUND) means that
 * it was nowhere at some moment of the call. If a copy is damaged, another one is read. GPA_ECORRUPT, if there is none,
 * names the file in err->source (which directory) and err->file. No descriptor is kept open.
 */
typedef struct gpa_reader gpa_reader;

typedef struct gpa_reader_options {
	int algo;
	int verify;			/* hash each object that is read; one with a wrong id counts as damaged */
	uint64_t cache_bytes;		/* for delta bases */
	uint64_t map_bytes;		/* resident bytes of mapped packs */
	uint32_t map_count;		/* files mapped at a time; those in use may exceed it */
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

/*
 * Open a reader. `dirs` are absolute paths: the repository's own objects/ first, then its alternates. A missing
 * directory counts as empty.
 */
int gpa_reader_open(gpa_reader **out, const char *const *dirs, uint32_t dir_count, const gpa_reader_options *options,
		    gpa_error *err);
gpa_reader *gpa_reader_share(gpa_reader *reader);
void gpa_reader_free(gpa_reader *reader);
/* Rescan the directories now. Each call that misses an object does so by itself. */
int gpa_reader_refresh(gpa_reader *reader, gpa_error *err);
void gpa_reader_count(gpa_reader_stats *out, gpa_reader *reader);
/* For fork(): between these two no other thread is inside the reader, so it works in the child too. */
void gpa_reader_before_fork(gpa_reader *reader);
void gpa_reader_after_fork(gpa_reader *reader);
/*
 * In the child, after gpa_reader_after_fork(): a writer of this reader forgets its unsealed objects, which are the
 * parent's.
 */
void gpa_reader_in_child(gpa_reader *reader);

/*
 * Whether the object exists, in a pack that fits its idx or in a loose file. Its content is not read. GPA_OK or
 * GPA_ENOTFOUND.
 */
int gpa_reader_has(gpa_reader *reader, const unsigned char *oid, gpa_error *err);
int gpa_reader_info(int *type, uint64_t *size, gpa_reader *reader, const unsigned char *oid, gpa_error *err);
int gpa_reader_read(gpa_object *out, gpa_reader *reader, const unsigned char *oid, gpa_error *err);

/*
 * gpa_reader_info() and gpa_reader_read(), packed for cheap calls from Python. They return `size << GPA_TYPE_BITS |
 * type`, or a negative status with slot->err set. A size above GPA_SIZE_MOST is reported as GPA_ECORRUPT.
 */
typedef struct gpa_read_slot {
	gpa_error err;
	gpa_object object;		/* an object too large for `content`; the caller frees it */
	unsigned char content[32768];
} gpa_read_slot;
/* How type and size are packed into one number. */
#define GPA_TYPE_BITS 3
#define GPA_SIZE_MOST 0xfffffffffffffff
int64_t gpa_slot_info(gpa_read_slot *answer, gpa_reader *reader, const unsigned char *oid);
int64_t gpa_slot_read(gpa_read_slot *answer, gpa_reader *reader, const unsigned char *oid);

/*
 * Location of the object: pack path, entry offset, and offset of the delta base (0 if it is not a delta). `pack` is
 * empty for a loose object.
 */
int gpa_reader_locate(char *pack, size_t room, uint64_t *offset, uint64_t *base_offset, gpa_reader *reader,
		      const unsigned char *oid, gpa_error *err);

/*
 * Many objects, read by several threads in the order in which they are stored. The caller takes a run at a time while
 * others are read. For one thread at a time. Memory: the location of each object, the run that the caller has, and
 * those that wait.
 */
typedef struct gpa_many gpa_many;

typedef struct gpa_run_row {
	uint32_t number;	/* index of its id in `oids` */
	int32_t type;
	uint64_t size;
} gpa_run_row;

typedef struct gpa_run {
	uint32_t count;
	const gpa_run_row *rows;
	gpa_bytes content;	/* of all objects of the run, one after the other */
} gpa_run;

/*
 * Begin. `oids`, of `count` objects, is borrowed until gpa_many_end(). The reader gets another owner. The calling
 * thread counts as one of `threads`.
 */
int gpa_many_begin(gpa_many **out, gpa_reader *reader, const unsigned char *oids, uint32_t count, unsigned threads,
		   gpa_error *err);
/*
 * Return the next run in *out, valid until the next call. *out is NULL after the last one; then the status and *failed
 * are about the first object that is damaged, or else the first that is missing.
 */
int gpa_many_next(const gpa_run **out, uint32_t *failed, gpa_many *many, gpa_error *err);
void gpa_many_end(gpa_many *many);

/*
 * Type and size of each object, as gpa_slot_info() returns them, or GPA_ENOTFOUND. If an object is damaged, the
 * returned status is about the first one, *failed; otherwise *failed is `count`.
 */
int gpa_many_info(int64_t *answers, uint32_t *failed, gpa_reader *reader, const unsigned char *oids, uint32_t count,
		  unsigned threads, gpa_error *err);
/*
 * Whether each object exists: 0 or GPA_ENOTFOUND in answers[i]. An object whose every copy is damaged counts as
 * missing.
 */
int gpa_many_has(int64_t *answers, uint32_t *failed, gpa_reader *reader, const unsigned char *oids, uint32_t count,
		 unsigned threads, gpa_error *err);

/*
 * The ids that begin with the first `digits` hex digits of `prefix`, ascending, each once. `oids` has room for `room`
 * ids. If *count is larger, there are that many, or at least one more than `room`.
 */
int gpa_reader_expand(unsigned char *oids, uint32_t *count, uint32_t room, gpa_reader *reader,
		      const unsigned char *prefix, unsigned digits, gpa_error *err);
/* All ids, ascending, each once. Memory: the ids, and 32 bytes for each object during the call. */
int gpa_reader_list(gpa_buffer *oids, gpa_reader *reader, gpa_error *err);
/* Put `count` ids into the order in which they are stored, pack by pack. Ids in no pack come last. */
int gpa_reader_order(unsigned char *oids, gpa_reader *reader, uint32_t count, unsigned threads, gpa_error *err);

/*
 * An object read piece by piece; for one thread at a time. An object that is not stored as a delta takes constant
 * memory.
 */
typedef struct gpa_stream gpa_stream;
int gpa_stream_open(gpa_stream **out, int *type, uint64_t *size, gpa_reader *reader, const unsigned char *oid,
		    gpa_error *err);
/* Read `room` bytes, or fewer at the end. With `verify` the last piece is withheld if the id is wrong. */
int gpa_stream_read(size_t *got, gpa_stream *stream, unsigned char *out, size_t room, gpa_error *err);
void gpa_stream_free(gpa_stream *stream);

#pragma GCC visibility pop

#endif
