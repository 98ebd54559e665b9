/*
 * The writer: adding objects one by one and in groups, from any thread; batches; what a fork leaves to the child.
 *
 * An object is hashed, looked for, and deflated without the lock, then put into the open page under it. At the end of a
 * call the journal is written once, and synced or sealed as it has to be: threads that come together share the sync.
 */
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "writer.h"

#define ROOM_MOST (1024 * 1024)		/* bytes of an idle maker */
#define FIRST_ROOM (64 * 1024)
#define PAGE_FRAME (12 + GPA_OID_MAX)	/* bytes of a pack beside its entries */

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
	w->door = (door){options->step, options->step_context, options->fsync_method, options->shared};
	w->journal_dir = strdup(options->journal_dir);
	w->gc_pid = strdup(options->gc_pid ? options->gc_pid : "");
	w->options.gc_pid = options->gc_pid ? w->gc_pid : NULL;
	w->objects = strdup(reader->dirs[0]);
	if (!w->journal_dir || !w->gc_pid || !w->objects || asprintf(&w->pack_dir, "%s/pack", w->objects) < 0) {
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

static void maker_free(maker *m)
{
	hasher_free(&m->hash);
	deflater_free(m->d);
	free(m->room);
	free(m);
}

/* A pack that could not be rid of it shows by it whose .keep it has: then it stays for the next writer. */
static int remove_keep(gpa_writer *w, gpa_error *err)
{
	struct stat st;
	if (!w->keep || stat(w->keep, &st) || st.st_nlink > 1)
		return GPA_OK;
	return door_unlink(&w->door, w->keep, err);
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
static void enter(gpa_writer *w)
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
	enter(w);
	writer_unlock(w);
}

/* ---- batches ---- */

static batch *own_batch(const gpa_writer *w)
{
	for (uint32_t i = 0; i < w->batch_count; i++)
		if (pthread_equal(w->batches[i].thread, pthread_self()))
			return &w->batches[i];
	return NULL;
}

int gpa_writer_begin_batch(gpa_writer *writer, gpa_error *err)
{
	int status = GPA_OK;
	enter(writer);
	batch *own = own_batch(writer);
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
	enter(writer);
	batch *own = own_batch(writer);
	if (own && !--own->depth) {
		*own = writer->batches[--writer->batch_count];
		status = writer_seal(writer, err);
	}
	writer_unlock(writer);
	return status;
}

/* ---- makers ---- */

static int maker_new(maker **out, const gpa_writer *w, gpa_error *err)
{
	maker *m = calloc(1, sizeof(*m));
	if (!m)
		return out_of_memory(err);
	int status = hasher_init(&m->hash, w->algo, err);
	if (!status)
		status = deflater_new(&m->d, w->options.level, err);
	if (status)
		maker_free(m);
	else
		*out = m;
	return status;
}

void make_id(unsigned char *oid, maker *m, int type, gpa_bytes data)
{
	hasher_begin_object(&m->hash, type, data.len);
	hasher_update(&m->hash, data.ptr, data.len);
	hasher_final(&m->hash, oid);
}

static int make_entry(journal_entry *out, maker *m, int type, gpa_bytes data, gpa_error *err)
{
	size_t need = ENTRY_HEADER_MAX + deflate_room(data.len), len;
	if (need > m->room_size) {
		size_t room = need < FIRST_ROOM ? FIRST_ROOM : need;
		free(m->room);
		m->room_size = 0;
		if (!(m->room = malloc(room)))
			return out_of_memory(err);
		m->room_size = room;
	}
	size_t header = entry_header_write(m->room, type, data.len);
	int status = deflate_whole(m->d, m->room + header, &len, data, err);
	gpa_bytes entry = {m->room, header + len};
	if (!status)
		*out = (journal_entry){entry, gpa_crc32(0, entry), type, data.len, {m->room + header, len}};
	return status;
}

/* ---- groups ---- */

static int closed(gpa_error *err)
{
	return unsupported(err, "the writer is closed");
}

int group_begin(group *g, gpa_writer *w, gpa_error *err)
{
	*g = (group){.w = w};
	enter(w);
	int status = w->closed ? closed(err) : GPA_OK, due = writer_is_due(w);
	if (!status) {
		g->r = gpa_reader_share(w->reader);
		g->m = w->idle;
		if (g->m)
			w->idle = g->m->next;
	}
	writer_unlock(w);
	if (!status && !g->m && (status = maker_new(&g->m, w, err)))
		gpa_reader_free(g->r);
	if (!status && due)
		writer_look(w, g->r);
	return status;
}

/* Wait until the page's records, as far as it has some now, are synced, or its objects in a page that is. */
static int sync_journal(gpa_writer *w, open_page *p, gpa_error *err)
{
	uint64_t number = p->number, end = p->end;
	gpa_error ignored;
	int status;
	while (w->sealed < number && p->synced < end) {
		if (p->syncing) {
			pthread_cond_wait(&w->changed, &w->lock);
			continue;
		}
		if (p->failed)
			return writer_seal_through(w, number, err);
		if ((status = open_page_flush(p, &w->door, w->algo, err)))
			return status;
		uint64_t written = p->written;
		int is_named = p->is_named;
		p->syncing = 1;
		w->stats.sync_count++;
		writer_unlock(w);
		status = door_sync(&w->door, p->fd, p->path, &ignored);
		if (!status && !is_named)
			status = door_sync_dir(&w->door, w->journal_dir, &ignored);
		writer_lock(w);
		p->syncing = 0;
		p->failed |= status != GPA_OK;
		if (!status) {
			p->is_named = 1;
			p->synced = written;
		}
		pthread_cond_broadcast(&w->changed);
	}
	return GPA_OK;
}

static int acknowledge(group *g, gpa_error *err)
{
	gpa_writer *w = g->w;
	if (own_batch(w))
		return GPA_OK;
	if (g->seals || w->open->failed)
		return writer_seal(w, err);
	if (w->options.durability != GPA_DURABLE_JOURNAL)
		return open_page_flush(w->open, &w->door, w->algo, err);
	open_page *open = w->open, *closing = w->closing;
	int status = closing ? sync_journal(w, closing, err) : GPA_OK;
	return status ? status : sync_journal(w, open, err);
}

/* Under the lock: the maker goes back. */
static void give_back(group *g)
{
	gpa_writer *w = g->w;
	maker *m = g->m;
	w->stats.known_count += g->known;
	if (m->room_size > ROOM_MOST) {
		free(m->room);
		m->room = NULL;
		m->room_size = 0;
	}
	m->next = w->idle;
	w->idle = m;
}

int group_leave(group *g, int status)
{
	writer_lock(g->w);
	give_back(g);
	writer_unlock(g->w);
	gpa_reader_free(g->r);
	return status;
}

int group_end(group *g, int status, gpa_error *err)
{
	writer_lock(g->w);
	if (!status)
		status = acknowledge(g, err);
	give_back(g);
	writer_unlock(g->w);
	gpa_reader_free(g->r);
	return status;
}

static int is_full(const gpa_writer *w)
{
	const open_page *p = w->open;
	return p->count >= w->options.page_objects || p->end >= w->options.page_bytes || (p->count && p->failed);
}

static int fits(const gpa_writer *w, size_t length)
{
	uint64_t used = w->open->end + PAGE_FRAME;
	return !w->open->count || (used <= w->options.page_bytes && length <= w->options.page_bytes - used);
}

static int append(gpa_writer *w, const unsigned char *oid, const journal_entry *entry, int must_sync, gpa_error *err)
{
	int status;
	/* Sealing lets the lock go: afterwards another thread may have added it. */
	while (is_full(w) || !fits(w, entry->entry.len)) {
		if (w->closed)
			return closed(err);
		if ((status = writer_seal(w, err)))
			return status;
	}
	if (writer_holds(w, oid))
		return GPA_OK;
	/* by this file others know that the writer lives */
	if (w->closed || (status = open_page_make_file(&w->pages[0], &w->door, err)))
		return w->closed ? closed(err) : status;
	if ((status = open_page_add(w->open, &w->door, oid, entry, w->algo, err)))
		return status;
	w->open->must_sync |= must_sync;
	w->stats.object_count++;
	return is_full(w) ? writer_seal(w, err) : GPA_OK;
}

int group_append(group *g, const unsigned char *oid, const journal_entry *entry, int must_sync, gpa_error *err)
{
	writer_lock(g->w);
	int status = append(g->w, oid, entry, must_sync, err);
	writer_unlock(g->w);
	return status;
}

/* As it comes in pieces: that takes no memory. */
static int put_large(group *g, unsigned char *oid, int type, gpa_bytes data, gpa_error *err)
{
	gpa_new_object *object;
	int status = gpa_new_object_open(&object, g->w, type, data.len, err);
	if (status)
		return status;
	if (!(status = gpa_new_object_write(object, data.ptr, data.len, err)))
		status = gpa_new_object_finish(oid, object, err);
	gpa_new_object_free(object);
	return status;
}

int group_put(group *g, unsigned char *oid, int type, gpa_bytes data, gpa_error *err)
{
	journal_entry entry;
	if (type < GPA_COMMIT || type > GPA_TAG)
		return unsupported(err, "object type %d", type);
	if (data.len > LARGE_OBJECT)
		return put_large(g, oid, type, data, err);
	make_id(oid, g->m, type, data);
	g->seals |= type == GPA_COMMIT || type == GPA_TAG;
	int status = writer_knows(g->w, g->r, oid, err);
	if (status != GPA_ENOTFOUND) {
		g->known += !status;
		return status;
	}
	if ((status = make_entry(&entry, g->m, type, data, err)))
		return status;
	return group_append(g, oid, &entry, 0, err);
}

/* ---- the calls ---- */

int gpa_writer_close(gpa_writer *writer, gpa_error *err)
{
	enter(writer);
	int before = writer->closed;
	writer->closed = 1;	/* nothing is added while the last page is sealed */
	int status = writer_seal(writer, err);
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

int gpa_writer_add_many(unsigned char *oids, gpa_writer *writer, const unsigned char *types, const uint64_t *sizes,
			const unsigned char *data, uint32_t count, gpa_error *err)
{
	group g;
	int status = group_begin(&g, writer, err);
	if (status)
		return status;
	for (uint32_t i = 0; !status && i < count; i++) {
		status = group_put(&g, oids + i * writer->hash_size, types[i], (gpa_bytes){data, sizes[i]}, err);
		data += sizes[i];
	}
	return group_end(&g, status, err);
}

int gpa_writer_add(unsigned char *oid, gpa_writer *writer, int type, const unsigned char *data, size_t len,
		   gpa_error *err)
{
	group g;
	int status = group_begin(&g, writer, err);
	if (status)
		return status;
	return group_end(&g, group_put(&g, oid, type, (gpa_bytes){data, len}, err), err);
}

/* A commit that is not sealed yet has to be, as if it were added now. */
static int seals(gpa_writer *w, const unsigned char *oid)
{
	const page_row *row = open_page_find(w->open, oid, w->hash_size);
	if (!row && w->closing)
		row = open_page_find(w->closing, oid, w->hash_size);
	return row && (row->type == GPA_COMMIT || row->type == GPA_TAG);
}

int gpa_writer_freshen(gpa_writer *writer, const unsigned char *oid, gpa_error *err)
{
	group g;
	int status = group_begin(&g, writer, err);
	if (status)
		return status;
	if (!(status = writer_knows(writer, g.r, oid, err))) {
		writer_lock(writer);
		g.seals = seals(writer, oid);
		writer_unlock(writer);
	}
	return group_end(&g, status, err);
}

int gpa_writer_seal(gpa_writer *writer, gpa_error *err)
{
	enter(writer);
	int status = writer->closed ? closed(err) : writer_seal(writer, err);
	writer_unlock(writer);
	return status;
}
