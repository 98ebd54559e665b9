/* The names of the files in an object directory, and which of them exist. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/error.h"
#include "base/hash.h"
#include "read/objdir.h"


static int join(char *out, const char *dir, const char *rest)
{
	return snprintf(out, PATH_ROOM, "%s%s", dir, rest) < PATH_ROOM ? 0 : -1;
}

static void stamp_below(file_stamp *out, const char *dir, const char *rest)
{
	char path[PATH_ROOM];
	*out = (file_stamp){0};
	if (!join(path, dir, rest))
		stamp_path(out, path);
}

void objdir_stamp_packs(file_stamp *out, const char *dir)
{
	stamp_below(out, dir, "/pack");
}

void objdir_stamp_index(file_stamp *out, const char *dir)
{
	stamp_below(out, dir, "/pack/multi-pack-index");
}

int objdir_hold_index(held_file *out, file_stamp *stamp, const char *dir, gpa_error *err)
{
	char path[PATH_ROOM];
	if (!join(path, dir, "/pack/multi-pack-index"))
		return file_hold(out, stamp, AT_FDCWD, path, 0, err);
	errno = ENAMETOOLONG;
	return system_failed(err, "cannot open");
}

int objdir_hold_loose(held_file *out, const char *dir, const char *name, size_t copy_most, gpa_error *err)
{
	char path[PATH_ROOM];
	if (join(path, dir, name))
		return GPA_ENOTFOUND;
	int status = file_hold(out, NULL, AT_FDCWD, path, copy_most, err);
	return status == GPA_ESYS && (err->sys_errno == ENOENT || err->sys_errno == ENOTDIR) ? GPA_ENOTFOUND : status;
}

static int name_add(names *list, const char *name)
{
	if (array_reserve(list->names, list->room, (uint64_t)list->count + 1, 64))
		return -1;
	if (!(list->names[list->count] = strdup(name)))
		return -1;
	list->count++;
	return 0;
}

void names_free(names *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
	*list = (names){0};
}

static int has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), n = strlen(suffix);
	return len > n && !strcmp(name + len - n, suffix);
}

static int compare_names(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

static void sort_names(names *list)
{
	if (list->count)
		qsort(list->names, list->count, sizeof(*list->names), compare_names);
}

/* Keep the .idx files that have a .pack. Both lists are sorted. */
static void keep_whole_packs(names *idx, const names *packs)
{
	uint32_t kept = 0, at = 0;
	for (uint32_t i = 0; i < idx->count; i++) {
		char *name = idx->names[i];
		size_t base = strlen(name) - strlen("idx");
		while (at < packs->count && strncmp(packs->names[at], name, base) < 0)
			at++;
		if (at < packs->count && !strncmp(packs->names[at], name, base) &&
		    !strcmp(packs->names[at] + base, "pack"))
			idx->names[kept++] = name;
		else
			free(name);
	}
	idx->count = kept;
}

static int read_names(names *idx, names *packs, DIR *dir)
{
	struct dirent *entry;
	while ((errno = 0, entry = readdir(dir))) {
		names *list = has_suffix(entry->d_name, ".idx") ? idx : has_suffix(entry->d_name, ".pack") ? packs : NULL;
		if (list && name_add(list, entry->d_name))
			return GPA_ENOMEM;
	}
	return errno ? GPA_ESYS : GPA_OK;
}

static int is_gone(int error)
{
	return error == ENOENT || error == ENOTDIR;
}

int objdir_packs(names *out, const char *dir, gpa_error *err)
{
	names packs = {0};
	char *path;
	*out = (names){0};
	if (asprintf(&path, "%s/pack", dir) < 0)
		return out_of_memory(err);
	DIR *handle = opendir(path);
	free(path);
	if (!handle)
		return is_gone(errno) ? GPA_OK : system_failed(err, "cannot list");
	int status = read_names(out, &packs, handle);
	if (status)
		status = status == GPA_ENOMEM ? out_of_memory(err) : system_failed(err, "cannot list");
	closedir(handle);
	sort_names(out);
	sort_names(&packs);
	keep_whole_packs(out, &packs);
	names_free(&packs);
	if (status)
		names_free(out);
	return status;
}

void objdir_packs_ahead(const char *dir, uint32_t count, const char *const *names)
{
	char path[PATH_ROOM];
	int fd = join(path, dir, "/pack") ? -1 : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	gpa_files_ahead(count, fd, names);
	close(fd);
}

char *objdir_pack_path(const char *dir, const char *idx_name)
{
	char *path;
	return asprintf(&path, "%s/pack/%s", dir, idx_name) < 0 ? NULL : path;
}

void objdir_loose_name(char *out, const unsigned char *oid, size_t hash_size)
{
	out[0] = '/';
	oid_to_hex(out + 1, oid, 1);
	out[3] = '/';
	oid_to_hex(out + 4, oid + 1, hash_size - 1);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Parse the name of a loose file, which is the rest of an oid. Returns -1 for any other file. */
static int parse_rest(unsigned char *out, const char *name, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		int high = hex_digit(name[2 * i]), low = high < 0 ? -1 : hex_digit(name[2 * i + 1]);
		if (low < 0)
			return -1;
		out[i] = (unsigned char)(high << 4 | low);
	}
	return name[2 * size] ? -1 : 0;
}

static int read_loose_ids(gpa_buffer *oids, size_t *room, DIR *dir, unsigned first, size_t hash_size)
{
	struct dirent *entry;
	while ((errno = 0, entry = readdir(dir))) {
		unsigned char rest[GPA_OID_MAX];
		if (parse_rest(rest, entry->d_name, hash_size - 1))
			continue;
		if (array_reserve(oids->ptr, *room, oids->len + hash_size, 64 * hash_size))
			return GPA_ENOMEM;
		oids->ptr[oids->len] = (unsigned char)first;
		memcpy(oids->ptr + oids->len + 1, rest, hash_size - 1);
		oids->len += hash_size;
	}
	return errno ? GPA_ESYS : GPA_OK;
}

int objdir_loose_ids(gpa_buffer *oids, size_t *room, const char *dir, unsigned first, size_t hash_size, gpa_error *err)
{
	char *path;
	if (asprintf(&path, "%s/%02x", dir, first) < 0)
		return out_of_memory(err);
	DIR *handle = opendir(path);
	free(path);
	if (!handle)
		return is_gone(errno) ? GPA_OK : system_failed(err, "cannot list");
	int status = read_loose_ids(oids, room, handle, first, hash_size);
	if (status)
		status = status == GPA_ENOMEM ? out_of_memory(err) : system_failed(err, "cannot list");
	closedir(handle);
	return status;
}
