/*
 * The proof that each object in a page has the id that the page gives it. An idx may lie: it may have other content
 * under an object's id, with the right CRC32. If the sources have several copies of an object, or if a delta is based
 * on another copy of its base than in its own pack, the merge has made a choice that no reader made before. So the page
 * is read again, and each such object is made. Threads do that while the next page is written and this one is synced.
 *
 * Its id is computed, unless its other copies are whole and agree with it on type, size and Adler-32. Thin packs bring
 * such copies: the base of a delta, whole. Against content made on purpose to have the same size and Adler-32 this
 * proves nothing; against any other content it does.
 *
 * If an object is wrong, check_ids() computes the ids of all objects of all sources, once, to find the copies that lie.
 *
 * The threads read the page, and data that was final before they began. The caller's thread may go on with other pages,
 * but may not plan anew. Memory (I11): KEPT_MOST of bases for each thread, or one base and one object if these are
 * larger. The last object made is always kept, so a long chain of large objects is made once.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "base/files.h"
#include "format/delta.h"
#include "format/pack.h"
#include "format/pack_check.h"
#include "format/types.h"
#include "merge/merge.h"

#define THREADS 2
#define FEW 32			/* slots; a thread is not worth it for fewer */
#define PIECES_ABOVE (1024 * 1024)	/* larger whole objects are hashed in pieces, if no delta is based on them */
#define KEPT_MOST (16 * 1024 * 1024)

#define NEED_ID 1
#define NEED_SUM 2		/* whole copies tell what the content is */

/* Facts about content that are known without inflating it. */
typedef struct content_sum {
	uint32_t adler;
	uint32_t fold : 16;
	uint32_t type : 3;
} content_sum;

/* A part of the page, for one thread. */
typedef struct page_part {
	struct proof *p;
	pthread_t thread;
	uint32_t first, end;	/* slots */
	uint32_t failed;	/* the slot that is wrong, or NONE */
	int status;
	gpa_error err;
} page_part;

struct proof {
	gpa_bytes page;
	int algo;
	uint32_t hash_size;
	const object *objects;	/* borrowed from the plan, as `slots` */
	const slot *slots;
	uint32_t first_slot, count;
	uint64_t *offsets;
	uint64_t end;		/* of the last entry */
	unsigned char *needed;	/* for each slot, NEED_ID and NEED_SUM */
	content_sum *expected;	/* for the slots with NEED_SUM */
	uint32_t *waiting;	/* for each slot, how many deltas on it are still to be made */
	unsigned char *wanted;	/* slots that are made: those needed and their bases */
	const gpa_progress *progress;
	int dropped;
	uint64_t entries_read;	/* by all threads */
	page_part parts[THREADS];
	unsigned started;	/* parts that have a thread; the others ran at once */
};

/* An object on the way from the whole one to the last delta. `made` is NULL if its memory was needed for others. */
typedef struct path_step {
	uint32_t slot;
	made_object *made;
} path_step;

typedef struct prover {
	page_part *page_part;
	struct proof *p;
	inflater *z;
	hasher hash;
	path_step *path;
	uint32_t length, room;
	uint32_t first_kept;	/* none before it is kept */
	size_t held;		/* bytes of the objects on the path */
	uint64_t entries_read;
} prover;

/* ---- the slots to prove ---- */

static uint32_t base_slot(const struct proof *p, uint32_t i)
{
	return p->slots[i].base == NONE ? NONE : p->slots[i].base - p->first_slot;
}

/* Whether the content of slot `i` is that of the chosen copy in its own pack. A new delta has no own pack. */
static int is_as_in_source(const gpa_merge *m, const struct proof *p, uint32_t i, const unsigned char *as_in_source)
{
	const slot *s = &p->slots[i];
	const copy *c = &m->copies[s->chosen];
	uint32_t base = base_slot(p, i);
	if (s->rebuild || c->source == MADE)
		return 0;
	if (base == NONE || c->base == NONE)
		return c->base == NONE;
	const copy *theirs = &m->copies[c->base];
	if (p->slots[base].chosen == c->base)
		return as_in_source[base];
	/* Is the base here the same as in the pack? Only if their sums are equal; the id alone proves nothing. */
	if (theirs->base != NONE || theirs->damaged || theirs->lies || m->is_checked)
		return 0;
	p->needed[base] |= NEED_SUM;
	return 1;
}

/* A copy whose sum holds for the other copies too; NULL if the slot itself is whole. */
static const copy *whole_copy(const gpa_merge *m, const slot *s)
{
	const copy *chosen = &m->copies[s->chosen];
	if (chosen->base == NONE && !s->rebuild)
		return NULL;
	for (uint32_t i = copies_begin(m, s->object); i < copies_end(m, s->object); i++) {
		const copy *c = &m->copies[m->by_object[i]];
		if (c->base == NONE && !c->damaged && !c->lies)
			return c;
	}
	return NULL;
}

/* Whether the whole copies decide for all: the chosen copy is the only delta, and every other copy is whole. */
static int whole_ones_decide(const gpa_merge *m, const slot *s)
{
	uint32_t whole = 0, deltas = 0;
	for (uint32_t i = copies_begin(m, s->object); i < copies_end(m, s->object); i++) {
		const copy *c = &m->copies[m->by_object[i]];
		if (c->damaged || c->lies)
			return 0;
		whole += c->base == NONE;
		deltas += c->base != NONE && m->by_object[i] != s->chosen;
	}
	return whole && !deltas;
}

/* What has to be proved of a slot. Entries of an idx v1 and rebuilt ones were checked when they were written. */
static unsigned char what_is_needed(const gpa_merge *m, const slot *s, int as_in_source)
{
	const copy *c = &m->copies[s->chosen];
	unsigned char doubt = m->objects[s->object].doubt;
	if (s->rebuild || (as_in_source && (!doubt || c->proved || !m->sources[c->source].idx->crcs)))
		return 0;
	if (m->is_checked || doubt & NOT_NAMED || !whole_ones_decide(m, s))
		return NEED_ID;
	return c->base == NONE ? 0 : NEED_SUM;
}

/* Find the slots that have to be proved. Returns how many there are. */
static uint32_t find_needed(const gpa_merge *m, struct proof *p)
{
	uint32_t needed = 0;
	unsigned char *as_in_source = p->wanted;	/* borrowed */
	memset(p->needed, 0, p->count);
	for (uint32_t i = 0; i < p->count; i++) {
		as_in_source[i] = (unsigned char)is_as_in_source(m, p, i, as_in_source);
		p->needed[i] = what_is_needed(m, &p->slots[i], as_in_source[i]);
	}
	for (uint32_t i = 0; i < p->count; i++) {
		const copy *whole = p->needed[i] & NEED_SUM ? whole_copy(m, &p->slots[i]) : NULL;
		if (!whole)
			p->needed[i] &= NEED_ID;
		else
			p->expected[i] = (content_sum){whole->sum, whole->fold & 0xffff, whole->type & 7};
		needed += p->needed[i] != 0;
	}
	for (uint32_t i = 0; i < p->count; i++)
		p->wanted[i] = p->needed[i] != 0;
	for (uint32_t i = p->count; needed && i-- > 0;) {	/* bases come before their deltas */
		uint32_t base = base_slot(p, i);
		if (p->wanted[i] && base != NONE) {
			p->wanted[base] = 1;
			p->waiting[base]++;
		}
	}
	return needed;
}

/* ---- one slot ---- */

static int read_slot(gpa_entry *entry, gpa_bytes *stream, const struct proof *p, uint32_t i, gpa_error *err)
{
	uint64_t begin = p->offsets[i], end = i + 1 < p->count ? p->offsets[i + 1] : p->end;
	gpa_bytes bytes = {p->page.ptr + begin, end - begin};
	int status = entry_parse_bytes(entry, bytes, begin, p->hash_size, err);
	*stream = (gpa_bytes){bytes.ptr + entry->header_size, bytes.len - entry->header_size};
	if (!status && entry->size / INFLATES_MOST > stream->len)
		status = corrupt(err, "entry claims %llu bytes, more than its %zu can hold",
				 (unsigned long long)entry->size, stream->len);
	return status;
}

static int is_ended(const struct proof *p)
{
	return is_stopped(p->progress) || __atomic_load_n(&p->dropped, __ATOMIC_RELAXED);
}

static int make_whole(made_object **out, prover *w, uint32_t i, gpa_error *err)
{
	gpa_entry entry;
	gpa_bytes stream;
	size_t used;
	w->entries_read++;
	int status = read_slot(&entry, &stream, w->p, i, err);
	if (status)
		return status;
	made_object *made = made_object_new(entry.size);
	if (!made)
		return out_of_memory(err);
	made->type = entry.type;
	if ((status = inflate_stoppable(w->z, made->room, entry.size, &used, stream, w->p->progress, err)))
		made_object_drop(made);
	else
		*out = made;
	return status;
}

static int make_delta(made_object **out, prover *w, uint32_t i, const made_object *base, gpa_error *err)
{
	gpa_entry entry;
	gpa_bytes stream;
	size_t used;
	w->entries_read++;
	int status = is_ended(w->p) ? stopped(err) : read_slot(&entry, &stream, w->p, i, err);
	if (status)
		return status;
	unsigned char *program = malloc(entry.size + 1);
	if (!program)
		return out_of_memory(err);
	if (!(status = inflate_stoppable(w->z, program, entry.size, &used, stream, w->p->progress, err)))
		status = delta_target(out, base, (gpa_bytes){program, entry.size}, w->p->progress, err);
	free(program);
	return status;
}

/* Make an object again that is not kept: from the nearest kept one below it, or from its whole base. */
static int make_again(made_object **out, prover *w, uint32_t i, gpa_error *err)
{
	uint32_t *deltas = NULL, count = 0, room = 0, on_path = w->length, at = i;
	made_object *made = NULL, *next;
	int status = GPA_OK;
	for (uint32_t below; !status && !made && (below = base_slot(w->p, at)) != NONE; at = below) {
		while (on_path && w->path[on_path - 1].slot >= at)
			on_path--;
		if (array_reserve(deltas, room, (uint64_t)count + 1, 64))
			status = out_of_memory(err);
		else
			deltas[count++] = at;
		if (on_path && w->path[on_path - 1].slot == below && w->path[on_path - 1].made)
			made = made_object_share(w->path[on_path - 1].made);
	}
	if (!status && !made)
		status = make_whole(&made, w, at, err);
	while (!status && count)
		if (!(status = make_delta(&next, w, deltas[--count], made, err))) {
			made_object_drop(made);
			made = next;
		}
	free(deltas);
	if (status)
		made_object_drop(made);
	else
		*out = made;
	return status;
}

static int is_other(const prover *w, uint32_t i, gpa_error *err)
{
	char hex[2 * GPA_OID_MAX + 1];
	oid_to_hex(hex, w->p->objects[w->p->slots[i].object].oid, w->p->hash_size);
	return corrupt(err, "object %s would get other content than its id says", hex);
}

static int end_id(prover *w, uint32_t i, gpa_error *err)
{
	unsigned char oid[GPA_OID_MAX];
	hasher_final(&w->hash, oid);
	if (!memcmp(oid, w->p->objects[w->p->slots[i].object].oid, w->p->hash_size))
		return GPA_OK;
	return is_other(w, i, err);
}

static int prove_made(prover *w, uint32_t i, const made_object *made, gpa_error *err)
{
	const content_sum *sum = &w->p->expected[i];
	if (w->p->needed[i] & NEED_SUM &&
	    (content_adler(made->bytes) != sum->adler || sum->type != (unsigned)made->type ||
	     (sum->fold && sum->fold != size_fold(made->bytes.len))))
		return is_other(w, i, err);
	if (!(w->p->needed[i] & NEED_ID))
		return GPA_OK;
	object_id_begin(&w->hash, made->type, made->bytes.len);
	int status = hasher_update_stoppable(&w->hash, made->bytes, w->p->progress, err);
	return status ? status : end_id(w, i, err);
}

static void hash_piece(void *context, const unsigned char *piece, size_t len)
{
	hasher_update(context, piece, len);
}

/* Hash a large object in pieces. Returns GPA_ENOTFOUND for an object that is better made as a whole. */
static int prove_in_pieces(prover *w, uint32_t i, gpa_error *err)
{
	gpa_entry entry;
	gpa_bytes stream;
	size_t used;
	int status = read_slot(&entry, &stream, w->p, i, err);
	if (status || entry.size <= PIECES_ABOVE || w->p->waiting[i])
		return status ? status : GPA_ENOTFOUND;
	w->entries_read++;
	object_id_begin(&w->hash, entry.type, entry.size);
	status = inflate_pieces(entry.size, &used, stream, hash_piece, &w->hash, w->p->progress, err);
	return status ? status : end_id(w, i, err);
}

/* ---- the path ---- */

static void leave_last(prover *w)
{
	path_step *last = &w->path[--w->length];
	if (last->made)
		w->held -= last->made->bytes.len;
	made_object_drop(last->made);
	if (w->first_kept > w->length)
		w->first_kept = w->length;
}

/* Keep the object at the end of the path, and those nearest to it as far as there is room. */
static void keep_last(prover *w, made_object *made)
{
	for (uint32_t k = w->first_kept; k + 1 < w->length && w->held + made->bytes.len > KEPT_MOST; k++) {
		if (w->path[k].made)
			w->held -= w->path[k].made->bytes.len;
		made_object_drop(w->path[k].made);
		w->path[k].made = NULL;
		w->first_kept = k + 1;
	}
	w->held += made->bytes.len;
	w->path[w->length - 1].made = made;
	if (w->first_kept >= w->length)
		w->first_kept = w->length - 1;
}

static int go_on(prover *w, uint32_t i, made_object *made, gpa_error *err)
{
	if (array_reserve(w->path, w->room, (uint64_t)w->length + 1, 64)) {
		made_object_drop(made);
		return out_of_memory(err);
	}
	w->path[w->length++] = (path_step){i, NULL};
	keep_last(w, made);
	return GPA_OK;
}

/* The base of a delta, with an owner added: from the path if it is there, or made again. */
static int find_base(made_object **out, prover *w, uint32_t base, gpa_error *err)
{
	while (w->length && w->path[w->length - 1].slot != base)
		leave_last(w);
	if (w->length && w->path[w->length - 1].made) {
		*out = made_object_share(w->path[w->length - 1].made);
		return GPA_OK;
	}
	int status = make_again(out, w, base, err);
	if (status)
		return status;
	if (!w->length)
		return go_on(w, base, made_object_share(*out), err);
	keep_last(w, made_object_share(*out));
	return GPA_OK;
}

static int prove_slot(prover *w, uint32_t i, gpa_error *err)
{
	struct proof *p = w->p;
	made_object *made = NULL, *base = NULL;
	uint32_t below = base_slot(p, i);
	int status = GPA_OK;
	if (below == NONE) {
		while (w->length)
			leave_last(w);
		if ((status = prove_in_pieces(w, i, err)) != GPA_ENOTFOUND)
			return status;
		status = make_whole(&made, w, i, err);
	} else if (!(status = find_base(&base, w, below, err))) {
		status = make_delta(&made, w, i, base, err);
		made_object_drop(base);
		if (!--p->waiting[below] && w->length && w->path[w->length - 1].slot == below)
			leave_last(w);
	}
	if (status)
		return status;
	if (p->needed[i])
		status = prove_made(w, i, made, err);
	if (!status && p->waiting[i])
		return go_on(w, i, made, err);
	made_object_drop(made);
	return status;
}

/* ---- the threads ---- */

static int prove_part(prover *w, gpa_error *err)
{
	struct proof *p = w->p;
	for (uint32_t i = w->page_part->first; i < w->page_part->end; i++) {
		if (!p->wanted[i])
			continue;
		if (is_ended(p))
			return stopped(err);
		int status = prove_slot(w, i, err);
		if (status) {
			w->page_part->failed = status == GPA_ECORRUPT ? i : NONE;
			return status;
		}
	}
	return GPA_OK;
}

static void *prove(void *argument)
{
	page_part *page_part = argument;
	prover w = {.page_part = page_part, .p = page_part->p};
	page_part->status = inflater_new(&w.z, &page_part->err);
	if (!page_part->status && !(page_part->status = hasher_init(&w.hash, page_part->p->algo, &page_part->err))) {
		page_part->status = prove_part(&w, &page_part->err);
		hasher_free(&w.hash);
	}
	while (w.length)
		leave_last(&w);
	__atomic_add_fetch(&w.p->entries_read, w.entries_read, __ATOMIC_RELAXED);
	free(w.path);
	inflater_free(w.z);
	return NULL;
}

/* Cut the page between two families, so that each thread has half of the work. */
static unsigned share_out(struct proof *p, uint32_t needed)
{
	uint32_t wanted = 0, so_far = 0, cut = p->count;
	for (uint32_t i = 0; i < p->count; i++)
		wanted += p->wanted[i];
	for (uint32_t i = 0; i < p->count && cut == p->count; i++) {
		if (so_far >= wanted / 2 && p->slots[i].base == NONE)
			cut = i;
		so_far += p->wanted[i];
	}
	p->parts[0] = (page_part){.p = p, .end = cut, .failed = NONE};
	p->parts[1] = (page_part){.p = p, .first = cut, .end = p->count, .failed = NONE};
	return needed >= 2 * FEW && cut < p->count ? 2 : 1;
}

static void proof_free(struct proof *p)
{
	gpa_map_close(&p->page);
	free(p->offsets);
	free(p->needed);
	free(p->expected);
	free(p->wanted);
	free(p->waiting);
	free(p);
}

static void start(struct proof *p, uint32_t needed)
{
	unsigned count = share_out(p, needed);
	if (count == 1)
		p->parts[0].end = p->count;
	for (unsigned i = 0; needed >= FEW && i < count; i++) {
		if (pthread_create(&p->parts[i].thread, NULL, prove, &p->parts[i]))
			break;
		p->started++;
	}
	/* a few slots, and parts without a thread, are done at once */
	for (unsigned i = p->started; i < count; i++)
		prove(&p->parts[i]);
}

int proof_begin(gpa_merge *m, uint32_t number, int fd, uint64_t *offsets, uint64_t end, gpa_error *err)
{
	const page *pg = &m->pages[number];
	struct proof *p = calloc(1, sizeof(*p));
	if (!p) {
		free(offsets);
		return out_of_memory(err);
	}
	*p = (struct proof){.algo = m->options.algo, .hash_size = m->hash_size, .objects = m->objects,
			    .slots = m->slots + pg->first_slot, .first_slot = pg->first_slot, .count = pg->slot_count,
			    .offsets = offsets, .end = end, .progress = m->progress};
	p->needed = malloc(pg->slot_count + 1);
	p->wanted = malloc(pg->slot_count + 1);
	p->expected = malloc((pg->slot_count + 1) * sizeof(*p->expected));
	p->waiting = calloc(pg->slot_count + 1, sizeof(*p->waiting));
	int status = p->needed && p->wanted && p->expected && p->waiting ? GPA_OK : out_of_memory(err);
	uint32_t needed = status ? 0 : find_needed(m, p);
	if (needed)
		status = file_map(&p->page, fd, end + m->hash_size, err);
	if (status || !needed) {
		proof_free(p);
		return status;
	}
	start(p, needed);
	m->proof = p;
	return GPA_OK;
}

/* ---- its end ---- */

static void wait_for(struct proof *p)
{
	while (p->started)
		pthread_join(p->parts[--p->started].thread, NULL);
}

void proof_drop(gpa_merge *m)
{
	if (!m->proof)
		return;
	__atomic_store_n(&m->proof->dropped, 1, __ATOMIC_RELAXED);
	wait_for(m->proof);
	proof_free(m->proof);
	m->proof = NULL;
}

/* React to a wrong id: have every source checked. If that has been done, do not choose this copy again. */
static void suspect(gpa_merge *m, const slot *s, gpa_error *err)
{
	copy *c = &m->copies[s->chosen];
	int is_made = c->source == MADE;
	if (is_made)
		c = &m->copies[c->base];
	err->source = (int32_t)(c->source == MADE ? m->copies[m->by_object[copies_begin(m, s->object)]].source : c->source);
	if (is_made && m->is_checked)
		m->no_made = 1;
	else if (m->is_checked)
		c->damaged = 1;
	m->in_doubt = 1;
}

int proof_end(gpa_merge *m, gpa_error *err)
{
	int status = GPA_OK;
	if (!m->proof)
		return GPA_OK;
	wait_for(m->proof);
	for (unsigned i = 0; !status && i < THREADS; i++) {
		const page_part *page_part = &m->proof->parts[i];
		if (!(status = page_part->status))
			continue;
		*err = page_part->err;
		if (page_part->failed != NONE)
			suspect(m, &m->proof->slots[page_part->failed], err);
	}
	m->entries_read += m->proof->entries_read;
	proof_free(m->proof);
	m->proof = NULL;
	return status;
}

int gpa_merge_prove(gpa_merge *m, gpa_error *err)
{
	return proof_end(m, err);
}

/* ---- copies that lie ---- */

static void note_verdict(copy *c, unsigned char verdict)
{
	c->proved = verdict == ENTRY_PROVED;
	c->lies = verdict == ENTRY_LIES;
	c->damaged |= verdict == ENTRY_DAMAGED;
}

static int check_source(gpa_merge *m, uint32_t number, gpa_error *err)
{
	const source *s = &m->sources[number];
	uint32_t count = s->idx->object_count;
	gpa_bytes pack;
	unsigned char *verdicts = malloc((size_t)count + 1);
	if (!verdicts)
		return out_of_memory(err);
	int status = gpa_map_open(&pack, s->dir_fd, s->path, err);
	if (!status) {
		status = pack.len != s->size ? corrupt(err, "pack changed its size") :
			 pack_check_ids(verdicts, pack, s->idx, THREADS, m->progress, err);
		gpa_map_close(&pack);
	}
	for (uint32_t i = 0; !status && i < count; i++)
		note_verdict(&m->copies[s->first_copy + i], verdicts[i]);
	free(verdicts);
	if (status)
		err->source = (int32_t)number;
	return status;
}

int check_ids(gpa_merge *m, gpa_error *err)
{
	int status = GPA_OK;
	for (uint32_t i = 0; !status && i < m->source_count; i++)
		status = check_source(m, i, err);
	m->is_checked = !status;
	return status;
}
