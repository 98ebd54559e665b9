/* All ids of a reader, and the ids that begin with some digits. Both rescan the directories first if these changed. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "read/objdir.h"
#include "read/parallel.h"

/* Ids in memory, `stride` bytes apart. */
typedef struct id_table {
	const unsigned char *oids;
	const unsigned char *fanout;	/* NULL: not sorted */
	size_t stride;
	uint32_t count;
} id_table;

typedef struct id_tables {
	id_table *tables;
	uint32_t count;
	uint32_t hash_size;
	gpa_buffer unsorted;	/* of loose objects and of overlays */
	size_t room;
} id_tables;

static int current_snapshot(snapshot **s, gpa_reader *r, gpa_error *err)
{
	int changed;
	*s = reader_snapshot(r);
	int status = snapshot_check(*s, r->dirs) == SNAPSHOT_SURE ? GPA_OK : reader_look_again(&changed, s, r, 0, err);
	if (status)
		snapshot_drop(*s);
	return status;
}

static id_table idx_table(const gpa_idx *idx)
{
	return (id_table){idx->oids, idx->fanout, idx->oid_stride, idx->object_count};
}

static id_table midx_table(const gpa_midx *midx)
{
	return (id_table){midx->oids, midx->fanout, midx->hash_size, midx->object_count};
}

/* Collect the tables of packed ids from a snapshot that the caller holds. Room for one more table is left. */
static int collect_tables(id_tables *out, const snapshot *s, gpa_error *err)
{
	uint32_t most = 1;
	for (uint32_t dir = 0; dir < s->dir_count; dir++)
		most += 1 + s->dirs[dir].view->unindexed_count;
	out->tables = calloc(most, sizeof(*out->tables));
	if (!out->tables)
		return out_of_memory(err);
	for (uint32_t dir = 0; dir < s->dir_count; dir++) {
		const view *v = s->dirs[dir].view;
		if (v->index)
			out->tables[out->count++] = midx_table(&v->index->midx);
		for (uint32_t i = 0; i < v->unindexed_count; i++)
			out->tables[out->count++] = idx_table(&v->unindexed[i]->idx);
	}
	return GPA_OK;
}

static int collect_loose(id_tables *out, gpa_reader *r, unsigned from, unsigned to, gpa_error *err)
{
	for (uint32_t dir = 0; dir < r->dir_count; dir++)
		for (unsigned first = from; first <= to; first++) {
			int status = objdir_loose_ids(&out->unsorted, &out->room, r->dirs[dir], first, r->hash_size, err);
			if (status) {
				err->source = (int32_t)dir;
				return status;
			}
		}
	if (out->unsorted.len)
		out->tables[out->count++] = (id_table){out->unsorted.ptr, NULL, r->hash_size,
						       (uint32_t)(out->unsorted.len / r->hash_size)};
	return GPA_OK;
}

/*
 * Collect the ids of overlays, before the snapshot is taken: an object that an overlay ceases to name is in that
 * snapshot.
 */
static int collect_overlaid(id_tables *out, gpa_reader *r, gpa_error *err)
{
	held_overlays held;
	int status = GPA_OK;
	reader_hold_overlays(&held, r);
	for (uint32_t i = 0; !status && i < held.count; i++)
		status = held.list[i]->calls->list(&out->unsorted, &out->room, held.list[i], err);
	overlays_release(&held);
	return status;
}

static void tables_free(id_tables *tables)
{
	gpa_buffer_free(&tables->unsorted);
	free(tables->tables);
}

/* Collect the ids of overlays, and hold the current snapshot. */
static int tables_begin(id_tables *out, snapshot **s, gpa_reader *r, gpa_error *err)
{
	*out = (id_tables){.hash_size = (uint32_t)r->hash_size};
	int status = collect_overlaid(out, r, err);
	if (!status)
		status = current_snapshot(s, r, err);
	if (status)
		tables_free(out);
	return status;
}

static const unsigned char *table_oid(const id_table *table, uint32_t pos)
{
	return table->oids + pos * table->stride;
}

/* ---- all of them ---- */

static const unsigned char *ref_oid(const void *context, const oid_ref *ref)
{
	const id_tables *tables = context;
	return table_oid(&tables->tables[ref->source], ref->pos);
}

static void write_sorted(gpa_buffer *out, const id_tables *tables, const oid_ref *refs, size_t count)
{
	const unsigned char *last = NULL;
	for (size_t i = 0; i < count; i++) {
		const unsigned char *oid = ref_oid(tables, &refs[i]);
		if (last && !memcmp(last, oid, tables->hash_size))
			continue;
		memcpy(out->ptr + out->len, oid, tables->hash_size);
		out->len += tables->hash_size;
		last = oid;
	}
}

static int merge_tables(gpa_buffer *out, const id_tables *tables, gpa_error *err)
{
	size_t count = 0, at = 0;
	for (uint32_t i = 0; i < tables->count; i++)
		count += tables->tables[i].count;
	oid_ref *refs = malloc((count + 1) * sizeof(*refs)), *scratch = malloc((count + 1) * sizeof(*scratch));
	out->len = 0;
	out->ptr = malloc((count + 1) * tables->hash_size);
	int status = refs && scratch && out->ptr ? GPA_OK : out_of_memory(err);
	for (uint32_t i = 0; !status && i < tables->count; i++)
		for (uint32_t pos = 0; pos < tables->tables[i].count; pos++)
			refs[at++] = (oid_ref){be64(table_oid(&tables->tables[i], pos)), i, pos};
	if (!status) {
		oid_sort(refs, scratch, count, tables->hash_size, ref_oid, tables);
		write_sorted(out, tables, refs, count);
	} else {
		gpa_buffer_free(out);
	}
	free(refs);
	free(scratch);
	return status;
}

int gpa_reader_list(gpa_buffer *oids, gpa_reader *reader, gpa_error *err)
{
	id_tables tables;
	snapshot *s;
	int status = tables_begin(&tables, &s, reader, err);
	if (status)
		return status;
	status = collect_tables(&tables, s, err);
	if (!status)
		status = collect_loose(&tables, reader, 0, 255, err);
	if (!status)
		status = merge_tables(oids, &tables, err);
	tables_free(&tables);
	snapshot_drop(s);
	return status;
}

/* ---- by prefix ---- */

typedef struct candidates {
	unsigned char *oids;
	uint32_t count;		/* of `oids`; one more if there are more */
	uint32_t room;
	size_t hash_size;
	const unsigned char *prefix;
	unsigned digits;
} candidates;

/* Compare an oid with the prefix: -1 and 1 if it comes before or after all ids with the prefix, 0 if it has it. */
static int compare_prefix(const candidates *c, const unsigned char *oid)
{
	int whole = memcmp(oid, c->prefix, c->digits / 2);
	if (whole || !(c->digits & 1))
		return whole < 0 ? -1 : whole > 0;
	int here = oid[c->digits / 2] >> 4, wanted = c->prefix[c->digits / 2] >> 4;
	return here < wanted ? -1 : here > wanted;
}

/* Add an id. The first `room` are kept, in order, each once. */
static void add_candidate(candidates *c, const unsigned char *oid)
{
	size_t h = c->hash_size;
	uint32_t kept = c->count < c->room ? c->count : c->room, at = kept;
	while (at && memcmp(c->oids + (at - 1) * h, oid, h) > 0)
		at--;
	if (at && !memcmp(c->oids + (at - 1) * h, oid, h))
		return;
	if (kept == c->room)
		c->count = c->room + 1;
	else
		c->count = ++kept;
	if (at == c->room)
		return;
	memmove(c->oids + (at + 1) * h, c->oids + at * h, (kept - at - 1) * h);
	memcpy(c->oids + at * h, oid, h);
}

static void expand_table(candidates *c, const id_table *table)
{
	uint32_t low = table->fanout ? fanout_begin(table->fanout, c->prefix[0]) : 0;
	uint32_t end = table->fanout ? fanout_end(table->fanout, c->prefix[0]) : table->count, high = end;
	while (table->fanout && low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (compare_prefix(c, table_oid(table, middle)) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < end; low++) {
		int order = compare_prefix(c, table_oid(table, low));
		if (!order)
			add_candidate(c, table_oid(table, low));
		else if (table->fanout)
			break;
	}
}

int gpa_reader_expand(unsigned char *oids, uint32_t *count, uint32_t room, gpa_reader *reader,
		      const unsigned char *prefix, unsigned digits, gpa_error *err)
{
	candidates c = {oids, 0, room, reader->hash_size, prefix, digits};
	id_tables tables;
	snapshot *s;
	int status = tables_begin(&tables, &s, reader, err);
	if (status)
		return status;
	status = collect_tables(&tables, s, err);
	if (!status)
		status = collect_loose(&tables, reader, prefix[0], prefix[0], err);
	for (uint32_t i = 0; !status && i < tables.count; i++)
		expand_table(&c, &tables.tables[i]);
	*count = c.count;
	tables_free(&tables);
	snapshot_drop(s);
	return status;
}
