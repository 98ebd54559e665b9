/* The writer as a whole: opening and closing it, its owners, its reader, and batches. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/error.h"
#include "write/writer.h"

static void before_fork(overlay *o)
{
	writer_lock((gpa_writer *)o);
}

static void after_fork(overlay *o)
{
	writer_unlock((gpa_writer *)o);
}

static void in_child(overlay *o)
{
	writer_enter((gpa_writer *)o);
	writer_unlock((gpa_writer *)o);
}

/* ---- the writer as an overlay of its reader ---- */

/* Add an owner. Returns 0 if the writer is about to be freed, because its reader does not own it. */
static int share_live(overlay *o)
{
	gpa_writer *w = (gpa_writer *)o;
	uint32_t owners = __atomic_load_n(&w->owners, __ATOMIC_RELAXED);
	while (owners && !__atomic_compare_exchange_n(&w->owners, &owners, owners + 1, 1, __ATOMIC_ACQUIRE,
						      __ATOMIC_RELAXED))
		;
	return owners != 0;
}

static void free_layer(overlay *o)
{
	gpa_writer_free((gpa_writer *)o);
}

static const overlay_calls writer_calls = {
	.share = share_live, .free = free_layer, .find = writer_find, .forget = writer_forget,
	.put_back = writer_put_back, .list = writer_ids,
	.before_scan = writer_before_scan, .after_scan = writer_after_scan, .before_fork = before_fork,
	.after_fork = after_fork, .in_child = in_child,
};

/* ---- opening and closing ---- */

static int is_elsewhere(const gpa_writer *w)
{
	struct stat journals, packs;
	return !stat(w->journal_dir, &journals) && !stat(w->pack_dir, &packs) && journals.st_dev != packs.st_dev;
}

static int copy_options(gpa_writer *w, const gpa_reader *reader, const gpa_writer_options *options, gpa_error *err)
{
	w->options = *options;
	w->algo = reader->options.algo;
	w->hash_size = reader->hash_size;
	w->door = (door){options->step, options->step_context, options->fsync_method, options->shared, NULL};
	w->journal_dir = strdup(options->journal_dir);
	const char *slash = strrchr(options->journal_dir, '/');
	w->state_dir = slash ? strndup(options->journal_dir, (size_t)(slash - options->journal_dir)) : strdup("");
	w->door.guarded = w->state_dir;
	w->gc_pid = strdup(options->gc_pid ? options->gc_pid : "");
	w->options.gc_pid = options->gc_pid ? w->gc_pid : NULL;
	w->objects = strdup(reader->dirs[0]);
	if (!w->journal_dir || !w->state_dir || !w->gc_pid || !w->objects || asprintf(&w->pack_dir, "%s/pack", w->objects) < 0) {
		w->pack_dir = NULL;
		return out_of_memory(err);
	}
	w->temp_in_packs = is_elsewhere(w);
	return GPA_OK;
}

int gpa_writer_open(gpa_writer **out, gpa_reader *reader, const gpa_writer_options *options, gpa_error *err)
{
	gpa_writer *w = reader->dir_count ? calloc(1, sizeof(*w)) : NULL;
	if (!w)
		return reader->dir_count ? out_of_memory(err) : unsupported(err, "a reader without directories");
	w->owners = 1;
	w->layer.calls = &writer_calls;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->pages[0].fd = w->pages[1].fd = -1;
	w->looked_ns = coarse_ns();
	w->reader = gpa_reader_share(reader);
	int status = copy_options(w, reader, options, err);
	if (!status)
		status = writer_name_files(w, err);
	if (!status && reader_attach(reader, &w->layer))
		status = unsupported(err, "the reader has another writer");
	if (status)
		gpa_writer_free(w);
	else
		*out = w;
	return status;
}

gpa_writer *gpa_writer_share(gpa_writer *writer)
{
	__atomic_add_fetch(&writer->owners, 1, __ATOMIC_RELAXED);
	return writer;
}

/* Remove the file that packs have as their .keep. Their own names for it stay. */
static int remove_keep(gpa_writer *w, gpa_error *err)
{
	return w->keep ? door_unlink(&w->door, w->keep, err) : GPA_OK;
}

/* Free the pages. An empty journal is unlinked, except in a forked child, because it is the parent's. */
static void free_pages(gpa_writer *w)
{
	gpa_error ignored;
	if (w->pid == getpid())
		remove_keep(w, &ignored);
	free(w->keep);
	for (int i = 1; i >= 0; i--) {
		if (w->pid == getpid() && !w->pages[i].written)
			open_page_remove_file(&w->pages[i], &w->door, &ignored);
		open_page_free(&w->pages[i]);
	}
}

void gpa_writer_free(gpa_writer *writer)
{
	if (!writer || __atomic_sub_fetch(&writer->owners, 1, __ATOMIC_ACQ_REL))
		return;
	reader_detach(writer->reader, &writer->layer);
	free_pages(writer);
	sealed_free(&writer->lately);
	guard_free(&writer->guard);
	while (writer->idle) {
		encoder *next = writer->idle->next;
		encoder_free(writer->idle);
		writer->idle = next;
	}
	if (writer->out_ready)
		output_free(&writer->out);
	gpa_reader_free(writer->reader);
	pthread_mutex_destroy(&writer->lock);
	pthread_cond_destroy(&writer->changed);
	free(writer->batches);
	free(writer->journal_dir);
	free(writer->state_dir);
	free(writer->gc_pid);
	free(writer->objects);
	free(writer->pack_dir);
	free(writer);
}

/* ---- batches ---- */

int gpa_writer_begin_batch(gpa_writer *writer, gpa_error *err)
{
	int status = GPA_OK;
	writer_enter(writer);
	batch *own = writer_own_batch(writer);
	if (!own && array_reserve(writer->batches, writer->batch_room, (uint64_t)writer->batch_count + 1, 4))
		status = out_of_memory(err);
	if (own)
		own->depth++;
	else if (!status)
		writer->batches[writer->batch_count++] = (batch){pthread_self(), 1};
	writer_unlock(writer);
	return status;
}

int gpa_writer_end_batch(gpa_writer *writer, gpa_error *err)
{
	int status = GPA_OK;
	writer_enter(writer);
	batch *own = writer_own_batch(writer);
	if (own && !--own->depth) {
		*own = writer->batches[--writer->batch_count];
		status = writer_seal(writer, err);
	}
	writer_unlock(writer);
	return status;
}

/* ---- closing, moving, counting ---- */

int gpa_writer_close(gpa_writer *writer, gpa_error *err)
{
	writer_enter(writer);
	int before = writer->closed;
	writer->closed = 1;	/* no object is added while the last page is sealed */
	int status = writer_seal(writer, err);
	guard_put_back(writer);
	if (!status)
		status = remove_keep(writer, err);
	/* the first one last, because it shows that the writer lives */
	for (int i = 1; i >= 0 && !status; i--)
		status = open_page_remove_file(&writer->pages[i], &writer->door, err);
	writer->closed = before || !status;
	writer_unlock(writer);
	return status;
}

void gpa_writer_move(gpa_writer *writer, gpa_reader *reader)
{
	writer_lock(writer);
	gpa_reader *before = writer->reader;
	reader_detach(before, &writer->layer);
	sealed_free(&writer->lately);	/* its maps belong to the old reader, and the new one has just scanned */
	writer->reader = gpa_reader_share(reader);
	reader_attach(reader, &writer->layer);
	writer_unlock(writer);
	gpa_reader_free(before);
}

void gpa_writer_count(gpa_writer_stats *out, gpa_writer *writer)
{
	writer_lock(writer);
	*out = writer->stats;
	const open_page *pages[] = {writer->open, writer->closing};
	for (int i = 0; i < 2; i++)
		if (pages[i]) {
			out->open_count += pages[i]->count;
			out->open_bytes += pages[i]->end;
		}
	writer_unlock(writer);
}
