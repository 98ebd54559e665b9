/*
 * Which copy of each object to take: the smallest, provided that its delta base is taken too, that no chain is a cycle,
 * and that none is longer than options.depth.
 *
 * First every object gets its smallest copy, and the bases that these need are taken as well. Then chains are followed
 * to their ends. A cycle (X a delta on Y in one pack, Y on X in another) is opened where that costs fewest bytes. A
 * chain that grows too long goes on from a whole copy. If no source has a whole copy, the object is rebuilt: inflated
 * and deflated once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "merge/merge.h"

#define UNKNOWN UINT32_MAX	/* object.depth before its chain has been followed */
#define ON_PATH (UINT32_MAX - 1)
#define NO_LIMIT (UINT32_MAX - 2)
#define STEPS_EACH 64		/* for each object, of the search for ways out of cycles; a hostile pack may have many cycles */
#define STEPS_AT_ONCE 10000

/* A growing list. */
typedef struct stack {
	uint32_t *items;
	uint32_t count, room;
} stack;

static int push(stack *s, uint32_t item, gpa_error *err)
{
	if (array_reserve(s->items, s->room, (uint64_t)s->count + 1, 64))
		return out_of_memory(err);
	s->items[s->count++] = item;
	return GPA_OK;
}

static int usable(const gpa_merge *m, const copy *c)
{
	return !c->damaged && !c->lies &&
	       (c->base == NONE || (!m->copies[c->base].lies && !m->objects[m->copies[c->base].object].lost));
}

/*
 * The smallest usable copy of `object`; of equal ones the copy that the index names, or that of the oldest source. NONE
 * if there is none.
 */
static uint32_t smallest_copy(const gpa_merge *m, uint32_t object, int whole_only)
{
	uint32_t best = NONE;
	for (uint32_t i = copies_begin(m, object); i < copies_end(m, object); i++) {
		const copy *c = &m->copies[m->by_object[i]];
		if (!usable(m, c) || (whole_only && c->base != NONE))
			continue;
		if (best == NONE || c->size < m->copies[best].size || (c->size == m->copies[best].size && c->named))
			best = m->by_object[i];
	}
	return best;
}

/* A copy that only its own pack can make, because the base there is not what its idx says. NONE if there is none. */
static uint32_t stranded_copy(const gpa_merge *m, uint32_t object)
{
	for (uint32_t i = copies_begin(m, object); i < copies_end(m, object); i++)
		if (m->copies[m->by_object[i]].proved && !m->copies[m->by_object[i]].damaged)
			return m->by_object[i];
	return NONE;
}

uint32_t smallest_whole(const gpa_merge *m, uint32_t object)
{
	return smallest_copy(m, object, 1);
}

/* For each object, the copies that are deltas on it. Built when the first object is lost. */
typedef struct dependents {
	uint32_t *first;	/* object -> copy */
	uint32_t *next;		/* copy -> copy */
} dependents;

static int dependents_find(dependents *d, const gpa_merge *m, gpa_error *err)
{
	d->first = malloc((size_t)m->object_count * sizeof(*d->first));
	d->next = malloc((size_t)m->copy_count * sizeof(*d->next));
	if (!d->first || !d->next)
		return out_of_memory(err);
	memset(d->first, 0xff, (size_t)m->object_count * sizeof(*d->first));
	for (uint32_t i = 0; i < m->copy_count; i++) {
		uint32_t base = base_object(m, &m->copies[i]);
		if (base == NONE)
			continue;
		d->next[i] = d->first[base];
		d->first[base] = i;
	}
	return GPA_OK;
}

/* Queue the objects whose chosen copy is a delta on a lost object: they need another copy. */
static int push_dependents(stack *todo, dependents *d, const gpa_merge *m, uint32_t lost, gpa_error *err)
{
	int status = d->first ? GPA_OK : dependents_find(d, m, err);
	if (status)
		return status;
	for (uint32_t i = d->first[lost]; !status && i != NONE; i = d->next[i]) {
		const object *o = &m->objects[m->copies[i].object];
		if (o->taken && o->chosen == i)
			status = push(todo, m->copies[i].object, err);
	}
	return status;
}

/* Choose a copy for every object that is taken, and take the bases that this needs. */
static int choose_smallest(gpa_merge *m, gpa_error *err)
{
	stack todo = {0};
	dependents on = {0};
	int status = GPA_OK;
	for (uint32_t i = 0; !status && i < m->object_count; i++)
		if (m->objects[i].taken)
			status = push(&todo, i, err);
	while (!status && todo.count) {
		object *o = &m->objects[todo.items[--todo.count]];
		o->chosen = smallest_copy(m, (uint32_t)(o - m->objects), 0);
		o->depth = UNKNOWN;
		if (o->chosen == NONE && (o->chosen = stranded_copy(m, (uint32_t)(o - m->objects))) != NONE) {
			m->rebuilt_count += !o->rebuild;
			o->rebuild = 1;
			continue;
		}
		if (o->chosen == NONE) {
			o->taken = 0;
			o->lost = 1;
			m->left_out_count++;
			status = push_dependents(&todo, &on, m, (uint32_t)(o - m->objects), err);
			continue;
		}
		uint32_t base = base_object(m, &m->copies[o->chosen]);
		if (base != NONE && !m->objects[base].taken) {
			m->objects[base].taken = 1;
			status = push(&todo, base, err);
		}
	}
	free(todo.items);
	free(on.first);
	free(on.next);
	return status;
}

/* ---- cycles ---- */

/* Whether a chain that begins with `base` ends without meeting the path that is being followed. */
static int leads_out(gpa_merge *m, uint32_t base)
{
	uint64_t steps = m->steps_left < STEPS_AT_ONCE ? m->steps_left : STEPS_AT_ONCE;
	for (; steps && base != NONE && m->objects[base].taken && m->objects[base].depth == UNKNOWN; steps--) {
		base = chosen_base(m, base);
		m->steps_left--;
	}
	return base == NONE || (m->objects[base].taken && m->objects[base].depth < ON_PATH);
}

/* The cheapest other copy of `object` that leads out of the cycle it is on. */
static uint32_t way_out(gpa_merge *m, uint32_t object)
{
	uint32_t best = NONE;
	for (uint32_t i = copies_begin(m, object); i < copies_end(m, object); i++) {
		const copy *c = &m->copies[m->by_object[i]];
		if (!usable(m, c) || !leads_out(m, base_object(m, c)))
			continue;
		if (best == NONE || c->size < m->copies[best].size)
			best = m->by_object[i];
	}
	return best;
}

/* Open a cycle at the cheapest place. Each object of `cycle` is a delta on the next, and the last on the first. */
static void open_cycle(gpa_merge *m, const uint32_t *cycle, uint32_t count)
{
	uint32_t at = NONE, instead = NONE;
	int64_t least = INT64_MAX;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t way = way_out(m, cycle[i]);
		if (way == NONE)
			continue;
		int64_t cost = (int64_t)m->copies[way].size - (int64_t)m->copies[m->objects[cycle[i]].chosen].size;
		if (cost < least) {
			least = cost;
			at = cycle[i];
			instead = way;
		}
	}
	if (at != NONE) {
		m->objects[at].chosen = instead;
		return;
	}
	m->objects[cycle[0]].rebuild = 1;	/* no source has a whole copy */
	m->rebuilt_count++;
}

/* ---- depth ---- */

/* Set the depth of `object`, whose chain is settled below it. If it is too deep, choose another copy. */
static void settle_depth(gpa_merge *m, uint32_t object)
{
	struct object *o = &m->objects[object];
	uint32_t base = chosen_base(m, object), limit = m->no_cuts ? NO_LIMIT : m->options.depth;
	o->depth = base == NONE ? 0 : m->objects[base].depth + 1;
	if (o->depth <= limit)
		return;
	uint32_t best = NONE;
	for (uint32_t i = copies_begin(m, object); i < copies_end(m, object); i++) {
		const copy *c = &m->copies[m->by_object[i]];
		/* the chain of a base with a known depth does not contain `object`, so no cycle arises */
		base = base_object(m, c);
		if (!usable(m, c) || (base != NONE && (!m->objects[base].taken || m->objects[base].depth >= limit)))
			continue;
		if (best == NONE || c->size < m->copies[best].size)
			best = m->by_object[i];
	}
	if (best == NONE) {
		o->rebuild = 1;
		m->rebuilt_count++;
		o->depth = 0;
		return;
	}
	o->chosen = best;
	base = base_object(m, &m->copies[best]);
	o->depth = base == NONE ? 0 : m->objects[base].depth + 1;
}

static void clear_path(gpa_merge *m, stack *path)
{
	for (uint32_t i = 0; i < path->count; i++)
		m->objects[path->items[i]].depth = UNKNOWN;
	path->count = 0;
}

/* Follow the chain from `object` to its end, opening cycles, then settle it from the end back. */
static int settle_chain(gpa_merge *m, uint32_t object, stack *path, gpa_error *err)
{
	uint32_t at = object;
	while (at != NONE && m->objects[at].depth >= ON_PATH) {
		if (m->objects[at].depth == ON_PATH) {
			uint32_t first = 0;
			while (path->items[first] != at)
				first++;
			open_cycle(m, path->items + first, path->count - first);
			clear_path(m, path);
			at = object;
			continue;
		}
		int status = push(path, at, err);
		if (status)
			return status;
		m->objects[at].depth = ON_PATH;
		at = chosen_base(m, at);
	}
	while (path->count)
		settle_depth(m, path->items[--path->count]);
	return GPA_OK;
}

int choose_copies(gpa_merge *m, gpa_error *err)
{
	stack path = {0};
	m->steps_left = (uint64_t)STEPS_EACH * m->object_count + STEPS_AT_ONCE;
	int status = choose_smallest(m, err);
	for (uint32_t i = 0; !status && i < m->object_count; i++)
		if (m->objects[i].taken)
			status = is_stopped(m->progress) ? stopped(err) : settle_chain(m, i, &path, err);
	free(path.items);
	return status;
}
