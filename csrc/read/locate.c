/* Where an object is stored, for callers that copy its entry. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "format/chain.h"
#include "read/reader.h"

typedef struct locate_query {
	query query;
	char *path;
	size_t room;
	uint64_t offset;
	uint64_t base_offset;
} locate_query;

static int locate_packed(query *q, reader_session *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	locate_query *locate = (locate_query *)q;
	gpa_entry entry;
	int len = (int)(strlen(pack->path) - strlen("idx"));
	int status = gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, err);
	(void)v;
	locate->offset = offset;
	locate->base_offset = 0;
	if (!status && entry.type > GPA_TAG)
		status = chain_base(&locate->base_offset, &pack->idx, &entry, offset, err);
	if (!status && snprintf(locate->path, locate->room, "%.*spack", len, pack->path) >= (int)locate->room) {
		errno = ENAMETOOLONG;
		return system_failed(err, "cannot name");
	}
	return status;
}

static int locate_loose(query *q, reader_session *v, held_file *file, gpa_error *err)
{
	locate_query *locate = (locate_query *)q;
	(void)v, (void)file, (void)err;
	locate->path[0] = '\0';
	locate->offset = locate->base_offset = 0;
	return GPA_OK;
}

/* An object in an overlay is in no pack yet, so it counts as loose. */
static int locate_overlaid(query *q, reader_session *v, const overlay_object *object, gpa_error *err)
{
	(void)object;
	return locate_loose(q, v, NULL, err);
}

int gpa_reader_locate(char *pack, size_t room, uint64_t *offset, uint64_t *base_offset, gpa_reader *reader,
		      const unsigned char *oid, gpa_error *err)
{
	locate_query locate = {.query = {oid, locate_packed, locate_loose, locate_overlaid, 0}, .path = pack, .room = room};
	reader_session v;
	int status = session_begin(&v, reader, err);
	if (status)
		return status;
	status = session_find(&v, &locate.query, err);
	session_end(&v);
	*offset = locate.offset;
	*base_offset = locate.base_offset;
	return status;
}
