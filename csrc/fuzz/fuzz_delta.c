/* Delta programs. Input: one byte with the base's size, the base, the program. */
#include <stdlib.h>

#include "format/gpa_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gpa_error err;
	uint64_t source_size, target_size;
	if (!size || data[0] > size - 1)
		return 0;
	gpa_bytes base = {data + 1, data[0]}, delta = {data + 1 + data[0], size - 1 - data[0]};
	if (gpa_delta_sizes(&source_size, &target_size, delta, &err) || target_size > 1 << 20)
		return 0;
	/*
	 * memory of exactly this size, so that one byte too many is noticed; a program of another size must be refused
	 */
	unsigned char *out = malloc(target_size ? target_size : 1);
	if (!out)
		abort();
	gpa_delta_apply(out, target_size, base, delta, &err);
	if (target_size && !gpa_delta_apply(out, target_size - 1, base, delta, &err))
		abort();
	free(out);
	return 0;
}
