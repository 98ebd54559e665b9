/* Writing a pack and its idx (pack_write.h, docs/formats/page.md). */
#include <string.h>

#include "base/bytes.h"
#include "base/door.h"
#include "format/idx.h"
#include "format/pack_write.h"

int pack_begin(pack_writer *p, output *out, gpa_idx_entry *entries, uint32_t object_count, gpa_error *err)
{
	unsigned char header[PACK_HEADER] = "PACK";
	*p = (pack_writer){.out = out, .entries = entries, .object_count = object_count};
	put_be32(header + 4, 2);
	put_be32(header + 8, object_count);
	return output_write(out, header, sizeof(header), err);
}

static void note_entry(pack_writer *p, const unsigned char *oid, uint32_t crc)
{
	gpa_idx_entry *e = &p->entries[p->count++];
	size_t h = p->out->hash.size;
	memcpy(e->oid, oid, h);
	memset(e->oid + h, 0, sizeof(e->oid) - h);
	e->crc = crc;
}

int pack_add_entry(pack_writer *p, const unsigned char *oid, gpa_bytes entry, uint32_t crc, gpa_error *err)
{
	p->entries[p->count].offset = p->out->written;
	note_entry(p, oid, crc);
	return output_write(p->out, entry.ptr, entry.len, err);
}

static int begin_entry(pack_writer *p, const unsigned char *header, size_t len, gpa_error *err)
{
	p->entries[p->count].offset = p->out->written;
	output_crc_begin(p->out);
	return output_write(p->out, header, len, err);
}

int pack_begin_entry(pack_writer *p, int type, uint64_t size, gpa_error *err)
{
	unsigned char header[ENTRY_HEADER_MAX];
	return begin_entry(p, header, entry_header_write(header, type, size), err);
}

int pack_begin_delta(pack_writer *p, uint64_t base_offset, uint64_t size, gpa_error *err)
{
	unsigned char header[ENTRY_HEADER_MAX];
	size_t n = entry_header_write(header, GPA_OFS_DELTA, size);
	n += entry_distance_write(header + n, p->out->written - base_offset);
	return begin_entry(p, header, n, err);
}

void pack_end_entry(pack_writer *p, const unsigned char *oid)
{
	note_entry(p, oid, p->out->crc);
}

int pack_finish(pack_writer *p, gpa_error *err)
{
	return output_finish(p->out, p->trailer, err);
}

int pack_write_idx(pack_writer *p, int fd, const char *path, gpa_error *err)
{
	output_begin(p->out, fd, p->out->door, path);
	p->out->progress = NULL;	/* a pack without its idx is useless, so nothing stops here */
	return idx_write(p->out, p->entries, p->object_count, p->trailer, err);
}
