/*
 * What is written again although it is there already is not stored twice: the file that holds it gets a new mtime, so
 * that `git gc` does not take the object for old garbage.
 */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "write/writer.h"

#define EVERY_NS 2000000000	/* a pack is touched at most so often, as by libgit2 */
#define PATH_ROOM 4096

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

/* ---- for libgit2, which writes what is not there ---- */

static const door plain_door;

static int found_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	gpa_entry entry;
	(void)t, (void)v;
	int status = gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, err);
	if (status)
		return status;
	return freshen_pack(&pack->freshened_ns, &plain_door, pack->path) ? GPA_ENOTFOUND : GPA_OK;
}

/* It was found in one of the directories just now. */
static int found_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	(void)file, (void)err;
	return freshen_loose(v->r, &plain_door, t->oid);
}

static int found_written(task *t, visitor *v, const written_object *object, gpa_error *err)
{
	(void)t, (void)v, (void)object, (void)err;
	return GPA_OK;
}

int reader_freshen(gpa_reader *r, const unsigned char *oid, gpa_error *err)
{
	task t = {oid, found_packed, found_loose, found_written, 0};
	return visit_once(r, &t, err);
}
