/*
 * Which page each object goes to. Objects that are deltas on one another form a *family*. A family stays in one page as
 * far as its size allows, because the deltas of a pack may only refer to the pack itself, and because readers are
 * faster if chains lie together.
 *
 * Families are taken oldest first. The rest of a page is filled with families that fit it exactly. Only if none fits, a
 * family is cut. A cut costs one whole object: the base that both sides need, or the object that lost its base.
 */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "format/pack.h"
#include "merge/merge.h"

typedef struct family {
	uint64_t bytes : 63;
	uint64_t taken : 1;
	uint32_t root;		/* object */
	uint32_t count;
	uint32_t source;	/* oldest source of any member */
	uint64_t offset;	/* of the root, in its source */
} family;

typedef struct plan {
	gpa_merge *m;
	family *families;
	uint32_t family_count;
	uint32_t *child;	/* object -> first object stored as a delta on it */
	uint32_t *sibling;	/* object -> next with the same base */
	uint32_t *waiting;	/* object -> how many of the deltas on it have no page yet */
	uint32_t *slot_of;	/* object -> its slot in the page being filled, valid while >= page.first_slot */
	uint32_t *by_size;	/* families ordered by count, then age */
	uint32_t *size_next;	/* count -> next candidate in by_size */
	uint32_t *size_end;
	uint32_t largest;	/* no family that fits a page is larger */
	page page;		/* being filled */
} plan;

/*
 * The size that an object will have in the page. For a rebuilt one this is a guess: it deflates to something like its
 * share of the delta.
 */
static uint64_t stored_size(const gpa_merge *m, uint32_t object)
{
	return m->copies[m->objects[object].chosen].size;
}

/* ---- families ---- */

/* The family of an object. That of its base is mostly known. */
static uint32_t find_family(const gpa_merge *m, uint32_t *family_of, uint32_t object)
{
	uint32_t at = object;
	while (family_of[at] == NONE)
		at = chosen_base(m, at);	/* at most options.depth steps to the root, whose family is known */
	for (uint32_t found = family_of[at]; family_of[object] == NONE; object = chosen_base(m, object))
		family_of[object] = found;
	return family_of[object];
}

/* Order families: oldest first; those of one source in the order of that pack. */
static int compare_families(const void *left, const void *right)
{
	const family *a = left, *b = right;
	if (a->source != b->source)
		return a->source < b->source ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return a->root < b->root ? -1 : a->root > b->root;
}

static int compare_reversed(const void *left, const void *right)
{
	return compare_families(right, left);
}

static int is_root(const gpa_merge *m, uint32_t object)
{
	return m->objects[object].taken && chosen_base(m, object) == NONE;
}

static void collect_families(plan *p, int reverse)
{
	gpa_merge *m = p->m;
	uint32_t *family_of = p->slot_of;	/* borrowed until slots are given out */
	memset(family_of, 0xff, m->object_count * sizeof(*family_of));
	for (uint32_t i = 0; i < m->object_count; i++) {
		p->child[i] = p->sibling[i] = NONE;
		p->waiting[i] = 0;
		if (is_root(m, i)) {
			family_of[i] = p->family_count;
			p->families[p->family_count++] = (family){.root = i, .source = NONE,
							       .offset = m->copies[m->objects[i].chosen].offset};
		}
	}
	for (uint32_t i = m->object_count; i-- > 0;) {
		if (!m->objects[i].taken)
			continue;
		family *f = &p->families[find_family(m, family_of, i)];
		uint32_t base = chosen_base(m, i), src = m->copies[m->objects[i].chosen].source;
		f->count++;
		f->bytes += stored_size(m, i);
		f->source = src < f->source ? src : f->source;
		if (base != NONE) {
			p->sibling[i] = p->child[base];
			p->child[base] = i;
			p->waiting[base]++;
		}
	}
	qsort(p->families, p->family_count, sizeof(*p->families), reverse ? compare_reversed : compare_families);
	memset(p->slot_of, 0xff, m->object_count * sizeof(*p->slot_of));
}

/*
 * Order families by size, with a counting sort that keeps their age within one size. Families larger than a page come
 * last.
 */
static void order_by_size(plan *p)
{
	uint32_t most = p->largest, start = 0;
	for (uint32_t i = 0; i < p->family_count; i++)
		if (p->families[i].count <= most)
			p->size_end[p->families[i].count]++;
	for (uint32_t size = 1; size <= most; size++) {
		p->size_next[size] = start;
		start += p->size_end[size];
		p->size_end[size] = p->size_next[size];
	}
	for (uint32_t i = 0; i < p->family_count; i++)
		if (p->families[i].count <= most)
			p->by_size[p->size_end[p->families[i].count]++] = i;
}

/* ---- filling a page ---- */

static int add_slot(plan *p, uint32_t object, uint32_t base_slot, uint32_t chosen, int rebuild, gpa_error *err)
{
	gpa_merge *m = p->m;
	if (array_reserve(m->slots, m->slot_room, (uint64_t)m->slot_count + 1, 64))
		return out_of_memory(err);
	m->slots[m->slot_count] = (slot){.object = object, .base = base_slot, .chosen = chosen, .rebuild = (uint8_t)rebuild};
	p->slot_of[object] = m->slot_count++;
	p->page.slot_count++;
	p->page.bytes += m->copies[chosen].size;
	return GPA_OK;
}

static int in_page(const plan *p, uint32_t object)
{
	return p->slot_of[object] != NONE && p->slot_of[object] >= p->page.first_slot;
}

static int add_object(plan *p, uint32_t object, gpa_error *err)
{
	const struct object *o = &p->m->objects[object];
	uint32_t base = chosen_base(p->m, object);
	return add_slot(p, object, base == NONE ? NONE : p->slot_of[base], o->chosen, o->rebuild, err);
}

/* The object after `object` in a walk of its family, bases first. With `skip` the walk does not go below `object`. */
static uint32_t next_in_family(const plan *p, uint32_t object, uint32_t root, int skip)
{
	if (!skip && p->child[object] != NONE)
		return p->child[object];
	while (object != root && p->sibling[object] == NONE)
		object = chosen_base(p->m, object);
	return object == root ? NONE : p->sibling[object];
}

static uint64_t overhead(const gpa_merge *m)
{
	return PACK_HEADER + m->hash_size;
}

static int has_room(const plan *p, uint64_t count, uint64_t bytes)
{
	const gpa_merge_options *options = &p->m->options;
	if (!p->page.slot_count && count == 1)
		return 1;	/* one larger object may stand alone */
	return count <= options->page_objects - p->page.slot_count &&
	       bytes <= options->page_bytes - overhead(p->m) - p->page.bytes &&
	       p->page.bytes + overhead(p->m) <= options->page_bytes;
}

static int add_family(plan *p, family *f, gpa_error *err)
{
	int status = GPA_OK;
	f->taken = 1;
	for (uint32_t at = f->root; !status && at != NONE; at = next_in_family(p, at, f->root, 0))
		status = add_object(p, at, err);
	return status;
}

static int close_page(plan *p, gpa_error *err)
{
	gpa_merge *m = p->m;
	if (array_reserve(m->pages, m->page_room, (uint64_t)m->page_count + 1, 64))
		return out_of_memory(err);
	m->pages[m->page_count++] = p->page;
	p->page = (page){.first_slot = m->slot_count};
	return GPA_OK;
}

/* The oldest family of exactly `size` objects that is not taken yet, or NULL. */
static family *oldest_of_size(plan *p, uint32_t size)
{
	while (p->size_next[size] < p->size_end[size] && p->families[p->by_size[p->size_next[size]]].taken)
		p->size_next[size]++;
	return p->size_next[size] < p->size_end[size] ? &p->families[p->by_size[p->size_next[size]]] : NULL;
}

/* Fill the rest of the page with families that fit, the largest first. */
static int fill_exactly(plan *p, gpa_error *err)
{
	int status = GPA_OK;
	uint32_t room = p->m->options.page_objects - p->page.slot_count;
	for (uint32_t size = room < p->largest ? room : p->largest; !status && size; size--) {
		family *f;
		while (!status && (f = oldest_of_size(p, size)) && has_room(p, f->count, f->bytes))
			status = add_family(p, f, err);
		uint32_t left = p->m->options.page_objects - p->page.slot_count;
		size = size > left + 1 ? left + 1 : size;
	}
	return status;
}

/* ---- cutting a family ---- */

/* Add an object whose base is in an earlier page: bring the base into this page, or store the object whole. */
static int add_after_cut(plan *p, uint32_t object, gpa_error *err)
{
	gpa_merge *m = p->m;
	uint32_t base = chosen_base(m, object), whole = smallest_whole(m, object), base_whole = smallest_whole(m, base);
	if (p->waiting[base] > 1 && has_room(p, 2, stored_size(m, object) + stored_size(m, base))) {
		int rebuild = base_whole == NONE;
		int status = add_slot(p, base, NONE, rebuild ? m->objects[base].chosen : base_whole, rebuild, err);
		m->cut_count++;
		m->rebuilt_count += rebuild;
		return status ? status : add_object(p, object, err);
	}
	m->rebuilt_count += whole == NONE;
	return add_slot(p, object, NONE, whole == NONE ? m->objects[object].chosen : whole, whole == NONE, err);
}

/*
 * Place a family that does not fit into one page, over as many pages as it takes. It is walked bases first, so each
 * part consists of whole chains from their beginning, except for the chain that is cut.
 */
static int add_cut_family(plan *p, family *f, gpa_error *err)
{
	gpa_merge *m = p->m;
	int status = GPA_OK;
	f->taken = 1;
	for (uint32_t at = f->root; !status && at != NONE; at = next_in_family(p, at, f->root, 0)) {
		uint32_t base = chosen_base(m, at);
		if (!has_room(p, 1, stored_size(m, at)))
			status = close_page(p, err);
		if (!status)
			status = base == NONE || in_page(p, base) ? add_object(p, at, err) : add_after_cut(p, at, err);
		if (base != NONE)
			p->waiting[base]--;
	}
	return status;
}

/* ---- order within a page ---- */

/*
 * The rank of a type in git's order: commits, tags, trees, blobs. A family has one type, so bases stay before their
 * deltas.
 */
static unsigned type_rank(const gpa_merge *m, const slot *s)
{
	static const unsigned char ranks[] = {0, 0, 2, 3, 1};
	return ranks[m->copies[s->chosen].type];
}

static void sort_page(gpa_merge *m, const page *pg, int reverse, slot *sorted, uint32_t *moved)
{
	slot *slots = m->slots + pg->first_slot;
	uint32_t at = 0;
	for (unsigned rank = 0; rank < 4; rank++)
		for (uint32_t i = 0; i < pg->slot_count; i++)
			if (type_rank(m, &slots[i]) == (reverse ? 3 - rank : rank)) {
				moved[i] = pg->first_slot + at;
				sorted[at++] = slots[i];
			}
	for (uint32_t i = 0; i < pg->slot_count; i++) {
		slots[i] = sorted[i];
		if (slots[i].base != NONE)
			slots[i].base = moved[slots[i].base - pg->first_slot];
	}
}

static int sort_pages(gpa_merge *m, int reverse, gpa_error *err)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < m->page_count; i++)
		most = m->pages[i].slot_count > most ? m->pages[i].slot_count : most;
	slot *sorted = malloc((most + 1) * sizeof(*sorted));
	uint32_t *moved = malloc((most + 1) * sizeof(*moved));
	int status = sorted && moved ? GPA_OK : out_of_memory(err);
	for (uint32_t i = 0; !status && i < m->page_count; i++)
		sort_page(m, &m->pages[i], reverse, sorted, moved);
	free(sorted);
	free(moved);
	return status;
}

/* ---- the whole ---- */

static int fill_pages(plan *p, gpa_error *err)
{
	int status = GPA_OK;
	for (uint32_t i = 0; !status && i < p->family_count; i++) {
		family *f = &p->families[i];
		if (f->taken)
			continue;
		if (has_room(p, f->count, f->bytes)) {
			status = add_family(p, f, err);
		} else {
			status = fill_exactly(p, err);
			int full = p->page.slot_count == p->m->options.page_objects;
			int by_bytes = !full && f->count <= p->m->options.page_objects - p->page.slot_count;
			if (!status && (full || (by_bytes && p->page.slot_count)))
				status = close_page(p, err);
			if (!status && !f->taken && has_room(p, f->count, f->bytes))
				status = add_family(p, f, err);
			else if (!status && !f->taken)
				status = add_cut_family(p, f, err);
		}
		if (!status && p->page.slot_count == p->m->options.page_objects)
			status = close_page(p, err);
	}
	if (!status && p->page.slot_count)
		status = close_page(p, err);
	return status;
}

int assign_pages(gpa_merge *m, int reverse, gpa_error *err)
{
	uint32_t most = m->options.page_objects < m->object_count ? m->options.page_objects : m->object_count;
	size_t n = (size_t)m->object_count + 1, sizes = (size_t)most + 2;
	uint32_t roots = 1, taken = 1;
	plan p = {.m = m, .largest = most};
	for (uint32_t i = 0; i < m->object_count; i++) {
		roots += is_root(m, i);
		taken += m->objects[i].taken;
	}
	m->slot_room = taken;
	m->slots = malloc(taken * sizeof(*m->slots));
	p.families = malloc(roots * sizeof(*p.families));
	p.child = malloc(n * sizeof(uint32_t));
	p.sibling = malloc(n * sizeof(uint32_t));
	p.waiting = malloc(n * sizeof(uint32_t));
	p.slot_of = malloc(n * sizeof(uint32_t));
	p.by_size = malloc(roots * sizeof(uint32_t));
	p.size_next = calloc(sizes, sizeof(uint32_t));
	p.size_end = calloc(sizes, sizeof(uint32_t));
	int status = m->slots && p.families && p.child && p.sibling && p.waiting && p.slot_of && p.by_size && p.size_next && p.size_end ?
		     GPA_OK : out_of_memory(err);
	if (!status) {
		collect_families(&p, reverse);
		order_by_size(&p);
		status = fill_pages(&p, err);
	}
	if (!status)
		status = sort_pages(m, reverse, err);
	free(p.families);
	free(p.child);
	free(p.sibling);
	free(p.waiting);
	free(p.slot_of);
	free(p.by_size);
	free(p.size_next);
	free(p.size_end);
	return status;
}
