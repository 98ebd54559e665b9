/* cat-file's protocol, from inside: cat_file.c reads lines of input, cat_file_answer.c answers for one object. */
#ifndef GPA_BATCH_H
#define GPA_BATCH_H

#include "format/idx.h"
#include "lend/gpa_lend.h"
#include "read/reader.h"

#define OUT_ROOM (128 * 1024)
#define CAT_FILE_LINES 512				/* lines that are answered together */

/* The entries of a pack in the order of their offsets. */
typedef struct pack_order {
	uint64_t pack_id;
	idx_place *places;
} pack_order;

/* A line of input, or an object without one. */
typedef struct request {
	unsigned char oid[GPA_OID_MAX];
	gpa_bytes name;
	gpa_bytes rest;
	size_t end;			/* of the line */
} request;

typedef struct lines {
	uint32_t count;
	request requests[CAT_FILE_LINES];
	unsigned char oids[CAT_FILE_LINES * GPA_OID_MAX];	/* the ids to read, one after the other */
	gpa_object objects[CAT_FILE_LINES];
	int32_t statuses[CAT_FILE_LINES];
} lines;

struct gpa_batch {
	gpa_reader *r;
	gpa_batch_options options;
	size_t hash_size;
	int needs_info;
	int needs_place;
	pack_order *orders;
	uint32_t order_count;
	uint32_t order_room;
	lines lines;
	size_t used;			/* bytes of `out` */
	unsigned char out[OUT_ROOM];
};

/* The id that is read in place of `oid`. */
const unsigned char *batch_real_oid(const gpa_batch *b, const unsigned char *oid);
/* Look the object up and answer, also if it is missing. */
int batch_answer(gpa_batch *b, reader_session *v, const request *q, gpa_error *err);
/* Answer with an object in memory, if the format needs only its type and size. */
int batch_answer_with(gpa_batch *b, const request *q, const gpa_object *object, gpa_error *err);

#endif
