/* New trees, commits and tags. Input: one byte with the type and the hash, the content. */
#include <stdlib.h>
#include <string.h>

#include "format/gpa_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gpa_error err, again;
	if (!size)
		return 0;
	const unsigned char type = data[0] & 7;
	int algo = data[0] & 8 ? GPA_SHA256 : GPA_SHA1;
	/* memory of exactly this size, so that one byte read too many is noticed */
	unsigned char *content = malloc(size > 1 ? size - 1 : 1);
	if (!content)
		abort();
	memcpy(content, data + 1, size - 1);
	int status = gpa_object_check(algo, type, content, size - 1, &err);
	if (status && (status != GPA_ECORRUPT || !strchr(err.text, ':')))
		abort();
	const unsigned char types[] = {GPA_BLOB, type};
	const uint64_t sizes[] = {0, size - 1};
	uint32_t bad = 0;
	if (gpa_objects_check(&bad, algo, types, sizes, content, 2, &again) != status || bad != !!status)
		abort();
	if (status && strcmp(err.text, again.text))
		abort();
	free(content);
	return 0;
}
