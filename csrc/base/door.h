/*
 * Operations of the core that make names appear and vanish, and that write the writer's files. fs/door.py has the same
 * task in Python. Each operation asks the step hook first, so that a test can stop before the 1st, 2nd, 3rd ... of
 * them, or in the middle of a write. Each fills in err->file.
 */
#ifndef GPA_DOOR_H
#define GPA_DOOR_H

#include "base/gpa_base.h"

typedef struct door {
	gpa_step step;			/* NULL except in tests */
	void *context;
	int method;			/* GPA_FSYNC_* */
	int shared;			/* as from shared_bits() in fs/door.py */
	const char *guarded;		/* a folder that is no symbolic link, like all folders below it; NULL: none. Borrowed */
} door;

/* Report that `operation` failed with the errno `number`. Returns GPA_ESYS. */
int door_failed(gpa_error *err, const char *operation, const char *path, int number);
/* Open an existing file. Returns -1 with errno. */
int door_open(const door *d, const char *path, int flags);
/* Create a file, open for reading and writing. GPA_ESYS with EEXIST if the name is taken. */
int door_create(int *fd, const door *d, const char *path, unsigned mode, gpa_error *err);
/* Write `len` bytes at `offset`. *wrote, unless NULL, is how many bytes were written before a failure. */
int door_write(size_t *wrote, const door *d, int fd, const char *path, const void *data, size_t len, uint64_t offset,
	       gpa_error *err);
int door_truncate(const door *d, int fd, const char *path, uint64_t size, gpa_error *err);
/*
 * Let the disk begin to write a file that door_sync() will wait for. If two files begin together, the wait for the
 * second is short.
 */
void door_begin_sync(int fd);
/* Sync a file that has no name yet, and whose directory will be synced after it has one. */
int door_sync_unnamed(const door *d, int fd, const char *path, gpa_error *err);
int door_sync(const door *d, int fd, const char *path, gpa_error *err);
int door_sync_dir(const door *d, const char *path, gpa_error *err);
/* Link a file to a second name. GPA_ESYS with EEXIST if that name is taken. */
int door_link(const door *d, const char *from, const char *to, gpa_error *err);
int door_rename(const door *d, const char *from, const char *to, gpa_error *err);
/* Remove a name. A name that does not exist is no error. */
int door_unlink(const door *d, const char *path, gpa_error *err);
/* Set a file's mtime to now. GPA_ENOTFOUND if it does not exist. */
int door_touch(const door *d, const char *path, gpa_error *err);

#endif
