/*
 * Sealing: the entries of the open page are copied into a pack, an idx is written, and temp_page.c names both. The
 * objects are in git's order: commits, tags, trees, blobs, and within a type as they were added. With deltas,
 * seal_deltas.c orders trees and blobs, and replaces some of their entries by smaller ones.
 *
 * One thread seals at a time, while new objects go into the next page. Threads that wait for the same page share one
 * seal.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "format/pack_write.h"
#include "write/writer.h"


/* ---- the pack ---- */

static const uint32_t types[] = {GPA_COMMIT, GPA_TAG, GPA_TREE, GPA_BLOB};

typedef struct sealing {
	gpa_writer *w;
	const open_page *page;
	temp_page temp;
	gpa_idx_entry *entries;		/* of the idx */
	pack_writer pack;
	unsigned char *room;		/* for the longest entry */
	uint32_t *order;		/* the page's rows in the order in which they are written */
	delta_search *deltas;		/* NULL: no deltas */
} sealing;

static int make_rooms(sealing *s, gpa_error *err)
{
	uint32_t longest = 1;
	for (uint32_t i = 0; i < s->page->count; i++)
		longest = s->page->rows[i].length > longest ? s->page->rows[i].length : longest;
	s->entries = malloc(s->page->count * sizeof(*s->entries));
	s->room = s->page->kept_from ? malloc(longest) : NULL;
	s->order = malloc(s->page->count * sizeof(*s->order));
	return s->entries && s->order && (s->room || !s->page->kept_from) ? GPA_OK : out_of_memory(err);
}

static void free_rooms(sealing *s)
{
	delta_search_free(s->deltas);
	free(s->order);
	free(s->entries);
	free(s->room);
}

static void make_order(sealing *s)
{
	uint32_t n = 0;
	for (size_t k = 0; k < sizeof(types) / sizeof(*types); k++)
		for (uint32_t i = 0; i < s->page->count; i++)
			if (s->page->rows[i].type == types[k])
				s->order[n++] = i;
	if (s->w->options.delta_depth)
		s->deltas = delta_search_new(s->order, s->w, s->page, s->room);
}

static int write_entry(sealing *s, uint32_t at, gpa_error *err)
{
	const page_row *row = &s->page->rows[s->order[at]];
	gpa_bytes entry = {NULL, row->length};
	int status = open_page_read(&entry.ptr, s->room, s->page, row, err);
	if (status)
		return status;
	int is_delta = s->deltas && !delta_search_next(&entry, s->deltas, at, pack_next_offset(&s->pack));
	return pack_add_entry(&s->pack, row->oid, entry, is_delta ? gpa_crc32(0, entry) : row->crc, err);
}

static int write_pack(sealing *s, gpa_error *err)
{
	output *out = &s->w->out;
	output_begin(out, s->temp.pack_fd, &s->w->door, s->temp.pack_path);
	int status = pack_begin(&s->pack, out, s->entries, s->page->count, err);
	for (uint32_t i = 0; !status && i < s->page->count; i++)
		status = write_entry(s, i, err);
	return status ? status : pack_finish(&s->pack, err);
}

static int write_page(sealing *s, gpa_error *err)
{
	gpa_writer *w = s->w;
	int status = make_rooms(s, err);
	if (status)
		return status;
	make_order(s);
	if ((status = temp_page_create(&s->temp, w, err)) || (status = write_pack(s, err)))
		return status;
	if ((status = pack_write_idx(&s->pack, s->temp.idx_fd, s->temp.idx_path, err)))
		return status;
	int sync = w->options.durability != GPA_DURABLE_NONE || s->page->must_sync;
	return temp_page_publish(&s->temp, w, s->pack.trailer, sync, err);
}

/* ---- one thread seals at a time ---- */

void writer_note_page(gpa_writer *w, temp_page *t, const gpa_idx_entry *entries, uint32_t count)
{
	int64_t now = coarse_ns();
	w->stats.page_count++;
	if (sealed_add(&w->lately, t->name, entries, count, now))
		w->looked_ns = 0;	/* without memory the reader has to find the page by a scan */
	if (t->guarded)
		guard_add(&w->guard, t, now);
	guard_look(w, now);
}

/* Empty the page and its journal, because its objects are in a pack. */
static void end_page(sealing *s, open_page *p)
{
	gpa_writer *w = s->w;
	while (p->syncing)
		pthread_cond_wait(&w->changed, &w->lock);
	writer_note_page(w, &s->temp, s->entries, s->pack.count);
	open_page_drop_records(p, &w->door);
	w->sealed = p->number;
	w->closing = NULL;
	open_page_clear(p);
}

static int seal_closing(gpa_writer *w, gpa_error *err)
{
	open_page *p = w->closing;
	sealing s = {.w = w, .page = p};
	int status = w->out_ready ? GPA_OK : output_open(&w->out, -1, w->algo, NULL, err);
	w->out_ready |= !status;
	if (status || (status = temp_page_open(&s.temp, w, err))) {
		temp_page_free(&s.temp);
		return status;
	}
	w->sealing = 1;
	writer_unlock(w);
	status = write_page(&s, err);
	if (status)
		temp_page_drop(&s.temp, w);
	writer_lock(w);
	if (!status)
		end_page(&s, p);
	temp_page_free(&s.temp);
	w->sealing = 0;
	pthread_cond_broadcast(&w->changed);
	free_rooms(&s);
	return status;
}

static void turn_page(gpa_writer *w)
{
	open_page *next = w->open == &w->pages[0] ? &w->pages[1] : &w->pages[0];
	next->number = w->open->number + 1;
	w->closing = w->open;
	w->open = next;
}

int writer_seal_through(gpa_writer *w, uint64_t number, gpa_error *err)
{
	while (w->sealed < number) {
		if (w->sealing) {
			pthread_cond_wait(&w->changed, &w->lock);
			continue;
		}
		if (!w->closing)
			turn_page(w);
		int status = seal_closing(w, err);
		if (status)
			return status;
	}
	return GPA_OK;
}

int writer_seal(gpa_writer *w, gpa_error *err)
{
	return writer_seal_through(w, w->open->count ? w->open->number : w->open->number - 1, err);
}
