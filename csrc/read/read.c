/* Questions about an object: whether it exists, its type and size, its content. */
#include <string.h>

#include "base/error.h"
#include "format/chain.h"
#include "format/loose.h"
#include "format/pack.h"
#include "format/types.h"
#include "read/reader.h"

static chain_source source_of(const reader_session *v, const pack_file *pack)
{
	return (chain_source){.pack = pack->pack, .idx = &pack->idx, .cache = v->r->cache, .lately = &v->w->lately,
			      .pack_id = pack->id, .misses = &v->w->misses};
}

/*
 * Ask about the copy at `at`, in a snapshot that the caller holds. If that fails, find the object from the beginning.
 */
static int do_at(reader_session *v, query *q, const place *at, gpa_error *err)
{
	int status = at->pack ? pack_file_pin(at->pack, err) : GPA_ENOTFOUND;
	if (!status) {
		status = q->packed(q, v, at->pack, at->offset, err);
		pack_file_unpin(at->pack);
	}
	return status ? session_find(v, q, err) : GPA_OK;
}

static int has_packed(query *q, reader_session *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	gpa_entry entry;
	(void)q, (void)v;
	return gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, err);
}

static int has_loose(query *q, reader_session *v, held_file *file, gpa_error *err)
{
	(void)q, (void)v, (void)file, (void)err;
	return GPA_OK;
}

static int has_overlaid(query *q, reader_session *v, const overlay_object *object, gpa_error *err)
{
	(void)q, (void)v, (void)object, (void)err;
	return GPA_OK;
}

int session_has(reader_session *v, const unsigned char *oid, gpa_error *err)
{
	query q = {oid, has_packed, has_loose, has_overlaid, 0};
	return session_find(v, &q, err);
}

int session_has_at(reader_session *v, const unsigned char *oid, const place *at, gpa_error *err)
{
	query q = {oid, has_packed, has_loose, has_overlaid, 0};
	return do_at(v, &q, at, err);
}

int gpa_reader_has(gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	query q = {oid, has_packed, has_loose, has_overlaid, 0};
	return find_once(reader, &q, err);
}

typedef struct info_query {
	query query;
	int type;
	uint64_t size;
} info_query;

static int info_packed(query *q, reader_session *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	info_query *info = (info_query *)q;
	chain_source source = source_of(v, pack);
	pack_maps_note_read(v->r->maps, 0);
	return chain_info(&info->type, &info->size, &source, offset, v->w->z, err);
}

static int info_loose(query *q, reader_session *v, held_file *file, gpa_error *err)
{
	info_query *info = (info_query *)q;
	(void)v;
	return gpa_loose_header(&info->type, &info->size, file->bytes, err);
}

static int info_overlaid(query *q, reader_session *v, const overlay_object *object, gpa_error *err)
{
	info_query *info = (info_query *)q;
	(void)v, (void)err;
	info->type = object->type;
	info->size = object->size;
	return GPA_OK;
}

int session_info_at(int *type, uint64_t *size, reader_session *v, const unsigned char *oid, const place *at, gpa_error *err)
{
	info_query info = {.query = {oid, info_packed, info_loose, info_overlaid, 0}};
	int status = do_at(v, &info.query, at, err);
	*type = info.type;
	*size = info.size;
	return status;
}

int session_info(int *type, uint64_t *size, reader_session *v, const unsigned char *oid, gpa_error *err)
{
	place unknown = {0};
	return session_info_at(type, size, v, oid, &unknown, err);
}

int gpa_reader_info(int *type, uint64_t *size, gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	reader_session v;
	int status = session_begin(&v, reader, err);
	if (status)
		return status;
	status = session_info(type, size, &v, oid, err);
	session_end(&v);
	return status;
}

typedef struct read_query {
	query query;
	uint64_t most;
	made_object *made;		/* stays NULL for an object of more bytes that is stored whole */
} read_query;

/* With `verify`, check that the hash of the object is its id. */
static int check_made(read_query *read, reader_session *v, gpa_error *err)
{
	unsigned char sum[GPA_OID_MAX];
	const made_object *made = read->made;
	if (!v->r->options.verify)
		return GPA_OK;
	object_id(sum, &v->w->hash, made->type, made->bytes);
	if (!memcmp(sum, read->query.oid, v->r->hash_size))
		return GPA_OK;
	made_object_drop(read->made);
	read->made = NULL;
	return corrupt(err, "object has not the id it is stored under");
}

static int is_larger(uint64_t most, const pack_file *pack, uint64_t offset)
{
	gpa_entry entry;
	gpa_error ignored;
	return most != UINT64_MAX && !gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, &ignored) &&
	       entry.type <= GPA_TAG && entry.size > most;
}

static int read_packed(query *q, reader_session *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	read_query *read = (read_query *)q;
	chain_source source = source_of(v, pack);
	if (is_larger(read->most, pack, offset))
		return GPA_OK;
	int status = chain_read(&read->made, &source, offset, v->w->z, err);
	if (status)
		return status;
	pack_maps_note_read(v->r->maps, read->made->bytes.len);
	if ((status = check_made(read, v, err)))
		err->offset = (int64_t)offset;
	return status;
}

static int read_loose(query *q, reader_session *v, held_file *file, gpa_error *err)
{
	read_query *read = (read_query *)q;
	uint64_t size;
	int type, status = read->most == UINT64_MAX ? GPA_OK : gpa_loose_header(&type, &size, file->bytes, err);
	if (!status && read->most != UINT64_MAX && size > read->most)
		return GPA_OK;
	if (!status)
		status = loose_read(&read->made, file->bytes, v->w->z, err);
	return status ? status : check_made(read, v, err);
}

static int read_overlaid(query *q, reader_session *v, const overlay_object *object, gpa_error *err)
{
	read_query *read = (read_query *)q;
	gpa_entry entry;
	size_t used;
	if (object->size > read->most)
		return GPA_OK;
	int status = entry_parse_bytes(&entry, object->entry, 0, 0, err);
	if (status)
		return status;
	gpa_bytes stream = {object->entry.ptr + entry.header_size, object->entry.len - entry.header_size};
	made_object *made = made_object_new(object->size);
	if (!made)
		return out_of_memory(err);
	made->type = object->type;
	made->bytes = (gpa_bytes){made->room, object->size};
	if ((status = inflate_whole(v->w->z, made->room, object->size, &used, stream, err))) {
		made_object_drop(made);
		return status;
	}
	read->made = made;
	return check_made(read, v, err);
}

static gpa_object object_of(made_object *made)
{
	return made ? (gpa_object){made->type, made->bytes.ptr, made->bytes.len, made} : (gpa_object){0};
}

int session_read_most(gpa_object *out, reader_session *v, const unsigned char *oid, uint64_t most, gpa_error *err)
{
	read_query read = {.query = {oid, read_packed, read_loose, read_overlaid, 1}, .most = most};
	int status = session_find(v, &read.query, err);
	if (!status)
		*out = object_of(read.made);
	return status;
}

int session_read(gpa_object *out, reader_session *v, const unsigned char *oid, gpa_error *err)
{
	return session_read_most(out, v, oid, UINT64_MAX, err);
}

int session_read_at(gpa_object *out, reader_session *v, const unsigned char *oid, const place *at, uint64_t most,
		    gpa_error *err)
{
	read_query read = {.query = {oid, read_packed, read_loose, read_overlaid, 1}, .most = most};
	int status = do_at(v, &read.query, at, err);
	if (!status)
		*out = object_of(read.made);
	return status;
}

int gpa_reader_read(gpa_object *out, gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	reader_session v;
	int status = session_begin(&v, reader, err);
	if (status)
		return status;
	status = session_read(out, &v, oid, err);
	session_end(&v);
	return status;
}

int64_t info_number(int type, uint64_t size, gpa_error *err)
{
	if (size > GPA_SIZE_MOST)
		return corrupt(err, "object claims %llu bytes", (unsigned long long)size);
	return (int64_t)(size << GPA_TYPE_BITS | (unsigned)type);
}

int64_t gpa_slot_info(gpa_read_slot *answer, gpa_reader *reader, const unsigned char *oid)
{
	int type;
	uint64_t size;
	int status = gpa_reader_info(&type, &size, reader, oid, &answer->err);
	return status ? status : info_number(type, size, &answer->err);
}

int64_t gpa_slot_read(gpa_read_slot *answer, gpa_reader *reader, const unsigned char *oid)
{
	gpa_object *object = &answer->object;
	int status = gpa_reader_read(object, reader, oid, &answer->err);
	if (status)
		return status;
	int64_t packed = info_number(object->type, object->len, &answer->err);
	if (object->len <= sizeof(answer->content)) {
		if (object->len)
			memcpy(answer->content, object->ptr, object->len);
		gpa_object_free(object);
	}
	return packed;
}
