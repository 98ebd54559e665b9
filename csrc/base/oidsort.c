/*
 * Sorting references to oids. A radix sort by the leading 33 bits orders nearly all of them in three passes. Only runs
 * that agree in these bits are compared whole, with an n log n sort, so that chosen collisions cost no more than that.
 */
#include <stdlib.h>
#include <string.h>

#include "base/oidsort.h"

#define DIGIT_BITS 11
#define DIGITS 3
#define BUCKETS (1u << DIGIT_BITS)

static void radix_pass(oid_ref *to, const oid_ref *from, size_t count, unsigned shift, size_t *starts)
{
	for (size_t i = 0; i < count; i++)
		to[starts[(from[i].key >> shift) & (BUCKETS - 1)]++] = from[i];
}

struct order {
	uint32_t hash_size;
	oid_of oid;
	const void *context;
};

static int compare_refs(const void *left, const void *right, void *context)
{
	const struct order *order = context;
	const oid_ref *a = left, *b = right;
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	int c = memcmp(order->oid(order->context, a), order->oid(order->context, b), order->hash_size);
	if (c)
		return c;
	return a->source < b->source ? -1 : a->source > b->source;
}

void oid_sort(oid_ref *refs, oid_ref *scratch, size_t count, uint32_t hash_size, oid_of oid, const void *context)
{
	struct order order = {hash_size, oid, context};
	size_t counts[DIGITS][BUCKETS];
	const unsigned lowest = 64 - DIGITS * DIGIT_BITS;

	if (count < 256) {	/* three passes over 2048 buckets would cost more than they save */
		qsort_r(refs, count, sizeof(*refs), compare_refs, &order);
		return;
	}
	memset(counts, 0, sizeof(counts));
	for (size_t i = 0; i < count; i++)
		for (unsigned d = 0; d < DIGITS; d++)
			counts[d][(refs[i].key >> (lowest + d * DIGIT_BITS)) & (BUCKETS - 1)]++;
	for (unsigned d = 0; d < DIGITS; d++) {
		size_t start = 0;
		for (size_t b = 0; b < BUCKETS; b++) {
			size_t here = counts[d][b];
			counts[d][b] = start;
			start += here;
		}
	}
	radix_pass(scratch, refs, count, lowest, counts[0]);
	radix_pass(refs, scratch, count, lowest + DIGIT_BITS, counts[1]);
	radix_pass(scratch, refs, count, lowest + 2 * DIGIT_BITS, counts[2]);
	memcpy(refs, scratch, count * sizeof(*refs));

	for (size_t i = 0, end; i < count; i = end) {
		for (end = i + 1; end < count && refs[end].key >> lowest == refs[i].key >> lowest; end++)
			;
		if (end - i > 1)
			qsort_r(refs + i, end - i, sizeof(*refs), compare_refs, &order);
	}
}
