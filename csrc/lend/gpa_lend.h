/* The contract, part lend: the reader and the writer for cat-file and for libgit2. */
#ifndef GPA_CONTRACT_LEND_H
#define GPA_CONTRACT_LEND_H

#include "write/gpa_write.h"

#pragma GCC visibility push(default)

/* ---- cat_file.c: what git cat-file --batch answers ---- */

#define GPA_FIELD_TEXT 0
#define GPA_FIELD_NAME 1
#define GPA_FIELD_TYPE 2
#define GPA_FIELD_SIZE 3
#define GPA_FIELD_DISK_SIZE 4
#define GPA_FIELD_DELTA_BASE 5
#define GPA_FIELD_REST 6

/* A part of an object's line. `text` is for GPA_FIELD_TEXT. */
typedef struct gpa_field {
	int32_t kind;
	gpa_bytes text;
} gpa_field;

typedef struct gpa_batch_options {
	int fd;				/* where answers are written */
	int with_content;		/* an object's content follows its line */
	int buffered;			/* answers are collected before they are written, and made by `threads` threads */
	unsigned threads;
	int delimiter;			/* of input lines: a newline, or 0 */
	int with_rest;			/* a name ends at white space */
	int are_known;			/* all ids are of existing objects, so they are looked up only if needed */
	uint32_t field_count;
	const gpa_field *fields;	/* borrowed, with their texts */
	uint32_t replaced_count;
	const unsigned char *replaced;	/* pairs of oids, ascending: the second is read in place of the first; borrowed */
} gpa_batch_options;

/*
 * Answers cat-file's questions; for one thread at a time. Keeps the reader. Memory: at most 32 MiB, and 16 bytes for
 * each object of packs whose objects are asked for size on disk or delta base.
 */
typedef struct gpa_batch gpa_batch;
int gpa_batch_new(gpa_batch **out, gpa_reader *reader, const gpa_batch_options *options, gpa_error *err);
void gpa_batch_free(gpa_batch *batch);
/*
 * Answer the whole lines of `input`. *used is how many of its bytes have been answered. GPA_ENOTFOUND: the next line
 * has a name that is not a whole id. Any other failure is about the object of that line.
 */
int gpa_batch_lines(size_t *used, gpa_batch *batch, gpa_bytes input, gpa_error *err);
/*
 * Answer for `count` objects. If this fails, *done have been answered. A missing object is called `name`, or by its id
 * if that is empty. `rest` is the text after the name.
 */
int gpa_batch_objects(uint32_t *done, gpa_batch *batch, const unsigned char *oids, uint32_t count, gpa_bytes name,
		      gpa_bytes rest, gpa_error *err);
/* Answer with `text`. It is written at once, like the answer that an object is missing. */
int gpa_batch_say(gpa_batch *batch, gpa_bytes text, gpa_error *err);
int gpa_batch_flush(gpa_batch *batch, gpa_error *err);

/* ---- odb_backend.c: a reader and a writer for libgit2 ---- */

/*
 * Let `repository`, a git_repository, read through `reader`, which gets another owner until the repository's object
 * database is freed. `library` is a loaded file that is linked with the libgit2 of the repository. No other thread may
 * use the repository during the call.
 *
 * With `replace`, the reader is the only source, and libgit2 writes to the reader's first directory: objects through
 * `writer`, which gets another owner too, or as loose objects if it is NULL (synced, with `fsync`), and fetched objects
 * as packs. Without `replace`, the reader is asked before libgit2's own backends, which write as before.
 *
 * GPA_EUNSUPPORTED for SHA-256, and if libgit2 is not version 1.7 to 1.9.
 */
int gpa_libgit2_attach(const char *library, void *repository, gpa_reader *reader, gpa_writer *writer,
		       int replace, int fsync, gpa_error *err);

#pragma GCC visibility pop

#endif
