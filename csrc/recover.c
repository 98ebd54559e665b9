/*
 * Journals of dead writers. Each complete record is taken: its entry has to inflate, and goes into a page as it is. The
 * journal is removed when the pages are durable, so that a crash meanwhile leaves it for the next writer.
 */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "writer.h"

#define INFLATES_MOST 1040	/* to one byte; in truth 1032 */

/* A journal that is ours alone to recover. */
typedef struct orphan {
	char *path;
	int fd;			/* -1: none */
	gpa_bytes file;
} orphan;

/* GPA_ENOTFOUND: its writer lives, or somebody else has just recovered it. */
static int take_lock(orphan *o, gpa_error *err)
{
	struct stat st;
	o->fd = open(o->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (o->fd < 0)
		return errno == ENOENT ? GPA_ENOTFOUND : door_failed(err, "open", o->path, errno);
	if (fstat(o->fd, &st))
		return door_failed(err, "stat", o->path, errno);
	if (!S_ISREG(st.st_mode))
		return corrupt(err, "not a regular file");
	if (flock(o->fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? GPA_ENOTFOUND : door_failed(err, "lock", o->path, errno);
	if (fstat(o->fd, &st) || !st.st_nlink)
		return GPA_ENOTFOUND;
	return file_map(&o->file, o->fd, (uint64_t)st.st_size, err);
}

/* The object's id. GPA_ENOTFOUND when the entry is damaged behind its CRC32. */
static int id_of(unsigned char *oid, group *g, inflater *z, const journal_entry *entry, gpa_error *err)
{
	gpa_error ignored;
	size_t used;
	if (entry->size / INFLATES_MOST > entry->stream.len)
		return GPA_ENOTFOUND;
	unsigned char *content = malloc(entry->size ? (size_t)entry->size : 1);
	if (!content)
		return out_of_memory(err);
	int status = inflate_whole(z, content, (size_t)entry->size, &used, entry->stream, &ignored);
	if (status || used != entry->stream.len)
		status = GPA_ENOTFOUND;
	else
		make_id(oid, g->m, entry->type, (gpa_bytes){content, (size_t)entry->size});
	free(content);
	return status;
}

static int take_record(gpa_recovery *out, group *g, inflater *z, const journal_entry *entry, gpa_error *err)
{
	unsigned char oid[GPA_OID_MAX] = {0};
	int status = id_of(oid, g, z, entry, err);
	if (status)
		return status;
	status = writer_knows(g->w, g->r, oid, 1, err);
	if (!status)
		out->known_count++;
	if (status == GPA_ENOTFOUND && !(status = group_append(g, oid, entry, 1, err)))
		out->object_count++;
	return status;
}

static int take_records(gpa_recovery *out, group *g, gpa_bytes file, gpa_error *err)
{
	journal_entry entry;
	size_t at = JOURNAL_HEADER, good = at;
	inflater *z;
	int status = inflater_new(&z, err);
	if (status)
		return status;
	while (!status && !journal_next(&entry, &at, file)) {
		if (!(status = take_record(out, g, z, &entry, err)))
			good = at;
	}
	inflater_free(z);
	out->cut_bytes = file.len - good;
	return status == GPA_ENOTFOUND ? GPA_OK : status;
}

/* What was there already may wait in our own open page. */
static int seal_durably(gpa_writer *w, gpa_error *err)
{
	writer_lock(w);
	w->open->must_sync = 1;
	int status = writer_seal(w, err);
	writer_unlock(w);
	return status;
}

static int recover(gpa_recovery *out, gpa_writer *w, gpa_bytes file, gpa_error *err)
{
	group g;
	int status = journal_check(file, w->algo, err);
	if (status == GPA_ENOTFOUND) {
		out->cut_bytes = file.len;
		return GPA_OK;
	}
	if (status || (status = group_begin(&g, w, err)))
		return status;
	status = group_leave(&g, take_records(out, &g, file, err));
	return status ? status : seal_durably(w, err);
}

int gpa_writer_recover(gpa_recovery *out, gpa_writer *writer, const char *name, gpa_error *err)
{
	orphan o = {.fd = -1};
	*out = (gpa_recovery){0};
	if (asprintf(&o.path, "%s/%s", writer->journal_dir, name) < 0)
		return out_of_memory(err);
	int status = take_lock(&o, err);
	if (!status)
		status = recover(out, writer, o.file, err);
	gpa_map_close(&o.file);
	if (!status)
		status = door_unlink(&writer->door, o.path, err);
	if (o.fd >= 0)
		close(o.fd);
	free(o.path);
	return status;
}
