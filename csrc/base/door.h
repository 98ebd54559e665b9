/*
 * Where the C core makes names appear and vanish and where the writer's bytes go to disk: what fs/door.py is for Python. Each
 * operation asks the step hook first, so that a test can stop before the 1st, 2nd, 3rd ... of them, or in the middle.
 */
#ifndef GPA_DOOR_H
#define GPA_DOOR_H

#include "base/gpa_base.h"

typedef struct door {
	gpa_step step;			/* NULL but in tests */
	void *context;
	int method;			/* GPA_FSYNC_* */
	int shared;			/* as shared_bits() in fs/door.py */
	const char *guarded;		/* a folder that is no link, nor is any below it; NULL: none. Borrowed */
} door;

/* GPA_ESYS, of an operation that failed with the errno `number`. */
int door_failed(gpa_error *err, const char *operation, const char *path, int number);
/* A file that is there; -1 with errno. */
int door_open(const door *d, const char *path, int flags);
/* A new file, open for reading and writing. GPA_ESYS with EEXIST when the name is taken. err->file is set by each. */
int door_create(int *fd, const door *d, const char *path, unsigned mode, gpa_error *err);
/* `wrote` (may be NULL) says how many bytes came to be there before a failure. */
int door_write(size_t *wrote, const door *d, int fd, const char *path, const void *data, size_t len, uint64_t offset,
	       gpa_error *err);
int door_truncate(const door *d, int fd, const char *path, uint64_t size, gpa_error *err);
/* Let the disk begin with what door_sync() will wait for: of two files, the second one then waits for little. */
void door_begin_sync(int fd);
/* A file that has no name yet, and whose directory will be synced when it has one. */
int door_sync_unnamed(const door *d, int fd, const char *path, gpa_error *err);
int door_sync(const door *d, int fd, const char *path, gpa_error *err);
int door_sync_dir(const door *d, const char *path, gpa_error *err);
/* GPA_ESYS with EEXIST when the name is taken. */
int door_link(const door *d, const char *from, const char *to, gpa_error *err);
int door_rename(const door *d, const char *from, const char *to, gpa_error *err);
/* A name that is gone already is fine. */
int door_unlink(const door *d, const char *path, gpa_error *err);
/* Set a file's time to now. GPA_ENOTFOUND when it is gone. */
int door_touch(const door *d, const char *path, gpa_error *err);

#endif
