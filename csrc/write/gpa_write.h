/* The contract, part write: new objects into pages, from any thread. */
#ifndef GPA_CONTRACT_WRITE_H
#define GPA_CONTRACT_WRITE_H

#include "read/gpa_read.h"

#pragma GCC visibility push(default)

/* ---- writer.c: new objects into pages ---- */

/*
 * A writer adds objects to the reader's own object directory, and the reader can read them at once. They wait in an
 * open page. A journal in `journal_dir` holds all that was acknowledged. The page is sealed, which makes it a pack that
 * every process sees, when it is full, before a commit or a tag is acknowledged, and on request. An existing object is
 * not written again: the pack or loose file that holds it gets a new mtime, as git does.
 *
 * Any number of threads may call at once, and without Python. gpa_writer_share() and gpa_writer_free() count owners.
 * Each of several writers, in one process or many, has journals of its own.
 *
 * GPA_ESYS and GPA_ECORRUPT name the file in err->file. Objects that were acknowledged before a failure are not lost:
 * the journal has them, and the next call tries to seal them again.
 */
typedef struct gpa_writer gpa_writer;

/* What is durable, which means safe from a power cut, when a call returns: nothing, because no file is synced; */
#define GPA_DURABLE_NONE 0
/* sealed objects; */
#define GPA_DURABLE_PAGE 1
/* added objects, unless in a batch. */
#define GPA_DURABLE_JOURNAL 2

typedef struct gpa_writer_options {
	const char *journal_dir;	/* absolute; it exists */
	const char *gc_pid;		/* the file that exists while `git gc` runs; or NULL */
	int level;			/* zlib's */
	int durability;
	int fsync_method;		/* GPA_FSYNC_*, as in core.fsyncMethod */
	int shared;			/* permission bits of core.sharedRepository; negative: the exact mode; 0: umask */
	uint32_t page_objects;		/* a page is sealed when it has this many objects, at least 1 */
	uint64_t page_bytes;		/* or this many bytes */
	uint32_t delta_depth;		/* longest chain of deltas in a page; 0: every object is stored whole */
	gpa_step step;			/* may be NULL */
	void *step_context;
} gpa_writer_options;

typedef struct gpa_writer_stats {
	uint64_t page_count;		/* sealed so far */
	uint64_t object_count;		/* written so far, including those of the open page */
	uint64_t known_count;		/* asked for, and existing already */
	uint64_t sync_count;		/* journals synced */
	uint32_t open_count;		/* objects that are not sealed */
	uint64_t open_bytes;
} gpa_writer_stats;

/* Open a writer for a reader, which gets another owner. A reader has at most one. */
int gpa_writer_open(gpa_writer **out, gpa_reader *reader, const gpa_writer_options *options, gpa_error *err);
gpa_writer *gpa_writer_share(gpa_writer *writer);
/* Remove an owner. If the writer was not closed, its journals stay, and the next one recovers them. */
void gpa_writer_free(gpa_writer *writer);
/* Seal, and remove the journals. After a failure the writer is unchanged. */
int gpa_writer_close(gpa_writer *writer, gpa_error *err);
/* Change to another reader of the same object directory, which has just been opened. */
void gpa_writer_move(gpa_writer *writer, gpa_reader *reader);
void gpa_writer_count(gpa_writer_stats *out, gpa_writer *writer);

/*
 * Add an object of type GPA_COMMIT ... GPA_TAG. `oid` receives its id. A commit or a tag is sealed before this returns.
 */
int gpa_writer_add(unsigned char *oid, gpa_writer *writer, int type, const unsigned char *data, size_t len,
		   gpa_error *err);
/* gpa_writer_add() that puts an object into a page also if it exists as a loose file, which stays. */
int gpa_writer_pack_loose(unsigned char *oid, gpa_writer *writer, int type, const unsigned char *data, size_t len,
			  gpa_error *err);
/*
 * Add `count` objects whose contents lie one after the other in `data`, as one group: the journal is written once, and
 * sealing is done at the end. After a failure some may have been added.
 */
int gpa_writer_add_many(unsigned char *oids, gpa_writer *writer, const unsigned char *types, const uint64_t *sizes,
			const unsigned char *data, uint32_t count, gpa_error *err);
/* GPA_OK if the object exists, and is as safe as if it had been added now. GPA_ENOTFOUND if it has to be added. */
int gpa_writer_freshen(gpa_writer *writer, const unsigned char *oid, gpa_error *err);
/* Seal the open page. */
int gpa_writer_seal(gpa_writer *writer, gpa_error *err);
/*
 * Begin and end a batch of the calling thread. Until its end, the objects of the thread are sealed only in full pages,
 * and up to 4 MiB of them are not in the journal. Batches of a thread may be nested; the end of the outermost one
 * seals.
 */
int gpa_writer_begin_batch(gpa_writer *writer, gpa_error *err);
int gpa_writer_end_batch(gpa_writer *writer, gpa_error *err);

/*
 * An object that comes in pieces; for one thread at a time. A large one goes into a page of its own, in constant
 * memory.
 */
typedef struct gpa_new_object gpa_new_object;
int gpa_new_object_open(gpa_new_object **out, gpa_writer *writer, int type, uint64_t size, gpa_error *err);
int gpa_new_object_write(gpa_new_object *object, const unsigned char *data, size_t len, gpa_error *err);
/* End an object of which exactly `size` bytes have come. The caller still frees it. */
int gpa_new_object_finish(unsigned char *oid, gpa_new_object *object, gpa_error *err);
void gpa_new_object_free(gpa_new_object *object);

typedef struct gpa_recovery {
	uint32_t object_count;		/* put into pages */
	uint32_t known_count;		/* existed already */
	uint64_t cut_bytes;		/* after the last complete record */
} gpa_recovery;

/*
 * Put the objects of a dead writer's journal, the file `name` in journal_dir, into pages, durably, and remove it.
 * GPA_ENOTFOUND if its writer lives, or the file does not exist. GPA_ECORRUPT or GPA_EUNSUPPORTED if it is no journal
 * of this version and hash: then it stays.
 */
int gpa_writer_recover(gpa_recovery *out, gpa_writer *writer, const char *name, gpa_error *err);

#pragma GCC visibility pop

#endif
