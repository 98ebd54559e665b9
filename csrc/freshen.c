/*
 * What is written again although it is there already is not stored twice: the file that holds it gets a new mtime, so
 * that `git gc` does not take the object for old garbage.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "reader.h"

#define EVERY_SECONDS 2		/* a pack is touched at most so often, as by libgit2 */
#define PATH_ROOM 4096

static int touch(const char *path)
{
	return utimensat(AT_FDCWD, path, NULL, 0) ? GPA_ENOTFOUND : GPA_OK;
}

static int with_suffix(char *out, const pack_file *pack, const char *suffix)
{
	int base = (int)(strlen(pack->path) - strlen(".idx"));
	return snprintf(out, PATH_ROOM, "%.*s%s", base, pack->path, suffix) < PATH_ROOM ? GPA_OK : GPA_ENOTFOUND;
}

/* Not in a cruft pack: there each object has a time of its own, and the pack's says nothing. */
static int freshen_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	char path[PATH_ROOM];
	gpa_entry entry;
	int64_t now = (int64_t)time(NULL);
	(void)t, (void)v;
	int status = gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, err);
	if (status || __atomic_load_n(&pack->freshened, __ATOMIC_RELAXED) > now - EVERY_SECONDS)
		return status;
	if (with_suffix(path, pack, ".mtimes") || !access(path, F_OK) || with_suffix(path, pack, ".pack"))
		return GPA_ENOTFOUND;
	if (!(status = touch(path)))
		__atomic_store_n(&pack->freshened, now, __ATOMIC_RELAXED);
	return status;
}

/* It was found in one of the directories just now. */
static int freshen_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	char path[PATH_ROOM], name[OBJDIR_LOOSE_ROOM];
	(void)file, (void)err;
	objdir_loose_name(name, t->oid, v->r->hash_size);
	for (uint32_t dir = 0; dir < v->r->dir_count; dir++)
		if (snprintf(path, sizeof(path), "%s%s", v->r->dirs[dir], name) < PATH_ROOM && !touch(path))
			return GPA_OK;
	return GPA_ENOTFOUND;
}

int reader_freshen(gpa_reader *r, const unsigned char *oid, gpa_error *err)
{
	task t = {oid, freshen_packed, freshen_loose};
	return visit_once(r, &t, err);
}
