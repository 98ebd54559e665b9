/* Pack indexes, from inside. */
#ifndef GPA_IDX_H
#define GPA_IDX_H

#include "base/output.h"
#include "format/gpa_format.h"

/* Write an idx v2 into an output that has just begun; see gpa_idx_write(). */
int idx_write(output *out, gpa_idx_entry *entries, uint32_t count, const unsigned char *pack_trailer, gpa_error *err);

/* A position in an idx and its offset in the pack; in order of offset they are the entries of the pack. */
typedef struct idx_place {
	uint64_t offset;
	uint32_t pos;
} idx_place;
/*
 * Fill `places`, room for object_count, in order of offset. Checks that offsets lie in a pack of `pack_size` and
 * differ.
 */
int idx_places(idx_place *places, const gpa_idx *idx, uint64_t pack_size, gpa_error *err);
/* The index in `places` of the entry at `offset`, or `count` if there is none. */
uint32_t idx_place_find(const idx_place *places, uint32_t count, uint64_t offset);
/*
 * The position that git's bisection finds for the object at `pos`. A pack may hold an object twice; its idx then has
 * equal neighbours.
 */
uint32_t idx_git_place(const gpa_idx *idx, uint32_t pos);
/* Whether a copy of the object at `pos` is at `offset` of the pack. */
int idx_holds_at(int *found, const gpa_idx *idx, uint32_t pos, uint64_t offset, gpa_error *err);

#endif
