/* A job: many objects, in the order in which they are stored, read by threads that each take a run at a time. */
#ifndef GPA_MANY_H
#define GPA_MANY_H

#include <pthread.h>

#include "read/reader.h"

#define THREADS_MAX 64
#define JOB_OBJECTS 32			/* objects a thread takes at a time */

typedef struct wanted {
	uint64_t pack_id;	/* UINT64_MAX: it is in no pack */
	place at;		/* pack is NULL if no pack has it, or an index could not tell */
	uint32_t number;
	uint32_t is_absent;	/* no index has it */
} wanted;

typedef struct job job;
struct job {
	gpa_reader *r;		/* with an owner */
	const unsigned char *oids;
	snapshot *s;		/* held until the end, and the packs of `order` with it */
	wanted *order;
	uint32_t count;
	void (*step)(job *j, reader_session *v, uint32_t at);
	uint32_t next;		/* atomic */
	gpa_object *out;
	uint64_t most;		/* an object of more bytes is not returned */
	int32_t *statuses;
	pthread_mutex_t lock;
	uint32_t failed;	/* under lock, like the rest: the first object that failed, or count */
	int status;
	gpa_error err;
};

/* Look up the objects with `threads` threads. `oids` is borrowed. */
int job_begin(job *j, gpa_reader *r, const unsigned char *oids, uint32_t count, unsigned threads, gpa_error *err);
void job_end(job *j);
/* Call `step` for each place in `order`, with `threads` threads. */
void job_run(job *j, unsigned threads, void (*step)(job *j, reader_session *v, uint32_t at));
/* Take a run. Returns its begin in `order`, or `count` or more if none is left. */
uint32_t job_take(job *j);
/* Let no more runs be taken. */
void job_stop(job *j);
static inline uint32_t job_run_end(const job *j, uint32_t at)
{
	return j->count - at < JOB_OBJECTS ? j->count : at + JOB_OBJECTS;
}
/* Note a failure. Of several, the first one in the order of the ids counts. */
void job_failed(job *j, uint32_t number, int status, const gpa_error *err);

#endif
