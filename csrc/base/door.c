/* The operations of door.h. Any number of threads may call; each is one or a few system calls. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/door.h"
#include "base/error.h"

#define WRITE_MAX (1024 * 1024)

int door_failed(gpa_error *err, const char *operation, const char *path, int number)
{
	char what[32];
	snprintf(what, sizeof(what), "cannot %s", operation);
	errno = number;
	system_failed(err, what);
	/* keep the end of a path that is too long */
	size_t len = strlen(path), room = sizeof(err->file) - 1;
	snprintf(err->file, sizeof(err->file), "%s", len > room ? path + len - room : path);
	return GPA_ESYS;
}

/* Ask the step hook. Returns 0, or the errno that the operation has to fail with. */
static int step(const door *d, const char *operation, const char *path)
{
	uint64_t bytes = 0;
	return d->step ? d->step(d->context, operation, path, &bytes) : 0;
}

#define FOLDER (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/*
 * Find the folder that `path` is in, and the name there. Below d->guarded the path is walked folder by folder, by
 * descriptors, because a program that may write there can replace a folder by a link at any moment. Returns -1 with
 * errno.
 */
static int folder_of(const char **name, const door *d, const char *path)
{
	char part[NAME_MAX + 1];
	const char *slash;
	size_t len = d->guarded ? strlen(d->guarded) : 0;
	*name = path;
	if (!len || strncmp(path, d->guarded, len) || path[len] != '/')
		return AT_FDCWD;
	int fd = open(d->guarded, FOLDER);
	*name = path + len + 1;
	while (fd >= 0 && (slash = strchr(*name, '/'))) {
		size_t size = (size_t)(slash - *name);
		int inner = -1;
		if (size < sizeof(part)) {
			memcpy(part, *name, size);
			part[size] = 0;
			inner = openat(fd, part, FOLDER);
		} else {
			errno = ENAMETOOLONG;
		}
		int number = errno;
		close(fd);
		errno = number;
		fd = inner;
		*name = slash + 1;
	}
	return fd;
}

static void close_folder(int fd)
{
	int number = errno;
	if (fd >= 0)
		close(fd);
	errno = number;
}

int door_open(const door *d, const char *path, int flags)
{
	const char *name;
	int folder = folder_of(&name, d, path);
	int fd = folder == -1 ? -1 : openat(folder, name, flags | O_CLOEXEC);
	close_folder(folder);
	return fd;
}

static int remove_name(const door *d, const char *path)
{
	const char *name;
	int folder = folder_of(&name, d, path);
	int failed = folder == -1 || unlinkat(folder, name, 0);
	close_folder(folder);
	return failed;
}

/*
 * The mode of a shared file, as git's calc_shared_perm(): group and others get write permission only if the owner has
 * it.
 */
static mode_t shared_mode(mode_t mode, int shared)
{
	mode_t tweak = (mode_t)(shared < 0 ? -shared : shared);
	if (!(mode & 0200))
		tweak &= ~(mode_t)0222;
	return shared < 0 ? (mode & ~(mode_t)0777) | tweak : mode | tweak;
}

/* Whether the file system does not know the call, or does not allow it for any file. */
static int is_unsupported(int number)
{
	return number == ENOSYS || number == EOPNOTSUPP || number == EINVAL || number == EPERM || number == EACCES ||
	       number == ENOTTY;
}

/* Widen the mode of a new file. A file system that has one mode for all files keeps it. */
static int widen(int fd, int shared)
{
	struct stat st;
	if (!shared)
		return 0;
	if (fstat(fd, &st))
		return -1;
	mode_t old = st.st_mode & 07777, wanted = shared_mode(old, shared);
	return old != wanted && fchmod(fd, wanted) && !is_unsupported(errno);
}

/*
 * As root, give a new file to the owner of its folder. Otherwise the owner of a repository in which root has written
 * once could no longer set the mtimes of its packs.
 */
static int give_to_owner(int fd, const char *path)
{
	struct stat folder, made;
	const char *slash = strrchr(path, '/');
	if (geteuid() || !slash)
		return 0;
	char *name = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	int failed = !name || stat(name, &folder) || fstat(fd, &made);
	free(name);
	if (failed)
		return -1;
	if (!folder.st_uid || (folder.st_uid == made.st_uid && folder.st_gid == made.st_gid))
		return 0;
	return fchown(fd, folder.st_uid, folder.st_gid) && !is_unsupported(errno);
}

int door_create(int *fd, const door *d, const char *path, unsigned mode, gpa_error *err)
{
	int number = step(d, "create", path);
	if (number)
		return door_failed(err, "create", path, number);
	const char *name;
	int folder = folder_of(&name, d, path);
	*fd = folder == -1 ? -1 : openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
	close_folder(folder);
	if (*fd >= 0 && !give_to_owner(*fd, path) && !widen(*fd, d->shared))
		return GPA_OK;
	number = errno;
	if (*fd >= 0) {
		close(*fd);
		(void)!remove_name(d, path);
		*fd = -1;
	}
	return door_failed(err, "create", path, number);
}

int door_write(size_t *wrote, const door *d, int fd, const char *path, const void *data, size_t len, uint64_t offset,
	       gpa_error *err)
{
	const unsigned char *at = data;
	int number = 0;
	while (len && !number) {
		uint64_t bytes = len < WRITE_MAX ? len : WRITE_MAX;
		int refused = d->step ? d->step(d->context, "write", path, &bytes) : 0;
		ssize_t done = bytes ? pwrite(fd, at, bytes, (off_t)offset) : 0;
		if (done < 0 && errno == EINTR)
			continue;
		number = refused ? refused : done < 0 ? errno : done ? 0 : ENOSPC;
		if (done > 0) {
			at += done;
			len -= (size_t)done;
			offset += (uint64_t)done;
		}
	}
	if (wrote)
		*wrote = (size_t)(at - (const unsigned char *)data);
	return number ? door_failed(err, "write", path, number) : GPA_OK;
}

int door_truncate(const door *d, int fd, const char *path, uint64_t size, gpa_error *err)
{
	int number = step(d, "truncate", path);
	if (!number && ftruncate(fd, (off_t)size))
		number = errno;
	return number ? door_failed(err, "truncate", path, number) : GPA_OK;
}

static int hand_over(int fd)
{
#ifdef SYNC_FILE_RANGE_WRITE
	return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
						 SYNC_FILE_RANGE_WAIT_AFTER);
#else
	return fdatasync(fd);
#endif
}

void door_begin_sync(int fd)
{
#ifdef SYNC_FILE_RANGE_WRITE
	if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE))
		return;		/* only a hint: a failure does not matter */
#else
	(void)fd;
#endif
}

static int sync_file(const door *d, int fd, const char *path, int hands_over, gpa_error *err)
{
	int number = step(d, "fsync", path);
	while (!number && (hands_over ? hand_over(fd) : fsync(fd))) {
		if (hands_over && is_unsupported(errno))
			hands_over = 0;
		else
			number = errno == EINTR ? 0 : errno;
	}
	return number ? door_failed(err, "fsync", path, number) : GPA_OK;
}

/*
 * With `batch` the bytes are given to the disk, and one fsync of the directory makes all of them durable. That holds on
 * file systems that keep the order of operations, such as ext4 and XFS.
 */
int door_sync_unnamed(const door *d, int fd, const char *path, gpa_error *err)
{
	return sync_file(d, fd, path, d->method != GPA_FSYNC_FULL, err);
}

int door_sync(const door *d, int fd, const char *path, gpa_error *err)
{
	return sync_file(d, fd, path, d->method == GPA_FSYNC_WRITEOUT_ONLY, err);
}

int door_sync_dir(const door *d, const char *path, gpa_error *err)
{
	if (d->method == GPA_FSYNC_WRITEOUT_ONLY)	/* a directory has no data of its own to write out */
		return GPA_OK;
	int fd = door_open(d, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return door_failed(err, "open", path, errno);
	int status = door_sync(d, fd, path, err);
	/* Some FUSE, 9p and SMB file systems cannot sync a directory: there it is not needed, or not possible. */
	if (status && (is_unsupported(err->sys_errno) || err->sys_errno == EBADF || err->sys_errno == EISDIR))
		status = GPA_OK;
	close(fd);
	return status;
}

int door_link(const door *d, const char *from, const char *to, gpa_error *err)
{
	const char *name, *new_name;
	int number = step(d, "link", to), old = folder_of(&name, d, from), new = old == -1 ? -1 : folder_of(&new_name, d, to);
	if (!number && (new == -1 || linkat(old, name, new, new_name, 0)))
		number = errno;
	close_folder(old);
	close_folder(new);
	return number ? door_failed(err, "link", to, number) : GPA_OK;
}

int door_rename(const door *d, const char *from, const char *to, gpa_error *err)
{
	const char *name, *new_name;
	int number = step(d, "rename", to), old = folder_of(&name, d, from), new = old == -1 ? -1 : folder_of(&new_name, d, to);
	if (!number && (new == -1 || renameat(old, name, new, new_name)))
		number = errno;
	close_folder(old);
	close_folder(new);
	return number ? door_failed(err, "rename", to, number) : GPA_OK;
}

int door_unlink(const door *d, const char *path, gpa_error *err)
{
	int number = step(d, "unlink", path);
	if (!number && remove_name(d, path) && errno != ENOENT)
		number = errno;
	return number ? door_failed(err, "unlink", path, number) : GPA_OK;
}

int door_touch(const door *d, const char *path, gpa_error *err)
{
	int number = step(d, "utime", path);
	if (!number && utimensat(AT_FDCWD, path, NULL, 0))
		number = errno;
	if (number == ENOENT || number == ENOTDIR)
		return GPA_ENOTFOUND;
	return number ? door_failed(err, "utime", path, number) : GPA_OK;
}
