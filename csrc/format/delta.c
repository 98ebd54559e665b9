/*
 * Delta programs (docs/formats/page.md): copy from the base, insert literal bytes. Every read and every write is
 * bounded.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "format/delta.h"

#define COPY 0x80
#define COPY_SIZE_DEFAULT 0x10000
#define STOP_EVERY (8 * 1024 * 1024)	/* bytes made between two checks for a request to stop */

int gpa_delta_sizes(uint64_t *source_size, uint64_t *target_size, gpa_bytes delta, gpa_error *err)
{
	cursor c = {delta.ptr, delta.ptr + delta.len};
	if (cursor_varint(&c, source_size) || cursor_varint(&c, target_size))
		return corrupt(err, "delta ends within its sizes");
	return GPA_OK;
}

/*
 * Read the offset and size of a copy. Bits 0-3 and 4-6 of `op` say which of their bytes follow. Returns -1 if they are
 * cut short.
 */
static int copy_operands(cursor *c, unsigned char op, uint32_t *offset, uint32_t *size)
{
	unsigned char byte;
	*offset = *size = 0;
	for (int i = 0; i < 4; i++) {
		if (!(op & (1 << i)))
			continue;
		if (cursor_byte(c, &byte))
			return -1;
		*offset |= (uint32_t)byte << (8 * i);
	}
	for (int i = 0; i < 3; i++) {
		if (!(op & (0x10 << i)))
			continue;
		if (cursor_byte(c, &byte))
			return -1;
		*size |= (uint32_t)byte << (8 * i);
	}
	if (!*size)
		*size = COPY_SIZE_DEFAULT;
	return 0;
}

int delta_apply(unsigned char *out, size_t out_len, gpa_bytes base, gpa_bytes delta, const gpa_progress *progress,
		gpa_error *err)
{
	cursor c = {delta.ptr, delta.ptr + delta.len};
	uint64_t source_size, target_size;
	size_t left = out_len, look_at = out_len > STOP_EVERY ? out_len - STOP_EVERY : 0;
	if (cursor_varint(&c, &source_size) || cursor_varint(&c, &target_size))
		return corrupt(err, "delta ends within its sizes");
	if (source_size != base.len || target_size != out_len)
		return corrupt(err, "delta is from %llu to %llu bytes, expected %zu to %zu",
			       (unsigned long long)source_size, (unsigned long long)target_size, base.len, out_len);
	while (c.at < c.end) {
		unsigned char op = *c.at++;
		uint32_t offset, size;
		if (op & COPY) {
			if (copy_operands(&c, op, &offset, &size))
				return corrupt(err, "delta ends within a copy");
			if (offset > base.len || size > base.len - offset)
				return corrupt(err, "delta copies %u bytes from %u of a base of %zu", size, offset,
					       base.len);
			if (size > left)
				return corrupt(err, "delta makes more than its %zu bytes", out_len);
			memcpy(out, base.ptr + offset, size);
		} else if (op) {
			size = op;
			if (size > cursor_left(&c))
				return corrupt(err, "delta ends within an insert");
			if (size > left)
				return corrupt(err, "delta makes more than its %zu bytes", out_len);
			memcpy(out, c.at, size);
			c.at += size;
		} else {
			return corrupt(err, "delta holds the reserved operation 0");
		}
		out += size;
		left -= size;
		if (left < look_at) {
			if (is_stopped(progress))
				return stopped(err);
			look_at = left > STOP_EVERY ? left - STOP_EVERY : 0;
		}
	}
	if (left)
		return corrupt(err, "delta makes %zu bytes, expected %zu", out_len - left, out_len);
	return GPA_OK;
}

int gpa_delta_apply(unsigned char *out, size_t out_len, gpa_bytes base, gpa_bytes delta, gpa_error *err)
{
	return delta_apply(out, out_len, base, delta, NULL, err);
}

int delta_target(made_object **out, const made_object *base, gpa_bytes program, const gpa_progress *progress,
		 gpa_error *err)
{
	uint64_t source_size, target_size;
	int status = gpa_delta_sizes(&source_size, &target_size, program, err);
	if (status)
		return status;
	/* a copy operation has at most 7 bytes and makes at most 16 MiB */
	if (target_size / 0xffffff > program.len)
		return corrupt(err, "delta claims a target of %llu bytes", (unsigned long long)target_size);
	made_object *made = made_object_new(target_size);
	if (!made)
		return out_of_memory(err);
	made->type = base->type;
	if ((status = delta_apply(made->room, made->bytes.len, base->bytes, program, progress, err)))
		made_object_drop(made);
	else
		*out = made;
	return status;
}
