/*
 * zlib streams. A whole object is inflated by libdeflate if the build found it, which is about twice as fast as zlib.
 * Data that only passes through is inflated by zlib in pieces, so that memory does not depend on the object.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#ifdef GPA_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "base/error.h"
#include "base/inflate.h"

#define PIECE (128 * 1024)
#define SMALL 8192	/* bytes; a smaller object is inflated into a buffer with spare room */
#define SLACK 320
#define FIXED 1		/* type of a block with the fixed code: RFC 1951, 3.2.3 */
#define LARGE (32 * 1024 * 1024)	/* bytes; inflating more takes so long that the user may ask it to stop */
#define START 4096	/* compressed bytes that hold the first few bytes of a stream */

/*
 * A decompressor keeps the tables of the fixed code until a block has its own code. Small deltas mostly use the fixed
 * code, and whole objects their own. With one decompressor for each, the fixed tables are built once.
 */
struct inflater {
#ifdef GPA_LIBDEFLATE
	struct libdeflate_decompressor *z;
	struct libdeflate_decompressor *fixed;
#else
	z_stream z;
#endif
};

int inflater_new(inflater **out, gpa_error *err)
{
	inflater *made = calloc(1, sizeof(*made));
	if (!made)
		return out_of_memory(err);
#ifdef GPA_LIBDEFLATE
	made->z = libdeflate_alloc_decompressor();
	made->fixed = libdeflate_alloc_decompressor();
	int ready = made->z && made->fixed;
#else
	int ready = inflateInit(&made->z) == Z_OK;
#endif
	if (!ready) {
		inflater_free(made);
		return out_of_memory(err);
	}
	*out = made;
	return GPA_OK;
}

void inflater_free(inflater *z)
{
	if (!z)
		return;
#ifdef GPA_LIBDEFLATE
	libdeflate_free_decompressor(z->z);
	libdeflate_free_decompressor(z->fixed);
#else
	inflateEnd(&z->z);
#endif
	free(z);
}

#ifdef GPA_LIBDEFLATE
static struct libdeflate_decompressor *decompressor(const inflater *z, gpa_bytes in)
{
	return in.len > 2 && (in.ptr[2] >> 1 & 3) == FIXED ? z->fixed : z->z;
}
#else
/* Inflate with zlib, which counts in 32 bits: pass input and output in pieces that it can count. */
static int zlib_whole(z_stream *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in)
{
	const size_t most = 1u << 30;
	unsigned char nothing;
	size_t in_left = in.len, out_left = len;
	int status = Z_OK;
	inflateReset(z);
	z->next_in = (unsigned char *)in.ptr;
	z->next_out = len ? out : &nothing;
	while (status == Z_OK) {
		uInt give = (uInt)(in_left < most ? in_left : most), take = (uInt)(out_left < most ? out_left : most);
		z->avail_in = give;
		z->avail_out = take;
		status = inflate(z, Z_NO_FLUSH);
		in_left -= give - z->avail_in;
		out_left -= take - z->avail_out;
		if (status == Z_OK && give == z->avail_in && take == z->avail_out)
			break;		/* no progress: more output than `len`, or input at its end */
		if (status == Z_BUF_ERROR && !out_left && in_left)
			break;
	}
	*used = in.len - in_left;
	return status == Z_STREAM_END && !out_left ? 0 : -1;
}
#endif

#ifdef GPA_LIBDEFLATE
/*
 * Inflate with libdeflate. Its fast loop needs room behind the output. Without it, a small object would be decoded
 * entirely by the slow loop.
 */
static int libdeflate_whole(inflater *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in)
{
	unsigned char roomy[SMALL + SLACK];
	int is_small = len <= SMALL;
	size_t made = 0;
	enum libdeflate_result result = libdeflate_zlib_decompress_ex(decompressor(z, in), in.ptr, in.len,
								      is_small ? roomy : out,
								      is_small ? sizeof(roomy) : len, used, &made);
	if (result != LIBDEFLATE_SUCCESS || made != len)
		return -1;
	if (is_small)
		memcpy(out, roomy, len);
	return 0;
}
#endif

int inflate_whole(inflater *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in, gpa_error *err)
{
#ifdef GPA_LIBDEFLATE
	int failed = libdeflate_whole(z, out, len, used, in);
#else
	int failed = zlib_whole(&z->z, out, len, used, in);
#endif
	return failed ? corrupt(err, "zlib stream does not inflate to %zu bytes", len) : GPA_OK;
}

int inflate_within(inflater *z, unsigned char *out, size_t room, size_t *made, size_t *used, gpa_bytes in)
{
#ifdef GPA_LIBDEFLATE
	enum libdeflate_result result = libdeflate_zlib_decompress_ex(decompressor(z, in), in.ptr, in.len, out, room,
								      used, made);
	return result == LIBDEFLATE_SUCCESS ? GPA_OK : GPA_ENOTFOUND;
#else
	inflateReset(&z->z);
	z->z.next_in = (unsigned char *)in.ptr;
	z->z.avail_in = (uInt)in.len;
	z->z.next_out = out;
	z->z.avail_out = (uInt)room;
	int result = inflate(&z->z, Z_FINISH);
	*made = room - z->z.avail_out;
	*used = in.len - z->z.avail_in;
	return result == Z_STREAM_END ? GPA_OK : GPA_ENOTFOUND;
#endif
}

struct inflate_stream {
	z_stream z;
	gpa_bytes left;		/* input that zlib has not got yet */
	int ended;
};

int inflate_stream_new(inflate_stream **out, gpa_bytes in, gpa_error *err)
{
	inflate_stream *made = calloc(1, sizeof(*made));
	if (!made || inflateInit(&made->z) != Z_OK) {
		free(made);
		return out_of_memory(err);
	}
	made->left = in;
	*out = made;
	return GPA_OK;
}

int inflate_stream_read(inflate_stream *s, unsigned char *out, size_t room, size_t *got, gpa_error *err)
{
	*got = 0;
	while (!s->ended && *got < room) {
		uInt give = (uInt)(s->left.len < PIECE ? s->left.len : PIECE);
		uInt take = (uInt)(room - *got < PIECE ? room - *got : PIECE);
		s->z.next_in = (unsigned char *)s->left.ptr;
		s->z.avail_in = give;
		s->z.next_out = out + *got;
		s->z.avail_out = take;
		int status = inflate(&s->z, Z_NO_FLUSH);
		s->left.ptr += give - s->z.avail_in;
		s->left.len -= give - s->z.avail_in;
		*got += take - s->z.avail_out;
		s->ended = status == Z_STREAM_END;
		if (status != Z_OK && !s->ended)
			return corrupt(err, "zlib stream is damaged or cut short");
	}
	return GPA_OK;
}

int inflate_stream_ended(const inflate_stream *s, size_t *left)
{
	*left = s->left.len;
	return s->ended;
}

void inflate_stream_free(inflate_stream *s)
{
	if (!s)
		return;
	inflateEnd(&s->z);
	free(s);
}

int inflate_start(unsigned char *out, size_t room, size_t *got, gpa_bytes in, gpa_error *err)
{
	inflate_stream *s;
	int status = inflate_stream_new(&s, (gpa_bytes){in.ptr, in.len < START ? in.len : START}, err);
	if (status)
		return status;
	status = inflate_stream_read(s, out, room, got, err);
	inflate_stream_free(s);
	/* the caller decides whether a short stream is an error */
	return status == GPA_ECORRUPT && (*got || !in.len) ? GPA_OK : status;
}

int inflate_pieces(uint64_t size, size_t *used, gpa_bytes in, inflate_sink sink, void *context,
		   const gpa_progress *progress, gpa_error *err)
{
	inflate_stream *s;
	unsigned char *piece = malloc(PIECE);
	int status = piece ? inflate_stream_new(&s, in, err) : out_of_memory(err), ended = 0;
	if (status) {
		free(piece);
		return status;
	}
	uint64_t made = 0;
	size_t got, left = in.len;
	while (!status && !ended && made <= size && !is_stopped(progress)) {
		status = inflate_stream_read(s, piece, PIECE, &got, err);
		made += got;
		if (got && sink)
			sink(context, piece, got);
		ended = inflate_stream_ended(s, &left);
	}
	inflate_stream_free(s);
	free(piece);
	*used = in.len - left;
	if (!status && !ended && is_stopped(progress))
		return stopped(err);
	if (status || !ended || made != size)
		return corrupt(err, "zlib stream does not inflate to %llu bytes", (unsigned long long)size);
	return GPA_OK;
}

static void keep_piece(void *context, const unsigned char *piece, size_t len)
{
	gpa_buffer *room = context;	/* its `len` is the room that is left */
	len = len < room->len ? len : room->len;
	memcpy(room->ptr, piece, len);
	room->ptr += len;
	room->len -= len;
}

int inflate_stoppable(inflater *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in,
		      const gpa_progress *progress, gpa_error *err)
{
	gpa_buffer room = {out, len};
	if (!progress || len <= LARGE)
		return inflate_whole(z, out, len, used, in, err);
	return inflate_pieces(len, used, in, keep_piece, &room, progress, err);
}

uint32_t content_adler(gpa_bytes content)
{
#ifdef GPA_LIBDEFLATE
	return libdeflate_adler32(1, content.ptr, content.len);
#else
	return (uint32_t)adler32_z(1, content.ptr, content.len);
#endif
}

/* Both compressors take a quarter of a MiB or more, so each is allocated when it is first used. */
struct deflater {
	int level;
#ifdef GPA_LIBDEFLATE
	struct libdeflate_compressor *whole;
#endif
	int ready;		/* whether `z` is initialized */
	z_stream z;
	unsigned char *piece;
};

int deflater_new(deflater **out, int level, gpa_error *err)
{
	deflater *made = calloc(1, sizeof(*made));
	if (!made)
		return out_of_memory(err);
	made->level = level;
	*out = made;
	return GPA_OK;
}

void deflater_free(deflater *d)
{
	if (!d)
		return;
#ifdef GPA_LIBDEFLATE
	libdeflate_free_compressor(d->whole);
#endif
	if (d->ready)
		deflateEnd(&d->z);
	free(d->piece);
	free(d);
}

static int start_zlib(deflater *d, gpa_error *err)
{
	if (!d->ready && deflateInit(&d->z, d->level) != Z_OK)
		return out_of_memory(err);
	d->ready = 1;
	deflateReset(&d->z);
	return GPA_OK;
}

size_t deflate_room(size_t len)
{
	size_t room = compressBound(len);
#ifdef GPA_LIBDEFLATE
	size_t other = libdeflate_zlib_compress_bound(NULL, len);
	room = other > room ? other : room;
#endif
	return room;
}

static int zlib_deflate(deflater *d, unsigned char *out, size_t *len, gpa_bytes in, gpa_error *err)
{
	int status = start_zlib(d, err);
	if (status)
		return status;
	d->z.next_in = (unsigned char *)in.ptr;
	d->z.avail_in = (uInt)in.len;
	d->z.next_out = out;
	d->z.avail_out = (uInt)deflate_room(in.len);
	if (deflate(&d->z, Z_FINISH) != Z_STREAM_END)
		return out_of_memory(err);
	*len = d->z.total_out;
	return GPA_OK;
}

int deflate_whole(deflater *d, unsigned char *out, size_t *len, gpa_bytes in, gpa_error *err)
{
#ifdef GPA_LIBDEFLATE
	if (d->level) {		/* libdeflate before 1.9 has no level 0 */
		if (!d->whole && !(d->whole = libdeflate_alloc_compressor(d->level < 0 ? 6 : d->level)))
			return out_of_memory(err);
		*len = libdeflate_zlib_compress(d->whole, in.ptr, in.len, out, deflate_room(in.len));
		return GPA_OK;
	}
#endif
	return zlib_deflate(d, out, len, in, err);
}

int deflate_begin(deflater *d, gpa_error *err)
{
	if (!d->piece && !(d->piece = malloc(PIECE)))
		return out_of_memory(err);
	return start_zlib(d, err);
}

int deflate_piece(deflater *d, output *out, gpa_bytes in, int last, gpa_error *err)
{
	do {	/* zlib counts in 32 bits */
		if (is_stopped(out->progress))
			return stopped(err);
		uInt give = (uInt)(in.len < PIECE ? in.len : PIECE);
		int ends = last && give == in.len;
		d->z.next_in = (unsigned char *)in.ptr;
		d->z.avail_in = give;
		in.ptr += give;
		in.len -= give;
		do {
			d->z.next_out = d->piece;
			d->z.avail_out = PIECE;
			deflate(&d->z, ends ? Z_FINISH : Z_NO_FLUSH);
			int status = output_write(out, d->piece, PIECE - d->z.avail_out, err);
			if (status)
				return status;
		} while (!d->z.avail_out);
	} while (in.len);
	return GPA_OK;
}
