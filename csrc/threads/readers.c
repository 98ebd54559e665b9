/*
 * Many threads and one reader, for ThreadSanitizer: readers <objects-dir> <threads> <seconds>. Each thread reads random
 * objects of those that existed at the beginning, by every function of the reader. None of them may be missing,
 * whatever maintenance does meanwhile.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpa.h"

#define OID 20
#define PREFIX_DIGITS 12
#define MANY 100

static gpa_reader *reader;
static gpa_buffer all;
static uint32_t object_count;
static time_t end;

static void fail(const char *what, const gpa_error *err)
{
	fprintf(stderr, "%s: %s\n", what, err->text);
	exit(1);
}

static const unsigned char *some_oid(unsigned *seed)
{
	return all.ptr + (size_t)(rand_r(seed) % object_count) * OID;
}

static void read_one(unsigned *seed)
{
	gpa_error err;
	gpa_object object;
	int type;
	uint64_t size;
	const unsigned char *oid = some_oid(seed);
	if (gpa_reader_has(reader, oid, &err))
		fail("has", &err);
	if (gpa_reader_info(&type, &size, reader, oid, &err))
		fail("info", &err);
	if (gpa_reader_read(&object, reader, oid, &err))
		fail("read", &err);
	if (object.type != type || object.len != size)
		fail("read and info differ", &err);
	gpa_object_free(&object);
}

/* Read many objects; sometimes only the first run. */
static void read_many(unsigned *seed)
{
	unsigned char oids[MANY * OID];
	const gpa_run *run;
	gpa_many *many;
	uint32_t failed, count = 0;
	gpa_error err;
	for (int i = 0; i < MANY; i++)
		memcpy(oids + i * OID, some_oid(seed), OID);
	if (gpa_many_begin(&many, reader, oids, MANY, 2, &err))
		fail("read_many", &err);
	do {
		if (gpa_many_next(&run, &failed, many, &err))
			fail("read_many", &err);
		for (uint32_t i = 0; run && i < run->count; i++)
			count += run->rows[i].number < MANY;
	} while (run && rand_r(seed) % 4);
	if (!run && count != MANY)
		fail("read_many is incomplete", &err);
	gpa_many_end(many);
}

/* Ask about many objects, of which one is absent. */
static void ask_many(unsigned *seed)
{
	unsigned char oids[MANY * OID] = {0};
	int64_t infos[MANY], has[MANY];
	uint32_t failed;
	gpa_error err;
	for (int i = 1; i < MANY; i++)
		memcpy(oids + i * OID, some_oid(seed), OID);
	if (gpa_many_info(infos, &failed, reader, oids, MANY, 2, &err) ||
	    gpa_many_has(has, &failed, reader, oids, MANY, 2, &err))
		fail("infos of many", &err);
	for (int i = 0; i < MANY; i++)
		if ((infos[i] < 0) != !i || (has[i] < 0) != !i)
			fail("of many, a wrong one is missing", &err);
}

static void read_stream(unsigned *seed)
{
	unsigned char piece[512];
	gpa_stream *stream;
	gpa_error err;
	size_t got;
	int type;
	uint64_t size, total = 0;
	if (gpa_stream_open(&stream, &type, &size, reader, some_oid(seed), &err))
		fail("stream", &err);
	do {
		if (gpa_stream_read(&got, stream, piece, sizeof(piece), &err))
			fail("stream", &err);
		total += got;
	} while (got);
	if (total != size)
		fail("a stream ends early", &err);
	gpa_stream_free(stream);
}

static void look_up(unsigned *seed)
{
	unsigned char found[4 * OID], absent[OID];
	uint32_t count;
	gpa_error err;
	if (gpa_reader_expand(found, &count, 4, reader, some_oid(seed), PREFIX_DIGITS, &err) || !count)
		fail("expand", &err);
	for (int i = 0; i < OID; i++)
		absent[i] = (unsigned char)rand_r(seed);
	if (gpa_reader_has(reader, absent, &err) != GPA_ENOTFOUND)
		fail("an absent object is found", &err);
	if (gpa_reader_refresh(reader, &err))
		fail("refresh", &err);
}

static void *work(void *number)
{
	unsigned seed = (unsigned)(size_t)number;
	gpa_reader *mine = gpa_reader_share(reader);
	while (time(NULL) < end) {
		for (int i = 0; i < 20; i++)
			read_one(&seed);
		read_many(&seed);
		ask_many(&seed);
		read_stream(&seed);
		look_up(&seed);
	}
	gpa_reader_free(mine);
	return NULL;
}

int main(int argc, char **argv)
{
	gpa_reader_options options = {.algo = GPA_SHA1, .verify = 1, .cache_bytes = 64 << 10, .map_bytes = 1 << 20, .map_count = 8};
	const char *dirs[1];
	pthread_t threads[64];
	gpa_error err;
	int count = argc == 4 ? atoi(argv[2]) : 0;
	if (count < 1 || count > 64)
		return 2;
	dirs[0] = argv[1];
	end = time(NULL) + atoi(argv[3]);
	if (gpa_reader_open(&reader, dirs, 1, &options, &err) || gpa_reader_list(&all, reader, &err))
		fail("open", &err);
	object_count = (uint32_t)(all.len / OID);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)(size_t)(i + 1)))
			return 2;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	gpa_reader_free(reader);
	gpa_buffer_free(&all);
	printf("%u objects\n", object_count);
	return 0;
}
