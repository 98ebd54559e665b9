/*
 * Loose object files. A file that can be read whole must have the size of its header, and goes into a page; any other
 * goes into none. With a wrong id a file is processed as a large object, in pieces, which must have the same result.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/types.h"
#include "merge/gpa_merge.h"

#define NAME "fuzz-loose.tmp"

static void write_file(gpa_bytes file)
{
	int fd = open(NAME, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0 || write(fd, file.ptr, file.len) != (ssize_t)file.len || close(fd))
		abort();
}

/* Add or check a file. Returns the status, and the message in `err`. */
static int add(const unsigned char *oid, int check, gpa_error *err)
{
	gpa_page *page;
	unsigned char trailer[GPA_OID_MAX];
	int fd = open("/dev/null", O_WRONLY);
	if (fd < 0 || gpa_page_new(&page, fd, GPA_SHA1, 1, 1, err))
		abort();
	int status = check ? gpa_page_check_loose(page, oid, AT_FDCWD, NAME, NULL, err) :
			     gpa_page_add_loose(page, oid, AT_FDCWD, NAME, NULL, err);
	if (status && (status != GPA_ECORRUPT || err->source))
		abort();
	gpa_error ignored;
	if (!check && !gpa_page_finish(page, fd, trailer, &ignored) != !status)
		abort();
	gpa_page_free(page);
	close(fd);
	return status;
}

static void make_id(unsigned char *oid, int type, const gpa_object *content)
{
	gpa_error err;
	hasher h;
	if (hasher_init(&h, GPA_SHA1, &err))
		abort();
	object_id_begin(&h, type, content->len);
	hasher_update(&h, content->ptr, content->len);
	hasher_final(&h, oid);
	hasher_free(&h);
}

static void run(gpa_bytes file)
{
	gpa_error err;
	gpa_object out;
	unsigned char oid[GPA_OID_MAX] = {0};
	char hex[2 * GPA_OID_MAX + 1], says[128];
	uint64_t claimed = 0;
	int type = 0;
	int header = gpa_loose_header(&type, &claimed, file, &err);
	int damaged = gpa_loose_read(&out, file, &err);
	write_file(file);
	if (!add(oid, 0, &err) || !add(oid, 1, &err))
		abort();
	if (damaged)
		return;
	if (header || type != out.type || claimed != out.len)
		abort();
	make_id(oid, type, &out);
	oid_to_hex(hex, oid, 20);
	snprintf(says, sizeof(says), "content has the id %s", hex);
	if (strcmp(says, err.text) || add(oid, 0, &err) || add(oid, 1, &err))
		abort();
	gpa_object_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run((gpa_bytes){data, size});
	unlink(NAME);
	return 0;
}
