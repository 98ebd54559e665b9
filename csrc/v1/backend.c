/*
 * A v1 archive for a libgit2 repository: one git_odb_backend that is all of its object database. It is an owner of the
 * archive, so both may be freed in any order. Nothing here depends on Python. Objects that are written wait in the
 * archive until it is saved.
 *
 * There is no refresh(): an archive consists of what was opened and written since, so libgit2 need not ask twice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "lend/libgit2.h"
#include "v1/archive.h"

#define PRIORITY 1
#define MESSAGE_ROOM 1024

typedef struct archive_backend {
	git_odb_backend base;	/* first: libgit2 knows only this */
	libgit2 git;
	gpa_archive *archive;
} archive_backend;

/* ---- answers ---- */

/* Report a failure. A value of no object type counts as missing, as in the original. */
static int refuse(const archive_backend *b, int status, const gpa_error *err)
{
	char text[MESSAGE_ROOM];
	if (status == GPA_ENOTFOUND || (status == GPA_ECORRUPT && err->fault == GPA_FAULT_BAD_TYPE))
		return GIT_ENOTFOUND;
	if (status == GPA_ECORRUPT)
		snprintf(text, sizeof(text), "corrupt '%s': %s", err->file, err->text);
	else
		snprintf(text, sizeof(text), "%s", err->text);
	return libgit2_fail(&b->git, status, text);
}

/* ---- reading ---- */

static int read_object(void **data, size_t *len, int *type, git_odb_backend *base, const unsigned char *oid)
{
	archive_backend *b = (archive_backend *)base;
	gpa_archive_lease lease;
	gpa_error err;
	int status = gpa_archive_lend(&lease, b->archive, oid, GPA_ARCHIVE_OBJECT, &err);
	if (status)
		return refuse(b, status, &err);
	*type = lease.type;
	int answer = libgit2_copy_out(data, len, &b->git, base, lease.bytes);
	gpa_archive_return(&lease);
	return answer;
}

static int read_header(size_t *len, int *type, git_odb_backend *base, const unsigned char *oid)
{
	archive_backend *b = (archive_backend *)base;
	gpa_archive_lease lease;
	gpa_error err;
	int status = gpa_archive_lend(&lease, b->archive, oid, GPA_ARCHIVE_HEADER, &err);
	if (status)
		return refuse(b, status, &err);
	*type = lease.type;
	*len = lease.bytes.len;
	gpa_archive_return(&lease);
	return 0;
}

static int exists(git_odb_backend *base, const unsigned char *oid)
{
	return !gpa_archive_has(((archive_backend *)base)->archive, oid);
}

/* ---- by prefix ---- */

static int exists_prefix(unsigned char *found, git_odb_backend *base, const unsigned char *oid, size_t digits)
{
	const archive_backend *b = (archive_backend *)base;
	archive_found known;
	archive_expand(&known, b->archive, oid, digits < 2 * GIT_OID_SIZE ? digits : 2 * GIT_OID_SIZE);
	if (!known.count)
		return GIT_ENOTFOUND;
	if (known.count > 1)
		return libgit2_ambiguous(&b->git, oid, digits);
	memcpy(found, known.keys[0], GIT_OID_SIZE);
	return 0;
}

static int list_objects(git_odb_backend *base, git_odb_foreach_cb callback, void *payload)
{
	archive_backend *b = (archive_backend *)base;
	gpa_buffer keys;
	gpa_error err;
	int answer = 0, status = gpa_archive_list(&keys, b->archive, &err);
	if (status)
		return refuse(b, status, &err);
	for (size_t at = 0; !answer && at < keys.len; at += GIT_OID_SIZE)
		answer = callback(keys.ptr + at, payload);
	gpa_buffer_free(&keys);
	return answer;
}

/* ---- writing ---- */

/* Whether an object need not be written. A damaged one has to be: that repairs it. */
static int freshen(git_odb_backend *base, const unsigned char *oid)
{
	return archive_has_sound(((archive_backend *)base)->archive, oid) ? 0 : GIT_ENOTFOUND;
}

static int write_object(git_odb_backend *base, const unsigned char *oid, const void *data, size_t len, int type)
{
	archive_backend *b = (archive_backend *)base;
	gpa_error err;
	int status = gpa_archive_add(b->archive, oid, type, (gpa_bytes){data, len}, &err);
	return status ? refuse(b, status, &err) : 0;
}

/* ---- attaching it to a repository ---- */

static void free_backend(git_odb_backend *base)
{
	archive_backend *b = (archive_backend *)base;
	gpa_archive_free(b->archive);
	free(b);
}

static archive_backend *backend_new(const libgit2 *git, gpa_archive *archive)
{
	archive_backend *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->git = *git;
	b->archive = gpa_archive_share(archive);
	b->base = (git_odb_backend){
		.version = GIT_ODB_BACKEND_VERSION, .read = read_object, .read_prefix = libgit2_read_prefix,
		.read_header = read_header, .write = write_object, .exists = exists,
		.exists_prefix = exists_prefix, .foreach = list_objects, .freshen = freshen, .free = free_backend,
	};
	return b;
}

/* Add the backend to the database, which owns it from then on. The only possible failure is a lack of memory. */
static int give(const libgit2 *git, git_odb *odb, git_repository *repository, archive_backend *b)
{
	if (git->odb_add_backend(odb, &b->base, PRIORITY)) {
		free_backend(&b->base);
		return -1;
	}
	return git->repository_set_odb(repository, odb);
}

int gpa_archive_attach(const char *library, void *repository, gpa_archive *archive, gpa_error *err)
{
	libgit2 git;
	git_odb *odb;
	int status = libgit2_find(&git, library, err);
	if (status)
		return status;
	archive_backend *b = backend_new(&git, archive);
	if (!b || git.odb_new(&odb)) {
		if (b)
			free_backend(&b->base);
		return out_of_memory(err);
	}
	status = give(&git, odb, repository, b) ? out_of_memory(err) : GPA_OK;
	git.odb_free(odb);
	return status;
}
