/*
 * Journals of dead writers. Each complete record is used: its entry must inflate, and goes unchanged into a page. The
 * journal is removed when the pages are durable, so that after a crash the next writer recovers it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/pack.h"
#include "write/writer.h"

#define WINDOW (1024 * 1024)
/* No record of a writer is longer, because a larger object goes directly into a page of its own. */
#define RECORD_MOST (RECORD_HEADER + ENTRY_HEADER_MAX + deflate_room(LARGE_OBJECT))

/*
 * A journal that this writer has locked. It is read, not mapped: another process may shorten it meanwhile, which then
 * loses objects but does not kill this process.
 */
typedef struct orphan {
	char *path;
	int fd;			/* -1: not open */
	uint64_t size;
	/* a window of it: `len` bytes from `offset`, of which `used` have been processed */
	unsigned char *room;
	size_t room_size;
	size_t len;
	size_t used;
	uint64_t offset;
} orphan;

/* Lock the journal. GPA_ENOTFOUND if its writer lives, or another process has just recovered it. */
static int take_lock(orphan *o, const door *d, gpa_error *err)
{
	struct stat st;
	o->fd = door_open(d, o->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
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
	o->size = (uint64_t)st.st_size;
	return GPA_OK;
}

static int make_room(orphan *o, size_t need, gpa_error *err)
{
	return array_reserve(o->room, o->room_size, need > WINDOW ? need : WINDOW, WINDOW) ? out_of_memory(err) : GPA_OK;
}

/* Read the next `need` bytes. GPA_ENOTFOUND if the file ends before, also if it was longer a moment ago. */
static int look_ahead(gpa_bytes *out, orphan *o, size_t need, gpa_error *err)
{
	if (o->len - o->used < need) {
		int status = make_room(o, need, err);
		if (status)
			return status;
		memmove(o->room, o->room + o->used, o->len - o->used);
		o->len -= o->used;
		o->offset += o->used;
		o->used = 0;
	}
	while (o->len - o->used < need) {
		ssize_t got = pread(o->fd, o->room + o->len, o->room_size - o->len, (off_t)(o->offset + o->len));
		if (got < 0 && errno != EINTR)
			return door_failed(err, "read", o->path, errno);
		if (!got)
			return GPA_ENOTFOUND;
		if (got > 0)
			o->len += (size_t)got;
	}
	*out = (gpa_bytes){o->room + o->used, need};
	return GPA_OK;
}

/* Read the next record, as journal_next() does. The entry is valid until the next call. */
static int next_record(journal_entry *out, orphan *o, gpa_error *err)
{
	gpa_bytes record;
	size_t at = 0;
	int status = look_ahead(&record, o, RECORD_HEADER, err);
	if (status)
		return status;
	size_t length = be32(record.ptr);
	if (!length || length > RECORD_MOST - RECORD_HEADER)
		return GPA_ENOTFOUND;
	if ((status = look_ahead(&record, o, RECORD_HEADER + length, err)))
		return status;
	if ((status = journal_next(out, &at, record)))
		return status;
	o->used += at;
	return out->size > LARGE_OBJECT ? GPA_ENOTFOUND : GPA_OK;
}

/* Compute the object's id. GPA_ENOTFOUND if the entry is damaged although its CRC32 is right. */
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
	status = writer_has_stored(g->w, g->r, oid, 1, err);
	if (!status)
		out->known_count++;
	if (status == GPA_ENOTFOUND && !(status = group_append(g, oid, entry, 1, err)))
		out->object_count++;
	return status;
}

static int take_records(gpa_recovery *out, group *g, orphan *o, gpa_error *err)
{
	journal_entry entry;
	uint64_t good = o->offset + o->used;
	inflater *z;
	int status = inflater_new(&z, err);
	if (status)
		return status;
	while (!status && !(status = next_record(&entry, o, err))) {
		if (!(status = take_record(out, g, z, &entry, err)))
			good = o->offset + o->used;
	}
	inflater_free(z);
	out->cut_bytes = o->size > good ? o->size - good : 0;
	return status == GPA_ENOTFOUND ? GPA_OK : status;
}

/* Seal the open page durably. It may hold objects that the journal has too. */
static int seal_durably(gpa_writer *w, gpa_error *err)
{
	writer_lock(w);
	w->open->must_sync = 1;
	int status = writer_seal(w, err);
	writer_unlock(w);
	return status;
}

static int recover(gpa_recovery *out, gpa_writer *w, orphan *o, gpa_error *err)
{
	group g;
	gpa_bytes header;
	int status = look_ahead(&header, o, JOURNAL_HEADER, err);
	if (!status)
		status = journal_check(header, w->algo, err);
	if (status == GPA_ENOTFOUND) {
		out->cut_bytes = o->size;
		return GPA_OK;
	}
	o->used = JOURNAL_HEADER;
	if (status || (status = group_begin(&g, w, err)))
		return status;
	status = group_leave(&g, take_records(out, &g, o, err));
	return status ? status : seal_durably(w, err);
}

int gpa_writer_recover(gpa_recovery *out, gpa_writer *writer, const char *name, gpa_error *err)
{
	orphan o = {.fd = -1};
	*out = (gpa_recovery){0};
	if (asprintf(&o.path, "%s/%s", writer->journal_dir, name) < 0)
		return out_of_memory(err);
	int status = take_lock(&o, &writer->door, err);
	if (!status)
		status = recover(out, writer, &o, err);
	free(o.room);
	if (!status)
		status = door_unlink(&writer->door, o.path, err);
	if (o.fd >= 0)
		close(o.fd);
	free(o.path);
	return status;
}
