/*
 * An immutable view of the object directories at the last scan. A scan lists the pack directory and opens the idx of
 * each new pack that the combined index does not name. Unchanged parts of the last snapshot are reused.
 *
 * The objects of small unindexed packs are in one sorted table, so a look-up in a thousand packs costs no more than in
 * one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/bytes.h"
#include "base/error.h"
#include "read/objdir.h"
#include "read/reader.h"

#define IDX_AHEAD 64			/* files that the disk reads at a time */
#define UNWATCHED 15
#define LARGE_PACK 16384		/* objects; a pack with more is looked up by its own idx */
#define TICK_NS 20000000		/* the time of a file system may stand still this long: two ticks of 10 ms */
#define COARSE_TICK_NS 2000000000	/* for a file system without fractions of a second: as coarse as FAT */

/* ---- the combined index ---- */

static void index_drop(index_file *index)
{
	if (!index || __atomic_sub_fetch(&index->owners, 1, __ATOMIC_ACQ_REL))
		return;
	gpa_midx_free(&index->midx);
	file_release(&index->file);
	free(index);
}

/*
 * Open the combined index. *out stays NULL if there is none, or none that can be read: then all packs are looked up by
 * their idx.
 */
static int index_open(index_file **out, const char *dir, int algo, gpa_error *err)
{
	gpa_error why;
	index_file *made = calloc(1, sizeof(*made));
	if (!made)
		return out_of_memory(err);
	int status = objdir_hold_index(&made->file, &made->stamp, dir, &why);
	if (status) {
		free(made);
	} else if ((status = gpa_midx_parse(&made->midx, made->file.bytes, algo, &why))) {
		file_release(&made->file);
		free(made);
	} else {
		made->owners = 1;
		*out = made;
	}
	if (status == GPA_ENOMEM || (status == GPA_ESYS && (why.sys_errno == EMFILE || why.sys_errno == ENFILE))) {
		*err = why;
		return status;
	}
	return GPA_OK;
}

/* ---- views ---- */

static void view_drop(view *v)
{
	if (!v || __atomic_sub_fetch(&v->owners, 1, __ATOMIC_ACQ_REL))
		return;
	for (uint32_t i = 0; i < v->unindexed_count; i++)
		pack_file_unpin_idx(v->unindexed[i]);
	for (uint32_t i = 0; i < v->pack_count; i++)
		pack_file_drop(v->packs[i]);
	index_drop(v->index);
	free(v->packs);
	free(v->named);
	free(v->unindexed);
	free(v->table);
	free(v);
}

/* The old view's pack of that name, or NULL. *at moves forward through its sorted packs. */
static pack_file *old_pack(const view *old, uint32_t *at, const char *name)
{
	while (old && *at < old->pack_count && strcmp(old->packs[*at]->name, name) < 0)
		++*at;
	if (!old || *at >= old->pack_count || strcmp(old->packs[*at]->name, name))
		return NULL;
	pack_file *p = old->packs[*at];
	return __atomic_load_n(&p->suspect, __ATOMIC_RELAXED) ? NULL : p;
}

typedef struct look {
	pack_maps *maps;
	const char *dir_path;
	uint32_t dir;
	int algo;
	const view *old;
} look;

static int add_pack(view *v, const look *l, uint32_t *old_at, const char *name, gpa_error *err)
{
	pack_file *p = old_pack(l->old, old_at, name);
	if (p)
		pack_file_share(p);
	else if (pack_file_new(&p, l->maps, l->dir_path, l->dir, name, err))
		return GPA_ENOMEM;
	v->packs[v->pack_count++] = p;
	return GPA_OK;
}

/* Add an unindexed pack. If its idx cannot be read, the next miss reports that. */
static int add_unindexed(view *v, pack_file *p, gpa_error *err)
{
	gpa_error why;
	int status = pack_file_pin_idx(p, &why);
	if (!status)
		v->unindexed[v->unindexed_count++] = p;
	else if (status == GPA_ECORRUPT || is_of_one_file(status, &why))
		v->unreadable = p;
	else if (status != GPA_ENOTFOUND)
		*err = why;
	return status == GPA_ENOTFOUND || v->unreadable == p ? GPA_OK : status;
}

/* A walk through the packs that the index names or the listing has, in order of name. Both are sorted. */
typedef struct walk {
	const gpa_midx *midx;		/* NULL if there is no index */
	const names *listed;
	uint32_t named_at;
	uint32_t listed_at;
} walk;

/* The next name, or NULL. *named and *listed tell which of the two have it. */
static const char *next_name(walk *w, int *named, int *listed)
{
	int has_named = w->midx && w->named_at < w->midx->pack_count, has_listed = w->listed_at < w->listed->count;
	const char *a = has_named ? w->midx->names[w->named_at] : NULL;
	const char *b = has_listed ? w->listed->names[w->listed_at] : NULL;
	int c = !a ? 1 : !b ? -1 : strcmp(a, b);
	*named = a && c <= 0;
	*listed = b && c >= 0;
	w->named_at += (uint32_t)*named;
	w->listed_at += (uint32_t)*listed;
	return *named ? a : b;
}

static walk walk_packs(const index_file *index, const names *listed)
{
	return (walk){index ? &index->midx : NULL, listed, 0, 0};
}

static long disk_reads(void)
{
	struct rusage used;
	return getrusage(RUSAGE_THREAD, &used) ? 0 : used.ru_inblock;
}

/* Have the disk read the idx of the next packs. Returns how many. */
static uint32_t read_ahead(const look *l, walk w)
{
	const char *names[IDX_AHEAD], *name;
	uint32_t count = 0;
	int is_named, is_listed;
	while (count < IDX_AHEAD && (name = next_name(&w, &is_named, &is_listed)))
		if (!is_named)
			names[count++] = name;
	objdir_packs_ahead(l->dir_path, count, names);
	return count;
}

/*
 * Add an unindexed pack in a first scan. If its idx was read from the disk, the next ones will be too, and the disk can
 * read many at a time. Mostly all are in memory, so this is measured for only one of several; `unwatched` counts the
 * others.
 */
static int add_unindexed_ahead(view *v, const look *l, pack_file *p, const walk *w, uint32_t *unwatched, gpa_error *err)
{
	if (*unwatched) {
		--*unwatched;
		return add_unindexed(v, p, err);
	}
	long before = disk_reads();
	int status = add_unindexed(v, p, err);
	*unwatched = disk_reads() == before ? UNWATCHED : read_ahead(l, *w);
	return status;
}

static int add_packs(view *v, const look *l, const names *listed, gpa_error *err)
{
	walk w = walk_packs(v->index, listed);
	size_t named_count = w.midx ? w.midx->pack_count : 0;
	uint32_t old_at = 0, unwatched = l->old ? UINT32_MAX : 0;
	const char *name;
	int is_named, is_listed, status = GPA_OK;
	v->packs = calloc(named_count + listed->count + 1, sizeof(*v->packs));
	v->named = calloc(named_count + 1, sizeof(*v->named));
	v->unindexed = calloc((size_t)listed->count + 1, sizeof(*v->unindexed));
	if (!v->packs || !v->named || !v->unindexed)
		return out_of_memory(err);
	while (!status && (name = next_name(&w, &is_named, &is_listed))) {
		if ((status = add_pack(v, l, &old_at, name, err)))
			break;
		pack_file *p = v->packs[v->pack_count - 1];
		if (is_named)
			v->named[w.named_at - 1] = p;
		else
			status = add_unindexed_ahead(v, l, p, &w, &unwatched, err);
	}
	return status;
}

static int compare_sizes(const void *left, const void *right)
{
	const pack_file *a = *(pack_file *const *)left, *b = *(pack_file *const *)right;
	return a->idx.object_count < b->idx.object_count ? 1 : a->idx.object_count > b->idx.object_count ? -1 :
	       strcmp(a->name, b->name);
}

static const unsigned char *ref_oid(const void *context, const oid_ref *ref)
{
	const view *v = context;
	return gpa_idx_oid(&v->unindexed[ref->source]->idx, ref->pos);
}

const unsigned char *view_table_oid(const view *v, uint32_t at)
{
	return ref_oid(v, &v->table[at]);
}

/* Build the table of small packs. The largest packs stay out of it, and as many more as it has no room for. */
static int make_table(view *v, uint32_t hash_size, gpa_error *err)
{
	uint64_t count = 0;
	if (v->unindexed_count)
		qsort(v->unindexed, v->unindexed_count, sizeof(*v->unindexed), compare_sizes);
	v->large_count = v->unindexed_count;
	if (v->unindexed_count < 2)
		return GPA_OK;
	while (v->large_count) {
		uint32_t objects = v->unindexed[v->large_count - 1]->idx.object_count;
		if (objects > LARGE_PACK || count + objects > UINT32_MAX)
			break;
		count += objects;
		v->large_count--;
	}
	v->table = malloc((count + 1) * sizeof(*v->table));
	oid_ref *scratch = malloc((count + 1) * sizeof(*scratch));
	if (!v->table || !scratch) {
		free(scratch);
		return out_of_memory(err);
	}
	for (uint32_t source = v->large_count; source < v->unindexed_count; source++) {
		const gpa_idx *idx = &v->unindexed[source]->idx;
		for (uint32_t pos = 0; pos < idx->object_count; pos++)
			v->table[v->table_count++] = (oid_ref){be64(gpa_idx_oid(idx, pos)), source, pos};
	}
	oid_sort(v->table, scratch, v->table_count, hash_size, ref_oid, v);
	free(scratch);
	return GPA_OK;
}

static int view_new(view **out, const look *l, index_file *index, const names *listed, gpa_error *err)
{
	view *v = calloc(1, sizeof(*v));
	if (!v)
		return out_of_memory(err);
	v->owners = 1;
	v->index = index;
	if (index)
		__atomic_add_fetch(&index->owners, 1, __ATOMIC_RELAXED);
	int status = add_packs(v, l, listed, err);
	if (!status)
		status = make_table(v, (uint32_t)gpa_hash_size(l->algo), err);
	if (status)
		view_drop(v);
	else
		*out = v;
	return status;
}

/* Whether the old view is still right: it has the same index and packs, and no pack has to be opened anew. */
static int is_same(const view *old, const index_file *index, const names *listed)
{
	walk w = walk_packs(index, listed);
	uint32_t at = 0;
	const char *name;
	int is_named, is_listed;
	if (!old || old->index != index)
		return 0;
	for (; (name = next_name(&w, &is_named, &is_listed)); at++)
		if (at >= old->pack_count || strcmp(old->packs[at]->name, name) ||
		    __atomic_load_n(&old->packs[at]->suspect, __ATOMIC_RELAXED))
			return 0;
	return at == old->pack_count;
}

/* ---- scanning ---- */

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int look_at(scanned_dir *out, const look *l, const scanned_dir *old, gpa_error *err)
{
	index_file *index = NULL;
	names listed;
	int status;
	out->began_ns = now_ns();
	objdir_stamp_packs(&out->pack_dir, l->dir_path);
	objdir_stamp_index(&out->index, l->dir_path);
	if (old && old->view->index && same_stamp(&out->index, &old->view->index->stamp)) {
		index = old->view->index;
		__atomic_add_fetch(&index->owners, 1, __ATOMIC_RELAXED);
	} else if (out->index.inode && (status = index_open(&index, l->dir_path, l->algo, err))) {
		return status;
	}
	if (!(status = objdir_packs(&listed, l->dir_path, err))) {
		if (is_same(l->old, index, &listed)) {
			out->view = old->view;
			__atomic_add_fetch(&out->view->owners, 1, __ATOMIC_RELAXED);
		} else {
			status = view_new(&out->view, l, index, &listed, err);
		}
		names_free(&listed);
	}
	index_drop(index);
	return status;
}

int snapshot_new(snapshot **out, char *const *dirs, uint32_t dir_count, const snapshot *old, pack_maps *maps, int algo,
		 gpa_error *err)
{
	snapshot *s = calloc(1, sizeof(*s) + dir_count * sizeof(s->dirs[0]));
	if (!s)
		return out_of_memory(err);
	s->owners = 1;
	for (; s->dir_count < dir_count; s->dir_count++) {
		uint32_t i = s->dir_count;
		const scanned_dir *before = old ? &old->dirs[i] : NULL;
		look l = {maps, dirs[i], i, algo, before ? before->view : NULL};
		int status = look_at(&s->dirs[i], &l, before, err);
		if (status) {
			err->source = (int32_t)i;
			snapshot_drop(s);
			return status;
		}
	}
	*out = s;
	return GPA_OK;
}

void snapshot_drop(snapshot *s)
{
	if (!s || __atomic_sub_fetch(&s->owners, 1, __ATOMIC_ACQ_REL))
		return;
	for (uint32_t i = 0; i < s->dir_count; i++)
		view_drop(s->dirs[i].view);
	free(s);
}

/*
 * Whether a change after the scan would show. A directory that changed less than a tick before may change again with
 * the same time. A time in the future tells nothing about ticks, and is taken as it is: a clock was set.
 */
static int is_sure(const file_stamp *stamp, int64_t looked_ns)
{
	int64_t tick = stamp->ctime_ns % 1000000000 ? TICK_NS : COARSE_TICK_NS;
	int64_t age = looked_ns - stamp->ctime_ns;
	return !stamp->inode || age > tick || age < -COARSE_TICK_NS;
}

int snapshot_check(const snapshot *s, char *const *dirs)
{
	int sure = SNAPSHOT_SURE;
	for (uint32_t i = 0; i < s->dir_count; i++) {
		const scanned_dir *l = &s->dirs[i];
		file_stamp pack_dir, index;
		objdir_stamp_packs(&pack_dir, dirs[i]);
		if (!same_stamp(&pack_dir, &l->pack_dir))
			return 0;
		if (is_sure(&pack_dir, l->began_ns))
			continue;	/* an index gets its name by a rename, which shows in its directory */
		sure = SNAPSHOT_SAME;
		objdir_stamp_index(&index, dirs[i]);
		if (!same_stamp(&index, &l->index))
			return 0;
	}
	return sure;
}

/* ---- looking up ---- */

int view_find_indexed(place *out, const scanned_dir *l, uint32_t dir, const unsigned char *oid, gpa_error *err)
{
	const index_file *index = l->view->index;
	uint32_t pos, pack;
	if (!index || gpa_midx_find(&pos, &index->midx, oid))
		return GPA_ENOTFOUND;
	int status = gpa_midx_entry(&pack, &out->offset, &index->midx, pos, err);
	if (status) {
		err->source = (int32_t)dir;
		snprintf(err->file, sizeof(err->file), "pack/multi-pack-index");
		return status;
	}
	out->pack = l->view->named[pack];
	return GPA_OK;
}

/*
 * The first row whose key is not below that of `oid`. Ids are spread evenly, so the first guess is near; from there the
 * search goes in growing steps, then by bisection.
 */
uint32_t view_table_begin(const view *v, const unsigned char *oid)
{
	uint64_t key = be64(oid);
	uint64_t low = 0, high = v->table_count, step = 8;
	uint64_t at = (uint64_t)(((unsigned __int128)key * high) >> 64);
	if (!high)
		return 0;
	if (v->table[at].key < key) {
		low = at + 1;
		while (low + step < high && v->table[low + step].key < key) {
			low += step;
			step *= 2;
		}
		high = low + step < high ? low + step : high;
	} else {
		high = at;
		while (high > step && v->table[high - step].key >= key) {
			high -= step;
			step *= 2;
		}
		low = high > step ? high - step : 0;
	}
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (v->table[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	/* with equal keys this is the first row; the caller compares the whole ids, one after the other */
	return (uint32_t)low;
}

static int place_of(place *out, pack_file *p, uint32_t pos, gpa_error *err)
{
	out->pack = p;
	int status = gpa_idx_offset(&out->offset, &p->idx, pos, err);
	if (status)
		blame_file(err, p->dir, p->path, ".idx");
	return status;
}

/* Turns: the large packs, then the rows of the table with this oid. */
int view_find_unindexed(place *out, const view *v, uint32_t *turn, const unsigned char *oid, gpa_error *err)
{
	uint32_t pos;
	for (; *turn < v->large_count; ++*turn) {
		if (!gpa_idx_find(&pos, &v->unindexed[*turn]->idx, oid)) {
			++*turn;
			return place_of(out, v->unindexed[*turn - 1], pos, err);
		}
	}
	if (!v->table_count)
		return GPA_ENOTFOUND;
	uint64_t key = be64(oid);
	uint32_t skip = *turn - v->large_count, hash_size = v->unindexed[v->large_count]->idx.hash_size;
	for (uint32_t at = view_table_begin(v, oid); at < v->table_count && v->table[at].key == key; at++) {
		if (memcmp(view_table_oid(v, at), oid, hash_size) || skip--)
			continue;
		++*turn;
		return place_of(out, v->unindexed[v->table[at].source], v->table[at].pos, err);
	}
	return GPA_ENOTFOUND;
}
