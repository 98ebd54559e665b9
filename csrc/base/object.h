/* The content of an object, held by any number of owners. */
#ifndef GPA_OBJECT_H
#define GPA_OBJECT_H

#include "base/gpa_base.h"

/* An object in memory. Its content never changes; any thread may hold it. */
typedef struct made_object {
	uint32_t owners;
	int32_t type;
	gpa_bytes bytes;	/* somewhere in `room` */
	/* used by format/cache.c alone: the key that the object is kept under, and its neighbours */
	uint64_t pack_id;
	uint64_t offset;
	struct made_object *next_in_row;
	struct made_object *newer, *older;
	unsigned char room[];
} made_object;

/* A new object with one owner, whose content is to be set. NULL without memory. */
made_object *made_object_new(uint64_t size);
/* Add an owner. Returns `object`. */
made_object *made_object_share(made_object *object);
/* Remove an owner; the last one frees the object. `object` may be NULL. */
void made_object_drop(made_object *object);
/* The object as the contract has it, with the owner that the caller holds. A zeroed one for NULL. */
gpa_object made_object_lend(made_object *object);

#endif
