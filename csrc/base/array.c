/* Growing arrays (array.h). */
#include <stdlib.h>

#include "base/array.h"

void *array_grown(void *array, uint64_t *room, uint64_t need, uint64_t first, uint64_t most, size_t size)
{
	uint64_t larger = *room > most / 2 ? most : 2 * *room;
	larger = larger > first ? larger : first;
	larger = larger > need ? larger : need;
	if (larger > most || larger > SIZE_MAX / size)
		return NULL;
	void *moved = realloc(array, larger * size);
	if (moved)
		*room = larger;
	return moved;
}
