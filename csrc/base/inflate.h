/* zlib streams. Inflaters and deflaters serve one thread, again and again. */
#ifndef GPA_INFLATE_H
#define GPA_INFLATE_H

#include "base/output.h"

/* ---- inflating ---- */

typedef struct inflater inflater;
int inflater_new(inflater **out, gpa_error *err);
void inflater_free(inflater *z);
/* Inflate a stream of exactly `len` bytes into `out`. *used is the number of bytes of `in` that the stream has. */
int inflate_whole(inflater *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in, gpa_error *err);
/*
 * Inflate a stream of at most `room` bytes; *made is how many it has. `room` and in.len are below 1 GiB. GPA_ENOTFOUND if
 * the stream has more, or is damaged.
 */
int inflate_within(inflater *z, unsigned char *out, size_t room, size_t *made, size_t *used, gpa_bytes in);
/* inflate_whole() that another thread can end, within a large object too. `progress` may be NULL. */
int inflate_stoppable(inflater *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in,
		      const gpa_progress *progress, gpa_error *err);
/* Inflate in constant memory: each piece is passed to `sink`, which may be NULL. `progress` may be NULL. */
typedef void (*inflate_sink)(void *context, const unsigned char *piece, size_t len);
int inflate_pieces(uint64_t size, size_t *used, gpa_bytes in, inflate_sink sink, void *context,
		   const gpa_progress *progress, gpa_error *err);

/* A stream that the caller reads piece by piece, in constant memory. */
typedef struct inflate_stream inflate_stream;
int inflate_stream_new(inflate_stream **out, gpa_bytes in, gpa_error *err);
/* Read `room` bytes, or fewer at the end. */
int inflate_stream_read(inflate_stream *s, unsigned char *out, size_t room, size_t *got, gpa_error *err);
/* Whether the end of the stream was read. *left is how many bytes of `in` were not used. */
int inflate_stream_ended(const inflate_stream *s, size_t *left);
void inflate_stream_free(inflate_stream *s);
/* Inflate the first `room` bytes of a stream, or as many as it has. */
int inflate_start(unsigned char *out, size_t room, size_t *got, gpa_bytes in, gpa_error *err);

/* The Adler-32 of a content, as a zlib stream has it at its end. */
uint32_t content_adler(gpa_bytes content);

#define PEEK 8
/*
 * Decode the literals that a stream begins with, at most PEEK bytes. Returns how many; 0 if that needs more than a
 * look.
 */
size_t inflate_peek(unsigned char *out, gpa_bytes in);

/* ---- deflating ---- */

typedef struct deflater deflater;
int deflater_new(deflater **out, int level, gpa_error *err);
void deflater_free(deflater *d);
/* The most bytes that deflate_whole() makes of `len` bytes. */
size_t deflate_room(size_t len);
/* Deflate less than 1 GiB. `out` has deflate_room(in.len) bytes. */
int deflate_whole(deflater *d, unsigned char *out, size_t *len, gpa_bytes in, gpa_error *err);
/*
 * Deflate piece by piece into `out`, in constant memory. deflate_begin() begins a stream, and the piece with `last`
 * ends it.
 */
int deflate_begin(deflater *d, gpa_error *err);
int deflate_piece(deflater *d, output *out, gpa_bytes in, int last, gpa_error *err);

#endif
