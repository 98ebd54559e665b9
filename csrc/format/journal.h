/* The format of a writer's journal (docs/formats/journal.md). */
#ifndef GPA_JOURNAL_H
#define GPA_JOURNAL_H

#include "base/gpa_base.h"

#define JOURNAL_HEADER 12
#define RECORD_HEADER 8

/* The object of a complete record. Borrowed from the file. */
typedef struct journal_entry {
	gpa_bytes entry;	/* as in a pack */
	uint32_t crc;
	int type;
	uint64_t size;		/* as the entry says */
	gpa_bytes stream;	/* the entry without its header */
} journal_entry;

void journal_write_header(unsigned char *out, int algo);
void journal_write_record(unsigned char *out, uint32_t length, uint32_t crc);
/* Check the header. GPA_ENOTFOUND if the file is too short to hold one. */
int journal_check(gpa_bytes file, int algo, gpa_error *err);
/*
 * Parse the record at *at, which is JOURNAL_HEADER at first, and move *at behind it. GPA_ENOTFOUND if no complete one
 * is there.
 */
int journal_next(journal_entry *out, size_t *at, gpa_bytes file);

#endif
