/* Loose objects: one zlib stream of "<type> <size>\0<content>". */
#include <zlib.h>

#include "core.h"

#define HEADER_MAX 32	/* git's own bound */

/* Parse the inflated start of the file; *header is its length with the NUL. */
static int parse_header(int *type, uint64_t *size, size_t *header, const unsigned char *text, size_t len, gpa_error *err)
{
	static const struct { const char *word; int type; } types[] = {
		{"blob ", GPA_BLOB}, {"tree ", GPA_TREE}, {"commit ", GPA_COMMIT}, {"tag ", GPA_TAG},
	};
	const unsigned char *end = memchr(text, 0, len);
	size_t word_len = 0;
	*type = 0;
	for (size_t i = 0; end && i < 4 && !*type; i++) {
		word_len = strlen(types[i].word);
		if ((size_t)(end - text) > word_len && !memcmp(text, types[i].word, word_len))
			*type = types[i].type;
	}
	if (!*type)
		return corrupt_at(err, 0, "loose object header names no type");
	*size = 0;
	for (const unsigned char *p = text + word_len; p < end; p++) {
		if (*p < '0' || *p > '9' || *size > (UINT64_MAX - 9) / 10 || (*p == '0' && !*size && end - p > 1))
			return corrupt_at(err, 0, "loose object header has a bad size");
		*size = *size * 10 + (uint64_t)(*p - '0');
	}
	*header = (size_t)(end - text) + 1;
	return GPA_OK;
}

static int start_inflate(z_stream *z, unsigned char *head, gpa_bytes file, gpa_error *err)
{
	memset(z, 0, sizeof(*z));
	if (inflateInit(z) != Z_OK)
		return out_of_memory(err);
	z->next_in = (unsigned char *)file.ptr;
	z->avail_in = (uInt)(file.len < 4096 ? file.len : 4096);
	z->next_out = head;
	z->avail_out = HEADER_MAX;
	int result = inflate(z, Z_SYNC_FLUSH);
	if (result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR)
		return GPA_OK;
	inflateEnd(z);
	return corrupt_at(err, 0, "loose object is not a zlib stream");
}

int gpa_loose_header(int *type, uint64_t *size, gpa_bytes file, gpa_error *err)
{
	z_stream z;
	unsigned char head[HEADER_MAX];
	size_t header;
	int status = start_inflate(&z, head, file, err);
	if (status)
		return status;
	status = parse_header(type, size, &header, head, HEADER_MAX - z.avail_out, err);
	inflateEnd(&z);
	return status;
}

struct tail {
	unsigned char *out;	/* where the content goes */
	size_t skip;		/* header bytes still to pass over */
};

static void keep_tail(void *context, const unsigned char *piece, size_t len)
{
	struct tail *tail = context;
	size_t skip = tail->skip < len ? tail->skip : len;
	memcpy(tail->out, piece + skip, len - skip);
	tail->out += len - skip;
	tail->skip -= skip;
}

int gpa_loose_read(int *type, gpa_buffer *out, gpa_bytes file, gpa_error *err)
{
	z_stream z;
	unsigned char head[HEADER_MAX];
	uint64_t size;
	size_t header, used;
	out->ptr = NULL;
	int status = start_inflate(&z, head, file, err);
	if (status)
		return status;
	status = parse_header(type, &size, &header, head, HEADER_MAX - z.avail_out, err);
	inflateEnd(&z);
	if (status)
		return status;
	if (size / 1040 > file.len)
		return corrupt_at(err, 0, "loose object claims %llu bytes, more than its file can hold",
				  (unsigned long long)size);
	/* room for a piece more: inflate_pieces() hands over what it has before it sees that it is too much */
	out->ptr = malloc(size + HEADER_MAX + 128 * 1024);
	if (!out->ptr)
		return out_of_memory(err);
	out->len = size;
	struct tail tail = {out->ptr, header};
	status = inflate_pieces(size + header, &used, file, keep_tail, &tail, NULL, err);
	if (!status && used != file.len)
		status = corrupt_at(err, used, "garbage after the loose object");
	if (status)
		gpa_buffer_free(out);
	return status;
}
