/*
 * The literals at the start of a zlib stream, without inflating it. The first bytes of a delta hold the size of its
 * target. In a block with its own codes only the lengths of the literals' codes are read, and the large tables that
 * inflating needs are not built. A stream that is not in order yields nothing here; inflating it reports what is wrong.
 */
#include <string.h>

#include "base/inflate.h"

#define STORED 0		/* types of blocks: RFC 1951, 3.2.3 */
#define FIXED 1
#define DYNAMIC 2
#define LITERALS 256
#define SYMBOLS 288	/* literals and lengths */
#define LENGTH_CODES 19
#define LENGTH_BITS 7
#define LONGEST 15		/* bits of a code */

/* The bits of the stream, first bit lowest. After the end there are zeros, and `missing` is set. */
typedef struct bits {
	const unsigned char *at, *end;
	uint64_t held;
	unsigned count;
	int missing;
} bits;

static inline unsigned look(bits *b, unsigned count)
{
	if (b->count < count)
		for (; b->count <= 56 && b->at < b->end; b->count += 8)
			b->held |= (uint64_t)*b->at++ << b->count;
	return (unsigned)b->held & ((1u << count) - 1);
}

static inline void skip(bits *b, unsigned count)
{
	b->missing |= count > b->count;
	b->held >>= count;
	b->count -= count < b->count ? count : b->count;
}

static inline unsigned take(bits *b, unsigned count)
{
	unsigned value = look(b, count);
	skip(b, count);
	return value;
}

/* ---- codes ---- */

/* A canonical code (3.2.2): the number of symbols of each length, and the symbols by length. */
typedef struct code {
	uint16_t counts[LONGEST + 1];
	uint16_t symbols[SYMBOLS];
} code;

/* Whether each pattern of bits stands for exactly one symbol. */
static int is_complete(const code *c)
{
	unsigned left = 1;
	for (unsigned length = 1; length <= LONGEST; length++) {
		left <<= 1;
		if (c->counts[length] > left)
			return 0;
		left -= c->counts[length];
	}
	return !left;
}

/*
 * Make a code of `used` symbols, which are ascending, and the lengths of their codes. Returns whether it is complete.
 */
static int code_make(code *c, const uint16_t *symbols, const unsigned char *lengths, unsigned used)
{
	uint16_t next[LONGEST + 1] = {0};
	memset(c->counts, 0, sizeof(c->counts));
	for (unsigned i = 0; i < used; i++)
		c->counts[lengths[i]]++;
	for (unsigned length = 1; length < LONGEST; length++)
		next[length + 1] = (uint16_t)(next[length] + c->counts[length]);
	for (unsigned i = 0; i < used; i++)
		c->symbols[next[lengths[i]]++] = symbols[i];
	return is_complete(c);
}

/* Read one symbol. The code is complete, so some length matches. */
static unsigned next_symbol(bits *b, const code *c)
{
	unsigned coming = look(b, LONGEST), value = 0, first = 0, before = 0;
	for (unsigned length = 1; length <= LONGEST; length++, coming >>= 1) {
		unsigned count = c->counts[length];
		value = value << 1 | (coming & 1);
		first <<= 1;
		if (value - first < count) {
			skip(b, length);
			return c->symbols[before + value - first];
		}
		before += count;
		first += count;
	}
	b->missing = 1;
	return LITERALS;
}

/* ---- blocks ---- */

/*
 * The code for the lengths of the other codes (3.2.7). It is short, so each pattern of bits has a row with the symbol
 * and the length of its code.
 */
typedef struct length_code {
	struct {
		unsigned char symbol, length;
	} rows[1 << LENGTH_BITS];
} length_code;

static unsigned turned(unsigned value, unsigned count)
{
	unsigned back = 0;
	for (; count; count--, value >>= 1)
		back = back << 1 | (value & 1);
	return back;
}

static int read_length_code(length_code *c, bits *b, unsigned count)
{
	static const unsigned char order[LENGTH_CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
	unsigned char lengths[LENGTH_CODES] = {0};
	unsigned value = 0;
	for (unsigned i = 0; i < count; i++)
		lengths[order[i]] = (unsigned char)take(b, 3);
	for (unsigned length = 1; length <= LENGTH_BITS; length++, value <<= 1)
		for (unsigned symbol = 0; symbol < LENGTH_CODES; symbol++) {
			if (lengths[symbol] != length)
				continue;
			if (value >> length)
				return 0;
			for (unsigned row = turned(value++, length); row < 1 << LENGTH_BITS; row += 1u << length) {
				c->rows[row].symbol = (unsigned char)symbol;
				c->rows[row].length = (unsigned char)length;
			}
		}
	return value == 1 << (LENGTH_BITS + 1);		/* complete: each row was written */
}

/* Read how often a length is repeated. *length is the length of a code, or 0. */
static unsigned read_run(unsigned *length, bits *b, const length_code *c)
{
	unsigned row = look(b, LENGTH_BITS), symbol = c->rows[row].symbol;
	skip(b, c->rows[row].length);
	if (symbol == 16)
		return 3 + take(b, 2);
	*length = symbol < 16 ? symbol : 0;
	return symbol < 16 ? 1 : symbol == 17 ? 3 + take(b, 3) : 11 + take(b, 7);
}

/* Read a block's code for literals and lengths, and skip its code for distances. Returns 0 if it is not in order. */
static int read_code(code *c, bits *b)
{
	unsigned literals = take(b, 5) + LITERALS + 1, total = literals + take(b, 5) + 1, count = take(b, 4) + 4;
	unsigned char lengths[SYMBOLS];
	uint16_t symbols[SYMBOLS];
	unsigned used = 0, length = 0, run;
	length_code written;
	if (!read_length_code(&written, b, count))
		return 0;
	for (unsigned at = 0; at < total; at += run) {
		run = read_run(&length, b, &written);
		if (b->missing || at + run > total)
			return 0;
		for (unsigned i = at; length && i < at + run && i < literals; i++) {
			symbols[used] = (uint16_t)i;
			lengths[used++] = (unsigned char)length;
		}
	}
	return code_make(c, symbols, lengths, used);
}

/*
 * Decode a literal in the fixed code (3.2.6). `coming` holds nine bits, first bit highest. Returns the bits used; 0 for
 * no literal.
 */
static unsigned fixed_literal(unsigned char *out, unsigned coming)
{
	if (coming >> 1 >= 0x30 && coming >> 1 <= 0xbf) {
		*out = (unsigned char)((coming >> 1) - 0x30);
		return 8;
	}
	if (coming >= 0x190) {
		*out = (unsigned char)(coming - 0x190 + 144);
		return 9;
	}
	return 0;
}

static size_t fixed_literals(unsigned char *out, bits *b)
{
	size_t got = 0;
	for (; got < PEEK; got++) {
		unsigned used = fixed_literal(&out[got], turned(look(b, 9), 9));
		if (!used)
			break;
		skip(b, used);
	}
	return got;
}

static size_t dynamic_literals(unsigned char *out, bits *b)
{
	code c;
	size_t got = 0;
	if (!read_code(&c, b))
		return 0;
	for (; got < PEEK; got++) {
		unsigned symbol = next_symbol(b, &c);
		if (symbol >= LITERALS)
			break;
		out[got] = (unsigned char)symbol;
	}
	return got;
}

static size_t stored_bytes(unsigned char *out, gpa_bytes in)
{
	size_t len = in.ptr[3] | (size_t)in.ptr[4] << 8;
	len = len < PEEK ? len : PEEK;
	memcpy(out, in.ptr + 7, len);
	return len;
}

size_t inflate_peek(unsigned char *out, gpa_bytes in)
{
	bits b = {.at = in.ptr + 2, .end = in.ptr + in.len};
	if (in.len < 2 * PEEK || (in.ptr[0] & 15) != 8 || in.ptr[1] & 0x20)
		return 0;
	take(&b, 1);	/* flag: last block */
	unsigned kind = take(&b, 2);
	if (kind == STORED)
		return stored_bytes(out, in);
	size_t got = kind == FIXED ? fixed_literals(out, &b) : kind == DYNAMIC ? dynamic_literals(out, &b) : 0;
	return b.missing ? 0 : got;
}
