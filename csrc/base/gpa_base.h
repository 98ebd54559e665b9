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

/* Borrowed bytes: somebody else keeps them alive. */
typedef struct gpa_bytes {
	const unsigned char *ptr;
	size_t len;
} gpa_bytes;

/* What went wrong, without the file's name: the caller knows it. One a call, so threads cannot mix messages. */
typedef struct gpa_error {
	char text[256];
	int64_t offset;		/* byte offset in the file, or GPA_NO_OFFSET */
	int32_t source;		/* which of several given sources, or -1 */
	int32_t sys_errno;	/* with GPA_ESYS */
	int32_t git_dies;	/* git itself refuses every command while this file is there */
	int32_t fault;		/* GPA_FAULT_*, of a v1 archive; else 0 */
	char file[288];		/* set by reader and writer: a path, or one below the object directory `source`; else empty */
} gpa_error;

/* Counts how far a long call has come, and asks it to end: another thread reads `done` and sets `stop` meanwhile. */
typedef struct gpa_progress {
	volatile uint64_t done;
	volatile int32_t stop;		/* end soon: with GPA_ESTOPPED, or with GPA_OK where the function says so */
} gpa_progress;

/* ---- map.c: read-only maps; regular files only; no descriptor is kept ---- */

int gpa_map_open(gpa_bytes *out, int dir_fd, const char *path, gpa_error *err);
void gpa_map_close(gpa_bytes *map);
void gpa_close_all(const int *fds, uint32_t count);
/* Have the kernel begin to read files that are about to be read whole, as far as it reads ahead; no failure matters. */
void gpa_files_ahead(uint32_t count, int dir_fd, const char *const *names);

/* ---- processes.c ---- */

/*
 * The numbers of the processes with one of these names, by /proc: none where it is not there. *count says how many there
 * are, also when they are more than `room`. Of a name the first 15 bytes count, since the kernel keeps no more.
 */
int gpa_processes_named(uint32_t *count, int64_t *pids, uint32_t room, const char *const *names, uint32_t name_count);

/* ---- hash.c ---- */

/* Hash size in bytes of GPA_SHA1 or GPA_SHA256; 0 for anything else. */
size_t gpa_hash_size(int algo);
int gpa_hash_bytes(unsigned char *out, int algo, gpa_bytes data, gpa_error *err);
/* "crypto and compression libraries in use", for --version: a static string. */
const char *gpa_build_info(void);
uint32_t gpa_crc32(uint32_t crc, gpa_bytes data);

/* ---- door.c: operations that change files ---- */

/* fsync each file; hand the bytes to the disk and do not wait for its own cache; or both, for many files at once. */
#define GPA_FSYNC_FULL 0
#define GPA_FSYNC_WRITEOUT_ONLY 1
#define GPA_FSYNC_BATCH 2

/*
 * For tests: asked before each operation that changes a file ("create", "write", "fsync", "truncate", "link", "rename",
 * "unlink", "utime"). Gives 0, or the errno that it shall fail with; a write is first done for *bytes of its bytes, which may be
 * made fewer.
 */
typedef int (*gpa_step)(void *context, const char *operation, const char *path, uint64_t *bytes);

/* ---- object.c: contents of objects, and other memory of C ---- */

/* A buffer that C made and the caller releases. */
typedef struct gpa_buffer {
	unsigned char *ptr;
	size_t len;
} gpa_buffer;
void gpa_buffer_free(gpa_buffer *buffer);

/* An object's content, lent to the caller until gpa_object_free(); it never changes. */
typedef struct gpa_object {
	int32_t type;
	const unsigned char *ptr;
	size_t len;
	void *owner;
} gpa_object;
void gpa_object_free(gpa_object *object);
void gpa_objects_free(gpa_object *objects, uint32_t count);

/* ---- report.c ---- */

/* A list of findings, one text each; grows as needed. Zeroed to begin with. */
typedef struct gpa_report {
	char **lines;
	uint32_t count;
	uint32_t room;
} gpa_report;
void gpa_report_free(gpa_report *report);

#pragma GCC visibility pop

#endif
