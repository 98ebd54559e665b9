/*
 * The part of libgit2's binary interface that is used here, the same from 1.7 to 1.9. The library is not linked: the
 * functions are found in the copy that the process has loaded (libgit2.c), which calls the backends.
 */
#ifndef GPA_LIBGIT2_H
#define GPA_LIBGIT2_H

#include "base/gpa_base.h"

#define GIT_ERROR -1
#define GIT_ENOTFOUND -3
#define GIT_EAMBIGUOUS -5

/* Classes of errors. pygit2 raises MemoryError and OSError for the first two. */
#define GIT_ERROR_NOMEMORY 1
#define GIT_ERROR_OS 2
#define GIT_ERROR_ODB 9

#define GIT_ODB_BACKEND_VERSION 1
#define GIT_OID_SIZE 20		/* bytes; a git_oid is nothing else if libgit2 was built without SHA-256 */

typedef struct git_repository git_repository;
typedef struct git_odb git_odb;
typedef struct git_commit_graph git_commit_graph;
typedef struct git_odb_backend git_odb_backend;
typedef struct git_odb_stream git_odb_stream;
typedef struct git_odb_writepack git_odb_writepack;

typedef int (*git_odb_foreach_cb)(const unsigned char *oid, void *payload);
typedef void (*git_indexer_progress_cb)(void);	/* only passed on */

/* GIT_ENOTFOUND is an answer; any other negative number ends the operation of libgit2. */
struct git_odb_backend {
	unsigned int version;
	git_odb *odb;		/* set when the backend is added to a database */
	int (*read)(void **data, size_t *len, int *type, git_odb_backend *, const unsigned char *oid);
	int (*read_prefix)(unsigned char *found, void **data, size_t *len, int *type, git_odb_backend *,
			   const unsigned char *oid, size_t digits);
	int (*read_header)(size_t *len, int *type, git_odb_backend *, const unsigned char *oid);
	int (*write)(git_odb_backend *, const unsigned char *oid, const void *data, size_t len, int type);
	int (*writestream)(git_odb_stream **out, git_odb_backend *, uint64_t size, int type);
	int (*readstream)(git_odb_stream **out, size_t *len, int *type, git_odb_backend *, const unsigned char *oid);
	int (*exists)(git_odb_backend *, const unsigned char *oid);
	int (*exists_prefix)(unsigned char *found, git_odb_backend *, const unsigned char *oid, size_t digits);
	int (*refresh)(git_odb_backend *);
	int (*foreach)(git_odb_backend *, git_odb_foreach_cb, void *payload);
	int (*writepack)(git_odb_writepack **out, git_odb_backend *, git_odb *, git_indexer_progress_cb, void *payload);
	int (*writemidx)(git_odb_backend *);
	int (*freshen)(git_odb_backend *, const unsigned char *oid);
	void (*free)(git_odb_backend *);
};

#define GIT_STREAM_WRONLY 4

struct git_odb_stream {
	git_odb_backend *backend;
	unsigned int mode;
	void *hash_ctx;		/* set by libgit2, like the sizes */
	uint64_t declared_size;
	uint64_t received_bytes;
	int (*read)(git_odb_stream *, char *data, size_t len);
	int (*write)(git_odb_stream *, const char *data, size_t len);
	int (*finalize_write)(git_odb_stream *, const unsigned char *oid);
	void (*free)(git_odb_stream *);
};

/* libgit2's functions, under their names there. Those that create something return 0, or a negative number. */
typedef struct libgit2 {
	int (*libgit2_version)(int *major, int *minor, int *revision);
	void (*error_clear)(void);
	int (*error_set_str)(int class, const char *text);
	int (*repository_odb)(git_odb **out, git_repository *);
	int (*repository_set_odb)(git_repository *, git_odb *);
	int (*odb_new)(git_odb **out);
	void (*odb_free)(git_odb *);
	int (*odb_add_backend)(git_odb *, git_odb_backend *, int priority);
	size_t (*odb_num_backends)(git_odb *);
	int (*odb_get_backend)(git_odb_backend **out, git_odb *, size_t at);
	int (*odb_set_commit_graph)(git_odb *, git_commit_graph *);
	int (*commit_graph_open)(git_commit_graph **out, const char *objects_dir);
	void *(*odb_backend_data_alloc)(git_odb_backend *, size_t);
	int (*odb_backend_loose)(git_odb_backend **out, const char *objects_dir, int level, int fsync,
				 unsigned int dir_mode, unsigned int file_mode);
	int (*odb_backend_pack)(git_odb_backend **out, const char *objects_dir);
} libgit2;

/*
 * Find the functions of the libgit2 that `library`, a loaded file, is linked with. GPA_EUNSUPPORTED if there is none,
 * or its version is not known here.
 */
int libgit2_find(libgit2 *out, const char *library, gpa_error *err);

/* A backend's read_prefix(), made of its exists_prefix() and read(). pygit2 uses it for whole ids too. */
int libgit2_read_prefix(unsigned char *found, void **data, size_t *len, int *type, git_odb_backend *base,
			const unsigned char *oid, size_t digits);
/* Report a failure: `text` becomes libgit2's message, of the class that `status`, a GPA_E*, has. Returns GIT_ERROR. */
int libgit2_fail(const libgit2 *git, int status, const char *text);
/* Copy an object's content to memory that libgit2 frees, with a NUL byte after it as its own backends do. */
int libgit2_copy_out(void **data, size_t *len, const libgit2 *git, git_odb_backend *base, gpa_bytes content);
/* Report that a prefix is ambiguous, in libgit2's words. Returns GIT_EAMBIGUOUS. */
int libgit2_ambiguous(const libgit2 *git, const unsigned char *oid, size_t digits);

#endif
