/* Delta programs, from inside: applying them (delta.c) and making them (delta_make.c). */
#ifndef GPA_DELTA_H
#define GPA_DELTA_H

#include "base/object.h"
#include "format/gpa_format.h"

/* gpa_delta_apply() that another thread can end, within a large object too. `progress` may be NULL. */
int delta_apply(unsigned char *out, size_t out_len, gpa_bytes base, gpa_bytes delta, const gpa_progress *progress,
		gpa_error *err);
/* Make the target of a delta program; it has the base's type. `progress` may be NULL. */
int delta_target(made_object **out, const made_object *base, gpa_bytes program, const gpa_progress *progress,
		 gpa_error *err);

/* An index of the blocks of a base. Borrows the base; takes at most three quarters of its memory. */
typedef struct delta_index delta_index;
int delta_index_new(delta_index **out, gpa_bytes base, gpa_error *err);
void delta_index_free(delta_index *index);
/*
 * Write a program that makes `target` of the base. Returns its length, or 0 if it would be longer than `most`, or so
 * near to it that the search ended early. Never 0 if `most` is at least the target's length plus a 64th of it plus 32.
 */
size_t delta_make(unsigned char *out, size_t most, const delta_index *index, gpa_bytes target);

#endif
