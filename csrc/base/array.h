/* Growing arrays: the one place that calls realloc(). */
#ifndef GPA_ARRAY_H
#define GPA_ARRAY_H

#include <stdlib.h>

#include "base/gpa_base.h"

/*
 * Make room for `need` elements in `array`, which has room for `room`. The room at least doubles, and is at least
 * `first`, so adding elements one at a time takes linear time. Evaluates to 0, or to -1 without memory: then array and
 * room are unchanged. `array` and `room` are variables, and are evaluated more than once.
 */
#define array_reserve(array, room, need, first) \
	((uint64_t)(need) <= (uint64_t)(room) ? 0 : __extension__ ({ \
		uint64_t larger_ = (room); \
		void *moved_ = array_grown((array), &larger_, (need), (first), (__typeof__(room))-1, sizeof(*(array))); \
		if (moved_) { \
			(array) = moved_; \
			(room) = (__typeof__(room))larger_; \
		} \
		moved_ ? 0 : -1; \
	}))

/*
 * For array_reserve(): the array in its new place, or NULL. `most` is the largest value that the variable *room can
 * hold.
 */
void *array_grown(void *array, uint64_t *room, uint64_t need, uint64_t first, uint64_t most, size_t size);

#endif
