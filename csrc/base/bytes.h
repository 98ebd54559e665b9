/*
 * Bytes to numbers and back. No other file turns bytes into numbers. Reads may be unaligned. They are big-endian unless
 * their name says otherwise. A cursor checks every read against its end.
 */
#ifndef GPA_BYTES_H
#define GPA_BYTES_H

#include <string.h>

#include "base/gpa_base.h"

static inline uint32_t be32(const unsigned char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline uint32_t le32(const unsigned char *p)
{
	return __builtin_bswap32(be32(p));
}

static inline uint64_t be64(const unsigned char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

static inline void put_be32(unsigned char *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le32(unsigned char *p, uint32_t v)
{
	put_be32(p, __builtin_bswap32(v));
}

static inline void put_be64(unsigned char *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

/* Number `i` of a table of big-endian numbers, whose bounds were checked when it was parsed. */
static inline uint32_t be32_at(const unsigned char *table, uint64_t i)
{
	return be32(table + 4 * i);
}

#define FANOUT_SIZE (256 * 4)
#define LARGE_FLAG 0x80000000u	/* of an offset that is the number of a row of 64-bit offsets */

/* Number of oids whose first byte is at most `first`. `fanout` is a checked table of 256 numbers. */
static inline uint32_t fanout_end(const unsigned char *fanout, unsigned first)
{
	return be32_at(fanout, first);
}

static inline uint32_t fanout_begin(const unsigned char *fanout, unsigned first)
{
	return first ? be32_at(fanout, first - 1) : 0;
}

#define GUESSES 4

/*
 * Look `oid` up in a sorted table of entries that are `stride` bytes apart. The fanout limits the range. Ids are spread
 * evenly, so a few guesses by interpolation come near, and bisection does the rest for any distribution. Each look at a
 * distant entry waits for memory, and this takes half as many looks as bisection alone.
 */
static inline int oid_find(uint32_t *pos, const unsigned char *fanout, const unsigned char *oids, size_t stride,
			   uint32_t hash_size, const unsigned char *oid)
{
	uint32_t low = fanout_begin(fanout, oid[0]), high = fanout_end(fanout, oid[0]);
	uint64_t key = be32(oid + 1), low_key = 0, high_key = (uint64_t)1 << 32;
	for (int guesses = GUESSES; low < high;) {
		uint32_t middle = low + (high - low) / 2;
		if (guesses && key >= low_key && key < high_key) {
			middle = low + (uint32_t)((high - low) * (key - low_key) / (high_key - low_key));
			guesses--;
		}
		const unsigned char *here = oids + (size_t)middle * stride;
		int c = memcmp(here, oid, hash_size);
		if (!c) {
			*pos = middle;
			return GPA_OK;
		}
		if (c < 0) {
			low = middle + 1;
			low_key = be32(here + 1);
		} else {
			high = middle;
			high_key = (uint64_t)be32(here + 1) + 1;
		}
	}
	return GPA_ENOTFOUND;
}

typedef struct cursor {
	const unsigned char *at;
	const unsigned char *end;
} cursor;

static inline size_t cursor_left(const cursor *c)
{
	return (size_t)(c->end - c->at);
}

static inline int cursor_byte(cursor *c, unsigned char *out)
{
	if (c->at == c->end)
		return -1;
	*out = *c->at++;
	return 0;
}

/*
 * Read a number of 7-bit groups, least significant first, as in delta programs. Returns -1 if it is cut short or beyond
 * 64 bits.
 */
static inline int cursor_varint(cursor *c, uint64_t *out)
{
	uint64_t value = 0;
	for (unsigned shift = 0;; shift += 7) {
		unsigned char byte;
		if (cursor_byte(c, &byte) || shift > 63 || (shift == 63 && (byte & 0x7e)))
			return -1;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*out = value;
			return 0;
		}
	}
}

/* Write a number as cursor_varint() reads it. Returns the bytes used, at most 10. */
static inline size_t put_varint(unsigned char *out, uint64_t value)
{
	size_t n = 0;
	for (; value > 0x7f; value >>= 7)
		out[n++] = (unsigned char)(0x80 | (value & 0x7f));
	out[n++] = (unsigned char)value;
	return n;
}

#endif
