/*
 * Making deltas. Input: two bytes with the base's size, the base, the target. A delta must yield the target, must not
 * depend on the limit of its length, and must not be made if it is one byte longer than the limit.
 */
#include <stdlib.h>
#include <string.h>

#include "format/gpa_format.h"

static void check(gpa_bytes base, gpa_bytes target, const gpa_buffer *program)
{
	gpa_error err;
	unsigned char *out = malloc(target.len ? target.len : 1);
	if (!out || gpa_delta_apply(out, target.len, base, (gpa_bytes){program->ptr, program->len}, &err) ||
	    (target.len && memcmp(out, target.ptr, target.len)))
		abort();
	free(out);
}

/* Copy to memory of exactly that size, so that one byte read too many is noticed. */
static gpa_bytes copy(const uint8_t *data, size_t size)
{
	unsigned char *out = malloc(size ? size : 1);
	if (!out)
		abort();
	memcpy(out, data, size);
	return (gpa_bytes){out, size};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gpa_error err;
	gpa_buffer program, again;
	if (size < 2)
		return 0;
	size_t base_size = ((size_t)data[0] << 8 | data[1]) % (size - 1);
	gpa_bytes base = copy(data + 2, base_size), target = copy(data + 2 + base_size, size - 2 - base_size);
	if (gpa_delta_make(&program, base, target, SIZE_MAX, &err))
		abort();
	check(base, target, &program);
	if (!gpa_delta_make(&again, base, target, program.len, &err)) {
		if (again.len != program.len || memcmp(again.ptr, program.ptr, program.len))
			abort();
		gpa_buffer_free(&again);
	}
	for (size_t most = 0; most < program.len; most = 2 * most + 1)
		if (gpa_delta_make(&again, base, target, most, &err) != GPA_ENOTFOUND)
			abort();
	if (gpa_delta_make(&again, base, target, program.len - 1, &err) != GPA_ENOTFOUND)
		abort();
	gpa_buffer_free(&program);
	free((void *)base.ptr);
	free((void *)target.ptr);
	return 0;
}
