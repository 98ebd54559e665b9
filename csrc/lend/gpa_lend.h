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

/* ---- odb_backend.c: a reader, lent to libgit2 ---- */

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
