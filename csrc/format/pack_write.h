/*
 * Writing a pack and its idx. No other file writes a pack's header, counts its entries or notes what its idx needs.
 *
 * The caller owns the output, and the rows for the idx, one for each object. Entries come one after the other, each as a
 * whole or in pieces.
 */
#ifndef GPA_PACK_WRITE_H
#define GPA_PACK_WRITE_H

#include "base/output.h"
#include "format/pack.h"

typedef struct pack_writer {
	output *out;
	gpa_idx_entry *entries;		/* `count` of them are set */
	uint32_t count;
	uint32_t object_count;
	unsigned char trailer[GPA_OID_MAX];	/* after pack_finish() */
} pack_writer;

/* Write the header of a pack of `object_count` objects to an output that has just begun. */
int pack_begin(pack_writer *p, output *out, gpa_idx_entry *entries, uint32_t object_count, gpa_error *err);

/* The offset of the next entry. */
static inline uint64_t pack_next_offset(const pack_writer *p)
{
	return p->out->written;
}

/* Write an entry that is complete, header included, and whose CRC32 is known. */
int pack_add_entry(pack_writer *p, const unsigned char *oid, gpa_bytes entry, uint32_t crc, gpa_error *err);

/* Begin an entry; the bytes of its zlib stream follow in p->out. */
int pack_begin_entry(pack_writer *p, int type, uint64_t size, gpa_error *err);
/* Begin a delta of `size` bytes on the entry at `base_offset`, which is an earlier one. */
int pack_begin_delta(pack_writer *p, uint64_t base_offset, uint64_t size, gpa_error *err);
/* End the entry that was begun: its object is `oid`. */
void pack_end_entry(pack_writer *p, const unsigned char *oid);

/* Write the trailer, also to p->trailer. All objects have been added. */
int pack_finish(pack_writer *p, gpa_error *err);
/*
 * Write the idx of a finished pack to `fd`, through the same output. `path` is for the output's door. Sorts the
 * entries.
 */
int pack_write_idx(pack_writer *p, int fd, const char *path, gpa_error *err);

#endif
