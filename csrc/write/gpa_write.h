/* The contract, part write: new objects into pages, from any thread. */
#ifndef GPA_CONTRACT_WRITE_H
#define GPA_CONTRACT_WRITE_H

#include "read/gpa_read.h"

#pragma GCC visibility push(default)

/* ---- writer.c: new objects into pages ---- */

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

#pragma GCC visibility pop

#endif
