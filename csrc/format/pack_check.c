/*
 * Checking every byte of a pack: its trailer, the CRC32 of each entry, and the id of each object, deltas included.
 *
 * Threads share the objects that are stored whole. A thread that takes one also makes all deltas on it, walking down
 * with a stack. The content of an object is freed when its last delta has been made, so a long chain needs two objects
 * in memory. Among the deltas on one object, the one with the largest family comes last. Each object that is kept then
 * has more than half of its family still to come, so the contents of n objects of one family in memory are never more
 * than log2(n) + 2.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "base/inflate.h"
#include "base/report.h"
#include "format/delta.h"
#include "format/idx.h"
#include "format/pack.h"
#include "format/pack_check.h"
#include "format/types.h"

#define NONE UINT32_MAX
#define STREAM_ABOVE (16u << 20)	/* larger objects without deltas on them are hashed in pieces */
#define THREADS_MAX 64

typedef struct node {
	uint32_t child;		/* first entry that is a delta on this one */
	uint32_t sibling;	/* next delta on the same base; the one with the largest family comes last */
	uint8_t type;		/* of the entry; 0 if its header is damaged */
	uint8_t done;
} node;

typedef struct check {
	gpa_bytes pack;
	const gpa_idx *idx;
	idx_place *places;
	node *nodes;
	uint32_t count;
	uint32_t next;		/* first entry that no thread has taken */
	int trailer_taken;
	gpa_report *report;
	unsigned char *verdicts;	/* used instead of the report: see pack_check_ids() */
	gpa_progress *progress;
	pthread_mutex_t lock;	/* for report and status */
	int status;
} check;

typedef struct checker {
	check *c;
	inflater *z;
	hasher hash;
} checker;

/* An object on the way down: its content, and the next delta on it. */
typedef struct frame {
	gpa_buffer content;
	uint32_t next_child;
} frame;

static void found(check *c, uint32_t place, const char *what)
{
	char hex[2 * GPA_OID_MAX + 1];
	if (c->verdicts) {
		c->verdicts[c->places[place].pos] = ENTRY_DAMAGED;
		return;
	}
	oid_to_hex(hex, gpa_idx_oid(c->idx, c->places[place].pos), c->idx->hash_size);
	pthread_mutex_lock(&c->lock);
	if (report_add(c->report, "object %s at offset %llu: %s", hex, (unsigned long long)c->places[place].offset, what))
		c->status = GPA_ENOMEM;
	pthread_mutex_unlock(&c->lock);
}

/* Note a failure. GPA_ECORRUPT is a finding; any other status ends the check. */
static void note_failure(check *c, uint32_t place, int status, const gpa_error *err)
{
	if (status == GPA_ECORRUPT) {
		found(c, place, err->text);
		return;
	}
	if (status == GPA_ESTOPPED)
		return;
	pthread_mutex_lock(&c->lock);
	c->status = status;
	pthread_mutex_unlock(&c->lock);
}

static gpa_bytes entry_bytes(const check *c, uint32_t place)
{
	uint64_t begin = c->places[place].offset;
	uint64_t end = place + 1 < c->count ? c->places[place + 1].offset : c->pack.len - c->idx->hash_size;
	return (gpa_bytes){c->pack.ptr + begin, end - begin};
}

/* ---- one entry ---- */

/*
 * Whether the content has its id as an object of another type. A flipped bit in an entry's header makes a blob a tree.
 * If no CRC32 shows that, the entry is damaged, but its idx does not lie.
 */
static int has_other_type(checker *w, uint32_t place, gpa_bytes content)
{
	unsigned char oid[GPA_OID_MAX];
	for (int type = GPA_COMMIT; type <= GPA_TAG; type++) {
		object_id_begin(&w->hash, type, content.len);
		hasher_update(&w->hash, content.ptr, content.len);
		hasher_final(&w->hash, oid);
		if (!memcmp(oid, gpa_idx_oid(w->c->idx, w->c->places[place].pos), w->c->idx->hash_size))
			return 1;
	}
	return 0;
}

/* Check an object's id. `content` is empty if it was hashed in pieces. */
static void check_id(checker *w, uint32_t place, gpa_bytes content)
{
	unsigned char oid[GPA_OID_MAX];
	char hex[2 * GPA_OID_MAX + 1], text[128];
	uint32_t pos = w->c->places[place].pos;
	hasher_final(&w->hash, oid);
	int is_right = !memcmp(oid, gpa_idx_oid(w->c->idx, pos), w->c->idx->hash_size);
	if (w->c->verdicts)
		w->c->verdicts[pos] = is_right ? ENTRY_PROVED :
				      has_other_type(w, place, content) ? ENTRY_DAMAGED : ENTRY_LIES;
	if (is_right || w->c->verdicts)
		return;
	oid_to_hex(hex, oid, w->c->idx->hash_size);
	snprintf(text, sizeof(text), "content has the id %s", hex);
	found(w->c, place, text);
}

static void hash_piece(void *context, const unsigned char *piece, size_t len)
{
	hasher_update(context, piece, len);
}

static int check_stream_end(size_t used, gpa_bytes stream, gpa_error *err)
{
	return used == stream.len ? GPA_OK :
		corrupt(err, "zlib stream is %zu bytes, its entry has %zu", used, stream.len);
}

/* Check an entry's CRC32 and header, and inflate its stream to `out`, or only into the hash. */
static int read_entry(checker *w, uint32_t place, gpa_entry *entry, gpa_buffer *out, gpa_error *err)
{
	check *c = w->c;
	gpa_bytes bytes = entry_bytes(c, place);
	size_t used;
	int status = entry_parse_bytes(entry, bytes, c->places[place].offset, c->idx->hash_size, err);
	if (status)
		return status;
	if (c->idx->crcs) {
		uint32_t expected = gpa_idx_crc(c->idx, c->places[place].pos), crc = gpa_crc32(0, bytes);
		if (crc != expected)
			return corrupt(err, "entry has CRC32 %08x, its idx says %08x", crc, expected);
	}
	gpa_bytes stream = {bytes.ptr + entry->header_size, bytes.len - entry->header_size};
	if (entry->size / INFLATES_MOST > stream.len)
		return corrupt(err, "entry claims %llu bytes, more than its %zu can hold", (unsigned long long)entry->size,
			       stream.len);
	if (entry->type <= GPA_TAG && entry->size > STREAM_ABOVE && c->nodes[place].child == NONE) {
		object_id_begin(&w->hash, entry->type, entry->size);
		status = inflate_pieces(entry->size, &used, stream, hash_piece, &w->hash, c->progress, err);
		if (!status)
			status = check_stream_end(used, stream, err);
		if (status) {
			unsigned char ignored[GPA_OID_MAX];
			hasher_final(&w->hash, ignored);
		}
		return status;
	}
	out->len = entry->size;
	out->ptr = malloc(entry->size ? entry->size : 1);
	if (!out->ptr)
		return out_of_memory(err);
	status = inflate_stoppable(w->z, out->ptr, out->len, &used, stream, c->progress, err);
	if (!status)
		status = check_stream_end(used, stream, err);
	if (status)
		gpa_buffer_free(out);
	return status;
}

static void step_done(check *c, uint32_t place)
{
	c->nodes[place].done = 1;
	if (c->progress && !c->verdicts)
		__atomic_add_fetch(&c->progress->done, 1, __ATOMIC_RELAXED);
}

/* Make the object at `place`, a delta on `base`, and check its id. */
static int make_delta(checker *w, uint32_t place, const gpa_buffer *base, int type, gpa_buffer *out, gpa_error *err)
{
	gpa_entry entry;
	gpa_buffer delta = {0};
	uint64_t source_size, target_size;
	int status = read_entry(w, place, &entry, &delta, err);
	if (!status)
		status = gpa_delta_sizes(&source_size, &target_size, (gpa_bytes){delta.ptr, delta.len}, err);
	if (!status && target_size / 0xffffff > delta.len)
		status = corrupt(err, "delta claims a target of %llu bytes", (unsigned long long)target_size);
	if (!status) {
		out->len = target_size;
		out->ptr = malloc(target_size ? target_size : 1);
		status = !out->ptr ? out_of_memory(err) :
			 delta_apply(out->ptr, out->len, (gpa_bytes){base->ptr, base->len},
				     (gpa_bytes){delta.ptr, delta.len}, w->c->progress, err);
	}
	gpa_buffer_free(&delta);
	if (!status) {
		object_id_begin(&w->hash, type, out->len);
		status = hasher_update_stoppable(&w->hash, (gpa_bytes){out->ptr, out->len}, w->c->progress, err);
	}
	if (status) {
		gpa_buffer_free(out);
		return status;
	}
	check_id(w, place, (gpa_bytes){out->ptr, out->len});
	return GPA_OK;
}

/* ---- a whole object and all that is made from it ---- */

static int push_frame(frame **stack, uint32_t *used, uint32_t *room, frame f)
{
	if (array_reserve(*stack, *room, (uint64_t)*used + 1, 16))
		return GPA_ENOMEM;
	(*stack)[(*used)++] = f;
	return GPA_OK;
}

/* Make all objects that are deltas on `content`, directly or not. Frees `content`. */
static int walk_deltas(checker *w, uint32_t root, gpa_buffer content, int type)
{
	check *c = w->c;
	frame *stack = NULL;
	uint32_t used = 0, room = 0;
	int status = push_frame(&stack, &used, &room, (frame){content, c->nodes[root].child});
	if (status)
		gpa_buffer_free(&content);
	while (!status && used && !(c->progress && c->progress->stop)) {
		frame *top = &stack[used - 1];
		uint32_t place = top->next_child;
		gpa_buffer made = {0};
		gpa_error err;
		if (place == NONE) {
			gpa_buffer_free(&top->content);
			used--;
			continue;
		}
		top->next_child = c->nodes[place].sibling;
		int result = make_delta(w, place, &top->content, type, &made, &err);
		step_done(c, place);
		if (result) {
			note_failure(c, place, result, &err);
			continue;
		}
		if (top->next_child == NONE) {	/* the last delta on it has been made: the content is not needed any more */
			gpa_buffer_free(&top->content);
			used--;
		}
		if (c->nodes[place].child == NONE)
			gpa_buffer_free(&made);
		else if ((status = push_frame(&stack, &used, &room, (frame){made, c->nodes[place].child})))
			gpa_buffer_free(&made);
	}
	while (used)
		gpa_buffer_free(&stack[--used].content);
	free(stack);
	return status;
}

static void check_whole(checker *w, uint32_t place)
{
	check *c = w->c;
	gpa_entry entry;
	gpa_buffer content = {0};
	gpa_error err;
	int status = read_entry(w, place, &entry, &content, &err);
	step_done(c, place);
	if (!status && content.ptr) {
		object_id_begin(&w->hash, entry.type, content.len);
		status = hasher_update_stoppable(&w->hash, (gpa_bytes){content.ptr, content.len}, c->progress, &err);
	}
	if (status) {
		gpa_buffer_free(&content);
		note_failure(c, place, status, &err);
		return;
	}
	check_id(w, place, (gpa_bytes){content.ptr, content.len});
	if (c->nodes[place].child == NONE)
		gpa_buffer_free(&content);
	else if (content.ptr && walk_deltas(w, place, content, entry.type))
		note_failure(c, place, GPA_ENOMEM, &err);
}

static void check_trailer(checker *w)
{
	check *c = w->c;
	unsigned char sum[GPA_OID_MAX];
	size_t body = c->pack.len - c->idx->hash_size;
	gpa_error ignored;
	if (hasher_update_stoppable(&w->hash, (gpa_bytes){c->pack.ptr, body}, c->progress, &ignored))
		return;
	hasher_final(&w->hash, sum);
	if (!memcmp(sum, c->pack.ptr + body, c->idx->hash_size))
		return;
	pthread_mutex_lock(&c->lock);
	if (report_add(c->report, "pack trailer is not the hash of the pack"))
		c->status = GPA_ENOMEM;
	pthread_mutex_unlock(&c->lock);
}

static void *work(void *argument)
{
	checker *w = argument;
	check *c = w->c;
	if (!__atomic_exchange_n(&c->trailer_taken, 1, __ATOMIC_RELAXED))
		check_trailer(w);
	for (;;) {
		uint32_t place = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED);
		if (place >= c->count || (c->progress && c->progress->stop) || __atomic_load_n(&c->status, __ATOMIC_RELAXED))
			return NULL;
		if (c->nodes[place].type >= GPA_COMMIT && c->nodes[place].type <= GPA_TAG)
			check_whole(w, place);
	}
}

/* ---- setting up ---- */

static uint32_t base_place(check *c, const gpa_entry *entry)
{
	uint32_t pos;
	uint64_t offset = entry->base_offset;
	gpa_error ignored;
	if (entry->type == GPA_REF_DELTA &&
	    (gpa_idx_find(&pos, c->idx, entry->base_oid) || gpa_idx_offset(&offset, c->idx, pos, &ignored)))
		return c->count;
	return idx_place_find(c->places, c->count, offset);
}

/*
 * Count the family of each entry: the entries that are deltas on it, directly or not, and itself. Families in a cycle
 * are not complete.
 */
static void count_families(uint32_t *weight, uint32_t *waiting, uint32_t *leaves, const uint32_t *base, uint32_t count)
{
	uint32_t leaf_count = 0;
	for (uint32_t i = 0; i < count; i++)
		weight[i] = 1;
	for (uint32_t i = 0; i < count; i++)
		if (base[i] != NONE)
			waiting[base[i]]++;
	for (uint32_t i = 0; i < count; i++)
		if (!waiting[i])
			leaves[leaf_count++] = i;
	while (leaf_count) {
		uint32_t leaf = leaves[--leaf_count], below = base[leaf];
		if (below == NONE)
			continue;
		weight[below] += weight[leaf];
		if (!--waiting[below])
			leaves[leaf_count++] = below;
	}
}

/* Link each delta to its base: the one with the largest family last, the others in order of offset. */
static int hang_deltas(check *c, const uint32_t *base, gpa_error *err)
{
	uint32_t *numbers = calloc((size_t)c->count + 1, 3 * sizeof(*numbers));
	if (!numbers)
		return out_of_memory(err);
	uint32_t *weight = numbers, *heaviest = numbers + c->count, *leaves = heaviest + c->count;
	count_families(weight, heaviest, leaves, base, c->count);
	memset(heaviest, 0xff, c->count * sizeof(*heaviest));
	for (uint32_t i = 0; i < c->count; i++)
		if (base[i] != NONE && (heaviest[base[i]] == NONE || weight[i] >= weight[heaviest[base[i]]]))
			heaviest[base[i]] = i;
	for (uint32_t i = 0; i < c->count; i++)
		c->nodes[i].child = heaviest[i];
	for (uint32_t i = c->count; i-- > 0;) {
		if (base[i] == NONE || heaviest[base[i]] == i)
			continue;
		c->nodes[i].sibling = c->nodes[base[i]].child;
		c->nodes[base[i]].child = i;
	}
	free(numbers);
	return GPA_OK;
}

/* Read every header. base[i] is the place of the base of the delta at place i, or NONE. */
static void read_headers(check *c, uint32_t *base)
{
	for (uint32_t i = 0; i < c->count; i++)
		c->nodes[i] = (node){.child = NONE, .sibling = NONE};
	for (uint32_t i = 0; i < c->count; i++) {
		gpa_entry entry;
		gpa_error err;
		base[i] = NONE;
		int status = entry_parse_bytes(&entry, entry_bytes(c, i), c->places[i].offset, c->idx->hash_size, &err);
		if (status) {
			note_failure(c, i, status, &err);
			c->nodes[i].done = 1;
			continue;
		}
		c->nodes[i].type = (uint8_t)entry.type;
		if (entry.type <= GPA_TAG)
			continue;
		uint32_t below = base_place(c, &entry);
		if (below == c->count) {
			found(c, i, "delta base is not in this pack");
			c->nodes[i].done = 1;
			continue;
		}
		base[i] = below;
	}
}

static int run_threads(check *c, unsigned threads, gpa_error *err)
{
	checker workers[THREADS_MAX];
	pthread_t ids[THREADS_MAX];
	unsigned ready = 0, started = 0;
	int status = GPA_OK;
	threads = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
	for (; !status && ready < threads; ready += !status) {
		workers[ready] = (checker){.c = c};
		if (!(status = inflater_new(&workers[ready].z, err)) &&
		    (status = hasher_init(&workers[ready].hash, c->idx->algo, err)))
			inflater_free(workers[ready].z);
	}
	/* if no more threads can be started, fewer do the work; the calling thread always does */
	for (; !status && started + 1 < ready; started++)
		if (pthread_create(&ids[started], NULL, work, &workers[started + 1]))
			break;
	if (!status)
		work(&workers[0]);
	for (unsigned i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	while (ready) {
		inflater_free(workers[--ready].z);
		hasher_free(&workers[ready].hash);
	}
	return status;
}

static int check_all(check *c, unsigned threads, gpa_error *err)
{
	uint32_t *base = malloc(((size_t)c->count + 1) * sizeof(*base));
	if (!base)
		return out_of_memory(err);
	read_headers(c, base);
	int status = hang_deltas(c, base, err);
	free(base);
	if (!status)
		status = run_threads(c, threads, err);
	if (!status && c->status)
		status = c->status == GPA_ENOMEM ? out_of_memory(err) : fail_at(err, c->status, GPA_NO_OFFSET, "check failed");
	if (c->progress && c->progress->stop)
		return status;
	for (uint32_t i = 0; !status && !c->verdicts && i < c->count; i++)
		if (!c->nodes[i].done)
			found(c, i, "cannot be made: its chain of deltas is damaged or a cycle");
	return status;
}

int gpa_pack_check(gpa_report *report, gpa_bytes pack, const gpa_idx *idx, unsigned threads, gpa_progress *progress,
		   gpa_error *err)
{
	check c = {.pack = pack, .idx = idx, .count = idx->object_count, .report = report, .progress = progress};
	int status = gpa_pack_match(pack, idx, err);
	if (status == GPA_ECORRUPT || status == GPA_EUNSUPPORTED)
		return report_add(report, "%s", err->text) ? out_of_memory(err) : GPA_OK;
	status = gpa_idx_check(idx, err);
	if (status == GPA_ECORRUPT && report_add(report, "%s", err->text))
		return out_of_memory(err);
	c.places = malloc(((size_t)c.count + 1) * sizeof(*c.places));
	c.nodes = malloc(((size_t)c.count + 1) * sizeof(*c.nodes));
	status = c.places && c.nodes ? idx_places(c.places, idx, pack.len, err) : out_of_memory(err);
	if (status == GPA_ECORRUPT) {
		status = report_add(report, "%s", err->text) ? out_of_memory(err) : GPA_OK;
	} else if (!status) {
		pthread_mutex_init(&c.lock, NULL);
		status = check_all(&c, threads, err);
		pthread_mutex_destroy(&c.lock);
	}
	free(c.places);
	free(c.nodes);
	return status;
}

int pack_check_ids(unsigned char *verdicts, gpa_bytes pack, const gpa_idx *idx, unsigned threads, gpa_progress *progress,
		   gpa_error *err)
{
	check c = {.pack = pack, .idx = idx, .count = idx->object_count, .verdicts = verdicts, .progress = progress,
		   .trailer_taken = 1};
	memset(verdicts, ENTRY_UNKNOWN, c.count);
	c.places = malloc(((size_t)c.count + 1) * sizeof(*c.places));
	c.nodes = malloc(((size_t)c.count + 1) * sizeof(*c.nodes));
	int status = c.places && c.nodes ? idx_places(c.places, idx, pack.len, err) : out_of_memory(err);
	if (!status) {
		pthread_mutex_init(&c.lock, NULL);
		status = check_all(&c, threads, err);
		pthread_mutex_destroy(&c.lock);
	}
	free(c.places);
	free(c.nodes);
	return status ? status : is_stopped(progress) ? stopped(err) : GPA_OK;
}
