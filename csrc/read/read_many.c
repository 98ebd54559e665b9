/*
 * Runs of objects for the calling thread, while other threads read on. If no run is ready, the caller reads one itself,
 * so no thread waits before the end. A run that was returned is filled again soon, while its memory is in the
 * processor's caches.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "read/parallel.h"

#define RUN_BYTES (1 << 20)	/* of content; a run that reaches it is returned as it is */

typedef struct run {
	gpa_run seen;
	struct run *next;
	unsigned char *bytes;
	size_t room;
	gpa_run_row rows[JOB_OBJECTS];
} run;

struct gpa_many {
	job job;
	reader_session v;		/* of the calling thread */
	run *taken;		/* by the caller, until its next call */
	pthread_t ids[THREADS_MAX];
	unsigned started;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned reading;	/* threads that may add to `done`; under lock, like the rest */
	run *done;
	run *spare;
	uint32_t missing;	/* the first missing object, or count */
};

/* ---- runs ---- */

static void run_free(run *r)
{
	while (r) {
		run *next = r->next;
		free(r->bytes);
		free(r);
		r = next;
	}
}

static run *take(run **list)
{
	run *r = *list;
	if (r)
		*list = r->next;
	return r;
}

static run *empty_run(gpa_many *m)
{
	pthread_mutex_lock(&m->lock);
	run *r = take(&m->spare);
	pthread_mutex_unlock(&m->lock);
	if (!r && !(r = calloc(1, sizeof(*r))))
		return NULL;
	r->next = NULL;
	r->seen = (gpa_run){.rows = r->rows};
	return r;
}

static int append(run *r, uint32_t number, const gpa_object *object, gpa_error *err)
{
	size_t used = r->seen.content.len;
	if (array_reserve(r->bytes, r->room, used + object->len, object->len))
		return out_of_memory(err);
	if (object->len)
		memcpy(r->bytes + used, object->ptr, object->len);
	r->rows[r->seen.count++] = (gpa_run_row){number, object->type, object->len};
	r->seen.content = (gpa_bytes){r->bytes, used + object->len};
	return GPA_OK;
}

static void hand_out(gpa_many *m, run *r)
{
	pthread_mutex_lock(&m->lock);
	r->next = m->done;
	m->done = r;
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

/* ---- reading ---- */

static void note(gpa_many *m, uint32_t number, int status, const gpa_error *err)
{
	if (status != GPA_ENOTFOUND) {
		job_failed(&m->job, number, status, err);
		return;
	}
	pthread_mutex_lock(&m->lock);
	if (number < m->missing)
		m->missing = number;
	pthread_mutex_unlock(&m->lock);
}

static int read_wanted(run *r, gpa_many *m, reader_session *v, const wanted *w, gpa_error *err)
{
	const unsigned char *oid = m->job.oids + w->number * m->job.r->hash_size;
	gpa_object object;
	int status = session_read_at(&object, v, oid, &w->at, UINT64_MAX, err);
	if (status)
		return status;
	status = append(r, w->number, &object, err);
	gpa_object_free(&object);
	return status;
}

/* Read the objects of one job_take(), as one run, or as several if they are large. */
static void read_run(gpa_many *m, reader_session *v, uint32_t at)
{
	run *r = NULL;
	gpa_error err;
	for (uint32_t end = job_run_end(&m->job, at); at < end; at++) {
		const wanted *w = &m->job.order[at];
		if (!r && !(r = empty_run(m))) {
			note(m, w->number, out_of_memory(&err), &err);
			return;
		}
		int status = read_wanted(r, m, v, w, &err);
		if (status)
			note(m, w->number, status, &err);
		if (r->seen.content.len >= RUN_BYTES || at + 1 == end) {
			hand_out(m, r);
			r = NULL;
		}
	}
}

static void *help(void *argument)
{
	gpa_many *m = argument;
	reader_session v;
	gpa_error err;
	int status = session_begin(&v, m->job.r, &err);
	if (!status) {
		for (uint32_t at; (at = job_take(&m->job)) < m->job.count;)
			read_run(m, &v, at);
		session_end(&v);
	}	/* otherwise the caller reads alone */
	pthread_mutex_lock(&m->lock);
	m->reading--;
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

/* ---- the calling thread ---- */

static void start_helpers(gpa_many *m, unsigned threads)
{
	unsigned most = m->job.count / JOB_OBJECTS + 1;
	threads = threads < most ? threads : most;
	while (m->started + 1 < threads && m->started < THREADS_MAX) {
		pthread_mutex_lock(&m->lock);
		m->reading++;
		pthread_mutex_unlock(&m->lock);
		if (!pthread_create(&m->ids[m->started], NULL, help, m)) {
			m->started++;
			continue;
		}
		pthread_mutex_lock(&m->lock);
		m->reading--;
		pthread_mutex_unlock(&m->lock);
		break;
	}
}

int gpa_many_begin(gpa_many **out, gpa_reader *reader, const unsigned char *oids, uint32_t count, unsigned threads,
		   gpa_error *err)
{
	gpa_many *m = calloc(1, sizeof(*m));
	if (!m)
		return out_of_memory(err);
	int status = job_begin(&m->job, reader, oids, count, threads, err);
	if (!status && (status = session_begin(&m->v, reader, err)))
		job_end(&m->job);
	if (status) {
		free(m);
		return status;
	}
	m->missing = count;
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	start_helpers(m, threads);
	*out = m;
	return GPA_OK;
}

/* Take a run that is done. Returns NULL if there is none, and with `may_wait` only if there will be none. */
static run *wait_for_run(gpa_many *m, int may_wait)
{
	pthread_mutex_lock(&m->lock);
	while (may_wait && !m->done && m->reading)
		pthread_cond_wait(&m->changed, &m->lock);
	run *r = take(&m->done);
	pthread_mutex_unlock(&m->lock);
	return r;
}

static void give_back(gpa_many *m)
{
	if (!m->taken)
		return;
	pthread_mutex_lock(&m->lock);
	m->taken->next = m->spare;
	m->spare = m->taken;
	m->taken = NULL;
	pthread_mutex_unlock(&m->lock);
}

/* The result, after all threads have ended. */
static int outcome(uint32_t *failed, const gpa_many *m, gpa_error *err)
{
	int status = m->job.failed < m->job.count ? m->job.status : m->missing < m->job.count ? GPA_ENOTFOUND : GPA_OK;
	*failed = m->job.failed < m->job.count ? m->job.failed : m->missing;
	if (status && status != GPA_ENOTFOUND)
		*err = m->job.err;
	return status;
}

int gpa_many_next(const gpa_run **out, uint32_t *failed, gpa_many *many, gpa_error *err)
{
	uint32_t at = 0;
	give_back(many);
	while (!(many->taken = wait_for_run(many, 0)) && (at = job_take(&many->job)) < many->job.count)
		read_run(many, &many->v, at);
	if (!many->taken)
		many->taken = wait_for_run(many, 1);
	*out = many->taken ? &many->taken->seen : NULL;
	return many->taken ? GPA_OK : outcome(failed, many, err);
}

void gpa_many_end(gpa_many *many)
{
	if (!many)
		return;
	job_stop(&many->job);
	while (many->started)
		pthread_join(many->ids[--many->started], NULL);
	session_end(&many->v);
	job_end(&many->job);
	give_back(many);
	run_free(many->done);
	run_free(many->spare);
	pthread_cond_destroy(&many->changed);
	pthread_mutex_destroy(&many->lock);
	free(many);
}
