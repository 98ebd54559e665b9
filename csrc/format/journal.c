/*
 * The journal's format (docs/formats/journal.md): a header, then a record for each object, which is the length and
 * CRC32 of a pack entry, and the entry. A record is complete if all of it is there and the CRC32 is right. The first
 * incomplete record ends the journal.
 */
#include "base/bytes.h"
#include "base/error.h"
#include "format/journal.h"
#include "format/pack.h"

#define MAGIC 0x4750414au	/* "GPAJ" */
#define VERSION 1

void journal_write_header(unsigned char *out, int algo)
{
	put_be32(out, MAGIC);
	put_be32(out + 4, VERSION);
	put_be32(out + 8, (uint32_t)algo);
}

void journal_write_record(unsigned char *out, uint32_t length, uint32_t crc)
{
	put_be32(out, length);
	put_be32(out + 4, crc);
}

int journal_check(gpa_bytes file, int algo, gpa_error *err)
{
	if (file.len < JOURNAL_HEADER)	/* a crash cut it short before it held anything */
		return GPA_ENOTFOUND;
	if (be32(file.ptr) != MAGIC)
		return corrupt_at(err, 0, "journal signature is 0x%08x, expected 0x%08x", be32(file.ptr), MAGIC);
	if (be32(file.ptr + 4) != VERSION)
		return unsupported(err, "journal version %u", be32(file.ptr + 4));
	if (be32(file.ptr + 8) != (uint32_t)algo)
		return corrupt_at(err, 8, "journal has hash %u, its repository %d", be32(file.ptr + 8), algo);
	return GPA_OK;
}

int journal_next(journal_entry *out, size_t *at, gpa_bytes file)
{
	gpa_error ignored;
	gpa_entry head;
	if (*at > file.len || file.len - *at < RECORD_HEADER)
		return GPA_ENOTFOUND;
	uint32_t length = be32(file.ptr + *at);
	out->crc = be32(file.ptr + *at + 4);
	if (!length || length > file.len - *at - RECORD_HEADER)
		return GPA_ENOTFOUND;
	out->entry = (gpa_bytes){file.ptr + *at + RECORD_HEADER, length};
	if (gpa_crc32(0, out->entry) != out->crc || entry_parse_bytes(&head, out->entry, 0, 0, &ignored) ||
	    head.type > GPA_TAG)
		return GPA_ENOTFOUND;
	out->type = head.type;
	out->size = head.size;
	out->stream = (gpa_bytes){out->entry.ptr + head.header_size, length - head.header_size};
	*at += RECORD_HEADER + length;
	return GPA_OK;
}
