/*
 * The state of a writer that its other files share: names, the lock, the batches of threads, and what a fork leaves to
 * the child.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/error.h"
#include "write/writer.h"

/* ---- names of its files ---- */

static char *journal_path(const gpa_writer *w, unsigned number)
{
	char *path;
	return asprintf(&path, "%s/%s-%u.journal", w->journal_dir, w->id, number) < 0 ? NULL : path;
}

int writer_name_files(gpa_writer *w, gpa_error *err)
{
	uint32_t number;
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return system_failed(err, "cannot get a random number");
	w->pid = getpid();
	snprintf(w->id, sizeof(w->id), "%ld-%08x", (long)w->pid, number);
	for (unsigned i = 0; i < 2; i++) {
		open_page_init(&w->pages[i], journal_path(w, i));
		if (!w->pages[i].path)
			return out_of_memory(err);
	}
	w->keep = NULL;
	w->pages[0].number = w->sealed + 1;
	w->open = &w->pages[0];
	w->closing = NULL;
	return GPA_OK;
}

/* ---- fork ---- */

/* Become the writer of a forked child. Unsealed objects and files belong to the parent. */
static void become_child(gpa_writer *w)
{
	gpa_error ignored;
	uint64_t last = w->open->number > w->sealed ? w->open->number : w->sealed;
	pthread_t self = pthread_self();
	pthread_cond_init(&w->changed, NULL);
	w->sealed = last;
	w->sealing = w->looking = 0;
	guard_free(&w->guard);
	open_page_free(&w->pages[0]);
	open_page_free(&w->pages[1]);
	free(w->keep);
	w->closed |= writer_name_files(w, &ignored) != GPA_OK;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < w->batch_count; i++)
		if (pthread_equal(w->batches[i].thread, self))
			w->batches[kept++] = w->batches[i];
	w->batch_count = kept;
}

/* Take the lock. A process that forked without gpa_reader_in_child() becomes the child here. */
void writer_enter(gpa_writer *w)
{
	writer_lock(w);
	if (w->pid != getpid())
		become_child(w);
}

/* ---- questions of other files ---- */

batch *writer_own_batch(const gpa_writer *w)
{
	for (uint32_t i = 0; i < w->batch_count; i++)
		if (pthread_equal(w->batches[i].thread, pthread_self()))
			return &w->batches[i];
	return NULL;
}

gpa_reader *writer_reader(gpa_writer *w)
{
	writer_lock(w);
	gpa_reader *r = gpa_reader_share(w->reader);
	writer_unlock(w);
	return r;
}
