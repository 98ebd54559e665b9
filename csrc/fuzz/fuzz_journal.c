/*
 * Journals. A writer must take over what reading record by record finds: as many objects, each once and readable. Then
 * the file is gone; a refused file stays. A copy with the right CRC32s passes their check, and reaches the code after
 * it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "format/journal.h"
#include "write/gpa_write.h"

#define ROOT "fuzz-journal.tmp"
#define JOURNALS ROOT "/journal"
#define NAME "1-00000000-0.journal"

static void write_file(gpa_bytes file)
{
	int fd = open(JOURNALS "/" NAME, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0 || write(fd, file.ptr, file.len) != (ssize_t)file.len || close(fd))
		abort();
}

static void empty_folder(const char *path)
{
	char name[600];
	struct dirent *entry;
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.' && unlink(name))
			abort();
	}
	if (dir)
		closedir(dir);
}

/* Make empty folders, also after a run that died. */
static void make_folders(void)
{
	mkdir(ROOT, 0777);
	mkdir(ROOT "/pack", 0777);
	mkdir(JOURNALS, 0777);
	empty_folder(ROOT "/pack");
	empty_folder(JOURNALS);
}

/* Count the complete records, whatever their entries inflate to. */
static uint32_t count_records(gpa_bytes file)
{
	journal_entry entry;
	size_t at = JOURNAL_HEADER;
	uint32_t count = 0;
	while (!journal_next(&entry, &at, file)) {
		if (entry.type < GPA_COMMIT || entry.type > GPA_TAG || at > file.len)
			abort();
		count++;
	}
	return count;
}

static void demand_readable(gpa_reader *reader, uint32_t count)
{
	gpa_error err;
	gpa_buffer oids;
	gpa_object object;
	if (gpa_reader_list(&oids, reader, &err) || oids.len != count * 20u)
		abort();
	for (uint32_t i = 0; i < count; i++) {
		if (gpa_reader_read(&object, reader, oids.ptr + 20 * i, &err))
			abort();
		gpa_object_free(&object);
	}
	gpa_buffer_free(&oids);
}

static void recover(gpa_bytes file, gpa_reader *reader)
{
	gpa_error err;
	gpa_recovery found;
	gpa_writer *writer;
	gpa_writer_options options = {.journal_dir = JOURNALS, .page_objects = 3, .page_bytes = 1000, .level = 1,
				      .delta_depth = 2};
	uint32_t records = count_records(file);
	if (gpa_writer_open(&writer, reader, &options, &err))
		abort();
	int status = gpa_writer_recover(&found, writer, NAME, &err);
	if (status && status != GPA_ECORRUPT && status != GPA_EUNSUPPORTED)
		abort();
	if (access(JOURNALS "/" NAME, F_OK) == 0 ? !status : status)
		abort();
	if (found.object_count + found.known_count > records || found.cut_bytes > file.len)
		abort();
	demand_readable(reader, found.object_count);
	if (gpa_writer_close(writer, &err))
		abort();
	gpa_writer_free(writer);
}

static void run(gpa_bytes file)
{
	gpa_error err;
	gpa_reader *reader;
	gpa_reader_options options = {.algo = GPA_SHA1, .verify = 1, .map_bytes = 1 << 20, .map_count = 8};
	make_folders();
	char *root = realpath(ROOT, NULL);
	const char *dirs[] = {root};
	write_file(file);
	if (!root || gpa_reader_open(&reader, dirs, 1, &options, &err))
		abort();
	recover(file, reader);
	gpa_reader_free(reader);
	free(root);
	empty_folder(ROOT "/pack");
	empty_folder(JOURNALS);
}

static void mend(unsigned char *data, size_t size)
{
	for (size_t at = JOURNAL_HEADER; at < size && size - at > RECORD_HEADER;) {
		uint32_t length = be32(data + at);
		if (length > size - at - RECORD_HEADER)
			break;
		put_be32(data + at + 4, gpa_crc32(0, (gpa_bytes){data + at + RECORD_HEADER, length}));
		at += RECORD_HEADER + length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *copy = malloc(size ? size : 1);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	run((gpa_bytes){copy, size});
	if (size >= JOURNAL_HEADER)
		journal_write_header(copy, GPA_SHA1);
	mend(copy, size);
	run((gpa_bytes){copy, size});
	free(copy);
	rmdir(ROOT "/pack");
	rmdir(JOURNALS);
	rmdir(ROOT);
	return 0;
}
