/*
 * The two files of a page, from temporary names to their final ones. No other file of the core gives a pack its name.
 *
 * I4: .pack before .idx. The files are synced before they are named, and the directory after that. I14: the page gets a
 * .keep before it is visible.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "write/writer.h"

int writer_gc_runs(const gpa_writer *w)
{
	return w->options.gc_pid && !access(w->options.gc_pid, F_OK);
}

/* The first line of a .keep of git-gpa; gpa_maint/fs/holds.py reads it. */
static const char new_objects[] = "git-gpa new\n";

/* "<journal_dir>/<id>-<number>.<suffix>", or in the pack directory with tmp_pack_ before it. NULL without memory. */
static char *temp_path(const gpa_writer *w, uint32_t number, const char *suffix)
{
	char *path;
	const char *dir = w->temp_in_packs ? w->pack_dir : w->journal_dir, *prefix = w->temp_in_packs ? "tmp_pack_" : "";
	return asprintf(&path, "%s/%s%s-%u.%s", dir, prefix, w->id, number, suffix) < 0 ? NULL : path;
}

/* Create a .keep. */
static int write_hold(const gpa_writer *w, const char *path, gpa_error *err)
{
	gpa_error ignored;
	int fd, status = door_create(&fd, &w->door, path, 0444, err);
	if (status)
		return status;
	status = door_write(NULL, &w->door, fd, path, new_objects, sizeof(new_objects) - 1, 0, err);
	/* an empty one would not be recognized as ours */
	if (!status && w->options.durability != GPA_DURABLE_NONE)
		status = door_sync_unnamed(&w->door, fd, path, err);
	close(fd);
	if (status)
		door_unlink(&w->door, path, &ignored);
	return status;
}

static int make_keep(gpa_writer *w, gpa_error *err)
{
	char *path = temp_path(w, w->temp_count++, "keep");
	int status = path ? write_hold(w, path, err) : out_of_memory(err);
	if (status)
		free(path);
	else
		w->keep = path;
	return status;
}

int temp_page_open(temp_page *t, gpa_writer *w, gpa_error *err)
{
	*t = (temp_page){.pid = w->pid, .pack_fd = -1, .idx_fd = -1};
	/* this file shows other processes that the writer of the temporary files lives */
	int status = open_page_make_file(&w->pages[0], &w->door, err);
	if (!status && !w->keep)
		status = make_keep(w, err);
	uint32_t number = w->temp_count++;
	t->pack_path = temp_path(w, number, "pack");
	t->idx_path = temp_path(w, number, "idx");
	if (!status && !(t->pack_path && t->idx_path))
		status = out_of_memory(err);
	return status;
}

int temp_page_create(temp_page *t, const gpa_writer *w, gpa_error *err)
{
	int status = door_create(&t->pack_fd, &w->door, t->pack_path, 0444, err);
	return status ? status : door_create(&t->idx_fd, &w->door, t->idx_path, 0444, err);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* "<pack_dir>/pack-<hex>.<suffix>" */
static int pack_path(char *out, const gpa_writer *w, const char *hex, const char *suffix, gpa_error *err)
{
	if (snprintf(out, PATH_ROOM, "%s/pack-%s.%s", w->pack_dir, hex, suffix) < PATH_ROOM)
		return GPA_OK;
	errno = ENAMETOOLONG;
	return system_failed(err, "cannot name a pack");
}

static int name_files(temp_page *t, const gpa_writer *w, const char *hex, gpa_error *err)
{
	char path[PATH_ROOM];
	int status = pack_path(path, w, hex, "pack", err);
	/* An existing pack of this name has the same bytes, or was damaged since. */
	if (status || (status = door_rename(&w->door, t->pack_path, path, err)))
		return status;
	t->named = 1;
	if ((status = pack_path(path, w, hex, "idx", err)))
		return status;
	t->guarded = writer_gc_runs(w) && !door_link(&w->door, t->idx_path, path, err);
	return t->guarded ? GPA_OK : door_rename(&w->door, t->idx_path, path, err);
}

/* Whether a pack of this name exists, or is about to. */
static int is_taken(const gpa_writer *w, const char *hex)
{
	static const char *const suffixes[] = {"idx", "keep"};
	char path[PATH_ROOM];
	gpa_error ignored;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++)
		if (!pack_path(path, w, hex, suffixes[i], &ignored) && !access(path, F_OK))
			return 1;
	return 0;
}

/*
 * Find a name for the pack: its checksum, or a hash of that if a pack of that name exists. The existing pack has the
 * same bytes, but it may be old, or cruft, or about to be deleted by another process, and has no .keep.
 */
static int free_name(char *hex, const gpa_writer *w, const unsigned char *trailer, gpa_error *err)
{
	unsigned char id[GPA_OID_MAX];
	memcpy(id, trailer, w->hash_size);
	for (;;) {
		oid_to_hex(hex, id, w->hash_size);
		if (!is_taken(w, hex))
			return GPA_OK;
		int status = gpa_hash_bytes(id, w->algo, (gpa_bytes){id, w->hash_size}, err);
		if (status)
			return status;
	}
}

/*
 * The .keep exists before the page is visible, so that no `git repack` that lists packs deletes the page before a ref
 * names its objects. It stays until maintenance removes it when it is old.
 */
int page_hold(const gpa_writer *w, const char *path, gpa_error *err)
{
	if (w->keep && !door_link(&w->door, w->keep, path, err))
		return GPA_OK;
	/* there are no links, or too many to this file */
	int status = write_hold(w, path, err);
	return status && err->sys_errno == EEXIST ? GPA_OK : status;
}

static int name_both(temp_page *t, const gpa_writer *w, const unsigned char *trailer, gpa_error *err)
{
	char hex[2 * GPA_OID_MAX + 1], keep[PATH_ROOM];
	int status = free_name(hex, w, trailer, err);
	if (status || (status = pack_path(keep, w, hex, "keep", err)))
		return status;
	snprintf(t->name, sizeof(t->name), "pack-%s.idx", hex);
	return (status = page_hold(w, keep, err)) ? status : name_files(t, w, hex, err);
}

int temp_page_publish(temp_page *t, const gpa_writer *w, const unsigned char *trailer, int sync, gpa_error *err)
{
	int status = GPA_OK;
	if (sync) {
		door_begin_sync(t->pack_fd);
		door_begin_sync(t->idx_fd);
		status = door_sync_unnamed(&w->door, t->pack_fd, t->pack_path, err);
	}
	if (!status && sync)
		status = door_sync_unnamed(&w->door, t->idx_fd, t->idx_path, err);
	close_fd(&t->pack_fd);
	close_fd(&t->idx_fd);
	if (!status && !(status = name_both(t, w, trailer, err)) && sync)
		status = door_sync_dir(&w->door, w->pack_dir, err);
	return status;
}

void temp_page_free(temp_page *t)
{
	close_fd(&t->pack_fd);
	close_fd(&t->idx_fd);
	free(t->pack_path);
	free(t->idx_path);
	t->pack_path = t->idx_path = NULL;
}

/* In a forked child the files belong to the parent. */
void temp_page_drop(temp_page *t, const gpa_writer *w)
{
	gpa_error ignored;
	if (t->pack_path && t->idx_path && t->pid == getpid() && !t->named) {
		door_unlink(&w->door, t->pack_path, &ignored);
		door_unlink(&w->door, t->idx_path, &ignored);
	}
	temp_page_free(t);
}
