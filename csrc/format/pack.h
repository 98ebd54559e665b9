/* The entries of a pack, from inside. */
#ifndef GPA_PACK_H
#define GPA_PACK_H

#include "format/gpa_format.h"

#define PACK_HEADER 12
#define ENTRY_HEADER_MAX (10 + 10 + GPA_OID_MAX)
#define INFLATES_MOST 1040	/* no zlib stream inflates to more bytes for one of its own; the exact limit is 1032 */

/* Write an entry's type and size. Returns the bytes used, at most 10. */
size_t entry_header_write(unsigned char *out, int type, uint64_t size);
/* Write the distance back to a delta base. Returns the bytes used, at most 10. */
size_t entry_distance_write(unsigned char *out, uint64_t distance);
/* Parse an entry's header, of which `head` may be only the first bytes. `offset` is its place in the pack. */
int entry_parse_bytes(gpa_entry *out, gpa_bytes head, uint64_t offset, uint32_t hash_size, gpa_error *err);
/*
 * The bytes after an entry's header, up to the pack's trailer. GPA_ECORRUPT if the entry claims more than a stream of
 * that length can hold.
 */
int entry_stream(gpa_bytes *stream, gpa_bytes pack, const gpa_entry *entry, uint64_t offset, uint32_t hash_size,
		 gpa_error *err);

#endif
