/* Adding objects in memory, one by one and many at a time, from any thread. */
#include "write/writer.h"

/* Add a large object piece by piece, which takes no memory. */
static int put_large(group *g, unsigned char *oid, int type, gpa_bytes data, gpa_error *err)
{
	gpa_new_object *object;
	int status = gpa_new_object_open(&object, g->w, type, data.len, err);
	if (status)
		return status;
	if (g->packs_loose)
		new_object_pack_loose(object);
	if (!(status = gpa_new_object_write(object, data.ptr, data.len, err)))
		status = gpa_new_object_finish(oid, object, err);
	gpa_new_object_free(object);
	return status;
}

static int put(group *g, unsigned char *oid, int type, gpa_bytes data, gpa_error *err)
{
	if (data.len > LARGE_OBJECT && type >= GPA_COMMIT && type <= GPA_TAG)
		return put_large(g, oid, type, data, err);
	return group_put(g, oid, type, data, err);
}

/* ---- the calls ---- */

int gpa_writer_add_many(unsigned char *oids, gpa_writer *writer, const unsigned char *types, const uint64_t *sizes,
			const unsigned char *data, uint32_t count, gpa_error *err)
{
	group g;
	int status = group_begin(&g, writer, err);
	if (status)
		return status;
	for (uint32_t i = 0; !status && i < count; i++) {
		status = put(&g, oids + i * writer->hash_size, types[i], (gpa_bytes){data, sizes[i]}, err);
		data += sizes[i];
	}
	return group_end(&g, status, err);
}

static int add_one(unsigned char *oid, gpa_writer *w, int packs_loose, int type, gpa_bytes data, gpa_error *err)
{
	group g;
	int status = group_begin(&g, w, err);
	if (status)
		return status;
	g.packs_loose = packs_loose;
	return group_end(&g, put(&g, oid, type, data, err), err);
}

int gpa_writer_add(unsigned char *oid, gpa_writer *writer, int type, const unsigned char *data, size_t len,
		   gpa_error *err)
{
	return add_one(oid, writer, 0, type, (gpa_bytes){data, len}, err);
}

int gpa_writer_pack_loose(unsigned char *oid, gpa_writer *writer, int type, const unsigned char *data, size_t len,
			  gpa_error *err)
{
	return add_one(oid, writer, 1, type, (gpa_bytes){data, len}, err);
}

/* Whether the object is a commit or tag that is not sealed yet. It has to be sealed, as if it were added now. */
static int seals(gpa_writer *w, const unsigned char *oid)
{
	const page_row *row = open_page_find(w->open, oid, w->hash_size);
	if (!row && w->closing)
		row = open_page_find(w->closing, oid, w->hash_size);
	return row && (row->type == GPA_COMMIT || row->type == GPA_TAG);
}

int gpa_writer_freshen(gpa_writer *writer, const unsigned char *oid, gpa_error *err)
{
	group g;
	int status = group_begin(&g, writer, err);
	if (status)
		return status;
	if (!(status = writer_has_stored(writer, g.r, oid, 1, err))) {
		writer_lock(writer);
		g.seals = seals(writer, oid);
		writer_unlock(writer);
	}
	return group_end(&g, status, err);
}

int writer_settle(gpa_writer *w, const unsigned char *oid, gpa_error *err)
{
	int status = GPA_OK;
	if (!__atomic_load_n(&w->pages[0].heads, __ATOMIC_RELAXED) &&
	    !__atomic_load_n(&w->pages[1].heads, __ATOMIC_RELAXED))
		return GPA_OK;
	writer_enter(w);
	if (seals(w, oid) && !writer_own_batch(w))
		status = writer_seal(w, err);
	writer_unlock(w);
	return status;
}

int gpa_writer_seal(gpa_writer *writer, gpa_error *err)
{
	writer_enter(writer);
	int status = writer->closed ? writer_closed(err) : writer_seal(writer, err);
	writer_unlock(writer);
	return status;
}
