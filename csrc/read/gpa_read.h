/* The contract, part read: any object of a repository, from any thread. */
#ifndef GPA_CONTRACT_READ_H
#define GPA_CONTRACT_READ_H

#include "base/gpa_base.h"

#pragma GCC visibility push(default)

/* ---- reader.c, find.c, read.c: any object, wherever it is ---- */

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
typedef struct gpa_read_slot {
	gpa_error err;
	gpa_object object;		/* what has no room in `content`; to be freed */
	unsigned char content[32768];
} gpa_read_slot;
/* The number is the size, shifted by so many bits, and the type. */
#define GPA_TYPE_BITS 3
#define GPA_SIZE_MOST 0xfffffffffffffff
int64_t gpa_slot_info(gpa_read_slot *answer, gpa_reader *reader, const unsigned char *oid);
int64_t gpa_slot_read(gpa_read_slot *answer, gpa_reader *reader, const unsigned char *oid);

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
 * Type and size of each, as gpa_slot_info() says it, or GPA_ENOTFOUND. The status is about *failed, the first that is
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

#pragma GCC visibility pop

#endif
