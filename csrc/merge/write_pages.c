/*
 * Writing the bytes of a page. Each chosen copy is read from its source, checked, and written with its zlib stream
 * unchanged. Only the header changes, because a delta names its base by the distance within the new page.
 *
 * I13: a copy is checked against the CRC32 in its idx before any of its bytes go into the page. An idx v1 has none;
 * there the object is made and must have its id. If an object was chosen among several copies, or has another copy of
 * its base than in its own pack, prove_pages.c computes its id from the page.
 *
 * Neighbours in a page come from many packs, so copies are read in windows: as many as fit the buffer, in the order of
 * source and offset. Then they are written in the order of the page. A copy larger than the buffer is read twice, in
 * pieces: once for its check and once to be written.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files.h"
#include "format/chain.h"
#include "format/pack_write.h"
#include "format/types.h"
#include "merge/merge.h"

#define BASES_MOST (32u << 20)	/* bytes of cached bases */
#define DEAR ((uint64_t)1 << 30)	/* bytes made on the way to objects, apart from a fair multiple of their own sizes */

typedef struct writer {
	gpa_merge *m;
	output out;
	pack_writer pack;
	uint64_t *offsets;	/* of each slot of the page that is written */
	gpa_idx_entry *entries;
	uint32_t first_slot;
	struct pending *window;
	struct pending **by_source;
} writer;

/* A copy that is read together with its window. */
typedef struct pending {
	const slot *slot;
	copy *copy;
	size_t at;		/* in m->buffer */
} pending;

/* ---- checking ---- */

static int check_crc(gpa_merge *m, const copy *c, int fd, gpa_error *err)
{
	uint32_t crc = 0, expected = copy_crc(m, c);
	for (uint64_t done = 0; done < c->size;) {
		if (is_stopped(m->progress))
			return stopped(err);
		size_t piece = c->size - done < COPY_BUFFER ? c->size - done : COPY_BUFFER;
		int status = file_read(fd, m->buffer, piece, c->offset + done, err);
		if (status)
			return status;
		crc = gpa_crc32(crc, (gpa_bytes){m->buffer, piece});
		done += piece;
	}
	return crc == expected ? GPA_OK :
		corrupt_at(err, c->offset, "entry has CRC32 %08x, its idx says %08x", crc, expected);
}

static int end_id(hasher *h, const gpa_merge *m, const copy *c, gpa_error *err)
{
	unsigned char oid[GPA_OID_MAX];
	hasher_final(h, oid);
	if (!memcmp(oid, m->objects[c->object].oid, m->hash_size))
		return GPA_OK;
	return corrupt_at(err, c->offset, "object does not have the id its idx says");
}

static void hash_piece(void *context, const unsigned char *piece, size_t len)
{
	hasher_update(context, piece, len);
}

/* Check a whole object. It is inflated in pieces, so that its size does not matter. */
static int check_whole(gpa_merge *m, const copy *c, gpa_bytes pack, hasher *h, gpa_error *err)
{
	gpa_entry entry;
	size_t used;
	int status = entry_parse_bytes(&entry, (gpa_bytes){pack.ptr + c->offset, c->size}, c->offset, m->hash_size, err);
	if (status)
		return status;
	gpa_bytes stream = {pack.ptr + c->offset + entry.header_size, c->size - entry.header_size};
	object_id_begin(h, entry.type, entry.size);
	if ((status = inflate_pieces(entry.size, &used, stream, hash_piece, h, m->progress, err)))
		err->offset = (int64_t)c->offset;
	else if (used != stream.len)
		status = corrupt_at(err, c->offset, "zlib stream is %zu bytes, its entry has %zu", used, stream.len);
	return status ? status : end_id(h, m, c, err);
}

/*
 * Make the object of a copy. The next object of a chain is a delta on the last one, so caching some of them makes long
 * chains linear.
 */
int make_copy(made_object **out, gpa_merge *m, const copy *c, gpa_bytes pack, gpa_error *err)
{
	int status = m->bases ? GPA_OK : base_cache_new(&m->bases, BASES_MOST, err);
	chain_source source = {.pack = pack, .idx = m->sources[c->source].idx, .cache = m->bases, .lately = &m->lately,
			       .pack_id = (uint64_t)c->source + 1, .misses = &m->entries_read, .bytes_made = &m->bytes_made,
			       .progress = m->progress};
	if (!status && !(status = chain_read(out, &source, c->offset, m->z, err)))
		m->bytes_asked += (*out)->bytes.len;
	return status;
}

static int check_delta(gpa_merge *m, const copy *c, gpa_bytes pack, hasher *h, gpa_error *err)
{
	made_object *made;
	int status = make_copy(&made, m, c, pack, err);
	if (status)
		return status;
	object_id_begin(h, made->type, made->bytes.len);
	status = hasher_update_stoppable(h, made->bytes, m->progress, err);
	made_object_drop(made);
	return status ? status : end_id(h, m, c, err);
}

/* Check a copy of a source with idx v1: map the source for the time of the check, and make the object. */
static int check_object(gpa_merge *m, const copy *c, gpa_error *err)
{
	const source *s = &m->sources[c->source];
	gpa_bytes pack;
	hasher h;
	int status = gpa_map_open(&pack, s->dir_fd, s->path, err);
	if (status)
		return status;
	if (pack.len != s->size) {
		status = corrupt(err, "pack changed its size");
	} else if (!(status = hasher_init(&h, m->options.algo, err))) {
		status = c->base == NONE ? check_whole(m, c, pack, &h, err) : check_delta(m, c, pack, &h, err);
		hasher_free(&h);
	}
	gpa_map_close(&pack);
	return status;
}

static int check_copy(gpa_merge *m, const copy *c, int fd, gpa_error *err)
{
	return m->sources[c->source].idx->crcs ? check_crc(m, c, fd, err) : check_object(m, c, err);
}

int gpa_merge_check(uint32_t *damaged, gpa_merge *m, gpa_progress *progress, gpa_error *err)
{
	*damaged = 0;
	m->progress = progress;
	proof_drop(m);
	if (m->in_doubt && !m->is_checked) {
		int status = check_ids(m, err);
		if (status)
			return status;
	}
	for (uint32_t i = 0; i < m->copy_count; i++) {
		copy *c = &m->copies[i];
		int fd, status = GPA_OK;
		if (is_stopped(progress))
			return stopped(err);
		if (!c->damaged && !m->is_checked) {
			if (!(status = source_file(&fd, m, c->source, err)))
				status = check_copy(m, c, fd, err);
			if (status && status != GPA_ECORRUPT) {
				err->source = (int32_t)c->source;
				return status;
			}
			c->damaged = status != GPA_OK;
		}
		*damaged += c->damaged;
	}
	return GPA_OK;
}

/* ---- writing ---- */

static int begin_entry(writer *w, const slot *s, const gpa_entry *entry, gpa_error *err)
{
	if (s->base == NONE)
		return pack_begin_entry(&w->pack, entry->type, entry->size, err);
	/* a base can be behind its delta only if packs disagree on an object's type */
	if (s->base - w->first_slot >= w->pack.count)
		return corrupt(err, "delta and base are said to be of different types");
	return pack_begin_delta(&w->pack, w->offsets[s->base - w->first_slot], entry->size, err);
}

static void end_entry(writer *w, const slot *s)
{
	w->offsets[w->pack.count] = w->entries[w->pack.count].offset;
	pack_end_entry(&w->pack, w->m->objects[s->object].oid);
}

/* ---- one copy that does not go with a window ---- */

/* Write the new header, then the stream, in pieces of the buffer. */
static int write_pieces(writer *w, const slot *s, const copy *c, int fd, gpa_error *err)
{
	gpa_merge *m = w->m;
	gpa_entry entry;
	size_t piece = c->size < COPY_BUFFER ? c->size : COPY_BUFFER;
	int status = file_read(fd, m->buffer, piece, c->offset, err);
	if (!status)
		status = entry_parse_bytes(&entry, (gpa_bytes){m->buffer, piece}, c->offset, m->hash_size, err);
	if (!status)
		status = begin_entry(w, s, &entry, err);
	if (!status)
		status = output_write(&w->out, m->buffer + entry.header_size, piece - entry.header_size, err);
	for (uint64_t done = piece; !status && done < c->size; done += piece) {
		piece = c->size - done < COPY_BUFFER ? c->size - done : COPY_BUFFER;
		if (!(status = file_read(fd, m->buffer, piece, c->offset + done, err)))
			status = output_write(&w->out, m->buffer, piece, err);
	}
	return status;
}

static int write_copy(writer *w, const slot *s, const copy *c, gpa_error *err)
{
	int fd, status = source_file(&fd, w->m, c->source, err);
	if (!status)
		status = check_copy(w->m, c, fd, err);
	return status ? status : write_pieces(w, s, c, fd, err);
}

static int check_content(gpa_merge *m, const copy *c, int type, gpa_bytes content, gpa_error *err)
{
	hasher h;
	int status = hasher_init(&h, m->options.algo, err);
	if (status)
		return status;
	object_id_begin(&h, type, content.len);
	if (!(status = hasher_update_stoppable(&h, content, m->progress, err)))
		status = end_id(&h, m, c, err);
	hasher_free(&h);
	return status;
}

/*
 * Whether rebuilding objects has become too expensive. Many small objects, each at the end of a chain of large ones,
 * cost a push little, but a merge would make the large ones for each of them. Then they stay deltas, on chains as long
 * as they were pushed: GPA_ECORRUPT makes the caller plan again.
 */
static int is_too_dear(gpa_merge *m)
{
	uint64_t fair = (2 * (uint64_t)m->options.depth + 16) * m->bytes_asked;
	if (m->no_cuts || m->bytes_made < DEAR || m->bytes_made - DEAR < fair)
		return 0;
	m->no_cuts = 1;
	return 1;
}

/* Rebuild an object of which no source has a whole copy: inflate, check, deflate. */
static int write_rebuilt(writer *w, const copy *c, gpa_error *err)
{
	gpa_merge *m = w->m;
	const source *s = &m->sources[c->source];
	made_object *made = NULL;
	gpa_bytes pack;
	int status = gpa_map_open(&pack, s->dir_fd, s->path, err);
	if (status)
		return status;
	status = pack.len == s->size ? make_copy(&made, m, c, pack, err) : corrupt(err, "pack changed its size");
	gpa_map_close(&pack);
	if (!status)
		status = check_content(m, c, made->type, made->bytes, err);
	if (!status)
		status = pack_begin_entry(&w->pack, made->type, made->bytes.len, err);
	if (!status && !(status = deflate_begin(m->d, err)))
		status = deflate_piece(m->d, &w->out, made->bytes, 1, err);
	made_object_drop(made);
	return status;
}

/* Set the source that a failure is about, and remember a damaged copy. A failed write is about the page. */
static int blame(copy *c, int status, gpa_error *err)
{
	if (status == GPA_ECORRUPT)
		c->damaged = 1;
	if (status == GPA_ECORRUPT || (status == GPA_ESYS && strncmp(err->text, "cannot write", 12)))
		err->source = (int32_t)c->source;
	return status;
}

static int write_alone(writer *w, const slot *s, gpa_error *err)
{
	gpa_merge *m = w->m;
	copy *c = &m->copies[s->chosen];
	if (s->rebuild && is_too_dear(m)) {
		err->source = (int32_t)c->source;
		return corrupt(err, "chains of deltas are too dear to be cut");
	}
	int status = s->rebuild ? write_rebuilt(w, c, err) : write_copy(w, s, c, err);
	if (status)
		return blame(c, status, err);
	end_entry(w, s);
	return GPA_OK;
}

/* ---- a window of copies ---- */

/* Choose how many of the slots from `s` on are read together. Returns 0 if the first one goes alone. */
static uint32_t fill_window(writer *w, const slot *s, uint32_t count)
{
	gpa_merge *m = w->m;
	uint64_t bytes = 0;
	uint32_t n = 0;
	for (; n < count; n++) {
		copy *c = &m->copies[s[n].chosen];
		uint64_t size = c->source == MADE ? 0 : c->size;
		if (s[n].rebuild || size > COPY_BUFFER - bytes || (size && !m->sources[c->source].idx->crcs))
			break;
		bytes += size;
		w->window[n] = (pending){.slot = &s[n], .copy = c};
		w->by_source[n] = &w->window[n];
	}
	return n;
}

static int compare_pending(const void *left, const void *right)
{
	const copy *a = (*(pending *const *)left)->copy, *b = (*(pending *const *)right)->copy;
	if (a->source != b->source)
		return a->source < b->source ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Read the copies in the order of source and offset; adjacent ones are read at once. */
static int read_window(writer *w, uint32_t count, gpa_error *err)
{
	gpa_merge *m = w->m;
	size_t at = 0;
	qsort(w->by_source, count, sizeof(*w->by_source), compare_pending);
	for (uint32_t i = 0, end; i < count && w->by_source[i]->copy->source != MADE; i = end) {
		copy *first = w->by_source[i]->copy;	/* copies that are MADE come last */
		uint64_t upto = first->offset;
		for (end = i; end < count && w->by_source[end]->copy->source == first->source &&
			      w->by_source[end]->copy->offset == upto; end++) {
			w->by_source[end]->at = at + (upto - first->offset);
			upto += w->by_source[end]->copy->size;
		}
		int fd, status = source_file(&fd, m, first->source, err);
		if (!status)
			status = file_read(fd, m->buffer + at, upto - first->offset, first->offset, err);
		if (status)
			return blame(first, status, err);
		at += upto - first->offset;
	}
	return GPA_OK;
}

/* Write a delta that find_deltas.c made. It has no header, and its content has been checked. */
static int write_made(writer *w, const pending *p, gpa_error *err)
{
	gpa_merge *m = w->m;
	gpa_entry entry = {.type = GPA_OFS_DELTA, .size = p->copy->sum};
	int status = begin_entry(w, p->slot, &entry, err);
	if (!status)
		status = output_write(&w->out, m->made + p->copy->offset, p->copy->size - MADE_HEADER, err);
	if (!status)
		end_entry(w, p->slot);
	return status;
}

static int write_pending(writer *w, const pending *p, gpa_error *err)
{
	if (p->copy->source == MADE)
		return write_made(w, p, err);
	gpa_merge *m = w->m;
	gpa_entry entry;
	gpa_bytes bytes = {m->buffer + p->at, p->copy->size};
	uint32_t crc = gpa_crc32(0, bytes), expected = copy_crc(m, p->copy);
	if (crc != expected)
		return corrupt_at(err, p->copy->offset, "entry has CRC32 %08x, its idx says %08x", crc, expected);
	int status = entry_parse_bytes(&entry, bytes, p->copy->offset, m->hash_size, err);
	if (!status)
		status = begin_entry(w, p->slot, &entry, err);
	if (!status)
		status = output_write(&w->out, bytes.ptr + entry.header_size, bytes.len - entry.header_size, err);
	if (!status)
		end_entry(w, p->slot);
	return status;
}

static int write_window(writer *w, uint32_t count, gpa_error *err)
{
	int status = read_window(w, count, err);
	for (uint32_t i = 0; !status && i < count; i++)
		if ((status = write_pending(w, &w->window[i], err)))
			return blame(w->window[i].copy, status, err);
	return status;
}

static int write_page(writer *w, const page *pg, gpa_error *err)
{
	const slot *slots = w->m->slots + pg->first_slot;
	int status = pack_begin(&w->pack, &w->out, w->entries, pg->slot_count, err);
	for (uint32_t i = 0, n; !status && i < pg->slot_count; i += n ? n : 1) {
		if (is_stopped(w->m->progress))
			return stopped(err);
		n = fill_window(w, slots + i, pg->slot_count - i);
		status = n ? write_window(w, n, err) : write_alone(w, slots + i, err);
		if (!status && w->m->progress)
			w->m->progress->done += n ? n : 1;
	}
	return status ? status : pack_finish(&w->pack, err);
}

int gpa_merge_write(gpa_merge *m, uint32_t number, int pack_fd, int idx_fd, unsigned char *trailer,
		    gpa_progress *progress, gpa_error *err)
{
	writer w = {.m = m};
	if (number >= m->page_count)
		return fail_at(err, GPA_ENOTFOUND, GPA_NO_OFFSET, "page %u of %u", number, m->page_count);
	const page *pg = &m->pages[number];
	w.first_slot = pg->first_slot;
	m->progress = progress;
	int status = output_open(&w.out, pack_fd, m->options.algo, progress, err);
	if (status)
		return status;
	w.offsets = malloc((pg->slot_count + 1) * sizeof(*w.offsets));
	w.entries = malloc((pg->slot_count + 1) * sizeof(*w.entries));
	w.window = malloc((pg->slot_count + 1) * sizeof(*w.window));
	w.by_source = malloc((pg->slot_count + 1) * sizeof(*w.by_source));
	status = w.offsets && w.entries && w.window && w.by_source ? write_page(&w, pg, err) : out_of_memory(err);
	uint64_t end = w.out.written - m->hash_size;
	if (!status)
		status = pack_write_idx(&w.pack, idx_fd, NULL, err);
	if (!status && !(status = proof_end(m, err))) {
		memcpy(trailer, w.pack.trailer, m->hash_size);
		status = proof_begin(m, number, pack_fd, w.offsets, end, err);
		w.offsets = NULL;	/* the proof owns them now */
	}
	output_free(&w.out);
	free(w.offsets);
	free(w.entries);
	free(w.window);
	free(w.by_source);
	return status;
}
