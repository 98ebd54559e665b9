/*
 * Deltas in a page that is being sealed: which of its trees and blobs become deltas, and on which bases.
 *
 * The page knows no paths, but its trees do: an object has the name that the first tree gives it. Trees and blobs are
 * ordered by name, newest first, so a base comes before its deltas, and the object written last is read fastest. Blobs
 * without a name are ordered by size. Each object is tried on a few of those before it, which are in memory.
 *
 * Sealing never fails because of a delta: without memory, or if an entry does not inflate, objects stay whole. I13: a
 * delta is applied before it is used, because no other copy of the object exists when the page is sealed.
 *
 * Work without success is limited by counts, so that small objects without similarity cost almost nothing, and by
 * bytes, so that large ones are read about once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "format/delta.h"
#include "format/pack.h"
#include "read/objdir.h"
#include "write/writer.h"

#define WINDOW 10
#define WINDOW_BYTES (32 * 1024 * 1024)	/* of contents */
#define LEAST 50			/* bytes of an object that is tried, as in git */
#define MOST (8 * 1024 * 1024)
#define PATIENCE 16			/* objects without success; after them only one of as many is tried on all */
#define PATIENCE_NAME 2			/* and of those with one name, as many on the last one */
#define SPARE (16 * 1024 * 1024)	/* bytes that may be tried without success, in addition to those of the objects */

typedef struct candidate {
	unsigned char *content;
	size_t size;
	delta_index *index;		/* NULL until it is needed */
	uint32_t name;
	uint32_t depth;
	uint64_t offset;
} candidate;

typedef struct room {
	unsigned char *ptr;
	size_t len;
} room;

struct delta_search {
	const open_page *page;
	const uint32_t *order;
	uint32_t *names;		/* for each row the hash of its name; 0: it has none */
	uint32_t depth_most;
	uint32_t type;			/* of the window */
	candidate window[WINDOW];	/* the newest last */
	uint32_t count;
	size_t held;			/* bytes of their contents */
	uint32_t missed;		/* objects since the last delta */
	uint32_t missed_name;		/* of these, those of the last name */
	uint64_t spent;			/* the bytes of these, counted each time they were tried */
	uint64_t seen;			/* bytes of all objects of the type, so far */
	room program, other, entry, proof;
	inflater *z;
	deflater *d;
};

static int make_room(room *r, size_t len)
{
	if (len <= r->len)
		return 0;
	free(r->ptr);
	r->ptr = malloc(len);
	r->len = r->ptr ? len : 0;
	return r->ptr ? 0 : -1;
}

/* Inflate the content of a row whose entry is `entry`. Returns NULL if that fails. */
static unsigned char *inflate_entry(delta_search *s, const page_row *row, gpa_bytes entry)
{
	gpa_error ignored;
	gpa_entry head;
	size_t used;
	if (entry_parse_bytes(&head, entry, 0, 0, &ignored) || head.size != row->size)
		return NULL;
	gpa_bytes stream = {entry.ptr + head.header_size, entry.len - head.header_size};
	unsigned char *content = malloc(row->size ? (size_t)row->size : 1);
	if (content && inflate_whole(s->z, content, (size_t)row->size, &used, stream, &ignored)) {
		free(content);
		return NULL;
	}
	return content;
}

/* ---- names ---- */

/*
 * Hash a name as git does: the last 16 characters count, the last ones most, so that names with the same end are
 * neighbours.
 */
static uint32_t hash_name(const unsigned char *name, const unsigned char *end)
{
	uint32_t hash = 0;
	for (; name < end; name++)
		hash = (hash >> 2) + ((uint32_t)*name << 24);
	return hash;
}

static void name_entries(delta_search *s, gpa_bytes tree, size_t hash_size)
{
	cursor c = {tree.ptr, tree.ptr + tree.len};
	while (c.at < c.end) {
		const unsigned char *space = memchr(c.at, ' ', cursor_left(&c));
		const unsigned char *end = space ? memchr(space, 0, (size_t)(c.end - space)) : NULL;
		if (!end || (size_t)(c.end - end) <= hash_size)
			return;
		const page_row *row = open_page_find(s->page, end + 1, hash_size);
		if (row && !s->names[row - s->page->rows])
			s->names[row - s->page->rows] = hash_name(space + 1, end);
		c.at = end + 1 + hash_size;
	}
}

static void name_objects(delta_search *s, unsigned char *room, size_t hash_size)
{
	gpa_error ignored;
	const unsigned char *entry;
	for (uint32_t i = 0; i < s->page->count; i++) {
		const page_row *row = &s->page->rows[i];
		if (row->type != GPA_TREE || row->size > MOST || open_page_read(&entry, room, s->page, row, &ignored))
			continue;
		unsigned char *tree = inflate_entry(s, row, (gpa_bytes){entry, row->length});
		if (tree)
			name_entries(s, (gpa_bytes){tree, (size_t)row->size}, hash_size);
		free(tree);
	}
}

/* ---- the order ---- */

typedef struct spot {
	uint32_t row;
	uint32_t rank;			/* 0: stays in place, before all others */
	uint32_t name;
	uint64_t size;			/* 0 if it does not count */
	uint32_t at;			/* place in the previous order */
} spot;

static int by_family(const void *one, const void *other)
{
	const spot *a = one, *b = other;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->name != b->name)
		return a->name < b->name ? -1 : 1;
	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return (a->at < b->at ? -1 : 1) * (a->rank ? -1 : 1);
}

static int sort_rows(uint32_t *order, const delta_search *s)
{
	uint32_t count = s->page->count;
	spot *spots = malloc(count * sizeof(*spots));
	if (!spots)
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		const page_row *row = &s->page->rows[order[i]];
		uint32_t name = s->names[order[i]], rank = row->type == GPA_TREE ? 1 : row->type == GPA_BLOB ? 2 : 0;
		spots[i] = (spot){order[i], rank, rank ? name : 0, rank == 2 && !name ? row->size : 0, i};
	}
	qsort(spots, count, sizeof(*spots), by_family);
	for (uint32_t i = 0; i < count; i++)
		order[i] = spots[i].row;
	free(spots);
	return 0;
}

/* ---- the window ---- */

static void drop_oldest(delta_search *s)
{
	s->held -= s->window[0].size;
	free(s->window[0].content);
	delta_index_free(s->window[0].index);
	memmove(s->window, s->window + 1, --s->count * sizeof(*s->window));
}

static void remember(delta_search *s, const candidate *c)
{
	while (s->count == WINDOW || (s->count && c->size > WINDOW_BYTES - s->held))
		drop_oldest(s);
	s->window[s->count++] = *c;
	s->held += c->size;
}

static void begin_type(delta_search *s, uint32_t type)
{
	while (s->count)
		drop_oldest(s);
	s->type = type;
	s->missed = s->missed_name = 0;
	s->spent = s->seen = 0;
}

/* ---- an object and its base ---- */

/* Whether two rows have the same name. A blob without a name may have any. */
static int is_named_alike(const delta_search *s, uint32_t one, uint32_t other)
{
	return one == other && (one || s->type == GPA_TREE);
}

/*
 * How many of the window an object of that name is tried on, after `missed` objects without success, `missed_name` of
 * its name.
 */
static uint32_t count_tries(const delta_search *s, uint32_t name)
{
	if (s->missed < PATIENCE || s->missed % PATIENCE == 0)
		return WINDOW;
	return s->missed_name < PATIENCE_NAME && s->count && is_named_alike(s, s->window[s->count - 1].name, name);
}

static int can_be_base(const delta_search *s, const candidate *base, const candidate *c, size_t most)
{
	return base->depth < s->depth_most && base->size / 32 <= c->size &&
	       (c->size <= base->size || c->size - base->size <= most);
}

/* Make a program in `other`. Returns its length; 0 if it would be longer than `most`. */
static size_t try_base(delta_search *s, candidate *base, const candidate *c, size_t most)
{
	gpa_error ignored;
	gpa_bytes from = {base->content, base->size}, to = {c->content, c->size};
	if (!can_be_base(s, base, c, most) || (!base->index && delta_index_new(&base->index, from, &ignored)))
		return 0;
	s->spent += c->size;
	return delta_make(s->other.ptr, most, base->index, to);
}

/* The best base in the window, and the length of its program. NULL if none saves half of the object. */
static candidate *find_base(size_t *len, delta_search *s, const candidate *c, uint32_t tries)
{
	candidate *best = NULL;
	size_t most = c->size / 2;
	if (make_room(&s->program, most) || make_room(&s->other, most))
		return NULL;
	for (uint32_t i = s->count; i && tries && s->spent <= SPARE + s->seen; tries--) {
		size_t made = try_base(s, &s->window[--i], c, most);
		if (!made)
			continue;
		room swapped = s->program;
		s->program = s->other;
		s->other = swapped;
		best = &s->window[i];
		*len = made;
		most = made - 1;
		if (made <= c->size / 8)
			break;
	}
	return best;
}

static int is_right(delta_search *s, const candidate *base, const candidate *c, gpa_bytes program)
{
	gpa_error ignored;
	return !make_room(&s->proof, c->size) &&
	       !gpa_delta_apply(s->proof.ptr, c->size, (gpa_bytes){base->content, base->size}, program, &ignored) &&
	       !memcmp(s->proof.ptr, c->content, c->size);
}

/* Replace *entry by a delta, if that is at least 30 % smaller. */
static int make_entry(gpa_bytes *entry, delta_search *s, const candidate *base, const candidate *c, size_t len)
{
	gpa_error ignored;
	gpa_bytes program = {s->program.ptr, len};
	size_t stream;
	if (!is_right(s, base, c, program) || make_room(&s->entry, ENTRY_HEADER_MAX + deflate_room(len)))
		return -1;
	unsigned char *out = s->entry.ptr;
	size_t header = entry_header_write(out, GPA_OFS_DELTA, len);
	header += entry_distance_write(out + header, c->offset - base->offset);
	if (deflate_whole(s->d, out + header, &stream, program, &ignored) ||
	    (header + stream) * 10 > entry->len * 7)
		return -1;
	*entry = (gpa_bytes){out, header + stream};
	return 0;
}

static int try_deltas(gpa_bytes *entry, delta_search *s, candidate *c, uint32_t tries)
{
	size_t len = 0;
	const candidate *base = find_base(&len, s, c, tries);
	if (!base || make_entry(entry, s, base, c, len))
		return -1;
	c->depth = base->depth + 1;
	return 0;
}

/* Whether an object that did not become a delta may be the base of the next one. */
static int may_serve(const delta_search *s, uint32_t at)
{
	uint32_t next = at + 1;
	return s->missed_name < PATIENCE_NAME && next < s->page->count &&
	       is_named_alike(s, s->names[s->order[at]], s->names[s->order[next]]);
}

static int next_delta(gpa_bytes *entry, delta_search *s, uint32_t at, uint64_t offset)
{
	const page_row *row = &s->page->rows[s->order[at]];
	candidate c = {.size = (size_t)row->size, .name = s->names[s->order[at]], .offset = offset};
	if (at && !is_named_alike(s, s->names[s->order[at - 1]], c.name))
		s->missed_name = 0;
	uint32_t tries = count_tries(s, c.name);
	if ((!tries && !may_serve(s, at)) || !(c.content = inflate_entry(s, row, *entry)))
		return -1;
	int status = try_deltas(entry, s, &c, tries);
	remember(s, &c);
	return status;
}

int delta_search_next(gpa_bytes *entry, delta_search *s, uint32_t at, uint64_t offset)
{
	const page_row *row = &s->page->rows[s->order[at]];
	if ((row->type != GPA_TREE && row->type != GPA_BLOB) || row->size < LEAST || row->size > MOST)
		return GPA_ENOTFOUND;
	if (row->type != s->type)
		begin_type(s, row->type);
	int missed = next_delta(entry, s, at, offset);
	s->missed = missed ? s->missed + 1 : 0;
	s->missed_name = missed ? s->missed_name + 1 : 0;
	s->spent = missed ? s->spent : 0;
	s->seen += row->size;
	return missed ? GPA_ENOTFOUND : GPA_OK;
}

/* ---- the search as a whole ---- */

static int is_worth_while(const open_page *page)
{
	uint32_t trees = 0, blobs = 0;
	for (uint32_t i = 0; i < page->count; i++) {
		trees += page->rows[i].type == GPA_TREE;
		blobs += page->rows[i].type == GPA_BLOB;
	}
	return trees > 1 || blobs > 1;
}

delta_search *delta_search_new(uint32_t *order, const gpa_writer *w, const open_page *page, unsigned char *room)
{
	gpa_error ignored;
	delta_search *s = is_worth_while(page) ? calloc(1, sizeof(*s)) : NULL;
	if (!s)
		return NULL;
	s->page = page;
	s->order = order;
	s->depth_most = w->options.delta_depth;
	s->names = calloc(page->count, sizeof(*s->names));
	if (!s->names || inflater_new(&s->z, &ignored) || deflater_new(&s->d, w->options.level, &ignored)) {
		delta_search_free(s);
		return NULL;
	}
	name_objects(s, room, w->hash_size);
	if (sort_rows(order, s)) {
		delta_search_free(s);
		return NULL;
	}
	return s;
}

void delta_search_free(delta_search *s)
{
	if (!s)
		return;
	while (s->count)
		drop_oldest(s);
	free(s->program.ptr);
	free(s->other.ptr);
	free(s->entry.ptr);
	free(s->proof.ptr);
	inflater_free(s->z);
	deflater_free(s->d);
	free(s->names);
	free(s);
}
