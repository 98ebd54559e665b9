/* The contract, part base: statuses, errors, progress, borrowed bytes, maps of files, hashes. */
#ifndef GPA_CONTRACT_BASE_H
#define GPA_CONTRACT_BASE_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

#define GPA_OK 0
#define GPA_ENOTFOUND -1
#define GPA_ECORRUPT -2
#define GPA_EUNSUPPORTED -3
#define GPA_ENOMEM -4
#define GPA_ESYS -5
#define GPA_ESTOPPED -6

#define GPA_SHA1 1
#define GPA_SHA256 2
#define GPA_OID_MAX 32
#define GPA_ERROR_TEXT 256
#define GPA_NO_OFFSET -1

#define GPA_COMMIT 1
#define GPA_TREE 2
#define GPA_BLOB 3
#define GPA_TAG 4
#define GPA_OFS_DELTA 6
#define GPA_REF_DELTA 7

/* Borrowed bytes: their owner keeps them alive. */
typedef struct gpa_bytes {
	const unsigned char *ptr;
	size_t len;
} gpa_bytes;

/*
 * What went wrong, without the file's name unless `file` says so. There is one for each call, so threads cannot mix
 * messages.
 */
typedef struct gpa_error {
	char text[256];
	int64_t offset;		/* byte offset in the file, or GPA_NO_OFFSET */
	int32_t source;		/* which of several sources that the caller passed, or -1 */
	int32_t sys_errno;	/* with GPA_ESYS */
	int32_t git_dies;	/* git itself refuses every command while this file exists */
	int32_t fault;		/* GPA_FAULT_*, of a v1 archive; else 0 */
	char file[288];		/* set by reader and writer: a path, or one below the object directory `source`; else empty */
} gpa_error;

/* The progress of a long call, and the request that it end. Another thread reads `done` and sets `stop` meanwhile. */
typedef struct gpa_progress {
	volatile uint64_t done;
	volatile int32_t stop;		/* end soon: with GPA_ESTOPPED, or with GPA_OK where the function says so */
} gpa_progress;

/* ---- files.c: read-only maps of regular files; no descriptor is kept ---- */

int gpa_map_open(gpa_bytes *out, int dir_fd, const char *path, gpa_error *err);
void gpa_map_close(gpa_bytes *map);
void gpa_close_all(const int *fds, uint32_t count);
/*
 * Have the kernel begin to read files that are about to be read whole, as far as its read-ahead goes. Failures do not
 * matter.
 */
void gpa_files_ahead(uint32_t count, int dir_fd, const char *const *names);

/* ---- processes.c ---- */

/*
 * List the processes that have one of these names, by /proc; none if there is no /proc. *count is how many there are,
 * even if `pids` has no room for all. Only the first 15 bytes of a name count, because the kernel keeps no more.
 */
int gpa_processes_named(uint32_t *count, int64_t *pids, uint32_t room, const char *const *names, uint32_t name_count);

/* ---- hash.c ---- */

/* The hash size in bytes of GPA_SHA1 or GPA_SHA256; 0 for any other number. */
size_t gpa_hash_size(int algo);
int gpa_hash_bytes(unsigned char *out, int algo, gpa_bytes data, gpa_error *err);
/* The libraries for hashing and compression, for --version. A static string. */
const char *gpa_build_info(void);
uint32_t gpa_crc32(uint32_t crc, gpa_bytes data);

/* ---- door.c: operations that change files ---- */

/*
 * How to sync: fsync each file; write the data out without waiting for the disk's own cache; or both, for many files at
 * once.
 */
#define GPA_FSYNC_FULL 0
#define GPA_FSYNC_WRITEOUT_ONLY 1
#define GPA_FSYNC_BATCH 2

/*
 * A hook for tests, called before each operation that changes a file ("create", "write", "fsync", "truncate", "link",
 * "rename", "unlink", "utime"). Returns 0, or the errno that the operation has to fail with. A write that fails is
 * first done for *bytes bytes, which the hook may reduce.
 */
typedef int (*gpa_step)(void *context, const char *operation, const char *path, uint64_t *bytes);

/* ---- object.c: contents of objects, and other memory of C ---- */

/* Memory that C allocated and the caller frees. */
typedef struct gpa_buffer {
	unsigned char *ptr;
	size_t len;
} gpa_buffer;
void gpa_buffer_free(gpa_buffer *buffer);

/* An object's content, valid until gpa_object_free(). It never changes. */
typedef struct gpa_object {
	int32_t type;
	const unsigned char *ptr;
	size_t len;
	void *owner;
} gpa_object;
void gpa_object_free(gpa_object *object);
void gpa_objects_free(gpa_object *objects, uint32_t count);

/* ---- report.c ---- */

/* A list of findings, one text each. Zeroed at first; grows as needed. */
typedef struct gpa_report {
	char **lines;
	uint32_t count;
	uint32_t room;
} gpa_report;
void gpa_report_free(gpa_report *report);

#pragma GCC visibility pop

#endif
