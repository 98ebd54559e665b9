/*
 * Overlays of a reader without packs: one that is asked first, and one that is asked last. Input: one byte that tells which of
 * them have which of two objects, and the contents of these, one half each. An object is found if an overlay has it, the last
 * one is asked only after a miss, and lists have each object once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/inflate.h"
#include "format/pack.h"
#include "format/types.h"
#include "read/reader.h"

#define OBJECTS 2

typedef struct store {
	overlay layer;			/* first: the reader knows only this */
	unsigned has;			/* a bit for each object */
	unsigned owners;
	unsigned asked;			/* calls of find() */
	uint64_t scans;
	int forking;
} store;

static struct {
	unsigned char oid[GPA_OID_MAX];
	gpa_bytes content;
} objects[OBJECTS];

static void demand(int holds)
{
	if (!holds)
		abort();
}

/* ---- the overlay ---- */

static int share(overlay *o)
{
	((store *)o)->owners++;
	return 1;
}

static void drop(overlay *o)
{
	((store *)o)->owners--;
}

static void make_entry(overlay_object *out, gpa_bytes content)
{
	deflater *d;
	gpa_error err;
	size_t len, header;
	out->room = malloc(ENTRY_HEADER_MAX + deflate_room(content.len));
	demand(out->room && !deflater_new(&d, 1, &err));
	header = entry_header_write(out->room, GPA_BLOB, content.len);
	demand(!deflate_whole(d, out->room + header, &len, content, &err));
	out->entry = (gpa_bytes){out->room, header + len};
	deflater_free(d);
}

static int find(overlay_object *out, overlay *o, const gpa_reader *r, const unsigned char *oid, int with_entry,
		gpa_error *err)
{
	store *s = (store *)o;
	(void)r, (void)err;
	s->asked++;
	*out = (overlay_object){0};
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (!(s->has >> i & 1) || memcmp(oid, objects[i].oid, 20))
			continue;
		out->type = GPA_BLOB;
		out->size = objects[i].content.len;
		if (with_entry)
			make_entry(out, objects[i].content);
		return GPA_OK;
	}
	return GPA_ENOTFOUND;
}

static int list(gpa_buffer *oids, size_t *room, overlay *o, gpa_error *err)
{
	(void)err;
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (!(((store *)o)->has >> i & 1))
			continue;
		unsigned char *moved = oids->len + 20 > *room ? realloc(oids->ptr, oids->len + 20) : oids->ptr;
		demand(moved != NULL);
		*room = oids->len + 20 > *room ? oids->len + 20 : *room;
		oids->ptr = moved;
		memcpy(oids->ptr + oids->len, objects[i].oid, 20);
		oids->len += 20;
	}
	return GPA_OK;
}

static uint64_t before_scan(overlay *o)
{
	return ++((store *)o)->scans;
}

static void after_scan(overlay *o, const gpa_reader *r, uint64_t number)
{
	(void)r;
	demand(number == ((store *)o)->scans);
}

static void before_fork(overlay *o)
{
	demand(!((store *)o)->forking++);
}

static void after_fork(overlay *o)
{
	demand(!--((store *)o)->forking);
}

static void in_child(overlay *o)
{
	demand(!((store *)o)->forking);
}

static const overlay_calls first_calls = {
	.share = share, .free = drop, .find = find, .list = list, .before_scan = before_scan, .after_scan = after_scan,
	.before_fork = before_fork, .after_fork = after_fork, .in_child = in_child,
};
static const overlay_calls last_calls = {
	.share = share, .free = drop, .find = find, .list = list, .before_scan = before_scan, .after_scan = after_scan,
	.before_fork = before_fork, .after_fork = after_fork, .in_child = in_child,
};

/* ---- the reader ---- */

static void read_object(gpa_reader *r, store *first, store *last, unsigned i)
{
	gpa_error err;
	gpa_object object;
	uint64_t size;
	int type, status, is_first = first->has >> i & 1, expected = (first->has | last->has) >> i & 1 ? GPA_OK : GPA_ENOTFOUND;
	last->asked = 0;
	demand(gpa_reader_has(r, objects[i].oid, &err) == expected);
	demand(gpa_reader_info(&type, &size, r, objects[i].oid, &err) == expected);
	status = gpa_reader_read(&object, r, objects[i].oid, &err);
	demand(status == expected && last->asked == (is_first ? 0 : 3));
	if (status)
		return;
	demand(type == GPA_BLOB && size == object.len && object.len == objects[i].content.len);
	demand(!object.len || !memcmp(object.ptr, objects[i].content.ptr, object.len));
	gpa_object_free(&object);
}

static void list_objects(gpa_reader *r, unsigned has)
{
	gpa_error err;
	gpa_buffer oids;
	demand(!gpa_reader_list(&oids, r, &err));
	demand(oids.len == (size_t)20 * (has == 3 ? 2 : has != 0));
	gpa_buffer_free(&oids);
}

static void use(gpa_reader *r, store *first, store *last)
{
	gpa_error err;
	demand(!reader_attach(r, &last->layer) && !reader_attach(r, &first->layer));
	demand(reader_attach(r, &first->layer) == -1);
	for (unsigned i = 0; i < OBJECTS; i++)
		read_object(r, first, last, i);
	list_objects(r, first->has | last->has);
	demand(!gpa_reader_refresh(r, &err) && first->scans == 1 && last->scans == 1);
	gpa_reader_before_fork(r);
	demand(first->forking && last->forking);
	gpa_reader_after_fork(r);
	gpa_reader_in_child(r);
	reader_detach(r, &first->layer);
	reader_detach(r, &last->layer);
	demand(!first->owners && !last->owners && gpa_reader_has(r, objects[0].oid, &err) == GPA_ENOTFOUND);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *dirs[] = {"/nonexistent/objects"};
	gpa_reader_options options = {.algo = GPA_SHA1, .verify = 1, .map_bytes = 1 << 20, .map_count = 8};
	store first = {.layer = {.calls = &first_calls, .turn = OVERLAY_FIRST}};
	store last = {.layer = {.calls = &last_calls, .turn = OVERLAY_LAST}};
	gpa_reader *r;
	gpa_error err;
	hasher h;
	if (!size)
		return 0;
	size_t half = (size - 1) / 2;
	objects[0].content = (gpa_bytes){data + 1, half};
	objects[1].content = (gpa_bytes){data + 1 + half, size - 1 - half};
	demand(!hasher_init(&h, GPA_SHA1, &err));
	for (unsigned i = 0; i < OBJECTS; i++)
		object_id(objects[i].oid, &h, GPA_BLOB, objects[i].content);
	hasher_free(&h);
	first.has = data[0] & 3;
	last.has = data[0] >> 2 & 3;
	if (!memcmp(objects[0].oid, objects[1].oid, 20))
		first.has = last.has = 0;	/* equal contents are one object */
	demand(!gpa_reader_open(&r, dirs, 1, &options, &err));
	use(r, &first, &last);
	gpa_reader_free(r);
	return 0;
}
