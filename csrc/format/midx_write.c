/*
 * Writing the combined index, byte for byte as git multi-pack-index write does if the winners are the same.
 *
 * The largest sorted run is the old index or the largest idx. The entries of all other sources are sorted together.
 * Then the two sequences are merged, and the entries between two new ones are copied in bulk. So one more small pack
 * costs a copy and two hashes of the file, and three hundred packs beside a large one cost hardly more.
 */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/oidsort.h"
#include "format/idx.h"
#include "format/midx.h"

#define NO_PACK UINT32_MAX
#define STEP (64 * 1024)	/* entries between two checks for a request to stop */
#define TWINS 1	/* the idx chosen as the base has an object twice: build again without that base */

struct winner {
	uint32_t pack;
	uint64_t offset;
};

/* The sorted sequence that is merged with everything else: either the old index or one idx. */
struct base_run {
	const gpa_midx *midx;
	const gpa_idx *idx;
	uint32_t source;	/* the source, if the base is an idx */
	uint32_t rank;
	uint32_t count;
	uint32_t stride;
	const unsigned char *oids;
};

/* Oids to be written one after the other. In memory they are `stride` bytes apart. */
struct oid_run {
	const unsigned char *oids;
	uint32_t count;
	uint32_t stride;
};

struct build {
	const gpa_midx_source *sources;
	uint32_t source_count;
	uint32_t hash_size;
	const gpa_midx *old;
	uint32_t *new_id;	/* old pack number -> new one, or NO_PACK */
	gpa_progress *progress;
	int no_idx_base;	/* no idx may be the base, because one of them has an object twice */
	int any_twins;		/* an idx among the refs has an object twice */
	struct base_run base;
	oid_ref *refs;		/* entries of all other sources, sorted */
	size_t ref_count;
	/* the result: oids stay in their files, as runs of neighbours in the base or in one idx */
	struct oid_run *runs;
	uint32_t run_count, run_room;
	unsigned char *offsets;	/* as in the OOFF chunk; a large one is the number of its row in `large` */
	uint32_t first_bytes[256];
	uint64_t *large;
	uint32_t large_count, large_room;
	int any_above_32;
	uint32_t count;
};

static const unsigned char *ref_oid(const void *context, const oid_ref *ref)
{
	const struct build *b = context;
	return gpa_idx_oid(b->sources[ref->source].idx, ref->pos);
}

static int map_old_packs(struct build *b, gpa_error *err)
{
	if (!b->old)
		return GPA_OK;
	b->new_id = malloc((b->old->pack_count ? b->old->pack_count : 1) * sizeof(*b->new_id));
	if (!b->new_id)
		return out_of_memory(err);
	for (uint32_t i = 0; i < b->old->pack_count; i++)
		b->new_id[i] = NO_PACK;
	for (uint32_t i = 0; i < b->source_count; i++)
		if (b->sources[i].old_id >= 0 && b->sources[i].old_id < b->old->pack_count)
			b->new_id[b->sources[i].old_id] = i;
	return GPA_OK;
}

static void choose_base(struct build *b, uint32_t old_rank)
{
	struct base_run *base = &b->base;
	if (b->old) {
		*base = (struct base_run){.midx = b->old, .rank = old_rank, .count = b->old->object_count,
					  .stride = b->hash_size, .oids = b->old->oids};
		return;
	}
	for (uint32_t i = 0; !b->no_idx_base && i < b->source_count; i++) {
		const gpa_idx *idx = b->sources[i].idx;
		if (idx && idx->object_count > base->count)
			*base = (struct base_run){.idx = idx, .source = i, .rank = b->sources[i].rank,
						  .count = idx->object_count, .stride = idx->oid_stride, .oids = idx->oids};
	}
}

/* Collect and sort the entries of every source except the base. Checks the order of each source. */
static int sort_others(struct build *b, gpa_error *err)
{
	uint64_t total = 0;
	for (uint32_t i = 0; i < b->source_count; i++)
		if (b->sources[i].idx && b->sources[i].idx != b->base.idx)
			total += b->sources[i].idx->object_count;
	if (total + b->base.count > UINT32_MAX)
		return unsupported(err, "more than 2^32 objects");
	if (!total)
		return GPA_OK;
	b->refs = malloc(2 * total * sizeof(*b->refs));
	if (!b->refs)
		return out_of_memory(err);
	for (uint32_t i = 0; i < b->source_count; i++) {
		const gpa_idx *idx = b->sources[i].idx;
		if (!idx || idx == b->base.idx)
			continue;
		const unsigned char *oid = idx->oids, *before = NULL;
		for (uint32_t pos = 0; pos < idx->object_count; pos++, before = oid, oid += idx->oid_stride) {
			if (pos % STEP == 0 && is_stopped(b->progress))
				return stopped(err);
			oid_ref *ref = &b->refs[b->ref_count++];
			*ref = (oid_ref){be64(oid), i, pos};
			if (!pos || ref->key > ref[-1].key)
				continue;
			int order = ref->key < ref[-1].key ? 1 : memcmp(before, oid, b->hash_size);
			if (order > 0) {
				corrupt(err, "oid %u is out of order", pos);
				err->source = (int32_t)i;
				return GPA_ECORRUPT;
			}
			b->any_twins |= !order;
		}
	}
	oid_sort(b->refs, b->refs + total, b->ref_count, b->hash_size, ref_oid, b);
	return GPA_OK;
}

static int add_large(struct build *b, uint64_t offset, uint32_t *row, gpa_error *err)
{
	if (array_reserve(b->large, b->large_room, (uint64_t)b->large_count + 1, 64))
		return out_of_memory(err);
	b->any_above_32 |= offset >> 32 != 0;
	*row = b->large_count;
	b->large[b->large_count++] = offset;
	return GPA_OK;
}

/* Append `count` oids. They extend the last run if they follow it in memory. */
static int add_run(struct build *b, const unsigned char *oids, uint32_t count, uint32_t stride, gpa_error *err)
{
	struct oid_run *last = b->run_count ? &b->runs[b->run_count - 1] : NULL;
	if (last && last->stride == stride && last->oids + (size_t)last->count * stride == oids) {
		last->count += count;
		return GPA_OK;
	}
	if (array_reserve(b->runs, b->run_room, (uint64_t)b->run_count + 1, 256))
		return out_of_memory(err);
	b->runs[b->run_count++] = (struct oid_run){oids, count, stride};
	return GPA_OK;
}

static int emit(struct build *b, const unsigned char *oid, struct winner winner, gpa_error *err)
{
	unsigned char *slot = b->offsets + 8 * (size_t)b->count;
	uint32_t row = (uint32_t)winner.offset;
	if (winner.offset >> 31) {
		/* Only the end shows whether rows are needed. Until then every offset above 2^31 has one. */
		int status = add_large(b, winner.offset, &row, err);
		if (status)
			return status;
		row |= LARGE_FLAG;
	}
	put_be32(slot, winner.pack);
	put_be32(slot + 4, row);
	b->first_bytes[oid[0]]++;
	b->count++;
	return add_run(b, oid, 1, b->hash_size, err);
}

/*
 * Find where the idx of source out->pack has its object `pos`. If the object is there twice, take the place that git
 * finds, because its verify would complain otherwise.
 */
static int idx_winner(struct winner *out, const struct build *b, uint32_t pos, gpa_error *err)
{
	const gpa_idx *idx = b->sources[out->pack].idx;
	if (b->any_twins)
		pos = idx_git_place(idx, pos);
	int status = gpa_idx_offset(&out->offset, idx, pos, err);
	if (status)
		err->source = (int32_t)out->pack;
	return status;
}

/* The base's entry at `pos`. Its pack is NO_PACK if the new index does not have that pack. */
static int base_winner(struct winner *out, const struct build *b, uint32_t pos, gpa_error *err)
{
	if (b->base.idx) {
		out->pack = b->base.source;
		return idx_winner(out, b, pos, err);
	}
	uint32_t old_pack;
	int status = gpa_midx_entry(&old_pack, &out->offset, b->old, pos, err);
	if (!status)
		out->pack = b->new_id[old_pack];
	return status;
}

/* Check the order of an entry that is copied. No other pass reads these oids. */
static int in_order(const struct build *b, const unsigned char *oid)
{
	uint64_t before = be64(oid - b->base.stride), here = be64(oid);
	return before < here || (before == here && memcmp(oid - b->base.stride, oid, b->hash_size) < 0);
}

/*
 * Copy the common entries for copy_base(): their packs stay and their offsets are small. Returns the first position of
 * another kind. In entries of the old index only the pack numbers change.
 */
static uint32_t copy_small(struct build *b, uint32_t from, uint32_t to)
{
	const unsigned char *oid = b->base.oids + (size_t)from * b->base.stride;
	const unsigned char *offsets = b->base.idx ? b->base.idx->offsets : b->old->offsets;
	unsigned char *slot = b->offsets + 8 * (size_t)b->count;
	for (; from < to; from++, oid += b->base.stride, slot += 8) {
		uint32_t pack = b->base.source, offset;
		if (b->base.idx) {
			offset = be32_at(offsets, from);
		} else {
			uint32_t old_pack = be32_at(offsets, 2 * (uint64_t)from);
			offset = be32_at(offsets, 2 * (uint64_t)from + 1);
			pack = old_pack < b->old->pack_count ? b->new_id[old_pack] : NO_PACK;
		}
		if (pack == NO_PACK || (offset & LARGE_FLAG) || (from && !in_order(b, oid)))
			break;
		put_be32(slot, pack);
		put_be32(slot + 4, offset);
		b->first_bytes[oid[0]]++;
	}
	return from;
}

/* Copy the base's entries [from, to) that no other source has. */
static int copy_base(struct build *b, uint32_t from, uint32_t to, gpa_error *err)
{
	while (from < to) {	/* the base has entries, so it is not NULL */
		if (is_stopped(b->progress))
			return stopped(err);
		if (b->base.midx || b->base.idx->version == 2) {
			uint32_t end = to - from > STEP ? from + STEP : to, upto = copy_small(b, from, end);
			int status = upto > from ? add_run(b, b->base.oids + (size_t)from * b->base.stride, upto - from,
							   b->base.stride, err) : GPA_OK;
			b->count += upto - from;
			from = upto;
			if (status)
				return status;
			if (from == end)
				continue;
		}
		const unsigned char *oid = b->base.oids + (size_t)from * b->base.stride;
		struct winner winner;
		if (from && !in_order(b, oid)) {
			if (b->base.idx && !memcmp(oid - b->base.stride, oid, b->hash_size))
				return TWINS;
			corrupt(err, "oid %u is out of order", from);
			err->source = b->base.idx ? (int32_t)b->base.source : -1;
			return GPA_ECORRUPT;
		}
		int status = base_winner(&winner, b, from, err);
		if (!status && winner.pack != NO_PACK)
			status = emit(b, oid, winner, err);
		if (status)
			return status;
		from++;
	}
	return GPA_OK;
}

/*
 * The first position in the base, from `low` on, whose oid is not below `oid`. Gallops, because new entries lie far
 * apart.
 */
static uint32_t base_seek(const struct build *b, uint32_t low, const unsigned char *oid)
{
	uint32_t step = 1, high = low;
	while (high < b->base.count && memcmp(b->base.oids + (size_t)high * b->base.stride, oid, b->hash_size) < 0) {
		low = high + 1;
		high = step > b->base.count - low ? b->base.count : low + step;
		step = step < 1u << 30 ? 2 * step : step;
	}
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (memcmp(b->base.oids + (size_t)middle * b->base.stride, oid, b->hash_size) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The best of refs[i..end), which have one oid. */
static const oid_ref *best_ref(const struct build *b, size_t i, size_t *end)
{
	const oid_ref *best = &b->refs[i];
	const unsigned char *oid = ref_oid(b, best);
	size_t j = i + 1;
	for (; j < b->ref_count && b->refs[j].key == b->refs[i].key && !memcmp(ref_oid(b, &b->refs[j]), oid, b->hash_size);
	     j++)
		if (b->sources[b->refs[j].source].rank < b->sources[best->source].rank)
			best = &b->refs[j];
	*end = j;
	return best;
}

static int merge_runs(struct build *b, gpa_error *err)
{
	uint32_t base = 0;
	int status = GPA_OK;
	for (size_t i = 0, end; !status && i < b->ref_count; i = end) {
		if (is_stopped(b->progress))
			return stopped(err);
		const oid_ref *best = best_ref(b, i, &end);
		const unsigned char *oid = ref_oid(b, best);
		struct winner winner = {.pack = best->source}, other;
		uint32_t upto = base_seek(b, base, oid);
		if ((status = copy_base(b, base, upto, err)) ||
		    (status = idx_winner(&winner, b, best->pos, err)))
			break;
		base = upto;
		if (base < b->base.count && !memcmp(b->base.oids + (size_t)base * b->base.stride, oid, b->hash_size)) {
			if ((status = base_winner(&other, b, base, err)))
				break;
			if (other.pack != NO_PACK && b->base.rank < b->sources[best->source].rank)
				winner = other;
			base++;
		}
		status = emit(b, oid, winner, err);
	}
	return status ? status : copy_base(b, base, b->base.count, err);
}

/* Remove the LOFF chunk if no offset is above 2^32. Offsets of 2^31 and more are then stored in four bytes. */
static void drop_large(struct build *b)
{
	for (uint32_t i = 0; b->large_count && i < b->count; i++) {
		unsigned char *slot = b->offsets + 8 * (size_t)i + 4;
		uint32_t row = be32(slot);
		if (row & LARGE_FLAG)
			put_be32(slot, (uint32_t)b->large[row & ~LARGE_FLAG]);
	}
	b->large_count = 0;
}

static int write_names(output *out, const struct build *b, size_t padding, gpa_error *err)
{
	static const unsigned char zeros[4];
	int status = GPA_OK;
	for (uint32_t i = 0; !status && i < b->source_count; i++)
		status = output_write(out, b->sources[i].name, strlen(b->sources[i].name) + 1, err);
	return status ? status : output_write(out, zeros, padding, err);
}

static int write_fanout(output *out, const struct build *b, gpa_error *err)
{
	unsigned char fanout[FANOUT_SIZE];
	uint32_t sum = 0;
	for (unsigned first = 0; first < 256; first++)
		put_be32(fanout + 4 * first, sum += b->first_bytes[first]);
	return output_write(out, fanout, sizeof(fanout), err);
}

static int write_oids(output *out, const struct build *b, gpa_error *err)
{
	int status = GPA_OK;
	for (uint32_t i = 0; !status && i < b->run_count; i++) {
		const struct oid_run *run = &b->runs[i];
		if (run->stride == b->hash_size) {
			status = output_write(out, run->oids, (size_t)run->count * b->hash_size, err);
			continue;
		}
		for (uint32_t n = 0; !status && n < run->count; n++)	/* idx v1: an offset precedes each oid */
			status = output_write(out, run->oids + (size_t)n * run->stride, b->hash_size, err);
	}
	return status;
}

static int write_large(output *out, const struct build *b, gpa_error *err)
{
	unsigned char number[8];
	int status = GPA_OK;
	for (uint32_t i = 0; !status && i < b->large_count; i++) {
		put_be64(number, b->large[i]);
		status = output_write(out, number, sizeof(number), err);
	}
	return status;
}

static int write_head(output *out, int algo, const struct build *b, const uint64_t *sizes, unsigned chunk_count,
		      gpa_error *err)
{
	static const char ids[] = "PNAMOIDFOIDLOOFFLOFF";
	unsigned char head[MIDX_HEADER + 6 * MIDX_TOC_ROW] = "MIDX\1";
	uint64_t at = MIDX_HEADER + MIDX_TOC_ROW * (uint64_t)(chunk_count + 1);
	head[5] = (unsigned char)algo;
	head[6] = (unsigned char)chunk_count;
	put_be32(head + 8, b->source_count);
	for (unsigned i = 0; i <= chunk_count; i++) {
		unsigned char *row = head + MIDX_HEADER + MIDX_TOC_ROW * i;
		if (i < chunk_count)
			memcpy(row, ids + 4 * i, 4);
		put_be64(row + 4, at);
		at += i < chunk_count ? sizes[i] : 0;
	}
	return output_write(out, head, MIDX_HEADER + MIDX_TOC_ROW * (chunk_count + 1), err);
}

static int write_file(int fd, int algo, const struct build *b, unsigned char *trailer, gpa_error *err)
{
	output out;
	uint64_t names = 0;
	for (uint32_t i = 0; i < b->source_count; i++)
		names += strlen(b->sources[i].name) + 1;
	size_t padding = (size_t)(-names & 3);
	uint64_t sizes[] = {names + padding, FANOUT_SIZE, (uint64_t)b->count * b->hash_size, (uint64_t)b->count * 8,
			    (uint64_t)b->large_count * 8};
	int status = output_open(&out, fd, algo, b->progress, err);
	if (status)
		return status;
	if (!(status = write_head(&out, algo, b, sizes, b->large_count ? 5 : 4, err)) &&
	    !(status = write_names(&out, b, padding, err)) && !(status = write_fanout(&out, b, err)) &&
	    !(status = write_oids(&out, b, err)) &&
	    !(status = output_write(&out, b->offsets, sizes[3], err)) && !(status = write_large(&out, b, err)))
		status = output_finish(&out, trailer, err);
	output_free(&out);
	return status;
}

static void build_free(struct build *b)
{
	free(b->new_id);
	free(b->refs);
	free(b->runs);
	free(b->offsets);
	free(b->large);
}

static int build_index(struct build *b, uint32_t old_rank, gpa_error *err)
{
	int status = map_old_packs(b, err);
	if (status)
		return status;
	choose_base(b, old_rank);
	if ((status = sort_others(b, err)))
		return status;
	size_t most = b->ref_count + b->base.count;
	b->offsets = malloc(most ? most * 8 : 1);
	return b->offsets ? merge_runs(b, err) : out_of_memory(err);
}

int gpa_midx_write(int fd, int algo, const gpa_midx *old, uint32_t old_rank, const gpa_midx_source *sources,
		   uint32_t source_count, unsigned char *trailer, uint32_t *object_count, gpa_progress *progress,
		   gpa_error *err)
{
	struct build start = {.sources = sources, .source_count = source_count, .old = old, .progress = progress,
			      .hash_size = (uint32_t)gpa_hash_size(algo)}, b = start;
	int status = build_index(&b, old_rank, err);
	if (status == TWINS) {
		build_free(&b);
		b = start;
		b.no_idx_base = 1;
		status = build_index(&b, old_rank, err);
	}
	if (!status) {
		if (!b.any_above_32)
			drop_large(&b);
		*object_count = b.count;
		status = write_file(fd, algo, &b, trailer, err);
	}
	build_free(&b);
	return status;
}
