/* The answer for one object in cat-file's protocol: a line in the requested format, then the object's content. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/error.h"
#include "format/types.h"
#include "write/writer.h"
#include "lend/cat_file.h"

#define WHOLE_MOST (1024 * 1024)	/* bytes; a larger object is streamed, unless it is a delta */

/* The facts that a format may contain. */
typedef struct facts {
	int type;
	uint64_t size;
	uint64_t disk_size;
	unsigned char base[GPA_OID_MAX];
} facts;

/* ---- output ---- */

int gpa_batch_flush(gpa_batch *batch, gpa_error *err)
{
	size_t used = batch->used;
	batch->used = 0;
	return write_all(batch->options.fd, batch->out, used, NULL, err);
}

static int put(gpa_batch *b, const void *data, size_t len, gpa_error *err)
{
	int status = len > OUT_ROOM - b->used ? gpa_batch_flush(b, err) : GPA_OK;
	if (!status && len > OUT_ROOM)
		return write_all(b->options.fd, data, len, NULL, err);
	if (!status && len) {
		memcpy(b->out + b->used, data, len);
		b->used += len;
	}
	return status;
}

static int put_number(gpa_batch *b, uint64_t number, gpa_error *err)
{
	char digits[20];
	size_t at = sizeof(digits);
	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	return put(b, digits + at, sizeof(digits) - at, err);
}

static int put_oid(gpa_batch *b, const unsigned char *oid, gpa_error *err)
{
	char hex[2 * GPA_OID_MAX + 1];
	oid_to_hex(hex, oid, b->hash_size);
	return put(b, hex, 2 * b->hash_size, err);
}

int gpa_batch_say(gpa_batch *batch, gpa_bytes text, gpa_error *err)
{
	int status = put(batch, text.ptr, text.len, err);
	return status ? status : gpa_batch_flush(batch, err);
}

static int say_missing(gpa_batch *b, const request *q, gpa_error *err)
{
	static const char words[] = " missing\n";
	int status = q->name.len ? put(b, q->name.ptr, q->name.len, err) : put_oid(b, q->oid, err);
	return status ? status : gpa_batch_say(b, (gpa_bytes){(const unsigned char *)words, sizeof(words) - 1}, err);
}

static int put_field(gpa_batch *b, const gpa_field *field, const request *q, const facts *f, gpa_error *err)
{
	switch (field->kind) {
	case GPA_FIELD_NAME:
		return put_oid(b, q->oid, err);
	case GPA_FIELD_TYPE:
		return put(b, type_name(f->type), strlen(type_name(f->type)), err);
	case GPA_FIELD_SIZE:
		return put_number(b, f->size, err);
	case GPA_FIELD_DISK_SIZE:
		return put_number(b, f->disk_size, err);
	case GPA_FIELD_DELTA_BASE:
		return put_oid(b, f->base, err);
	case GPA_FIELD_REST:
		return put(b, q->rest.ptr, q->rest.len, err);
	default:
		return put(b, field->text.ptr, field->text.len, err);
	}
}

static int put_line(gpa_batch *b, const request *q, const facts *f, gpa_error *err)
{
	int status = GPA_OK;
	for (uint32_t i = 0; !status && i < b->options.field_count; i++)
		status = put_field(b, &b->options.fields[i], q, f, err);
	return status ? status : put(b, "\n", 1, err);
}

/* ---- where an object is stored ---- */

typedef struct place_query {
	query query;
	gpa_batch *batch;
	facts *facts;
} place_query;

static int order_of(const idx_place **places, gpa_batch *b, const pack_file *pack, gpa_error *err)
{
	for (uint32_t i = b->order_count; i--;)
		if (b->orders[i].pack_id == pack->id) {
			*places = b->orders[i].places;
			return GPA_OK;
		}
	if (array_reserve(b->orders, b->order_room, (uint64_t)b->order_count + 1, 4))
		return out_of_memory(err);
	idx_place *made = malloc(((size_t)pack->idx.object_count + 1) * sizeof(*made));
	if (!made)
		return out_of_memory(err);
	int status = idx_places(made, &pack->idx, pack->pack.len, err);
	if (status) {
		free(made);
		return status;
	}
	b->orders[b->order_count++] = (pack_order){pack->id, made};
	*places = made;
	return GPA_OK;
}

/* Find an entry and its size. It ends where the next one begins, or at the trailer. */
static int place_packed(query *q, reader_session *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	place_query *p = (place_query *)q;
	const idx_place *places = NULL;
	gpa_entry entry;
	uint32_t count = pack->idx.object_count;
	(void)v;
	int status = gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, err);
	if (!status)
		status = order_of(&places, p->batch, pack, err);
	if (status)
		return status;
	uint32_t at = idx_place_find(places, count, offset);
	uint32_t base = entry.type == GPA_OFS_DELTA ? idx_place_find(places, count, entry.base_offset) : 0;
	if (at == count || base == count)
		return corrupt_at(err, offset, "delta base is not in this pack");
	p->facts->disk_size = (at + 1 < count ? places[at + 1].offset : pack->pack.len - pack->idx.hash_size) - offset;
	memset(p->facts->base, 0, sizeof(p->facts->base));
	if (entry.type == GPA_OFS_DELTA)
		memcpy(p->facts->base, gpa_idx_oid(&pack->idx, places[base].pos), pack->idx.hash_size);
	else if (entry.type == GPA_REF_DELTA)
		memcpy(p->facts->base, entry.base_oid, pack->idx.hash_size);
	return GPA_OK;
}

static int place_loose(query *q, reader_session *v, held_file *file, gpa_error *err)
{
	place_query *p = (place_query *)q;
	(void)v, (void)err;
	p->facts->disk_size = file->bytes.len;
	memset(p->facts->base, 0, sizeof(p->facts->base));
	return GPA_OK;
}

static int place_written(query *q, reader_session *v, const overlay_object *object, gpa_error *err)
{
	place_query *p = (place_query *)q;
	(void)v, (void)err;
	p->facts->disk_size = object->entry.len;
	memset(p->facts->base, 0, sizeof(p->facts->base));
	return GPA_OK;
}

static int find_place(facts *f, gpa_batch *b, reader_session *v, const unsigned char *oid, gpa_error *err)
{
	place_query p = {.query = {oid, place_packed, place_loose, place_written, 1}, .batch = b, .facts = f};
	return session_find(v, &p.query, err);
}

/* ---- one object ---- */

const unsigned char *batch_real_oid(const gpa_batch *b, const unsigned char *oid)
{
	size_t low = 0, high = b->options.replaced_count, h = b->hash_size;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const unsigned char *row = b->options.replaced + middle * 2 * h;
		int c = memcmp(row, oid, h);
		if (!c)
			return row + h;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return oid;
}

static int put_content(gpa_batch *b, const gpa_object *object, gpa_error *err)
{
	int status = put(b, object->ptr, object->len, err);
	return status ? status : put(b, "\n", 1, err);
}

static int put_stream(gpa_batch *b, gpa_stream *stream, gpa_error *err)
{
	size_t got = 0;
	int status = gpa_batch_flush(b, err);
	do {
		if (!status && !(status = gpa_stream_read(&got, stream, b->out, OUT_ROOM, err)))
			status = write_all(b->options.fd, b->out, got, NULL, err);
	} while (!status && got == OUT_ROOM);
	return status ? status : put(b, "\n", 1, err);
}

static int answer_large(gpa_batch *b, const request *q, facts *f, gpa_error *err)
{
	gpa_stream *stream;
	int status = gpa_stream_open(&stream, &f->type, &f->size, b->r, batch_real_oid(b, q->oid), err);
	if (status)
		return status;
	if (!(status = put_line(b, q, f, err)))
		status = put_stream(b, stream, err);
	gpa_stream_free(stream);
	return status;
}

static int answer_whole(gpa_batch *b, const request *q, facts *f, const gpa_object *object, gpa_error *err)
{
	f->type = object->type;
	f->size = object->len;
	int status = put_line(b, q, f, err);
	return status ? status : put_content(b, object, err);
}

static int answer_content(gpa_batch *b, reader_session *v, const request *q, facts *f, gpa_error *err)
{
	gpa_object object;
	int status = session_read_most(&object, v, batch_real_oid(b, q->oid), WHOLE_MOST, err);
	if (status)
		return status;
	if (!object.owner)
		return answer_large(b, q, f, err);
	status = answer_whole(b, q, f, &object, err);
	gpa_object_free(&object);
	return status;
}

static int answer_line(gpa_batch *b, reader_session *v, const request *q, facts *f, gpa_error *err)
{
	const unsigned char *oid = batch_real_oid(b, q->oid);
	int status = b->needs_info ? session_info(&f->type, &f->size, v, oid, err) :
		     b->needs_place || b->options.are_known ? GPA_OK : session_has(v, oid, err);
	return status ? status : put_line(b, q, f, err);
}

int batch_answer_with(gpa_batch *b, const request *q, const gpa_object *object, gpa_error *err)
{
	facts f;
	return answer_whole(b, q, &f, object, err);
}

int batch_answer(gpa_batch *b, reader_session *v, const request *q, gpa_error *err)
{
	facts f;
	int status = b->needs_place ? find_place(&f, b, v, batch_real_oid(b, q->oid), err) : GPA_OK;
	if (!status)
		status = b->options.with_content ? answer_content(b, v, q, &f, err) : answer_line(b, v, q, &f, err);
	if (status == GPA_ENOTFOUND)
		return say_missing(b, q, err);
	return status || b->options.buffered ? status : gpa_batch_flush(b, err);
}
