/* A reader: opened, shared, closed, and rescanning its directories when they may have changed. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "read/reader.h"

/* ---- opening, closing, fork ---- */

static int copy_dirs(gpa_reader *r, const char *const *dirs, uint32_t count)
{
	r->dirs = calloc((size_t)count + 1, sizeof(*r->dirs));
	for (; r->dirs && r->dir_count < count; r->dir_count++)
		if (!(r->dirs[r->dir_count] = strdup(dirs[r->dir_count])))
			return -1;
	return r->dirs ? 0 : -1;
}

int gpa_reader_open(gpa_reader **out, const char *const *dirs, uint32_t dir_count, const gpa_reader_options *options,
		    gpa_error *err)
{
	gpa_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return out_of_memory(err);
	r->owners = 1;
	r->options = *options;
	r->hash_size = gpa_hash_size(options->algo);
	pthread_mutex_init(&r->scan_lock, NULL);
	pthread_mutex_init(&r->lock, NULL);
	int status = copy_dirs(r, dirs, dir_count) ? out_of_memory(err) : pack_maps_new(&r->maps, options, err);
	if (!status)
		status = base_cache_new(&r->cache, options->cache_bytes, err);
	if (!status)
		status = snapshot_new(&r->current, r->dirs, r->dir_count, NULL, r->maps, options->algo, err);
	if (status) {
		gpa_reader_free(r);
		return status;
	}
	r->scan_count = 1;
	*out = r;
	return GPA_OK;
}

gpa_reader *gpa_reader_share(gpa_reader *reader)
{
	__atomic_add_fetch(&reader->owners, 1, __ATOMIC_RELAXED);
	return reader;
}

static void scratch_free(scratch *w)
{
	inflater_free(w->z);
	hasher_free(&w->hash);
	lately_free(&w->lately);
	free(w);
}

void gpa_reader_free(gpa_reader *reader)
{
	if (!reader || __atomic_sub_fetch(&reader->owners, 1, __ATOMIC_ACQ_REL))
		return;
	while (reader->idle) {
		scratch *next = reader->idle->next;
		scratch_free(reader->idle);
		reader->idle = next;
	}
	snapshot_drop(reader->current);
	base_cache_free(reader->cache);
	pack_maps_free(reader->maps);
	for (uint32_t i = 0; i < reader->dir_count; i++)
		free(reader->dirs[i]);
	free(reader->dirs);
	pthread_mutex_destroy(&reader->scan_lock);
	pthread_mutex_destroy(&reader->lock);
	free(reader);
}

void gpa_reader_before_fork(gpa_reader *reader)
{
	pthread_mutex_lock(&reader->lock);
	if (reader->overlays)
		overlays_hold(&reader->forking, reader->overlays);
	pthread_mutex_unlock(&reader->lock);
	for (uint32_t i = 0; i < reader->forking.count; i++)
		reader->forking.list[i]->calls->before_fork(reader->forking.list[i]);
	pthread_mutex_lock(&reader->scan_lock);
	pack_maps_lock(reader->maps);
	pthread_mutex_lock(&reader->lock);
	base_cache_lock(reader->cache);
}

void gpa_reader_after_fork(gpa_reader *reader)
{
	base_cache_unlock(reader->cache);
	pthread_mutex_unlock(&reader->lock);
	pack_maps_unlock(reader->maps);
	pthread_mutex_unlock(&reader->scan_lock);
	for (uint32_t i = 0; i < reader->forking.count; i++)
		reader->forking.list[i]->calls->after_fork(reader->forking.list[i]);
	overlays_release(&reader->forking);
}

void gpa_reader_in_child(gpa_reader *reader)
{
	for (overlay *o = reader->overlays; o; o = o->next)
		o->calls->in_child(o);
}

void gpa_reader_count(gpa_reader_stats *out, gpa_reader *reader)
{
	pack_maps_count(reader->maps, out);
	base_cache_count(reader->cache, &out->cache_bytes, &out->cache_hits);
	pthread_mutex_lock(&reader->lock);
	out->cache_misses = reader->cache_misses;
	pthread_mutex_unlock(&reader->lock);
	pthread_mutex_lock(&reader->scan_lock);
	out->scan_count = reader->scan_count;
	pthread_mutex_unlock(&reader->scan_lock);
}

/* ---- sessions ---- */

snapshot *reader_snapshot(gpa_reader *r)
{
	pthread_mutex_lock(&r->lock);
	snapshot *s = r->current;
	__atomic_add_fetch(&s->owners, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&r->lock);
	return s;
}

static int scratch_new(scratch **out, int algo, gpa_error *err)
{
	scratch *w = calloc(1, sizeof(*w));
	if (!w)
		return out_of_memory(err);
	int status = inflater_new(&w->z, err);
	if (!status && (status = hasher_init(&w->hash, algo, err)))
		inflater_free(w->z);
	if (status)
		free(w);
	else
		*out = w;
	return status;
}

int session_begin(reader_session *v, gpa_reader *r, gpa_error *err)
{
	v->r = r;
	pthread_mutex_lock(&r->lock);
	v->s = r->current;
	__atomic_add_fetch(&v->s->owners, 1, __ATOMIC_RELAXED);
	v->overlays.count = 0;
	if (r->overlays)
		overlays_hold(&v->overlays, r->overlays);
	v->w = r->idle;
	if (v->w)
		r->idle = v->w->next;
	pthread_mutex_unlock(&r->lock);
	int status = v->w ? GPA_OK : scratch_new(&v->w, r->options.algo, err);
	if (status) {
		snapshot_drop(v->s);
		overlays_release(&v->overlays);
	}
	return status;
}

void session_end(reader_session *v)
{
	pthread_mutex_lock(&v->r->lock);
	v->r->cache_misses += v->w->misses;
	v->w->misses = 0;
	v->w->next = v->r->idle;
	v->r->idle = v->w;
	pthread_mutex_unlock(&v->r->lock);
	snapshot_drop(v->s);
	if (v->overlays.count)
		overlays_release(&v->overlays);
}

/* ---- rescans ---- */

static void replace_snapshot(gpa_reader *r, snapshot *with)
{
	pthread_mutex_lock(&r->lock);
	snapshot *before = r->current;
	r->current = with;
	pthread_mutex_unlock(&r->lock);
	snapshot_drop(before);
}

int reader_look_again(int *changed, snapshot **s, gpa_reader *r, int anyway, gpa_error *err)
{
	int status = GPA_OK;
	snapshot *made;
	*changed = 0;
	pthread_mutex_lock(&r->scan_lock);
	snapshot *current = reader_snapshot(r);
	/* another thread may have rescanned while this one waited */
	if (anyway || snapshot_check(current, r->dirs) != SNAPSHOT_SURE) {
		status = snapshot_new(&made, r->dirs, r->dir_count, current, r->maps, r->options.algo, err);
		if (!status) {
			r->scan_count++;
			replace_snapshot(r, made);
			snapshot_drop(current);
			current = reader_snapshot(r);
		}
	}
	pthread_mutex_unlock(&r->scan_lock);
	if (current != *s) {
		*changed = 1;
		snapshot_drop(*s);
		*s = current;
	} else {
		snapshot_drop(current);
	}
	return status;
}

int gpa_reader_refresh(gpa_reader *reader, gpa_error *err)
{
	int changed;
	held_overlays held;
	uint64_t numbers[OVERLAYS_MOST];
	reader_hold_overlays(&held, reader);
	for (uint32_t i = 0; i < held.count; i++)
		numbers[i] = held.list[i]->calls->before_scan(held.list[i]);
	snapshot *s = reader_snapshot(reader);
	int status = reader_look_again(&changed, &s, reader, 1, err);
	snapshot_drop(s);
	for (uint32_t i = 0; !status && i < held.count; i++)	/* packs that are gone are not read any more */
		held.list[i]->calls->after_scan(held.list[i], reader, numbers[i]);
	overlays_release(&held);
	return status;
}
