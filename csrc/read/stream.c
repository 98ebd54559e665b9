/*
 * An object read piece by piece. An object that is stored whole is inflated as it is read, and the pages of the file
 * behind are released, so memory does not grow with the object. A delta, or a small object, is made as a whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "format/loose.h"
#include "format/pack.h"
#include "format/types.h"
#include "read/objdir.h"
#include "read/reader.h"

#define WHOLE_MOST (256 * 1024)		/* bytes; smaller objects are made as a whole */
#define LET_GO (4 * 1024 * 1024)	/* compressed bytes between two releases */

struct gpa_stream {
	gpa_reader *r;
	int type;
	uint64_t size;
	uint64_t at;			/* bytes handed out */
	made_object *made;		/* the whole object; NULL: use `inflating` */
	inflate_stream *inflating;
	gpa_bytes in;			/* the input of `inflating` */
	size_t let_go;
	pack_file *pack;		/* pinned, with an owner; or NULL */
	held_file file;			/* of a loose object */
	hasher hash;			/* with `verify` */
	unsigned char oid[GPA_OID_MAX];
	int64_t offset;
	char name[OBJDIR_LOOSE_ROOM];
};

typedef struct stream_query {
	query query;
	gpa_stream *stream;
} stream_query;

/* Begin to inflate a copy. A damaged copy may have been begun before. */
static int begin_inflating(gpa_stream *s, gpa_bytes in, gpa_error *err)
{
	inflate_stream_free(s->inflating);
	hasher_free(&s->hash);
	s->inflating = NULL;
	s->in = in;
	int status = inflate_stream_new(&s->inflating, in, err);
	if (!status && s->r->options.verify && !(status = hasher_init(&s->hash, s->r->options.algo, err)))
		object_id_begin(&s->hash, s->type, s->size);
	return status;
}

static int stream_packed(query *q, reader_session *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	gpa_stream *s = ((stream_query *)q)->stream;
	gpa_entry entry;
	gpa_bytes stream;
	int status = gpa_entry_parse(&entry, pack->pack, offset, v->r->options.algo, err);
	if (!status)
		status = entry_stream(&stream, pack->pack, &entry, offset, (uint32_t)v->r->hash_size, err);
	if (status)
		return status;
	s->type = entry.type;
	s->size = entry.size;
	if (entry.type > GPA_TAG || entry.size <= WHOLE_MOST)
		return GPA_OK;		/* it is better to read it as a whole */
	if ((status = begin_inflating(s, stream, err)) || (status = pack_file_pin(pack, err)))
		return status;
	s->pack = pack_file_share(pack);
	s->offset = (int64_t)offset;
	return GPA_OK;
}

/* Skip the header, which is inflated with the content. */
static int skip_header(gpa_stream *s, size_t header, gpa_error *err)
{
	unsigned char passed[64];
	size_t got;
	int status = inflate_stream_read(s->inflating, passed, header, &got, err);
	return status || got == header ? status : corrupt(err, "zlib stream is damaged or cut short");
}

static int stream_loose(query *q, reader_session *v, held_file *file, gpa_error *err)
{
	gpa_stream *s = ((stream_query *)q)->stream;
	size_t header;
	(void)v;
	int status = loose_header(&s->type, &s->size, &header, file->bytes, err);
	if (status || s->size <= WHOLE_MOST)
		return status;
	if (!(status = begin_inflating(s, file->bytes, err)) && !(status = skip_header(s, header, err))) {
		s->file = *file;
		*file = (held_file){0};
		objdir_loose_name(s->name, s->oid, s->r->hash_size);
	}
	return status;
}

/* An object of an overlay is small: it is better to read it as a whole. */
static int stream_overlaid(query *q, reader_session *v, const overlay_object *object, gpa_error *err)
{
	(void)q, (void)v, (void)object, (void)err;
	return GPA_OK;
}

int gpa_stream_open(gpa_stream **out, int *type, uint64_t *size, gpa_reader *reader, const unsigned char *oid,
		    gpa_error *err)
{
	gpa_object object = {0};
	gpa_stream *s = calloc(1, sizeof(*s));
	stream_query q = {{oid, stream_packed, stream_loose, stream_overlaid, 0}, s};
	if (!s)
		return out_of_memory(err);
	s->r = gpa_reader_share(reader);
	s->offset = GPA_NO_OFFSET;
	memcpy(s->oid, oid, reader->hash_size);
	reader_session v;
	int status = session_begin(&v, reader, err);
	if (!status) {
		status = session_find(&v, &q.query, err);
		if (!status && !s->inflating && !(status = session_read(&object, &v, oid, err))) {
			s->made = object.owner;
			s->type = object.type;
			s->size = object.len;
		}
		session_end(&v);
	}
	if (status) {
		gpa_stream_free(s);
		return status;
	}
	*type = s->type;
	*size = s->size;
	*out = s;
	return GPA_OK;
}

static void let_go(gpa_stream *s)
{
	size_t left, page = (size_t)sysconf(_SC_PAGESIZE);
	inflate_stream_ended(s->inflating, &left);
	uintptr_t begin = ((uintptr_t)s->in.ptr + s->let_go) / page * page;
	uintptr_t end = ((uintptr_t)s->in.ptr + (s->in.len - left)) / page * page;
	if (s->file.is_copy || end < begin + LET_GO)
		return;
	madvise((void *)begin, end - begin, MADV_DONTNEED);
	s->let_go = s->in.len - left;
}

/*
 * Check the end: the stream ends after the last byte, and a loose file with the stream. With `verify` the id must be
 * right.
 */
static int check_end(gpa_stream *s, gpa_error *err)
{
	unsigned char more[GPA_OID_MAX];
	size_t got, left;
	int status = inflate_stream_read(s->inflating, more, 1, &got, err);
	if (status)
		return status;
	if (got || !inflate_stream_ended(s->inflating, &left))
		return corrupt(err, "zlib stream does not inflate to %llu bytes", (unsigned long long)s->size);
	if (!s->pack && left)
		return corrupt(err, "garbage after the loose object");
	if (!s->hash.context)
		return GPA_OK;
	hasher_final(&s->hash, more);
	return memcmp(more, s->oid, s->r->hash_size) ? corrupt(err, "object has not the id it is stored under") : GPA_OK;
}

static int blame(gpa_stream *s, int status, gpa_error *err)
{
	err->offset = s->offset;
	if (s->pack)
		blame_file(err, s->pack->dir, s->pack->path, ".pack");
	else
		snprintf(err->file, sizeof(err->file), "%s", s->name + 1);
	return status;
}

int gpa_stream_read(size_t *got, gpa_stream *stream, unsigned char *out, size_t room, gpa_error *err)
{
	uint64_t left = stream->size - stream->at;
	room = room < left ? room : (size_t)left;
	*got = 0;
	if (!room)
		return GPA_OK;
	if (stream->made) {
		memcpy(out, stream->made->bytes.ptr + stream->at, room);
		stream->at += *got = room;
		return GPA_OK;
	}
	int status = inflate_stream_read(stream->inflating, out, room, got, err);
	if (!status && *got < room)
		status = corrupt(err, "zlib stream does not inflate to %llu bytes", (unsigned long long)stream->size);
	if (!status && stream->hash.context)
		hasher_update(&stream->hash, out, room);
	if (!status && room == left)
		status = check_end(stream, err);
	if (status) {
		*got = 0;
		return blame(stream, status, err);
	}
	stream->at += room;
	let_go(stream);
	return GPA_OK;
}

void gpa_stream_free(gpa_stream *stream)
{
	if (!stream)
		return;
	inflate_stream_free(stream->inflating);
	hasher_free(&stream->hash);
	made_object_drop(stream->made);
	file_release(&stream->file);
	if (stream->pack) {
		pack_file_unpin(stream->pack);
		pack_file_drop(stream->pack);
	}
	gpa_reader_free(stream->r);
	free(stream);
}
