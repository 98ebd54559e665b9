/*
 * zlib streams. A whole object goes through libdeflate where the build found it (about twice zlib's speed); what is
 * only passed through goes through zlib in pieces, so that memory does not depend on the object.
 */
#include <zlib.h>
#ifdef GPA_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "core.h"

#define PIECE (128 * 1024)

struct inflater {
#ifdef GPA_LIBDEFLATE
	struct libdeflate_decompressor *z;
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
	int ready = made->z != NULL;
#else
	int ready = inflateInit(&made->z) == Z_OK;
#endif
	if (!ready) {
		free(made);
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
#else
	inflateEnd(&z->z);
#endif
	free(z);
}

#ifndef GPA_LIBDEFLATE
/* zlib counts in 32 bits: feed and drain in pieces it can count. */
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

int inflate_whole(inflater *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in, gpa_error *err)
{
#ifdef GPA_LIBDEFLATE
	unsigned char nothing;
	size_t made = 0;
	enum libdeflate_result result = libdeflate_zlib_decompress_ex(z->z, in.ptr, in.len, len ? out : &nothing, len,
								      used, &made);
	int good = result == LIBDEFLATE_SUCCESS && made == len;
#else
	int good = !zlib_whole(&z->z, out, len, used, in);
#endif
	return good ? GPA_OK : corrupt(err, "zlib stream does not inflate to %zu bytes", len);
}

int inflate_pieces(uint64_t size, size_t *used, gpa_bytes in, inflate_sink sink, void *context, gpa_error *err)
{
	z_stream z = {0};
	uint64_t made = 0;
	size_t left = in.len;
	int status = Z_OK;
	unsigned char *piece = malloc(PIECE);
	if (!piece || inflateInit(&z) != Z_OK) {
		free(piece);
		return out_of_memory(err);
	}
	z.next_in = (unsigned char *)in.ptr;
	while (status == Z_OK && made <= size) {
		uInt give = (uInt)(left < PIECE ? left : PIECE);
		z.avail_in = give;
		z.next_out = piece;
		z.avail_out = PIECE;
		status = inflate(&z, Z_NO_FLUSH);
		left -= give - z.avail_in;
		size_t got = PIECE - z.avail_out;
		made += got;
		if (got && sink)
			sink(context, piece, got);
	}
	inflateEnd(&z);
	free(piece);
	*used = in.len - left;
	if (status != Z_STREAM_END || made != size)
		return corrupt(err, "zlib stream does not inflate to %llu bytes", (unsigned long long)size);
	return GPA_OK;
}

int deflate_whole(gpa_buffer *out, gpa_bytes in, int level, gpa_error *err)
{
	uLongf len = compressBound(in.len);
	out->ptr = malloc(len);
	if (!out->ptr)
		return out_of_memory(err);
	if (compress2(out->ptr, &len, in.ptr, in.len, level) != Z_OK) {
		gpa_buffer_free(out);
		return out_of_memory(err);
	}
	out->len = len;
	return GPA_OK;
}
