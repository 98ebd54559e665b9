/*
 * Combined indexes: parse, look up, verify, prove, and write a new one from an old one. The packs that they name do not
 * exist, so each gets the same idx, made of the index's first entries.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "merge/gpa_merge.h"
#include "read/objdir.h"

#define IDX_OBJECTS 3
#define PACKS_MAX 512

static void look_up_all(const gpa_midx *midx)
{
	gpa_error err;
	for (uint32_t i = 0; i < midx->object_count; i++) {
		uint32_t pos, pack;
		uint64_t offset;
		if (!gpa_midx_find(&pos, midx, gpa_midx_oid(midx, i)) &&
		    memcmp(gpa_midx_oid(midx, pos), gpa_midx_oid(midx, i), midx->hash_size))
			abort();
		if (!gpa_midx_entry(&pack, &offset, midx, i, &err) && pack >= midx->pack_count)
			abort();
	}
}

/* Make an idx v2 of the first objects, each at the offset that the index says. Returns its size. */
static size_t make_idx(unsigned char *out, const gpa_midx *midx)
{
	uint32_t n = midx->object_count < IDX_OBJECTS ? midx->object_count : IDX_OBJECTS, h = midx->hash_size;
	unsigned char *fanout = out + 8, *oids = fanout + 1024, *offsets = oids + n * h + 4 * n;
	size_t size = 8 + 1024 + n * (h + 8) + 2 * h;
	memset(out, 0, size);
	memcpy(out, "\377tOc\0\0\0\2", 8);
	for (uint32_t i = 0; i < n; i++) {
		memcpy(oids + i * h, gpa_midx_oid(midx, i), h);
		memcpy(offsets + 4 * i, midx->offsets + 8 * (size_t)i + 4, 4);
		for (unsigned first = oids[i * h]; first < 256; first++)
			put_be32(fanout + 4 * first, be32_at(fanout, first) + 1);
	}
	return size;
}

static void verify_and_prove(const gpa_midx *midx)
{
	static unsigned char file[2048], winners[PACKS_MAX], used[1];
	static const gpa_idx *idx[PACKS_MAX];
	gpa_error err;
	gpa_idx made;
	const gpa_idx *outside = &made;
	gpa_report report = {0};
	if (midx->pack_count > PACKS_MAX || gpa_idx_parse(&made, (gpa_bytes){file, make_idx(file, midx)}, midx->algo, &err))
		return;
	for (uint32_t i = 0; i < midx->pack_count; i++)
		idx[i] = i % 3 == 2 ? NULL : &made;
	if (gpa_midx_verify(&report, midx, idx, NULL, &err) > 0)
		abort();
	gpa_report_free(&report);
	static unsigned char trusted[PACKS_MAX + 1];
	for (uint32_t count = 0; count < 2; count++) {
		gpa_proof proof = {.midx = midx, .live = idx, .outside = &outside, .outside_count = count, .trusted = trusted};
		gpa_midx_prove(winners, used, &proof, &made, 0, &err);
		gpa_proof_free(&proof);
	}
}

static void write_again(const gpa_midx *midx)
{
	static gpa_midx_source sources[PACKS_MAX];
	unsigned char trailer[GPA_OID_MAX];
	gpa_error err;
	uint32_t count, kept = 0;
	int fd = open("/dev/null", O_WRONLY);
	for (uint32_t i = 0; i < midx->pack_count && kept < PACKS_MAX; i++)
		if (i % 5 != 4)
			sources[kept++] = (gpa_midx_source){.name = midx->names[i], .old_id = i, .rank = 1};
	if (fd < 0)
		abort();
	if (!gpa_midx_write(fd, midx->algo, midx, 1, sources, kept, trailer, &count, NULL, &err) && count > midx->object_count)
		abort();
	close(fd);
}

static void run(const uint8_t *data, size_t size, int algo)
{
	static uint32_t refs[INT16_MAX];
	gpa_error err;
	gpa_midx midx;
	if (gpa_midx_parse(&midx, (gpa_bytes){data, size}, algo, &err))
		return;
	look_up_all(&midx);
	gpa_midx_check_trailer(&midx, &err);
	if (midx.pack_count < INT16_MAX)
		gpa_midx_count(refs, &midx, &err);
	verify_and_prove(&midx);
	write_again(&midx);
	gpa_midx_free(&midx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run(data, size, GPA_SHA1);
	run(data, size, GPA_SHA256);
	return 0;
}
