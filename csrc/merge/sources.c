/*
 * The sources of a merge: collected, and read again when their entries are copied. Every entry header of a source is
 * read once, through a map that is then closed. So memory holds 60 bytes for each stored copy, and none of its content.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/files.h"
#include "format/idx.h"
#include "merge/merge.h"

/* ---- adding a source ---- */

/* The position in idx order of an entry's delta base; NONE for a whole entry. */
static int find_base(uint32_t *base, const gpa_entry *entry, uint64_t offset, const gpa_idx *idx, const idx_place *places,
		     gpa_error *err)
{
	*base = NONE;
	if (entry->type == GPA_OFS_DELTA) {
		uint32_t place = idx_place_find(places, idx->object_count, entry->base_offset);
		if (place == idx->object_count)
			return corrupt_at(err, offset, "delta base at offset %llu is no entry",
					  (unsigned long long)entry->base_offset);
		*base = places[place].pos;
	} else if (entry->type == GPA_REF_DELTA && gpa_idx_find(base, idx, entry->base_oid)) {
		return corrupt_at(err, offset, "delta base is not in this pack");
	}
	return GPA_OK;
}

/* The fold of an object's size, as its entry says; 0 if finding that would take more than a look. */
static unsigned entry_fold(const gpa_entry *entry, gpa_bytes stream)
{
	unsigned char program[PEEK];
	uint64_t base_size, size = entry->size;
	gpa_error ignored;
	if (entry->type > GPA_TAG) {
		gpa_bytes start = {program, inflate_peek(program, stream)};
		if (gpa_delta_sizes(&base_size, &size, start, &ignored))
			return 0;
	}
	return size_fold(size) & 0xffff;
}

/*
 * Read the header of every entry. `copies` are those of this source, in idx order. Their bases are idx positions for
 * now.
 */
static int read_entries(copy *copies, gpa_bytes pack, const gpa_idx *idx, const idx_place *places, uint32_t source,
			const gpa_progress *progress, gpa_error *err)
{
	uint64_t pack_end = pack.len - idx->hash_size;
	for (uint32_t i = 0; i < idx->object_count; i++) {
		if (is_stopped(progress))
			return stopped(err);
		gpa_entry entry;
		copy *c = &copies[places[i].pos];
		uint64_t end = i + 1 < idx->object_count ? places[i + 1].offset : pack_end;
		memset(c, 0, sizeof(*c));
		c->offset = places[i].offset & (PACK_MOST - 1);
		c->size = (end - c->offset) & (PACK_MOST - 1);
		c->source = source;
		c->base = NONE;
		int status = gpa_entry_parse(&entry, pack, c->offset, idx->algo, err);
		if (!status && entry.header_size >= c->size)
			status = corrupt_at(err, c->offset, "entry of %llu bytes is too short for its header",
					    (unsigned long long)c->size);
		if (!status)
			status = find_base(&c->base, &entry, c->offset, idx, places, err);
		if (status && status != GPA_ECORRUPT)
			return status;
		/* One bad header spoils one object: the others can still be merged. */
		c->damaged = status != GPA_OK;
		c->type = c->base == NONE ? (unsigned)entry.type & 7 : 0;
		if (!status)
			c->fold = entry_fold(&entry, (gpa_bytes){pack.ptr + c->offset + entry.header_size,
								 c->size - entry.header_size}) & 0xffff;
		if (!status && c->base == NONE && c->size >= 4)
			c->sum = be32(pack.ptr + c->offset + c->size - 4);
	}
	return GPA_OK;
}

/*
 * Give each delta the type of its base. Each chain is followed to an entry with a known type, then walked again to set
 * the type. A cycle, or a chain that ends in a damaged header, has none: all of it is damaged.
 */
static void settle_types(copy *copies, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = i;
		for (; !copies[at].type && !copies[at].damaged && !copies[at].named; at = copies[at].base)
			copies[at].named = 1;	/* marks the copies seen on this walk; what git reads is found out later */
		unsigned type = copies[at].damaged ? 0 : copies[at].type;
		for (at = i; !copies[at].type && !copies[at].damaged; at = copies[at].base) {
			copies[at].named = 0;
			copies[at].type = type & 7;
			copies[at].damaged = !type;
		}
	}
}

static int add_copies(gpa_merge *m, gpa_bytes pack, const gpa_idx *idx, const gpa_progress *progress, gpa_error *err)
{
	idx_place *places;
	uint32_t n = idx->object_count;
	int status = gpa_pack_match(pack, idx, err);
	if (!status && pack.len >= PACK_MOST)
		status = unsupported(err, "pack is too large to be merged");
	if (status)
		return status;
	if (array_reserve(m->copies, m->copy_room, (uint64_t)m->copy_count + n, 64))
		return out_of_memory(err);
	if (!(places = malloc((n ? n : 1) * sizeof(*places))))
		return out_of_memory(err);
	if (!(status = idx_places(places, idx, pack.len, err)))
		status = read_entries(m->copies + m->copy_count, pack, idx, places, m->source_count, progress, err);
	free(places);
	if (status)
		return status;
	settle_types(m->copies + m->copy_count, n);
	for (uint32_t i = 0; i < n; i++)	/* from idx positions to copy numbers */
		if (m->copies[m->copy_count + i].base != NONE)
			m->copies[m->copy_count + i].base += m->copy_count;
	return GPA_OK;
}

int gpa_merge_add(gpa_merge *m, const gpa_idx *idx, int dir_fd, const char *path, gpa_progress *progress,
		  gpa_error *err)
{
	held_file pack;
	int status = is_stopped(progress) ? stopped(err) : gpa_idx_check(idx, err);
	if (!status && array_reserve(m->sources, m->source_room, (uint64_t)m->source_count + 1, 64))
		status = out_of_memory(err);
	if (!status && idx->object_count > NONE - 1 - m->copy_count)
		status = unsupported(err, "more than 2^32 entries in one merge");
	if (status || (status = file_hold(&pack, NULL, dir_fd, path, FILE_COPY_MOST, err)))
		return status;
	if (!(status = add_copies(m, pack.bytes, idx, progress, err))) {
		source *s = &m->sources[m->source_count];
		*s = (source){.idx = idx, .dir_fd = dir_fd, .path = strdup(path), .first_copy = m->copy_count,
			      .size = pack.bytes.len};
		if (s->path) {
			m->source_count++;
			m->copy_count += idx->object_count;
		} else {
			status = out_of_memory(err);
		}
	}
	file_release(&pack);
	return status;
}

/* ---- reading a copy ---- */

void close_files(gpa_merge *m)
{
	for (unsigned i = 0; i < OPEN_FILES; i++) {
		if (m->files[i].fd >= 0)
			close(m->files[i].fd);
		m->files[i].fd = -1;
	}
}

int source_file(int *fd, gpa_merge *m, uint32_t number, gpa_error *err)
{
	uint64_t size;
	for (unsigned i = 0; i < OPEN_FILES; i++)
		if (m->files[i].fd >= 0 && m->files[i].source == number) {
			*fd = m->files[i].fd;
			return GPA_OK;
		}
	const source *s = &m->sources[number];
	int status = file_open(fd, &size, s->dir_fd, s->path, err);
	if (status)
		return status;
	if (size != s->size) {
		close(*fd);
		return corrupt(err, "pack is %llu bytes now, was %llu", (unsigned long long)size,
			       (unsigned long long)s->size);
	}
	open_file *place = &m->files[m->next_file++ % OPEN_FILES];
	if (place->fd >= 0)
		close(place->fd);
	*place = (open_file){number, *fd};
	return GPA_OK;
}

int read_copy(gpa_bytes *out, gpa_merge *m, const copy *c, gpa_error *err)
{
	int fd, status = source_file(&fd, m, c->source, err);
	if (!status)
		status = file_read(fd, m->buffer, c->size, c->offset, err);
	*out = (gpa_bytes){m->buffer, c->size};
	if (!status && gpa_crc32(0, *out) != copy_crc(m, c))
		status = corrupt_at(err, c->offset, "entry does not have the CRC32 its idx says");
	return status;
}
