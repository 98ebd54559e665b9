/*
 * The open page: a table of its objects, their entries in memory while they are few, and its journal. Positions count
 * the bytes of records after the journal's header, whether they are written yet or not.
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
#include "base/error.h"
#include "base/files.h"
#include "write/open_page.h"

#define KEPT_MOST (4 * 1024 * 1024)	/* bytes of records in memory; earlier ones are only in the file */
#define FIRST_ROWS 64
#define FIRST_ROOM (64 * 1024)

void open_page_init(open_page *p, char *path)
{
	*p = (open_page){.path = path, .fd = -1};
}

void open_page_free(open_page *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	free(p->rows);
	free(p->kept);
	free(p->path);
	oid_map_free(&p->map);
}

void open_page_clear(open_page *p)
{
	oid_map_clear(&p->map);
	p->count = 0;
	__atomic_store_n(&p->heads, 0, __ATOMIC_RELAXED);
	p->end = p->kept_from = p->written = p->synced = 0;
	p->must_sync = 0;
	if (p->kept_room > KEPT_MOST) {
		free(p->kept);
		p->kept = NULL;
		p->kept_room = 0;
	}
}

const page_row *open_page_find(const open_page *p, const unsigned char *oid, size_t size)
{
	uint32_t row = oid_map_find(&p->map, p->rows, sizeof(*p->rows), oid, size);
	return row == NO_ROW ? NULL : &p->rows[row];
}

/* ---- its file ---- */

/* Lock a new file. GPA_ENOTFOUND if another writer took it for a dead writer's file, and has locked or unlinked it. */
static int lock_new(int fd, const char *path, gpa_error *err)
{
	struct stat st;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK || errno == EINTR ? GPA_ENOTFOUND : door_failed(err, "lock", path, errno);
	if (fstat(fd, &st))
		return door_failed(err, "stat", path, errno);
	return st.st_nlink ? GPA_OK : GPA_ENOTFOUND;
}

int open_page_make_file(open_page *p, const door *d, gpa_error *err)
{
	if (p->fd >= 0)
		return GPA_OK;
	for (;;) {
		gpa_error ignored;
		int fd, status = door_create(&fd, d, p->path, 0666, err);
		if (status)
			return status;
		status = lock_new(fd, p->path, err);
		if (!status) {
			p->fd = fd;
			p->failed = p->is_named = 0;
			p->written = p->synced = 0;
			return GPA_OK;
		}
		close(fd);
		int removed = door_unlink(d, p->path, status == GPA_ENOTFOUND ? err : &ignored);
		if (status != GPA_ENOTFOUND || removed)
			return status == GPA_ENOTFOUND ? removed : status;
	}
}

/* Remove an incomplete record at the end of the file. If that fails, the file is not used any more. */
static void cut_back(open_page *p, const door *d)
{
	gpa_error ignored;
	uint64_t size = p->written ? JOURNAL_HEADER + p->written : 0;
	if (door_truncate(d, p->fd, p->path, size, &ignored))
		p->failed = 1;
}

static int write_header(const open_page *p, const door *d, int algo, gpa_error *err)
{
	unsigned char header[JOURNAL_HEADER];
	journal_write_header(header, algo);
	return door_write(NULL, d, p->fd, p->path, header, sizeof(header), 0, err);
}

int open_page_flush(open_page *p, const door *d, int algo, gpa_error *err)
{
	if (p->written == p->end || p->failed)
		return GPA_OK;
	int status = open_page_make_file(p, d, err);
	if (status)
		return status;
	if (!p->written && (status = write_header(p, d, algo, err))) {
		cut_back(p, d);
		return status;
	}
	const unsigned char *from = p->kept + (p->written - p->kept_from);
	status = door_write(NULL, d, p->fd, p->path, from, (size_t)(p->end - p->written), JOURNAL_HEADER + p->written,
			    err);
	if (status)
		cut_back(p, d);
	else
		p->written = p->end;
	return status;
}

void open_page_drop_records(open_page *p, const door *d)
{
	gpa_error ignored;
	if (p->fd < 0 || !p->written)
		return;
	if (p->failed || door_truncate(d, p->fd, p->path, 0, &ignored))
		open_page_remove_file(p, d, &ignored);
}

int open_page_remove_file(open_page *p, const door *d, gpa_error *err)
{
	if (p->fd < 0)
		return GPA_OK;
	int status = door_unlink(d, p->path, err);
	close(p->fd);
	p->fd = -1;
	p->failed = 0;
	return status;
}

/* ---- its objects ---- */

/* Make room in memory for a record. If there is too much, the records in memory go to the file first. */
static int make_room(open_page *p, const door *d, size_t length, int algo, gpa_error *err)
{
	size_t used = (size_t)(p->end - p->kept_from);
	if (used && length > KEPT_MOST - (used < KEPT_MOST ? used : KEPT_MOST) && !p->failed) {
		int status = open_page_flush(p, d, algo, err);
		if (status)
			return status;
		p->kept_from = p->end;
		used = 0;
	}
	return array_reserve(p->kept, p->kept_room, used + length, FIRST_ROOM) ? out_of_memory(err) : GPA_OK;
}

int open_page_add(open_page *p, const door *d, const unsigned char *oid, const journal_entry *entry, int algo,
		  gpa_error *err)
{
	size_t h = gpa_hash_size(algo), length = RECORD_HEADER + entry->entry.len;
	if (array_reserve(p->rows, p->room, (uint64_t)p->count + 1, FIRST_ROWS))
		return out_of_memory(err);
	int status = make_room(p, d, length, algo, err);
	if (status)
		return status;
	page_row *row = &p->rows[p->count];
	*row = (page_row){{0}, p->end + RECORD_HEADER, entry->size, (uint32_t)entry->entry.len, entry->crc,
			  (uint32_t)entry->type};
	memcpy(row->oid, oid, h);
	if (oid_map_add(&p->map, p->rows, sizeof(*p->rows)))
		return out_of_memory(err);
	unsigned char *at = p->kept + (p->end - p->kept_from);
	journal_write_record(at, row->length, row->crc);
	memcpy(at + RECORD_HEADER, entry->entry.ptr, row->length);
	p->count++;
	if (entry->type == GPA_COMMIT || entry->type == GPA_TAG)
		__atomic_add_fetch(&p->heads, 1, __ATOMIC_RELAXED);
	p->end += length;
	return GPA_OK;
}

int open_page_read(const unsigned char **out, unsigned char *room, const open_page *p, const page_row *row,
		   gpa_error *err)
{
	if (row->at >= p->kept_from) {
		*out = p->kept + (row->at - p->kept_from);
		return GPA_OK;
	}
	*out = room;
	int status = file_read(p->fd, room, row->length, JOURNAL_HEADER + row->at, err);
	if (!status && gpa_crc32(0, (gpa_bytes){room, row->length}) != row->crc)
		status = corrupt_at(err, JOURNAL_HEADER + row->at, "CRC32 of a journal's entry is wrong");
	if (status)
		snprintf(err->file, sizeof(err->file), "%.*s", (int)sizeof(err->file) - 1, p->path);
	return status;
}
