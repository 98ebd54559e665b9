/* Where an object lies, for those who take its entry over as it is. */
#include "write/writer.h"

typedef struct locate_task {
	task task;
	char *path;
	size_t room;
	uint64_t offset;
	uint64_t base_offset;
} locate_task;

static int locate_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	locate_task *locate = (locate_task *)t;
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

static int locate_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	locate_task *locate = (locate_task *)t;
	(void)v, (void)file, (void)err;
	locate->path[0] = '\0';
	locate->offset = locate->base_offset = 0;
	return GPA_OK;
}

/* In no pack yet: as if it were loose. */
static int locate_written(task *t, visitor *v, const written_object *object, gpa_error *err)
{
	(void)object;
	return locate_loose(t, v, NULL, err);
}

int gpa_reader_locate(char *pack, size_t room, uint64_t *offset, uint64_t *base_offset, gpa_reader *reader,
		      const unsigned char *oid, gpa_error *err)
{
	locate_task locate = {.task = {oid, locate_packed, locate_loose, locate_written, 0}, .path = pack, .room = room};
	visitor v;
	int status = visitor_begin(&v, reader, err);
	if (status)
		return status;
	status = visitor_do(&v, &locate.task, err);
	visitor_end(&v);
	*offset = locate.offset;
	*base_offset = locate.base_offset;
	return status;
}
