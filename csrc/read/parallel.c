/*
 * Reading many objects with several threads, in the order in which they are stored, so that delta bases are still in
 * the cache. Each thread takes a run of neighbours at a time. read_many.c returns runs while others are read.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "read/parallel.h"

static int compare_places(const void *left, const void *right)
{
	const wanted *a = left, *b = right;
	if (a->pack_id != b->pack_id)
		return a->pack_id < b->pack_id ? -1 : 1;
	if (a->at.offset != b->at.offset)
		return a->at.offset < b->at.offset ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

static const unsigned char *asked_oid(const void *context, const oid_ref *ref)
{
	const job *j = context;
	return j->oids + ref->pos * j->r->hash_size;
}

/* Order the job by id, as an index is, so that each look-up is near the one before. */
static int order_by_oid(job *j, gpa_error *err)
{
	oid_ref *refs = malloc(((size_t)j->count + 1) * 2 * sizeof(*refs));
	if (!refs)
		return out_of_memory(err);
	for (uint32_t i = 0; i < j->count; i++)
		refs[i] = (oid_ref){be64(j->oids + i * j->r->hash_size), 0, i};
	oid_sort(refs, refs + j->count, j->count, (uint32_t)j->r->hash_size, asked_oid, j);
	for (uint32_t i = 0; i < j->count; i++)
		j->order[i].number = refs[i].pos;
	free(refs);
	return GPA_OK;
}

static void find_place(job *j, reader_session *v, uint32_t i)
{
	uint32_t number = j->order[i].number;
	const unsigned char *oid = j->oids + number * j->r->hash_size;
	place at = {0};
	gpa_error ignored;
	int status = GPA_ENOTFOUND, is_absent = 1;
	(void)v;
	for (uint32_t dir = 0; status && dir < j->s->dir_count; dir++) {
		uint32_t turn = 0;
		status = view_find_indexed(&at, &j->s->dirs[dir], dir, oid, &ignored);
		is_absent &= status == GPA_ENOTFOUND;
		if (status)
			status = view_find_unindexed(&at, j->s->dirs[dir].view, &turn, oid, &ignored);
		is_absent &= status == GPA_ENOTFOUND;
	}
	j->order[i] = status ? (wanted){.pack_id = UINT64_MAX, .number = number, .is_absent = (uint32_t)is_absent} :
			       (wanted){.pack_id = at.pack->id, .at = at, .number = number};
}

uint32_t job_take(job *j)
{
	uint32_t at = __atomic_load_n(&j->next, __ATOMIC_RELAXED);
	return at < j->count ? __atomic_fetch_add(&j->next, JOB_OBJECTS, __ATOMIC_RELAXED) : at;
}

void job_stop(job *j)
{
	__atomic_store_n(&j->next, j->count, __ATOMIC_RELAXED);
}

void job_failed(job *j, uint32_t number, int status, const gpa_error *err)
{
	pthread_mutex_lock(&j->lock);
	if (number < j->failed) {
		j->failed = number;
		j->status = status;
		j->err = *err;
	}
	pthread_mutex_unlock(&j->lock);
}

static void read_one(job *j, reader_session *v, uint32_t i)
{
	const wanted *w = &j->order[i];
	const unsigned char *oid = j->oids + w->number * j->r->hash_size;
	gpa_error err;
	gpa_object *out = &j->out[w->number];
	int status = session_read_at(out, v, oid, &w->at, j->most, &err);
	if (!status && out->len > j->most)
		gpa_object_free(out);
	j->statuses[w->number] = status;
	if (status && status != GPA_ENOTFOUND)
		job_failed(j, w->number, status, &err);
}

static void *work(void *argument)
{
	job *j = argument;
	reader_session v;
	gpa_error err;
	int status = session_begin(&v, j->r, &err);
	if (status) {
		job_failed(j, 0, status, &err);
		return NULL;
	}
	for (uint32_t at; (at = job_take(j)) < j->count;)
		for (uint32_t end = job_run_end(j, at); at < end; at++)
			j->step(j, &v, at);
	session_end(&v);
	return NULL;
}

/* If no more threads can be started, fewer do the work; the calling thread always does. */
void job_run(job *j, unsigned threads, void (*step)(job *j, reader_session *v, uint32_t at))
{
	pthread_t ids[THREADS_MAX];
	unsigned most = j->count / JOB_OBJECTS + 1, started = 0;
	j->step = step;
	j->next = 0;
	threads = threads < most ? threads : most;
	for (; started + 1 < threads && started < THREADS_MAX; started++)
		if (pthread_create(&ids[started], NULL, work, j))
			break;
	work(j);
	while (started)
		pthread_join(ids[--started], NULL);
}

int job_begin(job *j, gpa_reader *r, const unsigned char *oids, uint32_t count, unsigned threads, gpa_error *err)
{
	*j = (job){.oids = oids, .count = count, .failed = count};
	/* `next` must not wrap around while threads reach past the end */
	if (count > UINT32_MAX - (THREADS_MAX + 1) * JOB_OBJECTS)
		return unsupported(err, "%u objects at a time", count);
	if (!(j->order = calloc((size_t)count + 1, sizeof(*j->order))))
		return out_of_memory(err);
	j->r = gpa_reader_share(r);
	pthread_mutex_init(&j->lock, NULL);
	j->s = reader_snapshot(r);
	int status = order_by_oid(j, err);
	if (!status && count)
		job_run(j, threads, find_place);
	if (!status && j->failed < count) {
		status = j->status;
		*err = j->err;
	}
	if (status) {
		job_end(j);
		return status;
	}
	qsort(j->order, count, sizeof(*j->order), compare_places);
	j->next = 0;
	return GPA_OK;
}

void job_end(job *j)
{
	snapshot_drop(j->s);
	pthread_mutex_destroy(&j->lock);
	free(j->order);
	gpa_reader_free(j->r);
}

int gpa_reader_order(unsigned char *oids, gpa_reader *r, uint32_t count, unsigned threads, gpa_error *err)
{
	job j;
	size_t h = r->hash_size;
	if (!count)
		return GPA_OK;
	unsigned char *ordered = malloc(count * h);
	int status = ordered ? job_begin(&j, r, oids, count, threads, err) : out_of_memory(err);
	if (!status) {
		for (uint32_t i = 0; i < count; i++)
			memcpy(ordered + i * h, oids + j.order[i].number * h, h);
		job_end(&j);
		memcpy(oids, ordered, count * h);
	}
	free(ordered);
	return status;
}

int reader_read_many(gpa_object *out, int32_t *statuses, uint32_t *failed, gpa_reader *r, const unsigned char *oids,
		     uint32_t count, uint64_t most, unsigned threads, gpa_error *err)
{
	job j;
	*failed = count;
	int status = count ? job_begin(&j, r, oids, count, threads, err) : GPA_OK;
	if (status || !count)
		return status;
	j.out = out;
	j.statuses = statuses;
	j.most = most;
	memset(out, 0, count * sizeof(*out));
	for (uint32_t i = 0; i < count; i++)
		statuses[i] = GPA_ENOMEM;	/* stays if no thread gets to it */
	job_run(&j, threads, read_one);
	*failed = j.failed;
	*err = j.failed < count ? j.err : *err;
	job_end(&j);
	return GPA_OK;
}
