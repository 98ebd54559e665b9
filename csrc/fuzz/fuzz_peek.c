/* The first literals of a zlib stream. The quick look must find what inflating yields. */
#include <stdlib.h>
#include <string.h>

#include "base/inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gpa_error err;
	unsigned char seen[PEEK], made[PEEK];
	size_t len;
	/* memory of exactly this size, so that one byte read too many is noticed */
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
