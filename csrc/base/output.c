/*
 * A file that is written once, from its start, through a given descriptor, and hashed as it grows. Packs, idx files and
 * the combined index all end in the hash of the bytes before. The caller does fsync and rename.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/door.h"
#include "base/error.h"
#include "base/output.h"

#define OUTPUT_BUFFER (256 * 1024)
#define WRITE_MAX (1024 * 1024)

int output_open(output *out, int fd, int algo, const gpa_progress *progress, gpa_error *err)
{
	memset(out, 0, sizeof(*out));
	out->fd = fd;
	out->progress = progress;
	out->buffer = malloc(OUTPUT_BUFFER);
	if (!out->buffer)
		return out_of_memory(err);
	int status = hasher_init(&out->hash, algo, err);
	if (status)
		output_free(out);
	return status;
}

void output_begin(output *out, int fd, const door *door, const char *path)
{
	unsigned char ignored[GPA_OID_MAX];
	hasher_final(&out->hash, ignored);
	out->fd = fd;
	out->door = door;
	out->path = path;
	out->written = out->flushed = out->used = 0;
	out->with_crc = 0;
}

/* Wait until a non-blocking descriptor takes bytes. Returns 0 if that fails. */
static int wait_for_room(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	return poll(&ready, 1, -1) > 0 || errno == EINTR;
}

int write_all(int fd, const void *data, size_t len, const gpa_progress *progress, gpa_error *err)
{
	const unsigned char *at = data;
	while (len) {
		if (is_stopped(progress))
			return stopped(err);
		ssize_t done = write(fd, at, len < WRITE_MAX ? len : WRITE_MAX);
		if (done < 0 && (errno == EINTR || (errno == EAGAIN && wait_for_room(fd))))
			continue;
		if (done < 0)
			return system_failed(err, "cannot write");
		at += done;
		len -= (size_t)done;
	}
	return GPA_OK;
}

int write_all_at(int fd, const void *data, size_t len, uint64_t offset, gpa_error *err)
{
	const unsigned char *at = data;
	while (len) {
		ssize_t done = pwrite(fd, at, len, (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return system_failed(err, "cannot write");
		at += done;
		len -= (size_t)done;
		offset += (uint64_t)done;
	}
	return GPA_OK;
}

static int write_out(output *out, const unsigned char *data, size_t len, gpa_error *err)
{
	if (!out->door)
		return write_all(out->fd, data, len, out->progress, err);
	int status = door_write(NULL, out->door, out->fd, out->path, data, len, out->flushed, err);
	out->flushed += len;
	return status;
}

static int flush(output *out, gpa_error *err)
{
	size_t used = out->used;
	out->used = 0;
	hasher_update(&out->hash, out->buffer, used);
	return write_out(out, out->buffer, used, err);
}

int output_write(output *out, const void *data, size_t len, gpa_error *err)
{
	int status;
	if (out->with_crc)
		out->crc = gpa_crc32(out->crc, (gpa_bytes){data, len});
	out->written += len;
	if (len > OUTPUT_BUFFER - out->used) {
		if ((status = flush(out, err)))
			return status;
		if (len >= OUTPUT_BUFFER) {
			hasher_update(&out->hash, data, len);
			return write_out(out, data, len, err);
		}
	}
	memcpy(out->buffer + out->used, data, len);
	out->used += len;
	return GPA_OK;
}

int output_flush(output *out, unsigned char *hash, gpa_error *err)
{
	int status = flush(out, err);
	if (!status)
		hasher_final(&out->hash, hash);
	return status;
}

/* In a small file the trailer is written together with the rest, in one call. */
int output_finish(output *out, unsigned char *trailer, gpa_error *err)
{
	size_t h = out->hash.size;
	int status = out->used > OUTPUT_BUFFER - h ? flush(out, err) : GPA_OK;
	if (status)
		return status;
	hasher_update(&out->hash, out->buffer, out->used);
	hasher_final(&out->hash, trailer);
	memcpy(out->buffer + out->used, trailer, h);
	out->written += h;
	h += out->used;
	out->used = 0;
	return write_out(out, out->buffer, h, err);
}

void output_free(output *out)
{
	free(out->buffer);
	out->buffer = NULL;
	hasher_free(&out->hash);
}
