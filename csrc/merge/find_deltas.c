/*
 * Deltas that no source has. A pack that was made alone, as by a split or from loose objects, has the first version of
 * each tree and file whole, although another source may have a similar one. Here such whole objects become deltas on
 * one another. Otherwise they would stay whole for good, and git would search deltas for each of them whenever it sends
 * them.
 *
 * Their names are not known. For each object a few numbers are kept that similar objects share: the largest hash of
 * eight neighbouring bytes, in each of four classes. An object is tried on earlier ones that share a number.
 *
 * A delta must save half of the stored size, and is applied before it is taken (I13; its source was checked against its
 * CRC32). The search never makes a merge fail: an object that cannot be read or is too large stays as it is.
 *
 * Limits (I11): CREDIT for bytes inflated without success, ALL_MOST for all inflated bytes, KEPT_BYTES and MADE_MOST
 * for memory. The same sources yield the same deltas.
 */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/delta.h"
#include "format/pack.h"
#include "merge/merge.h"

#define FEWEST 128			/* objects; a search among fewer is not worth it */
#define LEAST 256			/* stored bytes of an object that is tried */
#define MOST (1024 * 1024)		/* and its size when inflated */
#define CLASSES 4
#define TRIES 2
#define CREDIT (1024 * 1024)		/* inflated bytes */
#define GAIN 8				/* one delta gives credit for this many objects of its size */
#define ALL_MOST (256 * 1024 * 1024)
#define KEPT 1024			/* objects; a power of two */
#define KEPT_BYTES (16 * 1024 * 1024)
#define MADE_MOST (16 * 1024 * 1024)
#define ROWS 4096			/* a power of two */

/* An object that others are tried on. */
typedef struct kept {
	unsigned char *content;
	size_t size;
	delta_index *index;		/* NULL until it is needed */
	uint32_t object;
	uint64_t features[CLASSES];
} kept;

typedef struct chain_family {
	uint32_t count;
	uint32_t height;		/* longest chain */
} chain_family;

typedef struct delta_finder {
	gpa_merge *m;
	uint32_t *root_of;		/* object -> the whole object at the end of its chain */
	chain_family *families;		/* of each root */
	uint32_t *roots;		/* objects that are tried */
	uint32_t root_count;
	kept kept[KEPT];		/* number n in row n % KEPT */
	uint32_t first, next;		/* of the kept objects */
	size_t held;			/* bytes of their contents */
	uint32_t rows[ROWS];		/* feature -> 1 + number of the last object that has it */
	int64_t credit;
	uint64_t inflated;
	unsigned char *program, *proof, *entry;
} delta_finder;

/* ---- families ---- */

static uint32_t find_root(delta_finder *s, uint32_t object)
{
	uint32_t at = object, base;
	while (s->root_of[at] == NONE && (base = chosen_base(s->m, at)) != NONE)
		at = base;	/* at most options.depth steps */
	uint32_t root = s->root_of[at] == NONE ? at : s->root_of[at];
	for (at = object; at != root && s->root_of[at] == NONE; at = chosen_base(s->m, at))
		s->root_of[at] = root;
	return s->root_of[root] = root;
}

static void measure_families(delta_finder *s)
{
	gpa_merge *m = s->m;
	memset(s->root_of, 0xff, m->object_count * sizeof(*s->root_of));
	for (uint32_t i = 0; i < m->object_count; i++) {
		if (!m->objects[i].taken)
			continue;
		chain_family *f = &s->families[find_root(s, i)];
		f->count++;
		f->height = m->objects[i].depth > f->height ? m->objects[i].depth : f->height;
	}
}

static int is_tried(const gpa_merge *m, const object *o)
{
	if (!o->taken || o->rebuild)
		return 0;
	const copy *c = &m->copies[o->chosen];
	return c->base == NONE && (c->type == GPA_TREE || c->type == GPA_BLOB) && c->size >= LEAST &&
	       c->size <= COPY_BUFFER && m->sources[c->source].idx->crcs;
}

/* Order trees before blobs, and each as in the sources. */
static int compare_roots(const void *left, const void *right, void *merge)
{
	const gpa_merge *m = merge;
	const copy *a = &m->copies[m->objects[*(const uint32_t *)left].chosen];
	const copy *b = &m->copies[m->objects[*(const uint32_t *)right].chosen];
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	if (a->source != b->source)
		return a->source < b->source ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* ---- kept objects ---- */

static void drop_first(delta_finder *s)
{
	kept *k = &s->kept[s->first++ % KEPT];
	s->held -= k->size;
	free(k->content);
	delta_index_free(k->index);
}

static void drop_all(delta_finder *s)
{
	while (s->first < s->next)
		drop_first(s);
}

static uint32_t *row_of(delta_finder *s, uint64_t feature)
{
	return &s->rows[(feature >> 40) % ROWS];
}

static void keep(delta_finder *s, const kept *k)
{
	while (s->next - s->first == KEPT || (s->first < s->next && k->size > KEPT_BYTES - s->held))
		drop_first(s);
	for (int i = 0; i < CLASSES; i++)
		*row_of(s, k->features[i]) = s->next + 1;
	s->kept[s->next++ % KEPT] = *k;
	s->held += k->size;
}

/* ---- one object ---- */

static void find_features(uint64_t *features, gpa_bytes content)
{
	memset(features, 0, CLASSES * sizeof(*features));
	for (size_t i = 0; i + 8 <= content.len; i++) {
		uint64_t hash = be64(content.ptr + i) * 0x9e3779b97f4a7c15u;
		uint64_t *feature = &features[hash >> 62], value = hash << 2 | 1;
		*feature = value > *feature ? value : *feature;
	}
}

/* Read the content of a whole object, and find its features. */
static int read_root(kept *out, delta_finder *s, uint32_t object)
{
	gpa_merge *m = s->m;
	const copy *c = &m->copies[m->objects[object].chosen];
	gpa_error ignored;
	gpa_entry entry;
	gpa_bytes bytes;
	size_t used;
	if (read_copy(&bytes, m, c, &ignored) ||
	    entry_parse_bytes(&entry, bytes, c->offset, m->hash_size, &ignored) || entry.size > MOST)
		return -1;
	gpa_bytes stream = {bytes.ptr + entry.header_size, bytes.len - entry.header_size};
	*out = (kept){.content = malloc((size_t)entry.size + 1), .size = (size_t)entry.size, .object = object};
	if (!out->content || inflate_whole(m->z, out->content, out->size, &used, stream, &ignored)) {
		free(out->content);
		return -1;
	}
	find_features(out->features, (gpa_bytes){out->content, out->size});
	return 0;
}

/* Whether the family of `object` may be based on `base`: no chain grows too long, and no family larger than a page. */
static int may_stand_on(delta_finder *s, uint32_t object, uint32_t base)
{
	const gpa_merge_options *options = &s->m->options;
	const chain_family *own = &s->families[object], *other = &s->families[s->root_of[base]];
	return (uint64_t)s->m->objects[base].depth + 1 + own->height <= options->depth &&
	       own->count <= options->page_objects - other->count && other->count <= options->page_objects;
}

/* Make a program in s->program that yields `k` on `base`. Returns its length; 0 if it would be longer than `most`. */
static size_t make_program(delta_finder *s, kept *base, const kept *k, size_t most)
{
	gpa_error ignored;
	gpa_bytes from = {base->content, base->size}, to = {k->content, k->size};
	if (!base->index && delta_index_new(&base->index, from, &ignored))
		return 0;
	size_t len = delta_make(s->program, most, base->index, to);
	if (!len || gpa_delta_apply(s->proof, k->size, from, (gpa_bytes){s->program, len}, &ignored) ||
	    memcmp(s->proof, k->content, k->size))
		return 0;
	return len;
}

/* Make `len` bytes of s->program, deflated, the chosen copy of `object`. Returns -1 if they save too little. */
static int take_delta(delta_finder *s, uint32_t object, uint32_t base, size_t len)
{
	gpa_merge *m = s->m;
	gpa_error ignored;
	size_t stream;
	copy made = {.type = m->copies[m->objects[object].chosen].type, .object = object,
		     .base = m->objects[base].chosen, .sum = (uint32_t)len, .source = MADE, .offset = m->made_size};
	if (deflate_whole(m->d, s->entry, &stream, (gpa_bytes){s->program, len}, &ignored))
		return -1;
	made.size = (MADE_HEADER + stream) & (PACK_MOST - 1);
	if (made.size > m->copies[m->objects[object].chosen].size / 2 || stream > MADE_MOST - m->made_size ||
	    array_reserve(m->copies, m->copy_room, (uint64_t)m->copy_count + m->made_count + 1, 64))
		return -1;
	memcpy(m->made + m->made_size, s->entry, stream);
	m->made_size += stream;
	m->objects[object].chosen = m->copy_count + m->made_count;
	m->objects[object].depth = m->objects[base].depth + 1;
	m->copies[m->copy_count + m->made_count++] = made;
	return 0;
}

static int try_base(delta_finder *s, kept *base, const kept *k)
{
	size_t most = k->size / 2, len;
	if (!may_stand_on(s, k->object, base->object) || !(len = make_program(s, base, k, most)) ||
	    take_delta(s, k->object, base->object, len))
		return -1;
	uint32_t root = s->root_of[base->object];
	s->families[root].count += s->families[k->object].count;
	s->root_of[k->object] = root;	/* the root of its deltas is not asked for any more */
	return 0;
}

/* Try `k` on the last object that shares each of its features. */
static int try_alike(delta_finder *s, const kept *k)
{
	uint32_t tried[CLASSES], tries = 0;
	for (int i = 0; i < CLASSES && tries < TRIES; i++) {
		uint32_t number = *row_of(s, k->features[i]), known = 0;
		if (!number-- || number < s->first || s->kept[number % KEPT].features[i] != k->features[i])
			continue;
		for (uint32_t t = 0; t < tries; t++)
			known |= tried[t] == number;
		if (known)
			continue;
		tried[tries++] = number;
		if (!try_base(s, &s->kept[number % KEPT], k))
			return 0;
	}
	return -1;
}

static void try_root(delta_finder *s, uint32_t object)
{
	kept k;
	if (read_root(&k, s, object))
		return;
	s->inflated += k.size;
	s->credit -= (int64_t)k.size;
	if (!try_alike(s, &k)) {
		s->credit += GAIN * (int64_t)k.size;
		s->credit = s->credit < CREDIT ? s->credit : CREDIT;
	}
	keep(s, &k);
}

static void try_roots(delta_finder *s)
{
	unsigned type = 0;
	for (uint32_t i = 0; i < s->root_count && s->inflated < ALL_MOST && !is_stopped(s->m->progress); i++) {
		unsigned here = s->m->copies[s->m->objects[s->roots[i]].chosen].type;
		if (here != type) {
			drop_all(s);
			type = here;
			s->credit = CREDIT;
		}
		if (s->credit > 0)
			try_root(s, s->roots[i]);
	}
	drop_all(s);
}

/* ---- the whole ---- */

static delta_finder *search_new(gpa_merge *m)
{
	delta_finder *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->m = m;
	s->roots = malloc(((size_t)m->object_count + 1) * sizeof(*s->roots));
	for (uint32_t i = 0; s->roots && i < m->object_count; i++)
		if (is_tried(m, &m->objects[i]))
			s->roots[s->root_count++] = i;
	return s;
}

static void search_free(delta_finder *s)
{
	free(s->root_of);
	free(s->families);
	free(s->roots);
	free(s->program);
	free(s->proof);
	free(s->entry);
	free(s);
}

void make_deltas(gpa_merge *m)
{
	delta_finder *s = search_new(m);
	if (s && s->root_count >= FEWEST && m->options.depth) {
		s->root_of = malloc((size_t)m->object_count * sizeof(*s->root_of));
		s->families = calloc(m->object_count, sizeof(*s->families));
		s->program = malloc(MOST);
		s->proof = malloc(MOST);
		s->entry = malloc(deflate_room(MOST));
		m->made = malloc(MADE_MOST);
		if (s->root_of && s->families && s->program && s->proof && s->entry && m->made) {
			measure_families(s);
			qsort_r(s->roots, s->root_count, sizeof(*s->roots), compare_roots, m);
			try_roots(s);
		}
	}
	if (s)
		search_free(s);
}
