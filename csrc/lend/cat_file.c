/*
 * `git cat-file --batch` and `--batch-check`, byte for byte: lines of ids in, answers out. The caller resolves names
 * that are not whole ids.
 *
 * With `buffered`, the objects of many lines are read together, by several threads, in the order in which they are
 * stored. Large objects are not read then, but piece by piece when their line is answered.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "write/writer.h"
#include "lend/cat_file.h"

#define TOGETHER_MOST (64 * 1024)	/* bytes; a larger object is not read together with others */

/* ---- many ---- */

/*
 * Read the objects of many lines together. An object that fails, or is too large, is read again when its line is
 * answered.
 */
static void read_together(gpa_batch *b)
{
	lines *r = &b->lines;
	uint32_t failed;
	gpa_error ignored;
	for (uint32_t i = 0; i < r->count; i++)
		memcpy(r->oids + i * b->hash_size, batch_real_oid(b, r->requests[i].oid), b->hash_size);
	if (reader_read_many(r->objects, r->statuses, &failed, b->r, r->oids, r->count, TOGETHER_MOST, b->options.threads,
			     &ignored))
		memset(r->objects, 0, sizeof(r->objects));
}

static int answer_run(uint32_t *done, gpa_batch *b, reader_session *v, gpa_error *err)
{
	lines *r = &b->lines;
	int status = GPA_OK;
	memset(r->objects, 0, r->count * sizeof(r->objects[0]));
	if (b->options.with_content && b->options.buffered && !b->needs_place && r->count > 1)
		read_together(b);
	for (*done = 0; !status && *done < r->count; *done += !status) {
		const request *q = &r->requests[*done];
		const gpa_object *object = &r->objects[*done];
		status = object->owner ? batch_answer_with(b, q, object, err) : batch_answer(b, v, q, err);
	}
	gpa_objects_free(r->objects, r->count);
	return status;
}

/* ---- lines ---- */

static int hex_digit(unsigned char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int parse_oid(unsigned char *oid, gpa_bytes name, size_t size)
{
	if (name.len != 2 * size)
		return 0;
	for (size_t i = 0; i < size; i++) {
		int high = hex_digit(name.ptr[2 * i]), low = hex_digit(name.ptr[2 * i + 1]);
		if (high < 0 || low < 0)
			return 0;
		oid[i] = (unsigned char)(high << 4 | low);
	}
	return 1;
}

static int is_space(unsigned char c)
{
	return c == ' ' || c == '\t';
}

/* Trim a line as git does: drop a carriage return at its end, and everything from the first NUL byte. */
static gpa_bytes trim(gpa_bytes line, int delimiter)
{
	const unsigned char *nul;
	if (delimiter && line.len && line.ptr[line.len - 1] == '\r')
		line.len--;
	if (line.len && (nul = memchr(line.ptr, 0, line.len)))
		line.len = (size_t)(nul - line.ptr);
	return line;
}

static void split(request *q)
{
	size_t at = 0;
	while (at < q->name.len && !is_space(q->name.ptr[at]))
		at++;
	q->rest = (gpa_bytes){q->name.ptr + at, q->name.len - at};
	q->name.len = at;
	while (q->rest.len && is_space(*q->rest.ptr))
		q->rest = (gpa_bytes){q->rest.ptr + 1, q->rest.len - 1};
}

/* Find the line at `from`. Returns 0 if it is not complete. */
static int next_line(request *q, const gpa_batch *b, gpa_bytes input, size_t from)
{
	const unsigned char *line = input.ptr + from;
	const unsigned char *end = input.len > from ? memchr(line, b->options.delimiter, input.len - from) : NULL;
	if (!end)
		return 0;
	q->end = (size_t)(end - input.ptr) + 1;
	q->name = trim((gpa_bytes){line, (size_t)(end - line)}, b->options.delimiter);
	q->rest = (gpa_bytes){NULL, 0};
	if (b->options.with_rest)
		split(q);
	return 1;
}

/* Collect the next lines with whole ids. *is_named: the line after them has another name. */
static void collect(int *is_named, gpa_batch *b, gpa_bytes input, size_t from)
{
	lines *r = &b->lines;
	uint32_t most = b->options.buffered ? CAT_FILE_LINES : 1;
	*is_named = 0;
	for (r->count = 0; r->count < most && next_line(&r->requests[r->count], b, input, from); r->count++) {
		request *q = &r->requests[r->count];
		if (!parse_oid(q->oid, q->name, b->hash_size)) {
			*is_named = 1;
			return;
		}
		from = q->end;
	}
}

static int answer_lines(size_t *used, gpa_batch *b, reader_session *v, gpa_bytes input, gpa_error *err)
{
	for (;;) {
		uint32_t done;
		int is_named;
		collect(&is_named, b, input, *used);
		int status = answer_run(&done, b, v, err);
		if (done)
			*used = b->lines.requests[done - 1].end;
		if (status || is_named || !b->lines.count)
			return status ? status : is_named ? GPA_ENOTFOUND : GPA_OK;
	}
}

/* ---- the contract ---- */

int gpa_batch_new(gpa_batch **out, gpa_reader *reader, const gpa_batch_options *options, gpa_error *err)
{
	gpa_batch *b = calloc(1, sizeof(*b));
	if (!b)
		return out_of_memory(err);
	b->r = gpa_reader_share(reader);
	b->options = *options;
	b->hash_size = reader->hash_size;
	for (uint32_t i = 0; i < options->field_count; i++) {
		int kind = options->fields[i].kind;
		b->needs_info |= kind == GPA_FIELD_TYPE || kind == GPA_FIELD_SIZE;
		b->needs_place |= kind == GPA_FIELD_DISK_SIZE || kind == GPA_FIELD_DELTA_BASE;
	}
	*out = b;
	return GPA_OK;
}

void gpa_batch_free(gpa_batch *batch)
{
	if (!batch)
		return;
	for (uint32_t i = 0; i < batch->order_count; i++)
		free(batch->orders[i].places);
	free(batch->orders);
	gpa_reader_free(batch->r);
	free(batch);
}

int gpa_batch_lines(size_t *used, gpa_batch *batch, gpa_bytes input, gpa_error *err)
{
	reader_session v;
	*used = 0;
	int status = session_begin(&v, batch->r, err);
	if (status)
		return status;
	status = answer_lines(used, batch, &v, input, err);
	session_end(&v);
	return status;
}

/* Take the next `oids`, at most CAT_FILE_LINES of them. */
static void take_lines(lines *r, const unsigned char *oids, uint32_t count, size_t hash_size, gpa_bytes name,
		       gpa_bytes rest)
{
	for (r->count = 0; r->count < CAT_FILE_LINES && r->count < count; r->count++) {
		request *q = &r->requests[r->count];
		memcpy(q->oid, oids + r->count * hash_size, hash_size);
		q->name = name;
		q->rest = rest;
	}
}

int gpa_batch_objects(uint32_t *done, gpa_batch *batch, const unsigned char *oids, uint32_t count, gpa_bytes name,
		      gpa_bytes rest, gpa_error *err)
{
	reader_session v;
	*done = 0;
	int status = session_begin(&v, batch->r, err);
	if (status)
		return status;
	while (!status && *done < count) {
		uint32_t here;
		take_lines(&batch->lines, oids + *done * batch->hash_size, count - *done, batch->hash_size, name, rest);
		status = answer_run(&here, batch, &v, err);
		*done += here;
	}
	session_end(&v);
	return status;
}
