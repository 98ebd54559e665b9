/* Finding libgit2 in the process, and helpers for its backends. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "lend/libgit2.h"

#define MINOR_LEAST 7
#define MINOR_MOST 9

static const struct { const char *name; size_t at; } symbols[] = {
	{"git_libgit2_version", offsetof(libgit2, libgit2_version)},
	{"git_error_clear", offsetof(libgit2, error_clear)},
	{"git_error_set_str", offsetof(libgit2, error_set_str)},
	{"git_repository_odb", offsetof(libgit2, repository_odb)},
	{"git_repository_set_odb", offsetof(libgit2, repository_set_odb)},
	{"git_odb_new", offsetof(libgit2, odb_new)},
	{"git_odb_free", offsetof(libgit2, odb_free)},
	{"git_odb_add_backend", offsetof(libgit2, odb_add_backend)},
	{"git_odb_num_backends", offsetof(libgit2, odb_num_backends)},
	{"git_odb_get_backend", offsetof(libgit2, odb_get_backend)},
	{"git_odb_set_commit_graph", offsetof(libgit2, odb_set_commit_graph)},
	{"git_commit_graph_open", offsetof(libgit2, commit_graph_open)},
	{"git_odb_backend_data_alloc", offsetof(libgit2, odb_backend_data_alloc)},
	{"git_odb_backend_loose", offsetof(libgit2, odb_backend_loose)},
	{"git_odb_backend_pack", offsetof(libgit2, odb_backend_pack)},
};

static int find_symbol(libgit2 *out, void *handle, size_t i, gpa_error *err)
{
	void *found = dlsym(handle, symbols[i].name);
	if (!found)
		return unsupported(err, "no function '%s'", symbols[i].name);
	memcpy((char *)out + symbols[i].at, &found, sizeof(found));
	return GPA_OK;
}

/* Find all symbols. The version comes first: a library of another version is not used at all. */
static int find_symbols(libgit2 *out, void *handle, gpa_error *err)
{
	int major, minor, revision, status = find_symbol(out, handle, 0, err);
	if (status)
		return status;
	out->libgit2_version(&major, &minor, &revision);
	if (major != 1 || minor < MINOR_LEAST || minor > MINOR_MOST)
		return unsupported(err, "libgit2 %d.%d.%d, expected 1.%d to 1.%d", major, minor, revision, MINOR_LEAST,
				   MINOR_MOST);
	for (size_t i = 1; !status && i < sizeof(symbols) / sizeof(symbols[0]); i++)
		status = find_symbol(out, handle, i, err);
	return status;
}

/*
 * RTLD_NOLOAD: never load a second copy. The library stays loaded after dlclose(), because Python unloads no extension
 * module.
 */
int libgit2_find(libgit2 *out, const char *library, gpa_error *err)
{
	void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
	if (!handle)
		return unsupported(err, "not loaded");
	int status = find_symbols(out, handle, err);
	dlclose(handle);
	return status;
}

int libgit2_read_prefix(unsigned char *found, void **data, size_t *len, int *type, git_odb_backend *base,
			const unsigned char *oid, size_t digits)
{
	int answer = 0;
	if (digits < 2 * GIT_OID_SIZE)
		answer = base->exists_prefix(found, base, oid, digits);
	else
		memcpy(found, oid, GIT_OID_SIZE);
	return answer ? answer : base->read(data, len, type, base, found);
}

int libgit2_ambiguous(const libgit2 *git, const unsigned char *oid, size_t digits)
{
	char hex[2 * GIT_OID_SIZE + 1], text[sizeof(hex) + 64];
	oid_to_hex(hex, oid, GIT_OID_SIZE);
	snprintf(text, sizeof(text), "short object ID %.*s is ambiguous", (int)digits, hex);
	git->error_set_str(GIT_ERROR_ODB, text);
	return GIT_EAMBIGUOUS;
}

int libgit2_fail(const libgit2 *git, int status, const char *text)
{
	git->error_set_str(status == GPA_ENOMEM ? GIT_ERROR_NOMEMORY : status == GPA_ESYS ? GIT_ERROR_OS : GIT_ERROR_ODB, text);
	return GIT_ERROR;
}

int libgit2_copy_out(void **data, size_t *len, const libgit2 *git, git_odb_backend *base, gpa_bytes content)
{
	unsigned char *copy = git->odb_backend_data_alloc(base, content.len + 1);
	if (!copy)
		return GIT_ERROR;
	if (content.len)
		memcpy(copy, content.ptr, content.len);
	copy[content.len] = 0;
	*data = copy;
	*len = content.len;
	return 0;
}
