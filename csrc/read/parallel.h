/* A job: many objects to read, in the order in which they are stored, by threads that each take a run at a time. */
#ifndef GPA_MANY_H
#define GPA_MANY_H

#include <pthread.h>

#include "read/reader.h"

#define THREADS_MAX 64
#define JOB_OBJECTS 32			/* objects a thread takes at a time */

typedef struct wanted {
	uint64_t pack_id;	/* UINT64_MAX: it was in no pack */
	place at;		/* without a pack where it is in none, or an index could not tell */
	uint32_t number;
	uint32_t is_absent;	/* every index was asked, and none has it */
} wanted;

typedef struct job job;
struct job {
	gpa_reader *r;		/* of which it is an owner */
	const unsigned char *oids;
	snapshot *s;		/* held until the end, and with it the packs of `order` */
	wanted *order;
	uint32_t count;
	void (*step)(job *j, reader_session *v, uint32_t at);
	uint32_t next;		/* atomic */
	gpa_object *out;
	uint64_t most;		/* bytes of an object that is handed out */
	int32_t *statuses;
	pthread_mutex_t lock;
	uint32_t failed;	/* under lock, with what follows: the first that failed, or count */
	int status;
	gpa_error err;
};

/* The objects are looked up, with `threads` threads. `oids` is borrowed. */
int job_begin(job *j, gpa_reader *r, const unsigned char *oids, uint32_t count, unsigned threads, gpa_error *err);
void job_end(job *j);
/* Do `step` with each place in `order`, with `threads` threads. */
void job_run(job *j, unsigned threads, void (*step)(job *j, reader_session *v, uint32_t at));
/* Where the next run begins in `order`; `count` or more when none is left. */
uint32_t job_take(job *j);
/* No more runs are taken. */
void job_stop(job *j);
static inline uint32_t job_run_end(const job *j, uint32_t at)
{
	return j->count - at < JOB_OBJECTS ? j->count : at + JOB_OBJECTS;
}
/* Of several failures the first one in the order asked for counts. */
void job_failed(job *j, uint32_t number, int status, const gpa_error *err);

#endif
