/* Files read piece by piece, mapped, or copied to memory. */
#ifndef GPA_FILES_H
#define GPA_FILES_H

#include "base/gpa_base.h"

#define PATH_ROOM 4096		/* bytes of a path that is put together in a local variable */

/* Open a regular file for reading. `size` is its size now. */
int file_open(int *fd, uint64_t *size, int dir_fd, const char *path, gpa_error *err);
/* file_open() that does not follow a symbolic link: the file that is unlinked later is the file that was read. */
int file_open_itself(int *fd, uint64_t *size, int dir_fd, const char *path, gpa_error *err);
/* Read `len` bytes at `offset`. GPA_ECORRUPT if the file ends before. */
int file_read(int fd, unsigned char *out, size_t len, uint64_t offset, gpa_error *err);
/* Map `size` bytes of an open file. The caller closes the map with gpa_map_close(). */
int file_map(gpa_bytes *out, int fd, uint64_t size, gpa_error *err);
/*
 * Map a file whose first and last bytes are needed first. In a large file these two are read by a system call, because a
 * page fault would read as many bytes around each as the kernel's read-ahead, which may be megabytes.
 */
int file_map_ends(gpa_bytes *out, const char *path, gpa_error *err);
/* Have the kernel begin to read the first `head` bytes of an open file, or all of it for 0. */
void file_read_ahead(int fd, uint64_t head);

/* Identity and state of a file or directory: equal stamps mean that it did not change. All 0 if there is none. */
typedef struct file_stamp {
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	int64_t mtime_ns;
	int64_t ctime_ns;
} file_stamp;

static inline int same_stamp(const file_stamp *a, const file_stamp *b)
{
	return a->inode == b->inode && a->ctime_ns == b->ctime_ns && a->mtime_ns == b->mtime_ns && a->size == b->size &&
	       a->device == b->device;
}

void stamp_path(file_stamp *out, const char *path);

/* A file's content: mapped, or copied where a map would cost more. */
typedef struct held_file {
	gpa_bytes bytes;
	int is_copy;
} held_file;
/* Up to this size a copy costs less than a map, whose end may interrupt other processors. */
#define FILE_COPY_MOST (32 * 1024)
/* Hold a file; up to `copy_most` bytes are copied. `stamp` may be NULL. */
int file_hold(held_file *out, file_stamp *stamp, int dir_fd, const char *path, size_t copy_most, gpa_error *err);
/* Hold a file that is open already, and `size` bytes long. */
int file_hold_open(held_file *out, int fd, uint64_t size, size_t copy_most, gpa_error *err);
void file_release(held_file *file);

#endif
