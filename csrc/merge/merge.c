/*
 * The verbatim merge: collecting the sources. Every entry header of a source is read once, through a map that is closed
 * again, so that memory holds 60 bytes for each stored copy and none of its content.
 */
#include "merge/merge.h"

int grow(void **array, uint32_t *room, uint32_t count, size_t size, gpa_error *err)
{
	if (count < *room)
		return GPA_OK;
	uint32_t larger = *room ? *room * 2 : 64;
	void *moved = larger > *room ? realloc(*array, larger * size) : NULL;
	if (!moved)
		return out_of_memory(err);
	*array = moved;
	*room = larger;
	return GPA_OK;
}

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

static void forget_plan(gpa_merge *m)
{
	proof_drop(m);
	free(m->objects);
	free(m->by_object);
	free(m->slots);
	free(m->pages);
	free(m->made);
	m->made = NULL;
	m->made_size = m->made_count = 0;
	m->objects = NULL;
	m->by_object = NULL;
	m->slots = NULL;
	m->pages = NULL;
	m->object_count = m->slot_count = m->slot_room = m->page_count = m->page_room = 0;
	m->rebuilt_count = m->cut_count = m->left_out_count = m->conflict_count = 0;
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

/* ---- adding a source ---- */

/* The position, in idx order, of the delta base of an entry; NONE for a whole entry. */
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

/* The fold of the size that an entry says its object has; 0 where that takes more than a look. */
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

/* Read the header of every entry. `copies` are those of this source, in idx order; base is an idx position for now. */
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
 * A delta has its base's type. Follow each chain to an entry whose type is known, then walk it again to hand the type
 * on. A cycle, or a chain that ends in a damaged header, has none: all of it is damaged.
 */
static void settle_types(copy *copies, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = i;
		for (; !copies[at].type && !copies[at].damaged && !copies[at].named; at = copies[at].base)
			copies[at].named = 1;	/* seen on this walk; what git reads is known later */
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
	while (m->copy_room - m->copy_count < n)
		if ((status = grow((void **)&m->copies, &m->copy_room, m->copy_room, sizeof(*m->copies), err)))
			return status;
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
	if (!status)
		status = grow((void **)&m->sources, &m->source_room, m->source_count, sizeof(*m->sources), err);
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

/* ---- planning ---- */

static const unsigned char *ref_oid(const void *context, const oid_ref *ref)
{
	const gpa_merge *m = context;
	return gpa_idx_oid(m->sources[ref->source].idx, ref->pos);
}

/*
 * Two copies of one object: an idx may call other content by the object's id. Two that are whole, and agree on type, size
 * and Adler-32, are alike. Of others the one that is taken has to be proved. Where both say a type, a size or an Adler-32
 * and they differ, one of them lies or is damaged.
 */
static void compare_copies(gpa_merge *m, object *o, const copy *a, const copy *b)
{
	if (a->damaged || a->lies || b->damaged || b->lies) {
		o->doubt |= UNLIKE;
		return;
	}
	int are_whole = a->base == NONE && b->base == NONE;
	m->conflict_count += a->type != b->type || (a->fold && b->fold && a->fold != b->fold) ||
			     (are_whole && a->sum != b->sum);
	o->doubt |= are_whole ? 0 : UNLIKE;
}

/* With the copy before it, and with the last whole one: of all that are whole no two may differ. */
static void compare_with_earlier(gpa_merge *m, object *o, uint32_t end, const copy *c)
{
	const copy *before = &m->copies[m->by_object[end - 1]];
	compare_copies(m, o, before, c);
	for (uint32_t i = end; c->base == NONE && i-- > o->first_copy;) {
		const copy *earlier = &m->copies[m->by_object[i]];
		if (earlier->base != NONE || earlier->damaged || earlier->lies)
			continue;
		if (earlier != before)
			compare_copies(m, o, earlier, c);
		return;
	}
}

/* Give each distinct oid a number, the same in every plan, and group the copies by it. */
static int number_objects(gpa_merge *m, gpa_error *err)
{
	size_t n = m->copy_count;
	oid_ref *refs = malloc((2 * n + 1) * sizeof(*refs));
	m->by_object = malloc((n + 1) * sizeof(*m->by_object));
	m->objects = calloc(n + 1, sizeof(*m->objects));
	if (!refs || !m->by_object || !m->objects) {
		free(refs);
		return out_of_memory(err);
	}
	for (uint32_t s = 0, i = 0; s < m->source_count; s++)
		for (uint32_t pos = 0; pos < m->sources[s].idx->object_count; pos++, i++)
			refs[i] = (oid_ref){be64(gpa_idx_oid(m->sources[s].idx, pos)), s, pos};
	oid_sort(refs, refs + n, n, m->hash_size, ref_oid, m);
	for (uint32_t i = 0; i < n; i++) {
		const unsigned char *oid = ref_oid(m, &refs[i]);
		uint32_t number = m->sources[refs[i].source].first_copy + refs[i].pos;
		if (!i || refs[i].key != refs[i - 1].key || memcmp(ref_oid(m, &refs[i - 1]), oid, m->hash_size))
			m->objects[m->object_count++] = (object){.oid = oid, .first_copy = i, .chosen = NONE};
		else
			compare_with_earlier(m, &m->objects[m->object_count - 1], i, &m->copies[number]);
		m->by_object[i] = number;
		m->copies[number].object = m->object_count - 1;
		m->copies[number].named = 0;
	}
	m->objects[m->object_count].first_copy = (uint32_t)n;
	free(refs);
	return GPA_OK;
}

/* The index names the copy of `object` at `offset` of `source`. */
static void note_named(gpa_merge *m, uint32_t object, uint32_t source, uint64_t offset)
{
	for (uint32_t i = copies_begin(m, object); i < copies_end(m, object); i++) {
		copy *c = &m->copies[m->by_object[i]];
		if (c->source == source && c->offset == offset) {
			c->named = 1;
			return;
		}
	}
	m->objects[object].doubt |= NOT_NAMED;
}

/*
 * An object is taken unless the index has a winner for it outside the packs that are merged, in one that counts. Where it
 * has a winner there and the object is taken all the same, the copy that is taken has to be proved: git reads the other one.
 */
static int take_objects(gpa_merge *m, const gpa_midx *midx, const uint32_t *sources, gpa_error *err)
{
	for (uint32_t i = 0; i < m->object_count; i++) {
		uint32_t pos, pack;
		uint64_t offset;
		m->objects[i].taken = 1;
		if (!midx || gpa_midx_find(&pos, midx, m->objects[i].oid))
			continue;
		int status = gpa_midx_entry(&pack, &offset, midx, pos, err);
		if (status)
			return status;
		m->objects[i].taken = sources[pack] != GPA_NO_SOURCE;
		if (sources[pack] == GPA_NO_SOURCE || sources[pack] == GPA_NOT_COUNTED)
			m->objects[i].doubt |= NOT_NAMED;
		else
			note_named(m, i, sources[pack], offset);
	}
	return GPA_OK;
}

int gpa_merge_plan(gpa_merge_stats *stats, gpa_merge *m, const gpa_midx *midx, const uint32_t *sources, int reverse,
		   gpa_progress *progress, gpa_error *err)
{
	int status;
	memset(stats, 0, sizeof(*stats));
	forget_plan(m);
	m->progress = progress;
	if ((status = number_objects(m, err)))
		return status;
	if (m->conflict_count && !m->is_checked) {
		stats->conflict_count = m->conflict_count;
		m->in_doubt = 1;
		return GPA_OK;
	}
	if ((status = take_objects(m, midx, sources, err)) || (status = choose_copies(m, err)))
		return status;
	if (!m->no_made)
		make_deltas(m);
	if (is_stopped(progress))
		return stopped(err);
	if ((status = assign_pages(m, reverse, err)))
		return status;
	stats->entry_count = m->copy_count;
	stats->object_count = m->slot_count - m->cut_count;
	stats->page_count = m->page_count;
	stats->rebuilt_count = m->rebuilt_count;
	stats->cut_count = m->cut_count;
	stats->made_count = m->made_count;
	stats->left_out_count = m->left_out_count;
	for (uint32_t i = 0; i < m->page_count; i++)
		stats->bytes += m->pages[i].bytes;
	return GPA_OK;
}

int gpa_merge_page(gpa_page_info *out, const gpa_merge *m, uint32_t number)
{
	if (number >= m->page_count)
		return GPA_ENOTFOUND;
	out->object_count = m->pages[number].slot_count;
	out->bytes = m->pages[number].bytes;
	return GPA_OK;
}

int gpa_merge_page_sources(unsigned char *is_source, const gpa_merge *m, uint32_t number)
{
	if (number >= m->page_count)
		return GPA_ENOTFOUND;
	const page *pg = &m->pages[number];
	memset(is_source, 0, m->source_count);
	for (uint32_t i = pg->first_slot; i < pg->first_slot + pg->slot_count; i++) {
		uint32_t object = m->slots[i].object;
		for (uint32_t n = copies_begin(m, object); n < copies_end(m, object); n++)
			is_source[m->copies[m->by_object[n]].source] = 1;
	}
	return GPA_OK;
}

int gpa_merge_left_out(unsigned char *oid, uint32_t *source, const gpa_merge *m, uint32_t n)
{
	for (uint32_t i = 0; i < m->object_count; i++) {
		if (!m->objects[i].lost || n--)
			continue;
		memcpy(oid, m->objects[i].oid, m->hash_size);
		*source = m->copies[m->by_object[m->objects[i].first_copy]].source;
		return GPA_OK;
	}
	return GPA_ENOTFOUND;
}

uint64_t gpa_merge_entries_read(const gpa_merge *m)
{
	return m->entries_read;
}

int gpa_merge_lie(unsigned char *oid, uint32_t *source, uint32_t *next, const gpa_merge *m)
{
	while (*next < m->copy_count) {
		const copy *c = &m->copies[(*next)++];
		if (!c->lies || m->objects[c->object].lost)
			continue;
		memcpy(oid, m->objects[c->object].oid, m->hash_size);
		*source = c->source;
		return GPA_OK;
	}
	return GPA_ENOTFOUND;
}
