/* The list of a reader's overlays (overlay.h). */
#include <pthread.h>
#include <stdlib.h>

#include "read/reader.h"

void overlays_hold(held_overlays *out, overlay *list)
{
	out->count = 0;
	for (overlay *o = list; o; o = o->next)
		if (o->calls->share(o))
			out->list[out->count++] = o;
}

void overlays_release(held_overlays *held)
{
	while (held->count) {
		overlay *o = held->list[--held->count];
		o->calls->free(o);
	}
}

void reader_hold_overlays(held_overlays *out, gpa_reader *r)
{
	out->count = 0;
	pthread_mutex_lock(&r->lock);
	if (r->overlays)
		overlays_hold(out, r->overlays);
	pthread_mutex_unlock(&r->lock);
}

static int may_attach(const gpa_reader *r, const overlay *o)
{
	uint32_t count = 0;
	for (const overlay *there = r->overlays; there; there = there->next, count++)
		if (there->calls == o->calls)
			return 0;
	return count < OVERLAYS_MOST;
}

int reader_attach(gpa_reader *r, overlay *o)
{
	pthread_mutex_lock(&r->lock);
	int may = may_attach(r, o);
	if (may) {
		o->next = r->overlays;
		r->overlays = o;
	}
	pthread_mutex_unlock(&r->lock);
	return may ? 0 : -1;
}

void reader_detach(gpa_reader *r, overlay *o)
{
	pthread_mutex_lock(&r->lock);
	overlay **at = &r->overlays;
	while (*at && *at != o)
		at = &(*at)->next;
	if (*at)
		*at = o->next;
	pthread_mutex_unlock(&r->lock);
}
