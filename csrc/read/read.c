/* What is asked about an object that was found: is it there, its type and size, its content. */
#include "write/writer.h"

static chain_source source_of(const visitor *v, const pack_file *pack)
{
	return (chain_source){.pack = pack->pack, .idx = &pack->idx, .cache = v->r->cache, .lately = &v->w->lately,
			      .pack_id = pack->id, .misses = &v->w->misses};
}

/* Where it was found in a snapshot that is still held; when that gives anything but an object, from the beginning. */
static int do_at(visitor *v, task *t, const place *at, gpa_error *err)
{
	int status = at->pack ? pack_file_pin(at->pack, err) : GPA_ENOTFOUND;
	if (!status) {
		status = t->packed(t, v, at->pack, at->offset, err);
		pack_file_unpin(at->pack);
	}
	return status ? visitor_do(v, t, err) : GPA_OK;
}

static int has_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	gpa_entry entry;
	(void)t, (void)v;
	return gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, err);
}

static int has_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	(void)t, (void)v, (void)file, (void)err;
	return GPA_OK;
}

static int has_written(task *t, visitor *v, const written_object *object, gpa_error *err)
{
	(void)t, (void)v, (void)object, (void)err;
	return GPA_OK;
}

int visitor_has(visitor *v, const unsigned char *oid, gpa_error *err)
{
	task t = {oid, has_packed, has_loose, has_written, 0};
	return visitor_do(v, &t, err);
}

int visitor_has_at(visitor *v, const unsigned char *oid, const place *at, gpa_error *err)
{
	task t = {oid, has_packed, has_loose, has_written, 0};
	return do_at(v, &t, at, err);
}

int gpa_reader_has(gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	task t = {oid, has_packed, has_loose, has_written, 0};
	return visit_once(reader, &t, err);
}

typedef struct info_task {
	task task;
	int type;
	uint64_t size;
} info_task;

static int info_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	info_task *info = (info_task *)t;
	chain_source source = source_of(v, pack);
	pack_maps_note_read(v->r->maps, 0);
	return chain_info(&info->type, &info->size, &source, offset, v->w->z, err);
}

static int info_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	info_task *info = (info_task *)t;
	(void)v;
	return gpa_loose_header(&info->type, &info->size, file->bytes, err);
}

static int info_written(task *t, visitor *v, const written_object *object, gpa_error *err)
{
	info_task *info = (info_task *)t;
	(void)v, (void)err;
	info->type = object->type;
	info->size = object->size;
	return GPA_OK;
}

int visitor_info_at(int *type, uint64_t *size, visitor *v, const unsigned char *oid, const place *at, gpa_error *err)
{
	info_task info = {.task = {oid, info_packed, info_loose, info_written, 0}};
	int status = do_at(v, &info.task, at, err);
	*type = info.type;
	*size = info.size;
	return status;
}

int visitor_info(int *type, uint64_t *size, visitor *v, const unsigned char *oid, gpa_error *err)
{
	place unknown = {0};
	return visitor_info_at(type, size, v, oid, &unknown, err);
}

int gpa_reader_info(int *type, uint64_t *size, gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	visitor v;
	int status = visitor_begin(&v, reader, err);
	if (status)
		return status;
	status = visitor_info(type, size, &v, oid, err);
	visitor_end(&v);
	return status;
}

typedef struct read_task {
	task task;
	uint64_t most;
	made_object *made;		/* stays NULL for a whole object of more bytes */
} read_task;

/* With `verify`, refuse an object whose hash is not its id. */
static int check_made(read_task *read, visitor *v, gpa_error *err)
{
	unsigned char sum[GPA_OID_MAX];
	const made_object *made = read->made;
	if (!v->r->options.verify)
		return GPA_OK;
	hasher_begin_object(&v->w->hash, made->type, made->bytes.len);
	hasher_update(&v->w->hash, made->bytes.ptr, made->bytes.len);
	hasher_final(&v->w->hash, sum);
	if (!memcmp(sum, read->task.oid, v->r->hash_size))
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

static int read_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	read_task *read = (read_task *)t;
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

static int read_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	read_task *read = (read_task *)t;
	uint64_t size;
	int type, status = read->most == UINT64_MAX ? GPA_OK : gpa_loose_header(&type, &size, file->bytes, err);
	if (!status && read->most != UINT64_MAX && size > read->most)
		return GPA_OK;
	if (!status)
		status = loose_read(&read->made, file->bytes, v->w->z, err);
	return status ? status : check_made(read, v, err);
}

static int read_written(task *t, visitor *v, const written_object *object, gpa_error *err)
{
	read_task *read = (read_task *)t;
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

int visitor_read_most(gpa_object *out, visitor *v, const unsigned char *oid, uint64_t most, gpa_error *err)
{
	read_task read = {.task = {oid, read_packed, read_loose, read_written, 1}, .most = most};
	int status = visitor_do(v, &read.task, err);
	if (!status)
		*out = object_of(read.made);
	return status;
}

int visitor_read(gpa_object *out, visitor *v, const unsigned char *oid, gpa_error *err)
{
	return visitor_read_most(out, v, oid, UINT64_MAX, err);
}

int visitor_read_at(gpa_object *out, visitor *v, const unsigned char *oid, const place *at, uint64_t most,
		    gpa_error *err)
{
	read_task read = {.task = {oid, read_packed, read_loose, read_written, 1}, .most = most};
	int status = do_at(v, &read.task, at, err);
	if (!status)
		*out = object_of(read.made);
	return status;
}

int gpa_reader_read(gpa_object *out, gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	visitor v;
	int status = visitor_begin(&v, reader, err);
	if (status)
		return status;
	status = visitor_read(out, &v, oid, err);
	visitor_end(&v);
	return status;
}

int64_t answer_packed(int type, uint64_t size, gpa_error *err)
{
	if (size > GPA_SIZE_MOST)
		return corrupt(err, "object claims %llu bytes", (unsigned long long)size);
	return (int64_t)(size << GPA_TYPE_BITS | (unsigned)type);
}

int64_t gpa_answer_info(gpa_answer *answer, gpa_reader *reader, const unsigned char *oid)
{
	int type;
	uint64_t size;
	int status = gpa_reader_info(&type, &size, reader, oid, &answer->err);
	return status ? status : answer_packed(type, size, &answer->err);
}

int64_t gpa_answer_read(gpa_answer *answer, gpa_reader *reader, const unsigned char *oid)
{
	gpa_object *object = &answer->object;
	int status = gpa_reader_read(object, reader, oid, &answer->err);
	if (status)
		return status;
	int64_t packed = answer_packed(object->type, object->len, &answer->err);
	if (object->len <= sizeof(answer->content)) {
		if (object->len)
			memcpy(answer->content, object->ptr, object->len);
		gpa_object_free(object);
	}
	return packed;
}
