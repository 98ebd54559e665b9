/*
 * Bytes to numbers and back, and the error that says where bytes are wrong. No other file turns bytes into numbers.
 * Reads are unaligned and big-endian but where their name says otherwise; the cursor checks every read against its end.
 */
#ifndef GPA_BYTES_H
#define GPA_BYTES_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gpa.h"

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

/* The `i`-th big-endian number of a table whose bounds were checked when it was parsed. */
static inline uint32_t be32_at(const unsigned char *table, uint64_t i)
{
	return be32(table + 4 * i);
}

/* How many oids begin with a byte <= `first`; `fanout` is a checked table of 256 numbers. */
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
 * Look `oid` up in a sorted table whose entries are `stride` bytes apart; the fanout says where to begin. Ids are spread
 * evenly, so a few guesses come near, and halving does the rest, however the ids lie: each look at a far entry waits for
 * memory, and this takes half of the looks that halving alone takes.
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

/* A number of 7-bit groups, little end first, as in delta programs. -1: cut short, or beyond 64 bits. */
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

/* Writes such a number; returns the bytes used, at most 10. */
static inline size_t put_varint(unsigned char *out, uint64_t value)
{
	size_t n = 0;
	for (; value > 0x7f; value >>= 7)
		out[n++] = (unsigned char)(0x80 | (value & 0x7f));
	out[n++] = (unsigned char)value;
	return n;
}

__attribute__((format(printf, 4, 5)))
static inline int fail_at(gpa_error *err, int status, int64_t offset, const char *format, ...)
{
	va_list args;
	err->offset = offset;
	err->source = -1;
	err->sys_errno = 0;
	err->git_dies = 0;
	err->fault = 0;
	err->file[0] = 0;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return status;
}

#define corrupt(err, ...) fail_at((err), GPA_ECORRUPT, GPA_NO_OFFSET, __VA_ARGS__)
#define corrupt_at(err, offset, ...) fail_at((err), GPA_ECORRUPT, (int64_t)(offset), __VA_ARGS__)
#define unsupported(err, ...) fail_at((err), GPA_EUNSUPPORTED, GPA_NO_OFFSET, __VA_ARGS__)

/* Has the caller's other thread asked for the end? `progress` may be NULL. */
static inline int is_stopped(const gpa_progress *progress)
{
	return progress && progress->stop;
}

static inline int stopped(gpa_error *err)
{
	return fail_at(err, GPA_ESTOPPED, GPA_NO_OFFSET, "stopped");
}

static inline int out_of_memory(gpa_error *err)
{
	return fail_at(err, GPA_ENOMEM, GPA_NO_OFFSET, "out of memory");
}

static inline int system_failed(gpa_error *err, const char *what)
{
	int saved = errno;
	fail_at(err, GPA_ESYS, GPA_NO_OFFSET, "%s: %s", what, strerror(saved));
	err->sys_errno = saved;
	return GPA_ESYS;
}

/*
 * Is a failure about this one file, so that another copy of an object may serve? Not where descriptors or memory are short:
 * then nothing can be said of any file.
 */
static inline int is_of_one_file(int status, const gpa_error *err)
{
	return status == GPA_ESYS && err->sys_errno != EMFILE && err->sys_errno != ENFILE && err->sys_errno != ENOMEM;
}

#endif
