/*
 * The backend for libgit2, from inside: odb_backend.c attaches it to a repository, and sets its functions by the other
 * files.
 */
#ifndef GPA_ODB_BACKEND_H
#define GPA_ODB_BACKEND_H

#include <pthread.h>

#include "lend/gpa_lend.h"
#include "lend/libgit2.h"
#include "write/writer.h"

/* A backend that existed before. Its objects are listed by this one, so that each is listed once. */
typedef struct other {
	git_odb_backend *backend;
	int (*foreach)(git_odb_backend *, git_odb_foreach_cb, void *payload);
} other;

typedef enum recently { RECENTLY_NOTHING, RECENTLY_MISSED, RECENTLY_REFRESHED } recently;

typedef struct odb_backend {
	git_odb_backend base;	/* first: libgit2 knows only this */
	libgit2 git;
	pthread_mutex_t lock;	/* for changes of `reader`, because listing may run at the same time as any other call */
	gpa_reader *reader;
	gpa_writer *writer;	/* NULL: new objects are written as loose ones, or by other backends */
	git_odb_backend *loose;	/* libgit2's own backend for loose objects, if it writes */
	git_odb_backend *packs;	/* libgit2's own backend for packs; made when first needed */
	other *others;
	size_t other_count;
	recently recently;
	unsigned char missed[GIT_OID_SIZE];
	size_t missed_digits;
} odb_backend;

/* ---- odb_answer.c ---- */

/* Report a failure to libgit2. Returns GIT_ENOTFOUND or GIT_ERROR. */
int odb_refuse(odb_backend *b, int status, const gpa_error *err);
/*
 * Whether libgit2 asks a second time, after a refresh, for an object that was missing a moment ago. The first answer
 * was given after a rescan, so the second is the same without one. A third question gets a rescan.
 */
int odb_is_missed_again(odb_backend *b, const unsigned char *oid, size_t digits);
/* Remember which object is missing if `answer` is GIT_ENOTFOUND. Returns `answer`. */
int odb_note_miss(odb_backend *b, int answer, const unsigned char *oid, size_t digits);
/*
 * Seal an object before libgit2 learns that it exists. libgit2 ignores that a commit could not be written, and goes on
 * to make a ref. So an object that the writer has and could not seal must not be found. Returns 0, or the answer if
 * that fails.
 */
int odb_settle(odb_backend *b, const unsigned char *oid);

/* ---- odb_read.c, odb_write.c ---- */

/* Set the functions that read. */
void odb_let_read(odb_backend *b);
int odb_freshen(git_odb_backend *base, const unsigned char *oid);
/*
 * Set the functions that write: through the writer, or else loose objects (synced, with `fsync`). Not 0 without memory.
 */
int odb_let_write(odb_backend *b, int fsync);
void odb_free_writing(odb_backend *b);

#endif
