/*
 * libgit2's reading, through a reader.
 *
 * libgit2 calls the functions of one backend with its object database locked, one at a time, except for list_objects(),
 * which changes nothing.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "lend/odb_backend.h"

/*
 * Follow the writer to another reader, which it has if the store's alternates have changed. Returns whether there is
 * one.
 */
static int follow_writer(odb_backend *b)
{
	gpa_reader *before = b->reader, *now = b->writer ? writer_reader(b->writer) : gpa_reader_share(before);
	pthread_mutex_lock(&b->lock);
	b->reader = now;
	pthread_mutex_unlock(&b->lock);
	gpa_reader_free(before);
	return now != before;
}

static int refresh(git_odb_backend *base)
{
	odb_backend *b = (odb_backend *)base;
	gpa_error err;
	int is_other = follow_writer(b);
	if (b->recently == RECENTLY_MISSED && !is_other) {
		b->recently = RECENTLY_REFRESHED;
		return 0;
	}
	b->recently = RECENTLY_NOTHING;
	int status = gpa_reader_refresh(b->reader, &err);
	return status ? odb_refuse(b, status, &err) : 0;
}

/* ---- reading ---- */

static int read_whole(void **data, size_t *len, int *type, odb_backend *b, const unsigned char *oid)
{
	gpa_object object;
	gpa_error err;
	if (odb_settle(b, oid))
		return GIT_ERROR;
	int status = gpa_reader_read(&object, b->reader, oid, &err);
	if (status)
		return odb_refuse(b, status, &err);
	int answer = libgit2_copy_out(data, len, &b->git, &b->base, (gpa_bytes){object.ptr, object.len});
	if (!answer)
		*type = object.type;
	gpa_object_free(&object);
	return answer;
}

static int read_object(void **data, size_t *len, int *type, git_odb_backend *base, const unsigned char *oid)
{
	odb_backend *b = (odb_backend *)base;
	if (odb_is_missed_again(b, oid, 2 * GIT_OID_SIZE))
		return GIT_ENOTFOUND;
	return odb_note_miss(b, read_whole(data, len, type, b, oid), oid, 2 * GIT_OID_SIZE);
}

static int read_header(size_t *len, int *type, git_odb_backend *base, const unsigned char *oid)
{
	odb_backend *b = (odb_backend *)base;
	gpa_error err;
	uint64_t size;
	if (odb_is_missed_again(b, oid, 2 * GIT_OID_SIZE))
		return GIT_ENOTFOUND;
	if (odb_settle(b, oid))
		return GIT_ERROR;
	int found, status = gpa_reader_info(&found, &size, b->reader, oid, &err);
	if (status)	/* pygit2 relies on `len` being unchanged */
		return odb_note_miss(b, odb_refuse(b, status, &err), oid, 2 * GIT_OID_SIZE);
	*type = found;
	*len = size;
	return 0;
}

static int exists(git_odb_backend *base, const unsigned char *oid)
{
	odb_backend *b = (odb_backend *)base;
	gpa_error err;
	if (odb_is_missed_again(b, oid, 2 * GIT_OID_SIZE))
		return 0;
	if (odb_settle(b, oid))
		return 0;
	int status = gpa_reader_has(b->reader, oid, &err);
	if (status == GPA_ENOTFOUND)
		odb_note_miss(b, GIT_ENOTFOUND, oid, 2 * GIT_OID_SIZE);
	return !status;
}

/* ---- by prefix ---- */

static int exists_prefix(unsigned char *found, git_odb_backend *base, const unsigned char *oid, size_t digits)
{
	odb_backend *b = (odb_backend *)base;
	unsigned char oids[2 * GIT_OID_SIZE];
	uint32_t count;
	gpa_error err;
	digits = digits < 2 * GIT_OID_SIZE ? digits : 2 * GIT_OID_SIZE;
	if (odb_is_missed_again(b, oid, digits))
		return GIT_ENOTFOUND;
	int status = gpa_reader_expand(oids, &count, 2, b->reader, oid, (unsigned)digits, &err);
	if (status)
		return odb_refuse(b, status, &err);
	if (count > 1)
		return libgit2_ambiguous(&b->git, oid, digits);
	if (!count)
		return odb_note_miss(b, GIT_ENOTFOUND, oid, digits);
	memcpy(found, oids, GIT_OID_SIZE);
	return 0;
}

/* ---- listing ---- */

static int compare_oids(const void *left, const void *right)
{
	return memcmp(left, right, GIT_OID_SIZE);
}

/* Pass ids on, which are in order. Equal neighbours are passed once. */
static int hand_out(const gpa_buffer *oids, git_odb_foreach_cb callback, void *payload)
{
	int answer = 0;
	for (size_t at = 0; !answer && at < oids->len; at += GIT_OID_SIZE)
		if (!at || compare_oids(oids->ptr + at - GIT_OID_SIZE, oids->ptr + at))
			answer = callback(oids->ptr + at, payload);
	return answer;
}

typedef struct foreign {
	const gpa_buffer *own;
	gpa_buffer oids;
	size_t room;
} foreign;

static int keep_foreign(const unsigned char *oid, void *payload)
{
	foreign *f = payload;
	if (f->own->len && bsearch(oid, f->own->ptr, f->own->len / GIT_OID_SIZE, GIT_OID_SIZE, compare_oids))
		return 0;
	if (array_reserve(f->oids.ptr, f->room, f->oids.len + GIT_OID_SIZE, 64 * GIT_OID_SIZE))
		return GIT_ERROR;
	memcpy(f->oids.ptr + f->oids.len, oid, GIT_OID_SIZE);
	f->oids.len += GIT_OID_SIZE;
	return 0;
}

/* List the objects that only other backends have. A pack that they do not list was deleted since their last scan. */
static int list_foreign(const odb_backend *b, const gpa_buffer *own, git_odb_foreach_cb callback, void *payload)
{
	foreign f = {.own = own};
	int answer = 0;
	for (size_t i = 0; !answer && i < b->other_count; i++) {
		answer = b->others[i].foreach(b->others[i].backend, keep_foreign, &f);
		answer = answer == GIT_ENOTFOUND ? 0 : answer;
	}
	if (!answer && f.oids.len) {
		qsort(f.oids.ptr, f.oids.len / GIT_OID_SIZE, GIT_OID_SIZE, compare_oids);
		answer = hand_out(&f.oids, callback, payload);
	}
	gpa_buffer_free(&f.oids);
	return answer;
}

static int list_objects(git_odb_backend *base, git_odb_foreach_cb callback, void *payload)
{
	odb_backend *b = (odb_backend *)base;
	gpa_buffer own;
	gpa_error err;
	pthread_mutex_lock(&b->lock);
	gpa_reader *reader = gpa_reader_share(b->reader);
	pthread_mutex_unlock(&b->lock);
	int status = gpa_reader_list(&own, reader, &err);
	gpa_reader_free(reader);
	if (status)
		return odb_refuse(b, status, &err);
	int answer = hand_out(&own, callback, payload);
	if (!answer)
		answer = list_foreign(b, &own, callback, payload);
	gpa_buffer_free(&own);
	return answer;
}

void odb_let_read(odb_backend *b)
{
	b->base.read = read_object;
	b->base.read_prefix = libgit2_read_prefix;
	b->base.read_header = read_header;
	b->base.exists = exists;
	b->base.exists_prefix = exists_prefix;
	b->base.refresh = refresh;
	b->base.foreach = list_objects;
}
