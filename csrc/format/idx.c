/*
 * Pack index, versions 1 and 2 (docs/formats/page.md). Version 2 is written as by git index-pack, byte for byte,
 * because git >= 2.47 refuses a push if a file of that name exists and differs.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/files.h"
#include "format/idx.h"

#define MAGIC 0xff744f63u
#define V2_HEADER 8
#define IDX_HEAD (V2_HEADER + FANOUT_SIZE)	/* bytes of an idx, v1 or v2, that hold its object count */
#define OPEN_AT_ONCE 64

static int parse_fanout(gpa_idx *idx, const unsigned char *fanout, gpa_error *err)
{
	for (unsigned i = 1; i < 256; i++) {
		uint32_t before = be32_at(fanout, i - 1), here = be32_at(fanout, i);
		if (here < before)
			return corrupt_at(err, fanout - idx->file.ptr + 4 * i, "fanout goes down at 0x%02x: %u, then %u", i,
					  before, here);
	}
	idx->fanout = fanout;
	idx->object_count = be32_at(fanout, 255);
	return GPA_OK;
}

static int parse_v1(gpa_idx *idx, gpa_error *err)
{
	size_t h = idx->hash_size;
	int status = parse_fanout(idx, idx->file.ptr, err);
	if (status)
		return status;
	uint64_t expected = FANOUT_SIZE + (uint64_t)idx->object_count * (4 + h) + 2 * h;
	if (idx->file.len != expected)
		return corrupt(err, "idx v1 is %zu bytes, expected %llu for %u objects", idx->file.len,
			       (unsigned long long)expected, idx->object_count);
	idx->version = 1;
	idx->offsets = idx->file.ptr + FANOUT_SIZE;
	idx->oids = idx->offsets + 4;
	idx->oid_stride = (uint32_t)(4 + h);
	return GPA_OK;
}

static int parse_v2(gpa_idx *idx, gpa_error *err)
{
	uint64_t h = idx->hash_size, len = idx->file.len;
	uint32_t version = be32(idx->file.ptr + 4);
	if (version != 2)
		return unsupported(err, "idx version %u", version);
	int status = parse_fanout(idx, idx->file.ptr + V2_HEADER, err);
	if (status)
		return status;
	uint64_t n = idx->object_count, least = V2_HEADER + FANOUT_SIZE + n * (h + 8) + 2 * h;
	if (len < least || (len - least) % 8 || len - least > (n ? n - 1 : 0) * 8)
		return corrupt(err, "idx is %llu bytes, expected %llu for %llu objects", (unsigned long long)len,
			       (unsigned long long)least, (unsigned long long)n);
	idx->version = 2;
	idx->large_count = (uint32_t)((len - least) / 8);
	idx->oids = idx->file.ptr + V2_HEADER + FANOUT_SIZE;
	idx->oid_stride = (uint32_t)h;
	idx->crcs = idx->oids + n * h;
	idx->offsets = idx->crcs + n * 4;
	idx->large = idx->offsets + n * 4;
	return GPA_OK;
}

int gpa_idx_parse(gpa_idx *out, gpa_bytes file, int algo, gpa_error *err)
{
	memset(out, 0, sizeof(*out));
	out->file = file;
	out->algo = algo;
	out->hash_size = (uint32_t)gpa_hash_size(algo);
	if (file.len < V2_HEADER + FANOUT_SIZE + 2 * (size_t)out->hash_size)
		/* the smallest v1 file is 8 bytes shorter and holds no object */
		if (file.len != FANOUT_SIZE + 2 * (size_t)out->hash_size)
			return corrupt(err, "idx is %zu bytes, too short for a header", file.len);
	out->pack_trailer = file.ptr + file.len - 2 * (size_t)out->hash_size;
	return be32(file.ptr) == MAGIC ? parse_v2(out, err) : parse_v1(out, err);
}

const unsigned char *gpa_idx_oid(const gpa_idx *idx, uint32_t pos)
{
	return idx->oids + (size_t)pos * idx->oid_stride;
}

int gpa_idx_check(const gpa_idx *idx, gpa_error *err)
{
	unsigned char sum[GPA_OID_MAX];
	size_t h = idx->hash_size;
	int status = gpa_hash_bytes(sum, idx->algo, (gpa_bytes){idx->file.ptr, idx->file.len - h}, err);
	if (status)
		return status;
	if (memcmp(sum, idx->file.ptr + idx->file.len - h, h))
		return corrupt(err, "idx checksum is wrong");
	for (unsigned first = 0; first < 256; first++) {
		uint32_t end = fanout_end(idx->fanout, first);
		for (uint32_t i = fanout_begin(idx->fanout, first); i < end; i++) {
			const unsigned char *oid = gpa_idx_oid(idx, i);
			if (oid[0] != first || (i && memcmp(gpa_idx_oid(idx, i - 1), oid, h) > 0))
				return corrupt_at(err, oid - idx->file.ptr, "oid %u is out of order", i);
		}
	}
	return GPA_OK;
}

int gpa_idx_find(uint32_t *pos, const gpa_idx *idx, const unsigned char *oid)
{
	return oid_find(pos, idx->fanout, idx->oids, idx->oid_stride, idx->hash_size, oid);
}

uint32_t idx_git_place(const gpa_idx *idx, uint32_t pos)
{
	const unsigned char *oid = gpa_idx_oid(idx, pos);
	uint32_t low = fanout_begin(idx->fanout, oid[0]), high = fanout_end(idx->fanout, oid[0]);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int c = memcmp(gpa_idx_oid(idx, middle), oid, idx->hash_size);
		if (!c)
			return middle;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return pos;
}

int idx_holds_at(int *found, const gpa_idx *idx, uint32_t pos, uint64_t offset, gpa_error *err)
{
	const unsigned char *oid = gpa_idx_oid(idx, pos);
	uint64_t here;
	while (pos && !memcmp(gpa_idx_oid(idx, pos - 1), oid, idx->hash_size))
		pos--;
	*found = 0;
	for (; !*found && pos < idx->object_count && !memcmp(gpa_idx_oid(idx, pos), oid, idx->hash_size); pos++) {
		int status = gpa_idx_offset(&here, idx, pos, err);
		if (status)
			return status;
		*found = here == offset;
	}
	return GPA_OK;
}

int gpa_idx_offset(uint64_t *offset, const gpa_idx *idx, uint32_t pos, gpa_error *err)
{
	if (idx->version == 1) {
		*offset = be32(idx->offsets + (size_t)pos * idx->oid_stride);
		return GPA_OK;
	}
	uint32_t here = be32_at(idx->offsets, pos);
	if (!(here & LARGE_FLAG)) {
		*offset = here;
		return GPA_OK;
	}
	uint32_t row = here & ~LARGE_FLAG;
	if (row >= idx->large_count)
		return corrupt(err, "object %u has large offset %u of %u", pos, row, idx->large_count);
	*offset = be64(idx->large + 8 * (size_t)row);
	return GPA_OK;
}

uint32_t gpa_idx_crc(const gpa_idx *idx, uint32_t pos)
{
	return idx->crcs ? be32_at(idx->crcs, pos) : 0;
}

static int compare_places(const void *left, const void *right)
{
	const idx_place *a = left, *b = right;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

int idx_places(idx_place *places, const gpa_idx *idx, uint64_t pack_size, gpa_error *err)
{
	uint64_t end = pack_size - idx->hash_size, last = 0;
	int sorted = 1;
	for (uint32_t i = 0; i < idx->object_count; i++) {
		int status = gpa_idx_offset(&places[i].offset, idx, i, err);
		if (status)
			return status;
		places[i].pos = i;
		sorted &= places[i].offset > last;
		last = places[i].offset;
	}
	if (!sorted)
		qsort(places, idx->object_count, sizeof(*places), compare_places);
	for (uint32_t i = 0; i < idx->object_count; i++)
		if (places[i].offset < 12 || places[i].offset >= end || (i && places[i].offset == places[i - 1].offset))
			return corrupt(err, "object %u is said to be at offset %llu of a pack of %llu bytes", places[i].pos,
				       (unsigned long long)places[i].offset, (unsigned long long)pack_size);
	return GPA_OK;
}

uint32_t idx_place_find(const idx_place *places, uint32_t count, uint64_t offset)
{
	uint32_t low = 0, high = count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (places[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && places[low].offset == offset ? low : count;
}

static int compare_entries(const void *left, const void *right)
{
	return memcmp(((const gpa_idx_entry *)left)->oid, ((const gpa_idx_entry *)right)->oid, GPA_OID_MAX);
}

static int write_fanout(output *out, const gpa_idx_entry *entries, uint32_t count, gpa_error *err)
{
	unsigned char fanout[FANOUT_SIZE];
	uint32_t at = 0;
	for (unsigned first = 0; first < 256; first++) {
		while (at < count && entries[at].oid[0] == first)
			at++;
		put_be32(fanout + 4 * first, at);
	}
	return output_write(out, fanout, sizeof(fanout), err);
}

/* Write the tables after the fanout, each in oid order. */
static int write_tables(output *out, const gpa_idx_entry *entries, uint32_t count, gpa_error *err)
{
	unsigned char number[8];
	uint32_t large = 0;
	int status = GPA_OK;
	for (uint32_t i = 0; !status && i < count; i++)
		status = output_write(out, entries[i].oid, out->hash.size, err);
	for (uint32_t i = 0; !status && i < count; i++) {
		put_be32(number, entries[i].crc);
		status = output_write(out, number, 4, err);
	}
	for (uint32_t i = 0; !status && i < count; i++) {
		put_be32(number, entries[i].offset >> 31 ? LARGE_FLAG | large++ : (uint32_t)entries[i].offset);
		status = output_write(out, number, 4, err);
	}
	for (uint32_t i = 0; !status && large && i < count; i++) {
		if (!(entries[i].offset >> 31))
			continue;
		put_be64(number, entries[i].offset);
		status = output_write(out, number, 8, err);
	}
	return status;
}

int idx_write(output *out, gpa_idx_entry *entries, uint32_t count, const unsigned char *pack_trailer, gpa_error *err)
{
	unsigned char header[V2_HEADER], trailer[GPA_OID_MAX];
	int status;
	qsort(entries, count, sizeof(*entries), compare_entries);
	put_be32(header, MAGIC);
	put_be32(header + 4, 2);
	if ((status = output_write(out, header, sizeof(header), err)) ||
	    (status = write_fanout(out, entries, count, err)) || (status = write_tables(out, entries, count, err)) ||
	    (status = output_write(out, pack_trailer, out->hash.size, err)))
		return status;
	return output_finish(out, trailer, err);
}

int gpa_idx_write(int fd, int algo, gpa_idx_entry *entries, uint32_t count, const unsigned char *pack_trailer,
		  gpa_error *err)
{
	output out;
	int status = output_open(&out, fd, algo, NULL, err);
	if (status)
		return status;
	status = idx_write(&out, entries, count, pack_trailer, err);
	output_free(&out);
	return status;
}

/* ---- many idx files, which the disk reads together ---- */

typedef struct opened {
	int fd;			/* -1: it could not be opened */
	uint64_t size;
} opened;

/* Open a file and have the disk read its first `head` bytes; 0 for all. */
static int open_ahead(opened *out, int dir_fd, const char *name, uint64_t head, gpa_error *err)
{
	int status = file_open(&out->fd, &out->size, dir_fd, name, err);
	if (status)
		out->fd = -1;
	else
		file_read_ahead(out->fd, head);
	return status;
}

static int hold_idx(gpa_idx *out, const opened *file, int algo, gpa_error *err)
{
	held_file held;
	int status = file_hold_open(&held, file->fd, file->size, FILE_COPY_MOST, err);
	if (status)
		return status;
	if ((status = gpa_idx_parse(out, held.bytes, algo, err)))
		*out = (gpa_idx){.file = held.bytes};
	return status;
}

/* Open the first *done files of `count`. If descriptors are short, the next call has more, after these are closed. */
static int open_some(uint32_t *done, gpa_idx *out, uint32_t count, int dir_fd, const char *const *names, int algo,
		     gpa_error *err)
{
	opened files[OPEN_AT_ONCE];
	uint32_t there = 0;
	int status = GPA_OK;
	for (; there < count && there < OPEN_AT_ONCE; there++)
		if ((status = open_ahead(&files[there], dir_fd, names[there], 0, err)))
			break;
	err->source = 0;
	status = there ? GPA_OK : status;
	for (uint32_t i = 0; i < there; i++) {
		if (!status && (status = hold_idx(&out[i], &files[i], algo, err)))
			err->source = (int32_t)i;
		close(files[i].fd);
	}
	*done = there;
	return status;
}

int gpa_idx_open_many(gpa_idx *out, uint32_t count, int dir_fd, const char *const *names, int algo, gpa_error *err)
{
	memset(out, 0, count * sizeof(*out));
	for (uint32_t first = 0, done; first < count; first += done) {
		int status = open_some(&done, out + first, count - first, dir_fd, names + first, algo, err);
		if (!status)
			continue;
		err->source += (int32_t)first;
		gpa_idx_close_many(out, count);
		return status;
	}
	return GPA_OK;
}

void gpa_idx_close_many(gpa_idx *idx, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		held_file held = {idx[i].file, idx[i].file.len <= FILE_COPY_MOST};
		file_release(&held);
		idx[i].file = held.bytes;
	}
}

/*
 * The object count of an idx. Parsing needs nothing beyond the fanout, so that much is read, and the file is not
 * mapped.
 */
static uint32_t count_and_close(const opened *file, int algo)
{
	unsigned char head[IDX_HEAD];
	gpa_idx idx;
	gpa_error ignored;
	uint32_t count = GPA_UNREADABLE;
	if (file->fd < 0)
		return count;
	if (file->size >= sizeof(head) && !file_read(file->fd, head, sizeof(head), 0, &ignored) &&
	    !gpa_idx_parse(&idx, (gpa_bytes){head, file->size}, algo, &ignored))
		count = idx.object_count;
	close(file->fd);
	return count;
}

void gpa_idx_counts(uint32_t *counts, uint32_t count, int dir_fd, const char *const *names, int algo)
{
	opened files[OPEN_AT_ONCE];
	gpa_error ignored;
	for (uint32_t first = 0, n; first < count; first += n) {
		n = count - first < OPEN_AT_ONCE ? count - first : OPEN_AT_ONCE;
		for (uint32_t i = 0; i < n; i++)
			open_ahead(&files[i], dir_fd, names[first + i], IDX_HEAD, &ignored);
		for (uint32_t i = 0; i < n; i++) {
			if (files[i].fd < 0)	/* if descriptors were short, more are free now */
				open_ahead(&files[i], dir_fd, names[first + i], IDX_HEAD, &ignored);
			counts[first + i] = count_and_close(&files[i], algo);
		}
	}
}
