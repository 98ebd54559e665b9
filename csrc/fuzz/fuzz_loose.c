/* Loose object files. What reads whole must have the size its header gives. */
#include "core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gpa_error err;
	gpa_buffer out;
	gpa_bytes file = {data, size};
	uint64_t claimed = 0;
	int type = 0, read_type = 0;
	int header = gpa_loose_header(&type, &claimed, file, &err);
	if (gpa_loose_read(&read_type, &out, file, &err))
		return 0;
	if (header || type != read_type || claimed != out.len)
		abort();
	gpa_buffer_free(&out);
	return 0;
}
