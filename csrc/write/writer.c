/* The writer as a whole: opening and closing it, whose it is, batches, and what a fork leaves to the child. */
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "write/writer.h"

/* ---- opening and closing ---- */

static char *journal_path(const gpa_writer *w, unsigned number)
{
	char *path;
	return asprintf(&path, "%s/%s-%u.journal", w->journal_dir, w->id, number) < 0 ? NULL : path;
}

char *writer_temp_path(const gpa_writer *w, uint32_t number, const char *suffix)
{
	char *path;
	const char *dir = w->temp_in_packs ? w->pack_dir : w->journal_dir, *prefix = w->temp_in_packs ? "tmp_pack_" : "";
	return asprintf(&path, "%s/%s%s-%u.%s", dir, prefix, w->id, number, suffix) < 0 ? NULL : path;
}

static int name_files(gpa_writer *w, gpa_error *err)
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

/* The reader is no owner of its writer; so a writer that is about to go is not lent any more. */
static int attach(gpa_reader *r, gpa_writer *from, gpa_writer *to)
{
	pthread_mutex_lock(&r->lock);
	int good = r->writer == from;
	if (good)
		r->writer = to;
	pthread_mutex_unlock(&r->lock);
	return good;
}

gpa_writer *writer_of(gpa_reader *r)
{
	gpa_writer *w = r->writer;
	uint32_t owners = w ? __atomic_load_n(&w->owners, __ATOMIC_RELAXED) : 0;
	while (owners && !__atomic_compare_exchange_n(&w->owners, &owners, owners + 1, 1, __ATOMIC_ACQUIRE,
						      __ATOMIC_RELAXED))
		;
	return owners ? w : NULL;
}

int gpa_writer_open(gpa_writer **out, gpa_reader *reader, const gpa_writer_options *options, gpa_error *err)
{
	gpa_writer *w = reader->dir_count ? calloc(1, sizeof(*w)) : NULL;
	if (!w)
		return reader->dir_count ? out_of_memory(err) : unsupported(err, "a reader without directories");
	w->owners = 1;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->pages[0].fd = w->pages[1].fd = -1;
	w->looked_ns = coarse_ns();
	w->reader = gpa_reader_share(reader);
	int status = copy_options(w, reader, options, err);
	if (!status)
		status = name_files(w, err);
	if (!status && !attach(reader, NULL, w))
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

/* The packs that it was lent to go on having it. */
static int remove_keep(gpa_writer *w, gpa_error *err)
{
	return w->keep ? door_unlink(&w->door, w->keep, err) : GPA_OK;
}

/* Of a journal that holds nothing the name goes too; in a forked child it is the parent's. */
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
	attach(writer->reader, writer, NULL);
	free_pages(writer);
	recent_free(&writer->recent);
	watch_free(&writer->watch);
	while (writer->idle) {
		maker *next = writer->idle->next;
		maker_free(writer->idle);
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

/* ---- fork ---- */

/* The objects that wait are the parent's to seal, and so are the files. */
static void become_child(gpa_writer *w)
{
	gpa_error ignored;
	uint64_t last = w->open->number > w->sealed ? w->open->number : w->sealed;
	pthread_t self = pthread_self();
	pthread_cond_init(&w->changed, NULL);
	w->sealed = last;
	w->sealing = w->looking = 0;
	watch_free(&w->watch);
	open_page_free(&w->pages[0]);
	open_page_free(&w->pages[1]);
	free(w->keep);
	w->closed |= name_files(w, &ignored) != GPA_OK;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < w->batch_count; i++)
		if (pthread_equal(w->batches[i].thread, self))
			w->batches[kept++] = w->batches[i];
	w->batch_count = kept;
}

/* The lock; and whoever forked behind the back of gpa_reader_in_child() is told here. */
void writer_enter(gpa_writer *w)
{
	writer_lock(w);
	if (w->pid != getpid())
		become_child(w);
}

void writer_before_fork(gpa_writer *w)
{
	pthread_mutex_lock(&w->lock);
}

void writer_after_fork(gpa_writer *w)
{
	pthread_mutex_unlock(&w->lock);
}

void writer_in_child(gpa_writer *w)
{
	writer_enter(w);
	writer_unlock(w);
}

/* ---- batches ---- */

batch *writer_own_batch(const gpa_writer *w)
{
	for (uint32_t i = 0; i < w->batch_count; i++)
		if (pthread_equal(w->batches[i].thread, pthread_self()))
			return &w->batches[i];
	return NULL;
}

int gpa_writer_begin_batch(gpa_writer *writer, gpa_error *err)
{
	int status = GPA_OK;
	writer_enter(writer);
	batch *own = writer_own_batch(writer);
	if (!own && writer->batch_count == writer->batch_room) {
		uint32_t room = 2 * writer->batch_room + 4;
		batch *moved = realloc(writer->batches, room * sizeof(*moved));
		if (moved) {
			writer->batches = moved;
			writer->batch_room = room;
		} else {
			status = out_of_memory(err);
		}
	}
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
	writer->closed = 1;	/* nothing is added while the last page is sealed */
	int status = writer_seal(writer, err);
	watch_mend(writer);
	if (!status)
		status = remove_keep(writer, err);
	/* the first one last: it says that the writer lives */
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
	attach(before, writer, NULL);
	recent_free(&writer->recent);	/* what was mapped belongs to it, and the new one has just looked */
	writer->reader = gpa_reader_share(reader);
	attach(reader, NULL, writer);
	writer_unlock(writer);
	gpa_reader_free(before);
}

gpa_reader *writer_reader(gpa_writer *w)
{
	writer_lock(w);
	gpa_reader *r = gpa_reader_share(w->reader);
	writer_unlock(w);
	return r;
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
