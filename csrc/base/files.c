/*
 * Opening files for reading, as a map, as a copy, or by descriptor. Regular files only, so that a FIFO or a device in
 * the object directory neither blocks nor is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files.h"

#define SMALL_FILE (1 << 20)	/* bytes; a file of at most that size is read from the disk at once */

static int open_regular(int *fd, struct stat *st, int dir_fd, const char *path, int flags, gpa_error *err)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer. */
	int opened = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
	if (opened < 0)
		return system_failed(err, "cannot open");
	if (fstat(opened, st)) {
		int status = system_failed(err, "cannot stat");
		close(opened);
		return status;
	}
	if (!S_ISREG(st->st_mode)) {
		close(opened);
		return corrupt(err, "not a regular file");
	}
	*fd = opened;
	return GPA_OK;
}

int file_open(int *fd, uint64_t *size, int dir_fd, const char *path, gpa_error *err)
{
	struct stat st;
	int status = open_regular(fd, &st, dir_fd, path, 0, err);
	if (!status)
		*size = (uint64_t)st.st_size;
	return status;
}

int file_open_itself(int *fd, uint64_t *size, int dir_fd, const char *path, gpa_error *err)
{
	struct stat st;
	int status = open_regular(fd, &st, dir_fd, path, O_NOFOLLOW, err);
	if (!status)
		*size = (uint64_t)st.st_size;
	return status;
}

int file_read(int fd, unsigned char *out, size_t len, uint64_t offset, gpa_error *err)
{
	while (len) {
		ssize_t got = pread(fd, out, len, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return system_failed(err, "cannot read");
		if (!got)
			return corrupt_at(err, offset, "file ends %zu bytes early", len);
		out += got;
		len -= (size_t)got;
		offset += (uint64_t)got;
	}
	return GPA_OK;
}

int file_map(gpa_bytes *out, int fd, uint64_t size, gpa_error *err)
{
	out->ptr = NULL;
	out->len = 0;
	if (!size)	/* an empty map is not allowed; the parsers report what an empty file lacks */
		return GPA_OK;
	void *at = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return system_failed(err, "cannot map");
	out->ptr = at;
	out->len = size;
	return GPA_OK;
}

int gpa_map_open(gpa_bytes *out, int dir_fd, const char *path, gpa_error *err)
{
	int fd;
	uint64_t size;
	int status = file_open(&fd, &size, dir_fd, path, err);
	if (status)
		return status;
	status = file_map(out, fd, size, err);
	close(fd);
	return status;
}

static void touch(int fd, uint64_t offset)
{
	unsigned char byte;
	if (pread(fd, &byte, 1, (off_t)offset) < 0)
		return;	/* the code that needs the byte will fail and report it */
}

int file_map_ends(gpa_bytes *out, const char *path, gpa_error *err)
{
	int fd;
	uint64_t size;
	int status = file_open(&fd, &size, AT_FDCWD, path, err);
	if (status)
		return status;
	if (size > SMALL_FILE) {
		touch(fd, 0);
		touch(fd, size - 1);
	}
	status = file_map(out, fd, size, err);
	close(fd);
	return status;
}

void gpa_close_all(const int *fds, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		close(fds[i]);
}

void gpa_map_close(gpa_bytes *map)
{
	if (map->len)
		munmap((void *)map->ptr, map->len);
	map->ptr = NULL;
	map->len = 0;
}

static int64_t nanoseconds(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void stamp_of(file_stamp *out, const struct stat *st)
{
	*out = (file_stamp){st->st_dev, st->st_ino, (uint64_t)st->st_size, nanoseconds(st->st_mtim),
			    nanoseconds(st->st_ctim)};
}

void stamp_path(file_stamp *out, const char *path)
{
	struct stat st;
	if (stat(path, &st))
		memset(out, 0, sizeof(*out));
	else
		stamp_of(out, &st);
}

static int copy_file(held_file *out, int fd, size_t size, gpa_error *err)
{
	unsigned char *copy = malloc(size ? size : 1);
	if (!copy)
		return out_of_memory(err);
	int status = file_read(fd, copy, size, 0, err);
	if (status) {
		free(copy);
		return status;
	}
	*out = (held_file){{copy, size}, 1};
	return GPA_OK;
}

int file_hold_open(held_file *out, int fd, uint64_t size, size_t copy_most, gpa_error *err)
{
	if (size <= copy_most)
		return copy_file(out, fd, (size_t)size, err);
	out->is_copy = 0;
	return file_map(&out->bytes, fd, size, err);
}

int file_hold(held_file *out, file_stamp *stamp, int dir_fd, const char *path, size_t copy_most, gpa_error *err)
{
	struct stat st;
	int fd, status = open_regular(&fd, &st, dir_fd, path, 0, err);
	if (status)
		return status;
	if (stamp)
		stamp_of(stamp, &st);
	status = file_hold_open(out, fd, (uint64_t)st.st_size, copy_most, err);
	close(fd);
	return status;
}

void file_release(held_file *file)
{
	if (file->is_copy)
		free((void *)file->bytes.ptr);
	else
		gpa_map_close(&file->bytes);
	*file = (held_file){0};
}

void file_read_ahead(int fd, uint64_t head)
{
	posix_fadvise(fd, 0, (off_t)head, POSIX_FADV_WILLNEED);
}

void gpa_files_ahead(uint32_t count, int dir_fd, const char *const *names)
{
	for (uint32_t i = 0; i < count; i++) {
		gpa_error ignored;
		uint64_t size;
		int fd;
		if (file_open(&fd, &size, dir_fd, names[i], &ignored))
			continue;
		file_read_ahead(fd, 0);
		close(fd);
	}
}
