/*
 * Reading many objects: in the order in which they are stored, so that neighbours find their delta bases made, and with
 * several threads, each of which takes a run of neighbours at a time.
 */
#include "reader.h"

#define THREADS_MAX 64
#define RUN 32			/* objects a thread takes at a time */

typedef struct wanted {
	place at;		/* pack NULL: it was in none */
	uint32_t number;
} wanted;

typedef struct job job;
struct job {
	gpa_reader *r;
	const unsigned char *oids;
	snapshot *s;		/* held until the end, and with it the packs of `order` */
	wanted *order;
	uint32_t count;
	void (*step)(job *j, visitor *v, uint32_t at);
	uint32_t next;		/* atomic */
	gpa_object *out;
	uint64_t most;		/* bytes of an object that is handed out */
	int32_t *statuses;
	pthread_mutex_t lock;
	uint32_t failed;	/* under lock, with the error */
	gpa_error *err;
};

static int compare_places(const void *left, const void *right)
{
	const wanted *a = left, *b = right;
	uint64_t pack_a = a->at.pack ? a->at.pack->id : UINT64_MAX, pack_b = b->at.pack ? b->at.pack->id : UINT64_MAX;
	if (pack_a != pack_b)
		return pack_a < pack_b ? -1 : 1;
	if (a->at.offset != b->at.offset)
		return a->at.offset < b->at.offset ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

static void find_place(job *j, visitor *v, uint32_t i)
{
	const unsigned char *oid = j->oids + i * j->r->hash_size;
	place at = {0};
	gpa_error ignored;
	int status = GPA_ENOTFOUND;
	(void)v;
	for (uint32_t dir = 0; status && dir < j->s->dir_count; dir++) {
		uint32_t turn = 0;
		status = view_find_indexed(&at, &j->s->dirs[dir], dir, oid, &ignored);
		if (status)
			status = view_find_plain(&at, j->s->dirs[dir].view, &turn, oid, &ignored);
	}
	j->order[i] = status ? (wanted){.number = i} : (wanted){at, i};
}

static void note_failure(job *j, uint32_t number, const gpa_error *err)
{
	pthread_mutex_lock(&j->lock);
	if (number < j->failed) {
		j->failed = number;
		*j->err = *err;
	}
	pthread_mutex_unlock(&j->lock);
}

static void read_one(job *j, visitor *v, uint32_t i)
{
	const wanted *w = &j->order[i];
	const unsigned char *oid = j->oids + w->number * j->r->hash_size;
	gpa_error err;
	gpa_object *out = &j->out[w->number];
	int status = w->at.pack ? visitor_read_at(out, v, oid, &w->at, j->most, &err) :
				  visitor_read_most(out, v, oid, j->most, &err);
	if (!status && out->len > j->most)
		gpa_object_free(out);
	j->statuses[w->number] = status;
	if (status && status != GPA_ENOTFOUND)
		note_failure(j, w->number, &err);
}

static void *work(void *argument)
{
	job *j = argument;
	visitor v;
	gpa_error err;
	if (visitor_begin(&v, j->r, &err)) {
		note_failure(j, 0, &err);
		return NULL;
	}
	for (;;) {
		uint32_t at = __atomic_fetch_add(&j->next, RUN, __ATOMIC_RELAXED);
		if (at >= j->count)
			break;
		for (uint32_t end = j->count - at < RUN ? j->count : at + RUN; at < end; at++)
			j->step(j, &v, at);
	}
	visitor_end(&v);
	return NULL;
}

/* Where no further thread can be had, fewer do the work; this one always does. */
static void run_threads(job *j, unsigned threads, void (*step)(job *j, visitor *v, uint32_t at))
{
	pthread_t ids[THREADS_MAX];
	unsigned most = j->count / RUN + 1, started = 0;
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

int reader_read_many(gpa_object *out, int32_t *statuses, uint32_t *failed, gpa_reader *r, const unsigned char *oids,
		     uint32_t count, uint64_t most, unsigned threads, gpa_error *err)
{
	job j = {.r = r, .oids = oids, .count = count, .out = out, .most = most, .statuses = statuses, .failed = count,
		 .err = err};
	*failed = count;
	if (!count)
		return GPA_OK;
	/* `next` must not wrap around while threads reach past the end */
	if (count > UINT32_MAX - (THREADS_MAX + 1) * RUN)
		return unsupported(err, "%u objects at a time", count);
	if (!(j.order = calloc(count, sizeof(*j.order))))
		return out_of_memory(err);
	memset(out, 0, count * sizeof(*out));
	for (uint32_t i = 0; i < count; i++)
		statuses[i] = GPA_ENOMEM;	/* unless a thread comes to it */
	pthread_mutex_init(&j.lock, NULL);
	j.s = reader_snapshot(r);
	run_threads(&j, threads, find_place);
	if (j.failed == count) {
		qsort(j.order, count, sizeof(*j.order), compare_places);
		run_threads(&j, threads, read_one);
	}
	snapshot_drop(j.s);
	pthread_mutex_destroy(&j.lock);
	free(j.order);
	*failed = j.failed;
	return GPA_OK;
}

int gpa_reader_read_many(gpa_object *out, int32_t *statuses, uint32_t *failed, gpa_reader *reader,
			 const unsigned char *oids, uint32_t count, unsigned threads, gpa_error *err)
{
	return reader_read_many(out, statuses, failed, reader, oids, count, UINT64_MAX, threads, err);
}
