/* The backend for libgit2 from inside: odb_backend.c (reading, and giving it to a repository) and odb_write.c. */
#ifndef GPA_ODB_BACKEND_H
#define GPA_ODB_BACKEND_H

#include "lend/libgit2.h"
#include "write/writer.h"

/* A backend that was there before: its objects are listed through ours, so that each comes once. */
typedef struct other {
	git_odb_backend *backend;
	int (*foreach)(git_odb_backend *, git_odb_foreach_cb, void *payload);
} other;

typedef enum recently { RECENTLY_NOTHING, RECENTLY_MISSED, RECENTLY_REFRESHED } recently;

typedef struct backend {
	git_odb_backend base;	/* first: libgit2 knows no more */
	libgit2 git;
	pthread_mutex_t lock;	/* for a change of the reader, since listing runs beside everything else */
	gpa_reader *reader;
	gpa_writer *writer;	/* NULL: new objects are loose, or others write */
	git_odb_backend *loose;	/* libgit2's own, where it writes */
	git_odb_backend *packs;	/* the same for whole packs; made when first needed */
	other *others;
	size_t other_count;
	recently recently;
	unsigned char missed[GIT_OID_SIZE];
	size_t missed_digits;
} backend;

/* What libgit2 is told of a failure. */
int odb_refuse(backend *b, int status, const gpa_error *err);
/*
 * What is missing libgit2 asks for twice, with a refresh in between. Our first answer was given after looking at the
 * directories, so the second is the same without. Only once: whoever asks again gets a look.
 */
int odb_is_missed_again(backend *b, const unsigned char *oid, size_t digits);
/*
 * Before an object is said to be there. libgit2 ignores that it could not write a commit, and goes on to make a ref: what
 * the writer has, but could not seal, must not be found. Not 0: it cannot.
 */
int odb_settle(backend *b, const unsigned char *oid);
/* Gives `answer`, having noted what is missing. */
int odb_note_miss(backend *b, int answer, const unsigned char *oid, size_t digits);

int odb_freshen(git_odb_backend *base, const unsigned char *oid);
/* Let it write: through its writer, or else loose objects (synced, with `fsync`). Not 0 without memory. */
int odb_let_write(backend *b, int fsync);
void odb_free_writing(backend *b);

#endif
