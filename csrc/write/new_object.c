/*
 * An object that comes in pieces. A small one is collected in memory and added as a whole. A large one is hashed and
 * deflated into a page of its own, without the writer's lock; the page is named when the object is complete.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "format/pack_write.h"
#include "format/types.h"
#include "write/writer.h"

struct gpa_new_object {
	gpa_writer *w;
	int type;
	uint64_t size;
	uint64_t got;
	int packs_loose;
	unsigned char *whole;		/* the whole object; NULL: it is large */
	temp_page temp;
	hasher hash;
	deflater *d;
	output out;
	pack_writer pack;		/* of one object */
	gpa_idx_entry entry;
};

static int begin_pack(gpa_new_object *o, gpa_error *err)
{
	output_begin(&o->out, o->temp.pack_fd, &o->w->door, o->temp.pack_path);
	int status = pack_begin(&o->pack, &o->out, &o->entry, 1, err);
	if (!status)
		status = pack_begin_entry(&o->pack, o->type, o->size, err);
	return status ? status : deflate_begin(o->d, err);
}

static int begin_large(gpa_new_object *o, gpa_error *err)
{
	gpa_writer *w = o->w;
	writer_lock(w);
	int status = temp_page_open(&o->temp, w, err);
	writer_unlock(w);
	if (status || (status = temp_page_create(&o->temp, w, err)) || (status = hasher_init(&o->hash, w->algo, err)) ||
	    (status = deflater_new(&o->d, w->options.level, err)) ||
	    (status = output_open(&o->out, -1, w->algo, NULL, err)))
		return status;
	object_id_begin(&o->hash, o->type, o->size);
	return begin_pack(o, err);
}

static int begin_whole(gpa_new_object *o, gpa_error *err)
{
	o->whole = malloc(o->size ? (size_t)o->size : 1);
	return o->whole ? GPA_OK : out_of_memory(err);
}

int gpa_new_object_open(gpa_new_object **out, gpa_writer *writer, int type, uint64_t size, gpa_error *err)
{
	group g;
	if (type < GPA_COMMIT || type > GPA_TAG)
		return unsupported(err, "object type %d", type);
	gpa_new_object *o = calloc(1, sizeof(*o));
	if (!o)
		return out_of_memory(err);
	o->w = gpa_writer_share(writer);
	o->type = type;
	o->size = size;
	o->temp.pack_fd = o->temp.idx_fd = -1;
	int status = group_begin(&g, writer, err);
	if (!status) {
		status = size <= LARGE_OBJECT ? begin_whole(o, err) : begin_large(o, err);
		status = group_leave(&g, status);
	}
	if (status)
		gpa_new_object_free(o);
	else
		*out = o;
	return status;
}

void new_object_pack_loose(gpa_new_object *object)
{
	object->packs_loose = 1;
}

int gpa_new_object_write(gpa_new_object *object, const unsigned char *data, size_t len, gpa_error *err)
{
	if (len > object->size - object->got)
		return unsupported(err, "object is larger than the %llu bytes it was said to have",
				   (unsigned long long)object->size);
	object->got += len;
	if (object->whole) {
		memcpy(object->whole + object->got - len, data, len);
		return GPA_OK;
	}
	hasher_update(&object->hash, data, len);
	return deflate_piece(object->d, &object->out, (gpa_bytes){data, len}, object->got == object->size, err);
}

/* Finish the page, and give it its name. */
static int publish(gpa_new_object *o, const unsigned char *oid, gpa_error *err)
{
	gpa_writer *w = o->w;
	pack_end_entry(&o->pack, oid);
	int status = pack_finish(&o->pack, err);
	if (status || (status = pack_write_idx(&o->pack, o->temp.idx_fd, o->temp.idx_path, err)) ||
	    (status = temp_page_publish(&o->temp, w, o->pack.trailer, w->options.durability != GPA_DURABLE_NONE, err)))
		return status;
	writer_lock(w);
	w->stats.object_count++;
	writer_note_page(w, &o->temp, &o->entry, 1);
	writer_unlock(w);
	temp_page_free(&o->temp);
	return GPA_OK;
}

static int finish_large(gpa_new_object *o, group *g, unsigned char *oid, gpa_error *err)
{
	hasher_final(&o->hash, oid);
	g->seals = o->type == GPA_COMMIT || o->type == GPA_TAG;
	int status = writer_has_stored(o->w, g->r, oid, !o->packs_loose, err);
	return status == GPA_ENOTFOUND ? publish(o, oid, err) : status;
}

int gpa_new_object_finish(unsigned char *oid, gpa_new_object *object, gpa_error *err)
{
	group g;
	if (object->got != object->size)
		return unsupported(err, "object has %llu bytes of the %llu it was said to have",
				   (unsigned long long)object->got, (unsigned long long)object->size);
	if (!object->whole && object->temp.pid != getpid())
		return unsupported(err, "object was begun before a fork");
	int status = group_begin(&g, object->w, err);
	if (status)
		return status;
	status = object->whole ? group_put(&g, oid, object->type, (gpa_bytes){object->whole, object->size}, err) :
				 finish_large(object, &g, oid, err);
	return group_end(&g, status, err);
}

void gpa_new_object_free(gpa_new_object *object)
{
	if (!object)
		return;
	temp_page_drop(&object->temp, object->w);
	if (!object->whole) {
		hasher_free(&object->hash);
		deflater_free(object->d);
		output_free(&object->out);
	}
	free(object->whole);
	gpa_writer_free(object->w);
	free(object);
}
