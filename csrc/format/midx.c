/*
 * The combined index: a multi-pack-index, version 1, read and verified (docs/formats/combined-index.md). Messages that
 * git also has are in git's words.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/report.h"
#include "format/idx.h"
#include "format/midx.h"


struct chunks {
	gpa_bytes pnam, oidf, oidl, ooff, loff;
};

static int deadly(gpa_error *err, int status)
{
	err->git_dies = 1;
	return status;
}

static int parse_header(gpa_midx *midx, unsigned *chunk_count, gpa_error *err)
{
	const unsigned char *p = midx->file.ptr;
	if (midx->file.len < MIDX_HEADER + MIDX_TOC_ROW + midx->hash_size)
		return corrupt(err, "multi-pack-index file is too small: %zu bytes", midx->file.len);
	if (be32(p) != MIDX_SIGNATURE)
		return deadly(err, corrupt_at(err, 0, "multi-pack-index signature 0x%08x does not match signature 0x%08x",
					      be32(p), MIDX_SIGNATURE));
	if (p[4] != 1)
		return deadly(err, unsupported(err, "multi-pack-index version %d not recognized", p[4]));
	if (p[5] != midx->algo)
		return corrupt_at(err, 5, "multi-pack-index hash version %u does not match version %u", p[5], midx->algo);
	*chunk_count = p[6];
	midx->pack_count = be32(p + 8);
	return GPA_OK;
}

/* Find the chunks; unknown ones are skipped. Checks that rows ascend and that no chunk reaches into the trailer. */
static int parse_toc(struct chunks *chunks, gpa_midx *midx, unsigned chunk_count, gpa_error *err)
{
	uint64_t trailer = midx->file.len - midx->hash_size;
	uint64_t toc_end = MIDX_HEADER + (uint64_t)MIDX_TOC_ROW * (chunk_count + 1);
	if (toc_end > trailer)
		return corrupt(err, "multi-pack-index table of contents does not fit");
	for (unsigned i = 0; i < chunk_count; i++) {
		const unsigned char *row = midx->file.ptr + MIDX_HEADER + MIDX_TOC_ROW * i;
		uint32_t id = be32(row);
		uint64_t begin = be64(row + 4), end = be64(row + 4 + MIDX_TOC_ROW);
		if (begin < toc_end || end < begin || end > trailer)
			return corrupt_at(err, row - midx->file.ptr, "improper chunk offset(s) %llx and %llx",
					  (unsigned long long)begin, (unsigned long long)end);
		gpa_bytes chunk = {midx->file.ptr + begin, end - begin};
		gpa_bytes *slot = id == PNAM ? &chunks->pnam : id == OIDF ? &chunks->oidf : id == OIDL ? &chunks->oidl :
				  id == OOFF ? &chunks->ooff : id == LOFF ? &chunks->loff : NULL;
		midx->has_bitmap_chunks |= id == RIDX || id == BTMP;
		if (!id)
			return corrupt_at(err, row - midx->file.ptr, "terminating chunk id appears earlier than expected");
		if (!slot)
			continue;
		if (slot->ptr)
			return corrupt_at(err, row - midx->file.ptr, "duplicate chunk ID %x found", id);
		*slot = chunk;
	}
	return GPA_OK;
}

static int parse_fanout(gpa_midx *midx, gpa_bytes chunk, gpa_error *err)
{
	if (chunk.len != FANOUT_SIZE)
		return corrupt(err, "multi-pack-index OID fanout is of the wrong size: %zu bytes", chunk.len);
	for (unsigned i = 1; i < 256; i++) {
		uint32_t before = be32_at(chunk.ptr, i - 1), here = be32_at(chunk.ptr, i);
		if (here < before)
			return corrupt_at(err, chunk.ptr - midx->file.ptr + 4 * i,
					  "oid fanout out of order: fanout[%d] = %x > %x = fanout[%d]", i - 1, before,
					  here, i);
	}
	midx->fanout = chunk.ptr;
	midx->object_count = be32_at(chunk.ptr, 255);
	return GPA_OK;
}

static int parse_tables(gpa_midx *midx, const struct chunks *chunks, gpa_error *err)
{
	uint64_t n = midx->object_count;
	if (chunks->oidl.len != n * midx->hash_size)
		return corrupt(err, "object ids are %zu bytes, expected %llu for %u objects", chunks->oidl.len,
			       (unsigned long long)(n * midx->hash_size), midx->object_count);
	if (chunks->ooff.len != n * 8)
		return corrupt(err, "object offsets are %zu bytes, expected %llu for %u objects", chunks->ooff.len,
			       (unsigned long long)(n * 8), midx->object_count);
	midx->oids = chunks->oidl.ptr;
	midx->offsets = chunks->ooff.ptr;
	midx->large = chunks->loff.ptr;
	midx->large_count = (uint32_t)(chunks->loff.len / 8);
	return GPA_OK;
}

/* Check a name. Names become paths, so one that leads out of the pack directory is refused. */
static int check_name(const char *name, size_t len, gpa_error *err)
{
	if (len < 5 || memcmp(name + len - 4, ".idx", 4))
		return corrupt(err, "pack name '%.80s' does not end in '.idx'", name);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			return corrupt(err, "a pack name holds a control character");
	if (memchr(name, '/', len) || memchr(name, '\\', len))
		return corrupt(err, "pack name '%.80s' is a path", name);
	return GPA_OK;
}

static int parse_names(gpa_midx *midx, gpa_bytes chunk, gpa_error *err)
{
	const char *at = (const char *)chunk.ptr, *end = at + chunk.len;
	if (midx->pack_count > chunk.len / 2)
		return corrupt(err, "%u pack names do not fit into %zu bytes", midx->pack_count, chunk.len);
	midx->names = malloc((midx->pack_count ? midx->pack_count : 1) * sizeof(*midx->names));
	if (!midx->names)
		return out_of_memory(err);
	for (uint32_t i = 0; i < midx->pack_count; i++) {
		const char *nul = memchr(at, 0, (size_t)(end - at));
		if (!nul)
			return corrupt(err, "multi-pack-index pack-name chunk is too short");
		int status = check_name(at, (size_t)(nul - at), err);
		if (status)
			return status;
		if (i && strcmp(midx->names[i - 1], at) >= 0)
			return deadly(err, corrupt(err, "multi-pack-index pack names out of order: '%.80s' before '%.80s'",
						   midx->names[i - 1], at));
		midx->names[i] = at;
		at = nul + 1;
	}
	return GPA_OK;
}

int gpa_midx_parse(gpa_midx *out, gpa_bytes file, int algo, gpa_error *err)
{
	struct chunks chunks = {0};
	unsigned chunk_count = 0;
	memset(out, 0, sizeof(*out));
	out->file = file;
	out->algo = algo;
	out->hash_size = (uint32_t)gpa_hash_size(algo);
	int status = parse_header(out, &chunk_count, err);
	if (!status)
		status = parse_toc(&chunks, out, chunk_count, err);
	if (status)
		return status;
	if (!chunks.pnam.ptr)
		return deadly(err, corrupt(err, "multi-pack-index missing required pack-name chunk"));
	if (!chunks.oidf.ptr)
		return deadly(err, corrupt(err, "multi-pack-index missing required OID fanout chunk"));
	if (!chunks.oidl.ptr)
		return deadly(err, corrupt(err, "multi-pack-index missing required OID lookup chunk"));
	if (!chunks.ooff.ptr)
		return deadly(err, corrupt(err, "multi-pack-index missing required object offsets chunk"));
	if (!(status = parse_fanout(out, chunks.oidf, err)) && !(status = parse_tables(out, &chunks, err)))
		status = parse_names(out, chunks.pnam, err);
	if (status)
		gpa_midx_free(out);
	return status;
}

void gpa_midx_free(gpa_midx *midx)
{
	if (!midx)
		return;
	free(midx->names);
	midx->names = NULL;
}

int gpa_midx_check_trailer(const gpa_midx *midx, gpa_error *err)
{
	unsigned char sum[GPA_OID_MAX];
	size_t body = midx->file.len - midx->hash_size;
	int status = gpa_hash_bytes(sum, midx->algo, (gpa_bytes){midx->file.ptr, body}, err);
	if (!status && memcmp(sum, midx->file.ptr + body, midx->hash_size))
		status = corrupt_at(err, body, "incorrect checksum");
	return status;
}

const unsigned char *gpa_midx_oid(const gpa_midx *midx, uint32_t pos)
{
	return midx->oids + (size_t)pos * midx->hash_size;
}

int gpa_midx_find(uint32_t *pos, const gpa_midx *midx, const unsigned char *oid)
{
	return oid_find(pos, midx->fanout, midx->oids, midx->hash_size, midx->hash_size, oid);
}

int gpa_midx_entry(uint32_t *pack, uint64_t *offset, const gpa_midx *midx, uint32_t pos, gpa_error *err)
{
	const unsigned char *entry = midx->offsets + 8 * (size_t)pos;
	uint32_t here = be32(entry + 4);
	*pack = be32(entry);
	if (*pack >= midx->pack_count)
		return corrupt_at(err, entry - midx->file.ptr, "bad pack-int-id: %u (%u total packs)", *pack,
				  midx->pack_count);
	*offset = here;
	if (!midx->large || !(here & LARGE_FLAG))
		return GPA_OK;	/* without an LOFF chunk bit 31 is part of the offset */
	uint32_t row = here & ~LARGE_FLAG;
	if (row >= midx->large_count)
		return corrupt_at(err, entry - midx->file.ptr, "multi-pack-index large offset out of bounds: %u of %u", row,
				  midx->large_count);
	*offset = be64(midx->large + 8 * (size_t)row);
	return GPA_OK;
}

int gpa_midx_count(uint32_t *refs, const gpa_midx *midx, gpa_error *err)
{
	/* neighbours mostly share a pack: count runs, so that no addition waits for the store before it */
	uint32_t last = 0, run = 0;
	for (uint32_t i = 0; i < midx->object_count; i++) {
		uint32_t pack = be32_at(midx->offsets, 2 * (uint64_t)i);
		if (pack == last) {
			run++;
			continue;
		}
		if (pack >= midx->pack_count)
			return corrupt(err, "bad pack-int-id: %u (%u total packs)", pack, midx->pack_count);
		refs[last] += run;
		last = pack;
		run = 1;
	}
	if (run && last >= midx->pack_count)
		return corrupt(err, "bad pack-int-id: %u (%u total packs)", last, midx->pack_count);
	if (run)
		refs[last] += run;
	return GPA_OK;
}

/* ---- verify ---- */

static int verify_order(gpa_report *report, const gpa_midx *midx)
{
	int status = GPA_OK;
	char before[2 * GPA_OID_MAX + 1], here[2 * GPA_OID_MAX + 1];
	for (uint32_t i = 0; !status && i + 1 < midx->object_count; i++) {
		const unsigned char *a = gpa_midx_oid(midx, i), *b = gpa_midx_oid(midx, i + 1);
		if (memcmp(a, b, midx->hash_size) < 0)
			continue;
		oid_to_hex(before, a, midx->hash_size);
		oid_to_hex(here, b, midx->hash_size);
		status = report_add(report, "oid lookup out of order: oid[%u] = %s >= %s = oid[%u]", i, before, here, i + 1);
	}
	return status;
}

static int verify_object(gpa_report *report, const gpa_midx *midx, const gpa_idx *const *idx, uint32_t i, gpa_error *err)
{
	char hex[2 * GPA_OID_MAX + 1];
	uint32_t pack, pos;
	uint64_t offset, expected;
	const unsigned char *oid = gpa_midx_oid(midx, i);
	oid_to_hex(hex, oid, midx->hash_size);
	int status = gpa_midx_entry(&pack, &offset, midx, i, err);
	if (status == GPA_ECORRUPT)
		return report_add(report, "%s", err->text);
	if (!idx[pack] || gpa_idx_find(&pos, idx[pack], oid))
		return report_add(report, "failed to load pack entry for oid[%u] = %s", i, hex);
	status = gpa_idx_offset(&expected, idx[pack], pos, err);
	if (status == GPA_ECORRUPT)
		return report_add(report, "failed to load pack-index for packfile %s", midx->names[pack]);
	int found = offset == expected;
	if (!found && idx_holds_at(&found, idx[pack], pos, offset, err) == GPA_ECORRUPT)
		return report_add(report, "failed to load pack-index for packfile %s", midx->names[pack]);
	if (!found)
		return report_add(report, "incorrect object offset for oid[%u] = %s: %llx != %llx", i, hex,
				  (unsigned long long)offset, (unsigned long long)expected);
	return GPA_OK;
}

/* Check the fanout. An object at a place that the fanout does not lead to is not found. */
static int verify_fanout(gpa_report *report, const gpa_midx *midx)
{
	int status = GPA_OK;
	for (unsigned first = 0; !status && first < 256; first++) {
		uint32_t end = fanout_end(midx->fanout, first);
		for (uint32_t i = fanout_begin(midx->fanout, first); !status && i < end; i++)
			if (gpa_midx_oid(midx, i)[0] != first)
				status = report_add(report, "oid[%u] begins with %02x, its fanout row is %02x", i,
						    gpa_midx_oid(midx, i)[0], first);
	}
	return status;
}

int gpa_midx_verify(gpa_report *report, const gpa_midx *midx, const gpa_idx *const *idx, gpa_progress *progress,
		    gpa_error *err)
{
	int status = gpa_midx_check_trailer(midx, err);
	if (status == GPA_ECORRUPT)
		status = report_add(report, "incorrect checksum");
	for (uint32_t i = 0; !status && i < midx->pack_count; i++)
		if (!idx[i])
			status = report_add(report, "failed to load pack in position %u", i);
	if (!status && !midx->object_count)
		return report_add(report, "the midx contains no oid");
	if (!status)
		status = verify_order(report, midx);
	if (!status)
		status = verify_fanout(report, midx);
	for (uint32_t i = 0; !status && i < midx->object_count; i++) {
		if (progress && progress->stop)
			break;
		status = verify_object(report, midx, idx, i, err);
		if (progress)
			progress->done = i + 1;
	}
	return status == GPA_ENOMEM ? out_of_memory(err) : status;
}
