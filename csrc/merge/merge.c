/* A merge as a whole: begun and freed. */
#include <stdlib.h>

#include "base/error.h"
#include "merge/merge.h"

int gpa_merge_new(gpa_merge **out, const gpa_merge_options *options, gpa_error *err)
{
	gpa_merge *m = calloc(1, sizeof(*m));
	if (!m)
		return out_of_memory(err);
	m->options = *options;
	m->hash_size = (uint32_t)gpa_hash_size(options->algo);
	for (unsigned i = 0; i < OPEN_FILES; i++)
		m->files[i].fd = -1;
	m->copy_room = options->entry_count;
	m->copies = malloc(((size_t)m->copy_room + 1) * sizeof(*m->copies));
	m->buffer = m->copies ? malloc(COPY_BUFFER) : NULL;
	int status = m->buffer ? inflater_new(&m->z, err) : out_of_memory(err);
	if (!status)
		status = deflater_new(&m->d, options->level, err);
	if (status)
		gpa_merge_free(m);
	else
		*out = m;
	return status;
}

void gpa_merge_free(gpa_merge *m)
{
	if (!m)
		return;
	forget_plan(m);
	for (uint32_t i = 0; i < m->source_count; i++)
		free(m->sources[i].path);
	close_files(m);
	free(m->buffer);
	free(m->sources);
	free(m->copies);
	inflater_free(m->z);
	deflater_free(m->d);
	lately_free(&m->lately);
	base_cache_free(m->bases);
	free(m);
}
