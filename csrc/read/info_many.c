/*
 * Whether many objects exist, and their types and sizes. They are looked up in the order in which they are stored. For
 * those that are in no pack, one check of the directories is enough.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "read/parallel.h"

typedef struct asking {
	job job;
	int64_t *answers;
	int (*ask)(int *type, uint64_t *size, reader_session *v, const unsigned char *oid, const place *at, gpa_error *err);
} asking;

static int has_at(int *type, uint64_t *size, reader_session *v, const unsigned char *oid, const place *at, gpa_error *err)
{
	int status = session_has_at(v, oid, at, err);
	*type = 0;
	*size = 0;
	return status == GPA_ECORRUPT ? GPA_ENOTFOUND : status;
}

static void answer(asking *a, reader_session *v, const wanted *w)
{
	gpa_error err;
	int type;
	uint64_t size;
	int status = a->ask(&type, &size, v, a->job.oids + w->number * v->r->hash_size, &w->at, &err);
	int64_t told = a->answers[w->number] = status ? status : info_number(type, size, &err);
	if (told < 0 && told != GPA_ENOTFOUND)
		job_failed(&a->job, w->number, (int)told, &err);
}

static void answer_packed_one(job *j, reader_session *v, uint32_t i)
{
	if (j->order[i].at.pack)
		answer((asking *)j, v, &j->order[i]);
}

/* ---- objects in no pack ---- */

/*
 * First bytes of ids for which there is no loose object, because their directory does not exist. Each directory is
 * looked for once.
 */
typedef struct fans {
	unsigned char asked[256];
	unsigned char empty[256];
} fans;

static int is_empty_fan(const job *j, unsigned char first)
{
	char path[PATH_ROOM];
	for (uint32_t dir = 0; dir < j->s->dir_count; dir++) {
		int len = snprintf(path, sizeof(path), "%s/%02x", j->r->dirs[dir], first);
		if (len >= (int)sizeof(path) || !access(path, F_OK) || errno != ENOENT)
			return 0;
	}
	return 1;
}

static unsigned char first_byte(const job *j, uint32_t i)
{
	return j->oids[j->order[i].number * j->r->hash_size];
}

static void look_at_fans(fans *f, const job *j, uint32_t from)
{
	memset(f, 0, sizeof(*f));
	for (uint32_t i = from; i < j->count; i++) {
		unsigned char first = first_byte(j, i);
		if (!f->asked[first])
			f->empty[first] = (unsigned char)is_empty_fan(j, first);
		f->asked[first] = 1;
	}
}

/* Whether all packs of the snapshot can be read, and none was added since. */
static int is_whole(const job *j)
{
	for (uint32_t dir = 0; dir < j->s->dir_count; dir++)
		if (j->s->dirs[dir].view->unreadable)
			return 0;
	return snapshot_check(j->s, j->r->dirs) == SNAPSHOT_SURE;
}

/* Answer for order[from] and the rest. An object may move from a loose file to a pack, so packs are checked last. */
static int answer_rest(asking *a, uint32_t from, gpa_error *err)
{
	job *j = &a->job;
	reader_session v;
	fans f;
	int status = from < j->count ? session_begin(&v, j->r, err) : GPA_OK;
	if (status || from == j->count)
		return status;
	look_at_fans(&f, j, from);
	int is_sure = !v.overlays.count && is_whole(j);
	for (uint32_t i = from; i < j->count; i++) {
		const wanted *w = &j->order[i];
		if (is_sure && w->is_absent && f.empty[first_byte(j, i)])
			a->answers[w->number] = GPA_ENOTFOUND;
		else
			answer(a, &v, w);
	}
	session_end(&v);
	return GPA_OK;
}

/* ---- all of them ---- */

static int ask_all(uint32_t *failed, asking *a, gpa_reader *r, const unsigned char *oids, uint32_t count,
		   unsigned threads, gpa_error *err)
{
	job *j = &a->job;
	*failed = count;
	int status = count ? job_begin(j, r, oids, count, threads, err) : GPA_OK;
	if (status || !count)
		return status;
	for (uint32_t i = 0; i < count; i++)
		a->answers[i] = GPA_ENOMEM;	/* stays if no thread gets to it */
	job_run(j, threads, answer_packed_one);
	uint32_t rest = count;
	while (rest && !j->order[rest - 1].at.pack)
		rest--;
	status = j->failed < count ? j->status : answer_rest(a, rest, err);
	if (!status)
		status = j->failed < count ? j->status : GPA_OK;
	if (j->failed < count)
		*err = j->err;
	*failed = j->failed;
	job_end(j);
	return status;
}

int gpa_many_info(int64_t *answers, uint32_t *failed, gpa_reader *reader, const unsigned char *oids, uint32_t count,
		  unsigned threads, gpa_error *err)
{
	asking a = {.answers = answers, .ask = session_info_at};
	return ask_all(failed, &a, reader, oids, count, threads, err);
}

int gpa_many_has(int64_t *answers, uint32_t *failed, gpa_reader *reader, const unsigned char *oids, uint32_t count,
		 unsigned threads, gpa_error *err)
{
	asking a = {.answers = answers, .ask = has_at};
	return ask_all(failed, &a, reader, oids, count, threads, err);
}
