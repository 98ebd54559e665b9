/*
 * Making delta programs (docs/formats/page.md), which delta.c and git apply.
 *
 * The base is cut into blocks of 16 bytes, which are found by their hash. At each byte of the target the next 16 bytes
 * are looked up. If they are a block of the base, both are compared for as long as they agree. At most CHAIN_MOST
 * blocks of one hash are tried, and of equal blocks in a row only the first is in the index. So time is linear in the
 * input, whatever it holds. Many threads may use an index at once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "format/delta.h"

#define BLOCK 16
#define CHAIN_MOST 16
#define COPY_MOST 0x10000		/* git reads longer copies, but writes none */
#define INSERT_MOST 127
#define NO_BLOCK UINT32_MAX

struct delta_index {
	gpa_bytes base;
	unsigned shift;			/* maps a hash to a row of `heads` */
	uint32_t *next;			/* for each block the next one of the same row, further on in the base */
	uint32_t heads[];
};

/* ---- the blocks of a base ---- */

static uint32_t row_of(const delta_index *index, const unsigned char *block)
{
	uint64_t mixed = (be64(block) * 0x9e3779b97f4a7c15u + be64(block + 8)) * 0xd6e8feb86659fd93u;
	return (uint32_t)(mixed >> index->shift);
}

/*
 * Index the blocks, from the last one to the first. So the first ones are found first, which may have the longest runs.
 */
static void add_blocks(delta_index *index, uint32_t count)
{
	for (uint32_t i = count; i--;) {
		const unsigned char *block = index->base.ptr + (size_t)i * BLOCK;
		if (i && !memcmp(block, block - BLOCK, BLOCK))
			continue;
		uint32_t *head = &index->heads[row_of(index, block)];
		index->next[i] = *head;
		*head = i;
	}
}

int delta_index_new(delta_index **out, gpa_bytes base, gpa_error *err)
{
	if (base.len > UINT32_MAX)
		return unsupported(err, "a delta base of %zu bytes", base.len);
	uint32_t count = (uint32_t)(base.len / BLOCK), rows = 16;
	unsigned shift = 60;
	for (; rows < count; rows *= 2)
		shift--;
	delta_index *index = malloc(sizeof(*index) + ((size_t)rows + count) * sizeof(*index->heads));
	if (!index)
		return out_of_memory(err);
	*index = (delta_index){base, shift, index->heads + rows};
	memset(index->heads, 0xff, rows * sizeof(*index->heads));
	add_blocks(index, count);
	*out = index;
	return GPA_OK;
}

void delta_index_free(delta_index *index)
{
	free(index);
}

/* ---- the operations ---- */

typedef struct program {
	unsigned char *out;
	size_t used;
	size_t most;
} program;

static int put(program *p, const unsigned char *data, size_t len)
{
	if (len > p->most - p->used)
		return -1;
	memcpy(p->out + p->used, data, len);
	p->used += len;
	return 0;
}

static int put_size(program *p, uint64_t size)
{
	unsigned char bytes[10];
	return put(p, bytes, put_varint(bytes, size));
}

static int put_insert(program *p, const unsigned char *data, size_t len)
{
	while (len) {
		unsigned char count = (unsigned char)(len < INSERT_MOST ? len : INSERT_MOST);
		if (put(p, &count, 1) || put(p, data, count))
			return -1;
		data += count;
		len -= count;
	}
	return 0;
}

/* Write a copy. Bytes that are 0 are left out; a copy without size bytes has size COPY_MOST. */
static int put_copy(program *p, size_t offset, size_t len)
{
	while (len) {
		unsigned char op[7] = {0x80};
		size_t size = len < COPY_MOST ? len : COPY_MOST, n = 1;
		for (int i = 0; i < 4; i++)
			if ((op[n] = (unsigned char)(offset >> (8 * i)))) {
				op[0] |= (unsigned char)(1 << i);
				n++;
			}
		for (int i = 0; i < 2; i++)
			if ((op[n] = (unsigned char)(size >> (8 * i)))) {
				op[0] |= (unsigned char)(0x10 << i);
				n++;
			}
		if (put(p, op, n))
			return -1;
		offset += size;
		len -= size;
	}
	return 0;
}

/* ---- runs of the target in the base ---- */

static size_t common_length(const unsigned char *a, const unsigned char *b, size_t most)
{
	size_t n = 0;
	while (most - n >= 8 && be64(a + n) == be64(b + n))
		n += 8;
	while (n < most && a[n] == b[n])
		n++;
	return n;
}

/*
 * Find the longest run of the base that begins at `at` of the target. Returns its length, or 0 if that is less than a
 * block.
 */
static size_t find_run(size_t *start, const delta_index *index, gpa_bytes target, size_t at)
{
	size_t longest = BLOCK - 1, left = target.len - at;
	uint32_t block = index->heads[row_of(index, target.ptr + at)];
	for (int tries = 0; block != NO_BLOCK && tries < CHAIN_MOST; tries++, block = index->next[block]) {
		size_t here = (size_t)block * BLOCK, room = index->base.len - here;
		size_t len = common_length(index->base.ptr + here, target.ptr + at, room < left ? room : left);
		if (len > longest) {
			longest = len;
			*start = here;
		}
	}
	return longest < BLOCK ? 0 : longest;
}

/* The number of equal bytes before both places. */
static size_t common_before(const unsigned char *a, const unsigned char *b, size_t most)
{
	size_t n = 0;
	while (n < most && a[-1 - (ptrdiff_t)n] == b[-1 - (ptrdiff_t)n])
		n++;
	return n;
}

size_t delta_make(unsigned char *out, size_t most, const delta_index *index, gpa_bytes target)
{
	program p = {out, 0, most};
	size_t at = 0, from = 0, start = 0;	/* the bytes between `from` and `at` are still to be inserted */
	if (put_size(&p, index->base.len) || put_size(&p, target.len))
		return 0;
	while (target.len - at >= BLOCK) {
		size_t len = find_run(&start, index, target, at);
		if (!len) {
			if (++at - from > p.most - p.used)	/* a copy may still begin before `at`, but rarely does */
				return 0;
			continue;
		}
		size_t pending = at - from, room = pending < start ? pending : start;
		size_t before = common_before(index->base.ptr + start, target.ptr + at, room);
		if (put_insert(&p, target.ptr + from, pending - before) || put_copy(&p, start - before, len + before))
			return 0;
		from = at += len;
	}
	return put_insert(&p, target.ptr + from, target.len - from) ? 0 : p.used;
}

int gpa_delta_make(gpa_buffer *out, gpa_bytes base, gpa_bytes target, size_t most, gpa_error *err)
{
	delta_index *index;
	size_t longest = target.len + target.len / INSERT_MOST + 32;
	int status = delta_index_new(&index, base, err);
	if (status)
		return status;
	most = most < longest ? most : longest;
	out->ptr = malloc(most ? most : 1);
	out->len = out->ptr ? delta_make(out->ptr, most, index, target) : 0;
	delta_index_free(index);
	if (!out->ptr)
		return out_of_memory(err);
	if (!out->len)
		gpa_buffer_free(out);
	return out->len ? GPA_OK : GPA_ENOTFOUND;
}
