/*
 * The plan of a merge. This file finds out which objects there are and which are taken. Then choose_copies.c,
 * find_deltas.c and assign_pages.c decide which copy of each is written, and in which page.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/oidsort.h"
#include "merge/merge.h"

void forget_plan(gpa_merge *m)
{
	proof_drop(m);
	free(m->objects);
	free(m->by_object);
	free(m->slots);
	free(m->pages);
	free(m->made);
	m->made = NULL;
	m->made_size = m->made_count = 0;
	m->objects = NULL;
	m->by_object = NULL;
	m->slots = NULL;
	m->pages = NULL;
	m->object_count = m->slot_count = m->slot_room = m->page_count = m->page_room = 0;
	m->rebuilt_count = m->cut_count = m->left_out_count = m->conflict_count = 0;
}

static const unsigned char *ref_oid(const void *context, const oid_ref *ref)
{
	const gpa_merge *m = context;
	return gpa_idx_oid(m->sources[ref->source].idx, ref->pos);
}

/*
 * Compare two copies of one object, because an idx may have other content under its id. Two whole copies that agree on
 * type, size and Adler-32 are alike. Of other copies, the chosen one has to be proved. If both have a type, a size or
 * an Adler-32 and these differ, one copy lies or is damaged.
 */
static void compare_copies(gpa_merge *m, object *o, const copy *a, const copy *b)
{
	if (a->damaged || a->lies || b->damaged || b->lies) {
		o->doubt |= UNLIKE;
		return;
	}
	int are_whole = a->base == NONE && b->base == NONE;
	m->conflict_count += a->type != b->type || (a->fold && b->fold && a->fold != b->fold) ||
			     (are_whole && a->sum != b->sum);
	o->doubt |= are_whole ? 0 : UNLIKE;
}

/*
 * Compare a copy with the one before it and with the last whole one, so that any two whole ones that differ are found.
 */
static void compare_with_earlier(gpa_merge *m, object *o, uint32_t end, const copy *c)
{
	const copy *before = &m->copies[m->by_object[end - 1]];
	compare_copies(m, o, before, c);
	for (uint32_t i = end; c->base == NONE && i-- > o->first_copy;) {
		const copy *earlier = &m->copies[m->by_object[i]];
		if (earlier->base != NONE || earlier->damaged || earlier->lies)
			continue;
		if (earlier != before)
			compare_copies(m, o, earlier, c);
		return;
	}
}

/* Give each distinct oid a number, the same in every plan, and group the copies by it. */
static int number_objects(gpa_merge *m, gpa_error *err)
{
	size_t n = m->copy_count;
	oid_ref *refs = malloc((2 * n + 1) * sizeof(*refs));
	m->by_object = malloc((n + 1) * sizeof(*m->by_object));
	m->objects = calloc(n + 1, sizeof(*m->objects));
	if (!refs || !m->by_object || !m->objects) {
		free(refs);
		return out_of_memory(err);
	}
	for (uint32_t s = 0, i = 0; s < m->source_count; s++)
		for (uint32_t pos = 0; pos < m->sources[s].idx->object_count; pos++, i++)
			refs[i] = (oid_ref){be64(gpa_idx_oid(m->sources[s].idx, pos)), s, pos};
	oid_sort(refs, refs + n, n, m->hash_size, ref_oid, m);
	for (uint32_t i = 0; i < n; i++) {
		const unsigned char *oid = ref_oid(m, &refs[i]);
		uint32_t number = m->sources[refs[i].source].first_copy + refs[i].pos;
		if (!i || refs[i].key != refs[i - 1].key || memcmp(ref_oid(m, &refs[i - 1]), oid, m->hash_size))
			m->objects[m->object_count++] = (object){.oid = oid, .first_copy = i, .chosen = NONE};
		else
			compare_with_earlier(m, &m->objects[m->object_count - 1], i, &m->copies[number]);
		m->by_object[i] = number;
		m->copies[number].object = m->object_count - 1;
		m->copies[number].named = 0;
	}
	m->objects[m->object_count].first_copy = (uint32_t)n;
	free(refs);
	return GPA_OK;
}

/* Note that the index names the copy of `object` at `offset` of `source`. */
static void note_named(gpa_merge *m, uint32_t object, uint32_t source, uint64_t offset)
{
	for (uint32_t i = copies_begin(m, object); i < copies_end(m, object); i++) {
		copy *c = &m->copies[m->by_object[i]];
		if (c->source == source && c->offset == offset) {
			c->named = 1;
			return;
		}
	}
	m->objects[object].doubt |= NOT_NAMED;
}

/*
 * Decide which objects are taken: all except those whose winner in the index is in a pack that counts and is not
 * merged. If an object is taken although its winner is elsewhere, its copy has to be proved, because git reads the
 * other one.
 */
static int take_objects(gpa_merge *m, const gpa_midx *midx, const uint32_t *sources, gpa_error *err)
{
	for (uint32_t i = 0; i < m->object_count; i++) {
		uint32_t pos, pack;
		uint64_t offset;
		m->objects[i].taken = 1;
		if (!midx || gpa_midx_find(&pos, midx, m->objects[i].oid))
			continue;
		int status = gpa_midx_entry(&pack, &offset, midx, pos, err);
		if (status)
			return status;
		m->objects[i].taken = sources[pack] != GPA_NO_SOURCE;
		if (sources[pack] == GPA_NO_SOURCE || sources[pack] == GPA_NOT_COUNTED)
			m->objects[i].doubt |= NOT_NAMED;
		else
			note_named(m, i, sources[pack], offset);
	}
	return GPA_OK;
}

int gpa_merge_plan(gpa_merge_stats *stats, gpa_merge *m, const gpa_midx *midx, const uint32_t *sources, int reverse,
		   gpa_progress *progress, gpa_error *err)
{
	int status;
	memset(stats, 0, sizeof(*stats));
	forget_plan(m);
	m->progress = progress;
	if ((status = number_objects(m, err)))
		return status;
	if (m->conflict_count && !m->is_checked) {
		stats->conflict_count = m->conflict_count;
		m->in_doubt = 1;
		return GPA_OK;
	}
	if ((status = take_objects(m, midx, sources, err)) || (status = choose_copies(m, err)))
		return status;
	if (!m->no_made)
		make_deltas(m);
	if (is_stopped(progress))
		return stopped(err);
	if ((status = assign_pages(m, reverse, err)))
		return status;
	stats->entry_count = m->copy_count;
	stats->object_count = m->slot_count - m->cut_count;
	stats->page_count = m->page_count;
	stats->rebuilt_count = m->rebuilt_count;
	stats->cut_count = m->cut_count;
	stats->made_count = m->made_count;
	stats->left_out_count = m->left_out_count;
	for (uint32_t i = 0; i < m->page_count; i++)
		stats->bytes += m->pages[i].bytes;
	return GPA_OK;
}

int gpa_merge_page(gpa_page_info *out, const gpa_merge *m, uint32_t number)
{
	if (number >= m->page_count)
		return GPA_ENOTFOUND;
	out->object_count = m->pages[number].slot_count;
	out->bytes = m->pages[number].bytes;
	return GPA_OK;
}

int gpa_merge_page_sources(unsigned char *is_source, const gpa_merge *m, uint32_t number)
{
	if (number >= m->page_count)
		return GPA_ENOTFOUND;
	const page *pg = &m->pages[number];
	memset(is_source, 0, m->source_count);
	for (uint32_t i = pg->first_slot; i < pg->first_slot + pg->slot_count; i++) {
		uint32_t object = m->slots[i].object;
		for (uint32_t n = copies_begin(m, object); n < copies_end(m, object); n++)
			is_source[m->copies[m->by_object[n]].source] = 1;
	}
	return GPA_OK;
}

int gpa_merge_left_out(unsigned char *oid, uint32_t *source, const gpa_merge *m, uint32_t n)
{
	for (uint32_t i = 0; i < m->object_count; i++) {
		if (!m->objects[i].lost || n--)
			continue;
		memcpy(oid, m->objects[i].oid, m->hash_size);
		*source = m->copies[m->by_object[m->objects[i].first_copy]].source;
		return GPA_OK;
	}
	return GPA_ENOTFOUND;
}

uint64_t gpa_merge_entries_read(const gpa_merge *m)
{
	return m->entries_read;
}

int gpa_merge_lie(unsigned char *oid, uint32_t *source, uint32_t *next, const gpa_merge *m)
{
	while (*next < m->copy_count) {
		const copy *c = &m->copies[(*next)++];
		if (!c->lies || m->objects[c->object].lost)
			continue;
		memcpy(oid, m->objects[c->object].oid, m->hash_size);
		*source = c->source;
		return GPA_OK;
	}
	return GPA_ENOTFOUND;
}
