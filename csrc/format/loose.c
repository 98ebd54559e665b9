/* Loose objects: one zlib stream of "<type> <size>\0<content>". */
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/files.h"
#include "format/loose.h"
#include "format/pack.h"

#define HEAD 4096	/* bytes of the file that hold the whole header */

int loose_parse_header(int *type, uint64_t *size, size_t *header, gpa_bytes start, gpa_error *err)
{
	static const struct { const char *word; int type; } types[] = {
		{"blob ", GPA_BLOB}, {"tree ", GPA_TREE}, {"commit ", GPA_COMMIT}, {"tag ", GPA_TAG},
	};
	const unsigned char *text = start.ptr, *end = memchr(text, 0, start.len);
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

/*
 * Inflate and parse the start of a file. `file` is at least its first HEAD bytes, or all of it. `z` may be used again.
 */
static int read_start(int *type, uint64_t *size, size_t *header, z_stream *z, gpa_bytes file, gpa_error *err)
{
	unsigned char start[LOOSE_HEADER_MAX];
	inflateReset(z);
	z->next_in = (unsigned char *)file.ptr;
	z->avail_in = (uInt)(file.len < HEAD ? file.len : HEAD);
	z->next_out = start;
	z->avail_out = sizeof(start);
	int result = inflate(z, Z_SYNC_FLUSH);
	/* a short file is inflated to its end here; damage there is found when the content is read */
	if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR && z->avail_out == sizeof(start))
		return corrupt_at(err, 0, "loose object is not a zlib stream");
	return loose_parse_header(type, size, header, (gpa_bytes){start, sizeof(start) - z->avail_out}, err);
}

int loose_header(int *type, uint64_t *size, size_t *header, gpa_bytes file, gpa_error *err)
{
	z_stream z = {0};
	if (inflateInit(&z) != Z_OK)
		return out_of_memory(err);
	int status = read_start(type, size, header, &z, file, err);
	inflateEnd(&z);
	return status;
}

int gpa_loose_header(int *type, uint64_t *size, gpa_bytes file, gpa_error *err)
{
	size_t header;
	return loose_header(type, size, &header, file, err);
}

static int read_head(gpa_loose_head *out, z_stream *z, int dir_fd, const char *path)
{
	unsigned char bytes[HEAD];
	gpa_error ignored;
	uint64_t file_size;
	size_t header;
	int fd, status = file_open_itself(&fd, &file_size, dir_fd, path, &ignored);
	if (status)
		return status;
	size_t len = file_size < HEAD ? file_size : HEAD;
	if (!(status = file_read(fd, bytes, len, 0, &ignored)))
		status = read_start(&out->type, &out->size, &header, z, (gpa_bytes){bytes, len}, &ignored);
	close(fd);
	return status;
}

int gpa_loose_heads(gpa_loose_head *out, uint32_t count, int dir_fd, const char *const *paths, gpa_progress *progress,
		    gpa_error *err)
{
	z_stream z = {0};
	int status = GPA_OK;
	if (inflateInit(&z) != Z_OK)
		return out_of_memory(err);
	for (uint32_t i = 0; !status && i < count; i++) {
		if (is_stopped(progress))
			status = stopped(err);
		else if (read_head(&out[i], &z, dir_fd, paths[i]))
			out[i] = (gpa_loose_head){0};
	}
	inflateEnd(&z);
	return status;
}

int loose_read(made_object **out, gpa_bytes file, inflater *z, gpa_error *err)
{
	uint64_t size;
	size_t header, used;
	int type, status = loose_header(&type, &size, &header, file, err);
	if (status)
		return status;
	if (size / INFLATES_MOST > file.len)
		return corrupt_at(err, 0, "loose object claims %llu bytes, more than its file can hold",
				  (unsigned long long)size);
	made_object *made = made_object_new(header + size);
	if (!made)
		return out_of_memory(err);
	made->type = type;
	made->bytes = (gpa_bytes){made->room + header, size};
	status = inflate_whole(z, made->room, header + size, &used, file, err);
	if (status == GPA_ECORRUPT)
		corrupt_at(err, 0, "zlib stream does not inflate to %llu bytes", (unsigned long long)(header + size));
	else if (!status && used != file.len)
		status = corrupt_at(err, used, "garbage after the loose object");
	if (status)
		made_object_drop(made);
	else
		*out = made;
	return status;
}

int gpa_loose_read(gpa_object *out, gpa_bytes file, gpa_error *err)
{
	inflater *z;
	made_object *made;
	int status = inflater_new(&z, err);
	if (status)
		return status;
	status = loose_read(&made, file, z, err);
	inflater_free(z);
	if (!status)
		*out = made_object_lend(made);
	return status;
}
