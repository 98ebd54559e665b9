/* The first literals of a zlib stream: a quick look at them has to see what inflating it makes. */
#include <stdlib.h>
#include <string.h>

#include "base/inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gpa_error err;
	unsigned char seen[PEEK], made[PEEK];
	size_t len;
	/* its own size, so that one byte read too many shows */
	unsigned char *in = malloc(size ? size : 1);
	if (!in)
		abort();
	memcpy(in, data, size);
	size_t got = inflate_peek(seen, (gpa_bytes){in, size});
	if (got && !inflate_start(made, sizeof(made), &len, (gpa_bytes){in, size}, &err) &&
	    memcmp(seen, made, got < len ? got : len))
		abort();
	free(in);
	return 0;
}
