/*
 * Writing a page of a v1 archive, byte for byte as the original library does: values in the order in which they are
 * set, entries grouped by the first byte of their key, and in a group in that same order. The values are written first,
 * header and index at the end.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/output.h"
#include "v1/archive.h"


struct gpa_archive_writer {
	output out;
	uint32_t item_count;
	uint32_t data_size;	/* with the value that has been begun */
	uint64_t left;		/* bytes that the current value still lacks */
	int broken;
	unsigned char entries[GPA_ARCHIVE_CAPACITY][ARCHIVE_ENTRY_SIZE];	/* in the order in which they were set */
};

int gpa_archive_writer_new(gpa_archive_writer **out, int fd, gpa_error *err)
{
	gpa_archive_writer *w = calloc(1, sizeof(*w));
	if (!w)
		return out_of_memory(err);
	int status = output_open(&w->out, fd, GPA_SHA1, NULL, err);
	if (!status && lseek(fd, GPA_ARCHIVE_DATA_START, SEEK_SET) < 0)
		status = system_failed(err, "cannot seek");
	if (status)
		gpa_archive_writer_free(w);
	else
		*out = w;
	return status;
}

void gpa_archive_writer_free(gpa_archive_writer *w)
{
	if (!w)
		return;
	output_free(&w->out);
	free(w);
}

int gpa_archive_writer_has_room(const gpa_archive_writer *w, int type, uint64_t size)
{
	uint64_t room = ARCHIVE_DATA_MOST - w->data_size, prefix = type ? ARCHIVE_TYPE_SIZE : 0;
	return w->item_count < GPA_ARCHIVE_CAPACITY && size <= room && prefix <= room - size;
}

static int broken(gpa_archive_writer *w, int status)
{
	w->broken |= status != GPA_OK;
	return status;
}

int gpa_archive_writer_begin(gpa_archive_writer *w, const unsigned char *key, int type, uint64_t size, gpa_error *err)
{
	unsigned char prefix[ARCHIVE_TYPE_SIZE];
	if (w->broken || w->left || !gpa_archive_writer_has_room(w, type, size))
		return broken(w, unsupported(err, "page takes no more: %u entries, %u bytes", w->item_count,
					     w->data_size));
	unsigned char *entry = w->entries[w->item_count++];
	size_t prefix_size = type ? ARCHIVE_TYPE_SIZE : 0;
	memcpy(entry, key, GPA_ARCHIVE_KEY);
	put_be32(entry + GPA_ARCHIVE_KEY, w->data_size);
	put_be32(entry + GPA_ARCHIVE_KEY + 4, (uint32_t)(prefix_size + size));
	w->data_size += (uint32_t)(prefix_size + size);
	w->left = size;
	put_le32(prefix, (uint32_t)type);
	return broken(w, output_write(&w->out, prefix, prefix_size, err));
}

int gpa_archive_writer_piece(gpa_archive_writer *w, gpa_bytes piece, gpa_error *err)
{
	if (w->broken || piece.len > w->left)
		return broken(w, unsupported(err, "value is longer than it was said to be"));
	w->left -= piece.len;
	return broken(w, output_write(&w->out, piece.ptr, piece.len, err));
}

static void put_head(unsigned char *head, const gpa_archive_writer *w)
{
	unsigned char *at = head + ARCHIVE_HEADER_SIZE;
	put_be32(head, 1);
	put_be32(head + 4, GPA_ARCHIVE_CAPACITY);
	put_be32(head + 8, w->item_count);
	put_be32(head + 12, ARCHIVE_HEADER_SIZE);
	put_be32(head + 16, GPA_ARCHIVE_DATA_START);
	put_be32(head + 20, w->data_size);
	for (unsigned group = 0; group < 256; group++)
		for (uint32_t i = 0; i < w->item_count; i++)
			if (w->entries[i][0] == group) {
				memcpy(at, w->entries[i], ARCHIVE_ENTRY_SIZE);
				at += ARCHIVE_ENTRY_SIZE;
			}
}

int gpa_archive_writer_finish(gpa_archive_writer *w, unsigned char *hash, gpa_error *err)
{
	unsigned char data_hash[GPA_OID_MAX];
	if (w->broken || w->left)
		return unsupported(err, "page is not complete");
	w->broken = 1;
	unsigned char *head = calloc(1, GPA_ARCHIVE_DATA_START);
	if (!head)
		return out_of_memory(err);
	put_head(head, w);
	int status = output_flush(&w->out, data_hash, err);
	if (!status)
		status = write_all_at(w->out.fd, head, GPA_ARCHIVE_DATA_START, 0, err);
	if (!status) {
		hasher_update(&w->out.hash, head, GPA_ARCHIVE_DATA_START);
		hasher_update(&w->out.hash, data_hash, w->out.hash.size);
		hasher_final(&w->out.hash, hash);
	}
	free(head);
	return status;
}
