/* A file written once from its start, and hashed as it grows. */
#ifndef GPA_OUTPUT_H
#define GPA_OUTPUT_H

#include "base/hash.h"

struct door;

typedef struct output {
	int fd;
	const struct door *door;	/* door.h; NULL: bytes are written at the position of `fd` */
	const char *path;		/* borrowed, for the door */
	hasher hash;
	uint64_t written;		/* bytes so far, those in the buffer included */
	uint64_t flushed;		/* of them in the file */
	const gpa_progress *progress;	/* may be NULL; checked before each write of at most 1 MiB */
	uint32_t crc;			/* CRC32 since output_crc_begin(), for the entries of a pack */
	int with_crc;
	size_t used;
	unsigned char *buffer;
} output;

int output_open(output *out, int fd, int algo, const gpa_progress *progress, gpa_error *err);
/* Begin another file with an open output. Bytes in its buffer are discarded. */
void output_begin(output *out, int fd, const struct door *door, const char *path);
int output_write(output *out, const void *data, size_t len, gpa_error *err);
static inline void output_crc_begin(output *out)
{
	out->crc = 0;
	out->with_crc = 1;
}

/* Flush, and return the hash of all bytes so far in `hash`. Bytes written later belong to a new hash. */
int output_flush(output *out, unsigned char *hash, gpa_error *err);
/* Flush, write the hash of all bytes as the trailer, and copy it to `trailer`. */
int output_finish(output *out, unsigned char *trailer, gpa_error *err);
void output_free(output *out);

/* Write all of `data` at the position of `fd`, however many calls that takes. `progress` may be NULL. */
int write_all(int fd, const void *data, size_t len, const gpa_progress *progress, gpa_error *err);
/* Write all of `data` at `offset` of a file. */
int write_all_at(int fd, const void *data, size_t len, uint64_t offset, gpa_error *err);

#endif
