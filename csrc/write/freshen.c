/*
 * Update the mtime of the file that holds an object when the object is written again, so that `git gc` does not prune
 * it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "read/objdir.h"
#include "write/writer.h"

#define EVERY_NS 2000000000	/* a pack is touched at most this often, as by libgit2 */

int64_t coarse_ns(void)
{
	struct timespec t;
#ifdef CLOCK_MONOTONIC_COARSE
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
#else
	clock_gettime(CLOCK_MONOTONIC, &t);
#endif
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int with_suffix(char *out, const char *idx_path, const char *suffix)
{
	int stem = (int)(strlen(idx_path) - strlen(".idx"));
	return snprintf(out, PATH_ROOM, "%.*s%s", stem, idx_path, suffix) < PATH_ROOM ? GPA_OK : GPA_EUNSUPPORTED;
}

int freshen_pack(int64_t *freshened_ns, const door *d, const char *idx_path)
{
	char path[PATH_ROOM];
	gpa_error ignored;
	int64_t now = coarse_ns(), last = __atomic_load_n(freshened_ns, __ATOMIC_RELAXED);
	if (last && now - last < EVERY_NS)
		return GPA_OK;
	if (with_suffix(path, idx_path, ".mtimes") || !access(path, F_OK) || with_suffix(path, idx_path, ".pack"))
		return GPA_EUNSUPPORTED;
	int status = door_touch(d, path, &ignored);
	if (!status)
		__atomic_store_n(freshened_ns, now, __ATOMIC_RELAXED);
	return status;
}

int freshen_loose(const gpa_reader *r, const door *d, const unsigned char *oid)
{
	char path[PATH_ROOM], name[OBJDIR_LOOSE_ROOM];
	gpa_error ignored;
	objdir_loose_name(name, oid, r->hash_size);
	for (uint32_t dir = 0; dir < r->dir_count; dir++) {
		size_t len = strlen(r->dirs[dir]);
		if (len + sizeof(name) > sizeof(path))
			continue;
		memcpy(path, r->dirs[dir], len);
		memcpy(path + len, name, sizeof(name));
		if (!door_touch(d, path, &ignored))
			return GPA_OK;
	}
	return GPA_ENOTFOUND;
}
