/*
 * The objects that one call adds, from any thread.
 *
 * An object is hashed, looked up, and deflated without the lock, then put into the open page under the lock. At the end
 * of the call the journal is written once, and synced or sealed as needed. Threads that call at the same time share one
 * sync.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "format/pack.h"
#include "format/types.h"
#include "write/writer.h"

#define ROOM_MOST (1024 * 1024)		/* bytes that an idle encoder keeps */
#define FIRST_ROOM (64 * 1024)
#define PAGE_FRAME (12 + GPA_OID_MAX)	/* bytes of a pack apart from its entries */

/* ---- encoders ---- */

void encoder_free(encoder *m)
{
	hasher_free(&m->hash);
	deflater_free(m->d);
	free(m->room);
	free(m);
}

static int encoder_new(encoder **out, const gpa_writer *w, gpa_error *err)
{
	encoder *m = calloc(1, sizeof(*m));
	if (!m)
		return out_of_memory(err);
	int status = hasher_init(&m->hash, w->algo, err);
	if (!status)
		status = deflater_new(&m->d, w->options.level, err);
	if (status)
		encoder_free(m);
	else
		*out = m;
	return status;
}

void make_id(unsigned char *oid, encoder *m, int type, gpa_bytes data)
{
	object_id(oid, &m->hash, type, data);
}

static int make_entry(journal_entry *out, encoder *m, int type, gpa_bytes data, gpa_error *err)
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

int writer_closed(gpa_error *err)
{
	return unsupported(err, "the writer is closed");
}

int group_begin(group *g, gpa_writer *w, gpa_error *err)
{
	*g = (group){.w = w};
	writer_enter(w);
	int status = w->closed ? writer_closed(err) : GPA_OK, due = writer_is_due(w);
	if (!status) {
		g->r = gpa_reader_share(w->reader);
		g->m = w->idle;
		if (g->m)
			w->idle = g->m->next;
	}
	writer_unlock(w);
	if (!status && !g->m && (status = encoder_new(&g->m, w, err)))
		gpa_reader_free(g->r);
	if (!status && due)
		writer_look(w, g->r);
	return status;
}

/* Wait until the records that the page has now are synced, or its objects are in a sealed page. */
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
	if (writer_own_batch(w))
		return GPA_OK;
	if (g->seals || w->open->failed)
		return writer_seal(w, err);
	if (w->options.durability != GPA_DURABLE_JOURNAL)
		return open_page_flush(w->open, &w->door, w->algo, err);
	open_page *open = w->open, *closing = w->closing;
	int status = closing ? sync_journal(w, closing, err) : GPA_OK;
	return status ? status : sync_journal(w, open, err);
}

/* Return the encoder, under the lock. */
static void give_back(group *g)
{
	gpa_writer *w = g->w;
	encoder *m = g->m;
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
	/* Sealing releases the lock: afterwards another thread may have added the object. */
	while (is_full(w) || !fits(w, entry->entry.len)) {
		if (w->closed)
			return writer_closed(err);
		if ((status = writer_seal(w, err)))
			return status;
	}
	if (writer_holds(w, oid))
		return GPA_OK;
	/* this file shows other processes that the writer lives */
	if (w->closed || (status = open_page_make_file(&w->pages[0], &w->door, err)))
		return w->closed ? writer_closed(err) : status;
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

int group_put(group *g, unsigned char *oid, int type, gpa_bytes data, gpa_error *err)
{
	journal_entry entry;
	if (type < GPA_COMMIT || type > GPA_TAG)
		return unsupported(err, "object type %d", type);
	make_id(oid, g->m, type, data);
	g->seals |= type == GPA_COMMIT || type == GPA_TAG;
	int status = writer_has_stored(g->w, g->r, oid, !g->packs_loose, err);
	if (status != GPA_ENOTFOUND) {
		g->known += !status;
		return status;
	}
	if ((status = make_entry(&entry, g->m, type, data, err)))
		return status;
	return group_append(g, oid, &entry, 0, err);
}
