/*
 * The proof that a doomed pack may be deleted: each of its objects has another copy, in a pack that stays. If that pack
 * was not merged from the doomed one, nothing has compared the two copies, and an idx may have other content under the
 * object's id. So that copy is made and its id computed, by two threads, in the order of the copies. If that makes far
 * more bytes than the copies have, as with long chains of large objects, the whole pack is checked instead, which makes
 * each of its objects once.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "format/chain.h"
#include "format/idx.h"
#include "format/pack.h"
#include "format/pack_check.h"
#include "format/types.h"
#include "merge/merge.h"

#define THREADS 2
#define FEW 32			/* copies; a thread is not worth it for fewer */
#define PIECES_ABOVE (1024 * 1024)	/* larger whole objects are hashed in pieces */
#define CACHE_BYTES (32u << 20)
#define DEAR ((uint64_t)1 << 30)	/* bytes made, apart from FAIR times those of the copies */
#define FAIR 16
#define NOT_LIVE 1		/* the caller has not opened the winner's pack yet, or that is doomed too */

void gpa_proof_free(gpa_proof *proof)
{
	free(proof->holders);
	proof->holders = NULL;
	proof->holder_count = proof->holder_room = 0;
}

/* ---- whether an object exists ---- */

static int unproved(gpa_error *err, const unsigned char *oid, uint32_t hash_size, const char *why)
{
	char hex[2 * GPA_OID_MAX + 1];
	oid_to_hex(hex, oid, hash_size);
	return fail_at(err, GPA_ENOTFOUND, GPA_NO_OFFSET, "object %s %s", hex, why);
}

static int add_holder(gpa_proof *proof, gpa_holder holder, gpa_error *err)
{
	if (proof->trusted[holder.pack])
		return GPA_OK;
	if (array_reserve(proof->holders, proof->holder_room, (uint64_t)proof->holder_count + 1, 64))
		return out_of_memory(err);
	proof->holders[proof->holder_count++] = holder;
	return GPA_OK;
}

/* Find the first pack outside the index that holds the object, and mark it in `used`. */
static int prove_outside(unsigned char *used, gpa_proof *proof, const unsigned char *oid, gpa_holder holder, gpa_error *err)
{
	for (uint32_t i = 0, pos; i < proof->outside_count; i++) {
		const gpa_idx *idx = proof->outside[i];
		if (gpa_idx_find(&pos, idx, oid))
			continue;
		int status = gpa_idx_offset(&holder.offset, idx, pos, err);
		if (status)
			return status;
		used[i] = 1;
		holder.pack = (proof->midx ? proof->midx->pack_count : 0) + i;
		return add_holder(proof, holder, err);
	}
	return GPA_ENOTFOUND;
}

/* Prove the winner at `at`: it is in a pack that stays, and that pack's idx has it at the same place. */
static int prove_winner(unsigned char *winners, gpa_proof *proof, uint32_t at, const unsigned char *oid, gpa_holder holder,
			gpa_error *err)
{
	const gpa_midx *midx = proof->midx;
	uint32_t pos;
	uint64_t there;
	int status = gpa_midx_entry(&holder.pack, &holder.offset, midx, at, err);
	if (status)
		return status;
	winners[holder.pack] = 1;
	const gpa_idx *idx = proof->live[holder.pack];
	if (!idx) {
		unproved(err, oid, midx->hash_size, "has its winner in a pack that does not stay");
		return NOT_LIVE;
	}
	if (gpa_idx_find(&pos, idx, oid))
		return unproved(err, oid, midx->hash_size, "is not in the pack that the index names");
	if ((status = gpa_idx_offset(&there, idx, pos, err)))
		return status;
	int found = there == holder.offset;
	if (!found && (status = idx_holds_at(&found, idx, pos, holder.offset, err)))
		return status;
	return found ? add_holder(proof, holder, err) : unproved(err, oid, midx->hash_size, "is not where the index says");
}

int gpa_midx_prove(unsigned char *winners, unsigned char *used, gpa_proof *proof, const gpa_idx *doomed, uint32_t number,
		   gpa_error *err)
{
	int result = GPA_OK, status = GPA_OK;
	uint32_t before = proof->holder_count;
	for (uint32_t i = 0; !status && i < doomed->object_count; i++) {
		const unsigned char *oid = gpa_idx_oid(doomed, i);
		gpa_holder holder = {.doomed = number, .pos = i};
		uint32_t at;
		if (!proof->midx || gpa_midx_find(&at, proof->midx, oid)) {
			status = prove_outside(used, proof, oid, holder, err);
			if (status == GPA_ENOTFOUND)
				unproved(err, oid, doomed->hash_size, "is in no pack that stays");
			continue;
		}
		status = prove_winner(winners, proof, at, oid, holder, err);
		if (status == NOT_LIVE) {
			result = GPA_ENOTFOUND;
			status = GPA_OK;
		}
	}
	if (status || result)
		proof->holder_count = before;
	return status ? status : result;
}

/* ---- whether the copy is the object ---- */

static int compare_holders(const void *left, const void *right)
{
	const gpa_holder *a = left, *b = right;
	if (a->pack != b->pack)
		return a->pack < b->pack ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

void gpa_proof_sort(gpa_proof *proof)
{
	if (proof->holder_count)	/* otherwise there is no array yet */
		qsort(proof->holders, proof->holder_count, sizeof(*proof->holders), compare_holders);
}

uint32_t gpa_proof_span(const gpa_proof *proof, uint32_t first)
{
	uint32_t end = first;
	while (end < proof->holder_count && proof->holders[end].pack == proof->holders[first].pack)
		end++;
	return end;
}

uint32_t gpa_proof_next_other(const gpa_proof *proof, uint32_t at, uint32_t end)
{
	while (at < end && !proof->holders[at].is_other)
		at++;
	return at;
}

typedef struct proof_part {
	gpa_holder *holders;
	uint32_t count;
	const gpa_idx *const *doomed;
	chain_source source;
	gpa_progress *progress;
	pthread_t thread;
	int is_dear;		/* so the thread ended early */
	uint64_t bytes_made;
	int status;
	gpa_error err;
} proof_part;

typedef struct copy_checker {
	proof_part *proof_part;
	inflater *z;
	hasher hash;
	lately lately;
	uint64_t misses;
	uint64_t bytes_made, bytes_asked;
} copy_checker;

static void hash_piece(void *context, const unsigned char *piece, size_t len)
{
	hasher_update(context, piece, len);
}

/* Hash a large object in pieces. Returns GPA_ENOTFOUND for an object that is better made as a whole. */
static int hash_in_pieces(copy_checker *w, const chain_source *source, uint64_t offset, gpa_error *err)
{
	unsigned char ignored[GPA_OID_MAX];
	gpa_entry entry;
	gpa_bytes stream;
	size_t used;
	int status = gpa_entry_parse(&entry, source->pack, offset, source->idx->algo, err);
	if (!status)
		status = entry_stream(&stream, source->pack, &entry, offset, source->idx->hash_size, err);
	if (status || entry.type > GPA_TAG || entry.size <= PIECES_ABOVE)
		return status ? status : GPA_ENOTFOUND;
	object_id_begin(&w->hash, entry.type, entry.size);
	status = inflate_pieces(entry.size, &used, stream, hash_piece, &w->hash, w->proof_part->progress, err);
	if (status)
		hasher_final(&w->hash, ignored);
	return status;
}

/* Make a copy and compare its id with `oid`. *is_other: it cannot be made, or has another id. */
static int check_copy(copy_checker *w, uint32_t *is_other, uint64_t offset, const unsigned char *oid, gpa_error *err)
{
	chain_source source = w->proof_part->source;
	unsigned char made_oid[GPA_OID_MAX];
	made_object *made;
	source.lately = &w->lately;
	source.misses = &w->misses;
	source.bytes_made = &w->bytes_made;
	int status = hash_in_pieces(w, &source, offset, err);
	if (status == GPA_ENOTFOUND && !(status = chain_read(&made, &source, offset, w->z, err))) {
		object_id_begin(&w->hash, made->type, made->bytes.len);
		w->bytes_asked += made->bytes.len;
		status = hasher_update_stoppable(&w->hash, made->bytes, source.progress, err);
		made_object_drop(made);
	}
	if (status) {
		*is_other = status == GPA_ECORRUPT;
		return *is_other ? GPA_OK : status;
	}
	hasher_final(&w->hash, made_oid);
	*is_other = memcmp(oid, made_oid, source.idx->hash_size) != 0;
	return GPA_OK;
}

/* Check the copies of one thread. An object that many doomed packs have is made once. */
static int check_part(copy_checker *w, gpa_error *err)
{
	proof_part *p = w->proof_part;
	const unsigned char *oid_before = NULL;
	for (uint32_t i = 0; i < p->count; i++) {
		gpa_holder *h = &p->holders[i];
		const unsigned char *oid = gpa_idx_oid(p->doomed[h->doomed], h->pos);
		if (is_stopped(p->progress))
			return stopped(err);
		if (oid_before && h->offset == h[-1].offset && !memcmp(oid, oid_before, p->source.idx->hash_size)) {
			h->is_other = h[-1].is_other;
			continue;
		}
		if ((p->is_dear = w->bytes_made > DEAR && w->bytes_made - DEAR > FAIR * w->bytes_asked))
			return GPA_OK;
		int status = check_copy(w, &h->is_other, h->offset, oid, err);
		if (status)
			return status;
		oid_before = oid;
	}
	return GPA_OK;
}

static void *work(void *argument)
{
	proof_part *p = argument;
	copy_checker w = {.proof_part = p};
	p->status = inflater_new(&w.z, &p->err);
	if (!p->status && !(p->status = hasher_init(&w.hash, p->source.idx->algo, &p->err))) {
		p->status = check_part(&w, &p->err);
		hasher_free(&w.hash);
	}
	p->bytes_made = w.bytes_made;
	lately_free(&w.lately);
	inflater_free(w.z);
	return NULL;
}

/* Whether the copy at the holder's offset is proved. The idx may have the object more than once. */
static int is_proved_at(const unsigned char *verdicts, const gpa_idx *idx, const unsigned char *oid, uint64_t offset)
{
	uint32_t pos;
	uint64_t there;
	gpa_error ignored;
	if (gpa_idx_find(&pos, idx, oid))
		return 0;
	while (pos && !memcmp(gpa_idx_oid(idx, pos - 1), oid, idx->hash_size))
		pos--;
	for (; pos < idx->object_count && !memcmp(gpa_idx_oid(idx, pos), oid, idx->hash_size); pos++)
		if (!gpa_idx_offset(&there, idx, pos, &ignored) && there == offset)
			return verdicts[pos] == ENTRY_PROVED;
	return 0;
}

static int check_whole_pack(gpa_holder *holders, uint32_t count, gpa_bytes pack, const gpa_idx *idx,
			    const gpa_idx *const *doomed, gpa_progress *progress, gpa_error *err)
{
	unsigned char *verdicts = malloc((size_t)idx->object_count + 1);
	int status = verdicts ? pack_check_ids(verdicts, pack, idx, THREADS, progress, err) : out_of_memory(err);
	for (uint32_t i = 0; !status && i < count; i++) {
		gpa_holder *h = &holders[i];
		h->is_other = !is_proved_at(verdicts, idx, gpa_idx_oid(doomed[h->doomed], h->pos), h->offset);
	}
	free(verdicts);
	return status;
}

int gpa_proof_check(gpa_proof *proof, uint32_t first, uint32_t end, gpa_bytes pack, const gpa_idx *idx,
		    const gpa_idx *const *doomed, gpa_progress *progress, gpa_error *err)
{
	proof_part parts[THREADS];
	uint32_t count = end - first, half = count >= 2 * FEW ? count / 2 : count;
	base_cache *cache;
	int status = base_cache_new(&cache, CACHE_BYTES, err);
	if (status)
		return status;
	chain_source source = {.pack = pack, .idx = idx, .cache = cache, .progress = progress};
	gpa_holder *holders = proof->holders + first;
	parts[0] = (proof_part){.holders = holders, .count = half, .doomed = doomed, .source = source, .progress = progress};
	parts[1] = parts[0];
	parts[1].holders = holders + half;
	parts[1].count = count - half;
	int has_thread = parts[1].count && !pthread_create(&parts[1].thread, NULL, work, &parts[1]);
	work(&parts[0]);
	if (has_thread)
		pthread_join(parts[1].thread, NULL);
	else
		work(&parts[1]);
	for (unsigned i = 0; !status && i < THREADS; i++)
		if ((status = parts[i].status))
			*err = parts[i].err;
	base_cache_free(cache);
	proof->bytes_made += parts[0].bytes_made + parts[1].bytes_made;
	if (!status && (parts[0].is_dear || parts[1].is_dear))
		status = check_whole_pack(holders, count, pack, idx, doomed, progress, err);
	return status;
}
