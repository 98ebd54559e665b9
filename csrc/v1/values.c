/*
 * The values of a v1 archive, for many threads: those of its pages, and those that were set since and wait for a page.
 * The lock is held to search these and to share the view. Pages are read without it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/oidmap.h"
#include "v1/archive.h"

typedef struct waiting_value {
	uint32_t owners;
	size_t len;
	unsigned char bytes[];
} waiting_value;

typedef struct waiting_row {
	unsigned char key[GPA_OID_MAX];	/* as oid_map needs it */
	waiting_value *value;
} waiting_row;

struct gpa_archive {
	uint32_t owners;
	pthread_mutex_t lock;
	archive_view *view;
	waiting_row *rows;	/* in the order in which they were set */
	uint32_t room;
	uint64_t waiting_bytes;
	oid_map map;		/* of the rows; has their count */
};

static void value_drop(waiting_value *value)
{
	if (value && !__atomic_sub_fetch(&value->owners, 1, __ATOMIC_ACQ_REL))
		free(value);
}

/* ---- opening, closing, fork ---- */

int gpa_archive_new(gpa_archive **out, gpa_error *err)
{
	gpa_archive *a = calloc(1, sizeof(*a));
	gpa_archive_shown nothing = {.count = 0};
	int status = a ? archive_view_new(&a->view, NULL, &nothing, err) : out_of_memory(err);
	if (status) {
		free(a);
		return status;
	}
	a->owners = 1;
	pthread_mutex_init(&a->lock, NULL);
	*out = a;
	return GPA_OK;
}

gpa_archive *gpa_archive_share(gpa_archive *a)
{
	__atomic_add_fetch(&a->owners, 1, __ATOMIC_RELAXED);
	return a;
}

void gpa_archive_free(gpa_archive *a)
{
	if (!a || __atomic_sub_fetch(&a->owners, 1, __ATOMIC_ACQ_REL))
		return;
	for (uint32_t i = 0; i < a->map.count; i++)
		value_drop(a->rows[i].value);
	oid_map_free(&a->map);
	free(a->rows);
	archive_view_drop(a->view);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void gpa_archive_before_fork(gpa_archive *archive)
{
	pthread_mutex_lock(&archive->lock);
}

void gpa_archive_after_fork(gpa_archive *archive)
{
	pthread_mutex_unlock(&archive->lock);
}

/* ---- its pages, and questions about them ---- */

/* Forget the first rows, which have been saved, and move the others up. Their slots exist, so nothing can fail. */
static void forget_saved(gpa_archive *a, uint32_t saved)
{
	uint32_t left = a->map.count - saved;
	for (uint32_t i = 0; i < saved; i++) {
		a->waiting_bytes -= a->rows[i].value->len;
		value_drop(a->rows[i].value);
	}
	memmove(a->rows, a->rows + saved, left * sizeof(*a->rows));
	oid_map_clear(&a->map);
	while (a->map.count < left)
		oid_map_add(&a->map, a->rows, sizeof(*a->rows));
}

static archive_view *share_view(gpa_archive *a)
{
	pthread_mutex_lock(&a->lock);
	archive_view *view = archive_view_share(a->view);
	pthread_mutex_unlock(&a->lock);
	return view;
}

int gpa_archive_show(gpa_archive *a, const gpa_archive_shown *shown, gpa_error *err)
{
	archive_view *before = share_view(a), *view;
	uint32_t saved = shown->saved;
	int status = archive_view_new(&view, before, shown, err);
	archive_view_drop(before);
	if (status)
		return status;
	pthread_mutex_lock(&a->lock);
	before = a->view;
	a->view = view;
	if (saved)
		forget_saved(a, saved < a->map.count ? saved : a->map.count);
	pthread_mutex_unlock(&a->lock);
	archive_view_drop(before);
	return GPA_OK;
}

/* ---- reading ---- */

static waiting_row *find_waiting(const gpa_archive *a, const unsigned char *key)
{
	uint32_t row = oid_map_find(&a->map, a->rows, sizeof(*a->rows), key, GPA_ARCHIVE_KEY);
	return row == NO_ROW ? NULL : &a->rows[row];
}

static void lend_row(gpa_archive_lease *out, const waiting_row *row)
{
	__atomic_add_fetch(&row->value->owners, 1, __ATOMIC_RELAXED);
	*out = (gpa_archive_lease){.bytes = {row->value->bytes, row->value->len}, .waiting = row->value};
	memcpy(out->key, row->key, GPA_ARCHIVE_KEY);
}

/* Lend a value that waits. It is as the caller set it, so only an object's type and size are checked. */
static int lend_as(gpa_archive_lease *out, int as, gpa_error *err)
{
	int type = 0;
	int status = as == GPA_ARCHIVE_STORED ? GPA_OK : archive_split_value(&type, &out->bytes, out->bytes, 0, err);
	out->type = type;
	if (status) {
		gpa_archive_return(out);
		snprintf(err->file, sizeof(err->file), "values not saved");
	}
	return status;
}

int gpa_archive_lend(gpa_archive_lease *out, gpa_archive *a, const unsigned char *key, int as, gpa_error *err)
{
	int type = 0;
	*out = (gpa_archive_lease){.type = 0};
	pthread_mutex_lock(&a->lock);
	const waiting_row *row = find_waiting(a, key);
	if (row)
		lend_row(out, row);
	archive_view *view = row ? NULL : archive_view_share(a->view);
	pthread_mutex_unlock(&a->lock);
	if (!view)
		return lend_as(out, as, err);
	out->view = view;
	memcpy(out->key, key, GPA_ARCHIVE_KEY);
	int status = archive_view_read(&type, &out->bytes, view, key, as, err);
	out->type = type;
	if (status)
		gpa_archive_return(out);
	return status;
}

int gpa_archive_lend_waiting(gpa_archive_lease *out, gpa_archive *a, uint32_t place)
{
	pthread_mutex_lock(&a->lock);
	int is_there = place < a->map.count;
	if (is_there)
		lend_row(out, &a->rows[place]);
	pthread_mutex_unlock(&a->lock);
	return is_there ? GPA_OK : GPA_ENOTFOUND;
}

void gpa_archive_return(gpa_archive_lease *lease)
{
	archive_view_drop(lease->view);
	value_drop(lease->waiting);
	*lease = (gpa_archive_lease){.type = 0};
}

int gpa_archive_has(gpa_archive *a, const unsigned char *key)
{
	gpa_archive_row row;
	gpa_error ignored;
	pthread_mutex_lock(&a->lock);
	int is_waiting = find_waiting(a, key) != NULL;
	pthread_mutex_unlock(&a->lock);
	return is_waiting ? GPA_OK : gpa_archive_locate(&row, a, key, &ignored);
}

int gpa_archive_locate(gpa_archive_row *row, gpa_archive *a, const unsigned char *key, gpa_error *err)
{
	archive_view *view = share_view(a);
	int status = archive_view_find(row, view, key, err);
	archive_view_drop(view);
	return status;
}

void gpa_archive_counts(uint32_t *mapped, uint32_t *searches, gpa_archive *a)
{
	archive_view *view = share_view(a);
	archive_view_counts(mapped, searches, view);
	archive_view_drop(view);
}

int archive_has_sound(gpa_archive *a, const unsigned char *key)
{
	gpa_archive_lease lease;
	gpa_error ignored;
	int status = gpa_archive_lend(&lease, a, key, GPA_ARCHIVE_OBJECT, &ignored);
	if (!status)
		gpa_archive_return(&lease);
	return !status;
}

/* ---- adding ---- */

static waiting_value *value_new(int type, gpa_bytes content)
{
	size_t prefix = type ? ARCHIVE_TYPE_SIZE : 0;
	waiting_value *value = malloc(sizeof(*value) + prefix + content.len);
	if (!value)
		return NULL;
	value->owners = 1;
	value->len = prefix + content.len;
	if (type)
		put_le32(value->bytes, (uint32_t)type);
	if (content.len)
		memcpy(value->bytes + prefix, content.ptr, content.len);
	return value;
}

/* Put a row, under the lock. Returns 1 if it was added, 0 if the key exists, -1 without memory. */
static int put_row(gpa_archive *a, const unsigned char *key, waiting_value *value, int is_object)
{
	gpa_archive_row found;
	gpa_error ignored;
	if (find_waiting(a, key) || (!is_object && !archive_view_find(&found, a->view, key, &ignored)))
		return 0;
	if (array_reserve(a->rows, a->room, (uint64_t)a->map.count + 1, 64))
		return -1;
	waiting_row *row = &a->rows[a->map.count];
	*row = (waiting_row){.value = value};
	memcpy(row->key, key, GPA_ARCHIVE_KEY);
	if (oid_map_add(&a->map, a->rows, sizeof(*a->rows)))
		return -1;
	a->waiting_bytes += value->len;
	return 1;
}

int gpa_archive_add(gpa_archive *a, const unsigned char *key, int type, gpa_bytes content, gpa_error *err)
{
	if (content.len > ARCHIVE_DATA_MOST - (type ? ARCHIVE_TYPE_SIZE : 0))
		return unsupported(err, "value of %zu bytes: a page has room for %u", content.len, ARCHIVE_DATA_MOST);
	if (type && archive_has_sound(a, key))
		return GPA_OK;
	waiting_value *value = value_new(type, content);
	if (!value)
		return out_of_memory(err);
	pthread_mutex_lock(&a->lock);
	int is_put = put_row(a, key, value, type != 0);
	pthread_mutex_unlock(&a->lock);
	if (is_put <= 0)
		value_drop(value);
	return is_put < 0 ? out_of_memory(err) : GPA_OK;
}

void gpa_archive_waiting(uint32_t *count, uint64_t *bytes, gpa_archive *a)
{
	pthread_mutex_lock(&a->lock);
	*count = a->map.count;
	*bytes = a->waiting_bytes;
	pthread_mutex_unlock(&a->lock);
}

/* ---- listing ---- */

static int by_key(const void *left, const void *right)
{
	return memcmp(left, right, GPA_ARCHIVE_KEY);
}

static size_t drop_repeated(unsigned char *keys, size_t count)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++)
		if (!kept || by_key(keys + GPA_ARCHIVE_KEY * (kept - 1), keys + GPA_ARCHIVE_KEY * i))
			memmove(keys + GPA_ARCHIVE_KEY * kept++, keys + GPA_ARCHIVE_KEY * i, GPA_ARCHIVE_KEY);
	return kept;
}

/* Take the current view, and the keys of the values that wait, with room for the view's keys before them. */
static archive_view *waiting_keys(unsigned char **keys, size_t *most, size_t *count, gpa_archive *a)
{
	pthread_mutex_lock(&a->lock);
	archive_view *view = archive_view_share(a->view);
	*most = archive_view_most_keys(view);
	*count = a->map.count;
	if ((*keys = malloc(GPA_ARCHIVE_KEY * (*most + *count) + 1)))
		for (size_t i = 0; i < *count; i++)
			memcpy(*keys + GPA_ARCHIVE_KEY * (*most + i), a->rows[i].key, GPA_ARCHIVE_KEY);
	pthread_mutex_unlock(&a->lock);
	return view;
}

int gpa_archive_list(gpa_buffer *out, gpa_archive *a, gpa_error *err)
{
	unsigned char *keys;
	size_t most, waiting;
	archive_view *view = waiting_keys(&keys, &most, &waiting, a);
	size_t count = keys ? archive_view_keys(keys, view) : 0;
	archive_view_drop(view);
	if (!keys)
		return out_of_memory(err);
	memmove(keys + GPA_ARCHIVE_KEY * count, keys + GPA_ARCHIVE_KEY * most, GPA_ARCHIVE_KEY * waiting);
	count += waiting;
	qsort(keys, count, GPA_ARCHIVE_KEY, by_key);
	*out = (gpa_buffer){keys, GPA_ARCHIVE_KEY * drop_repeated(keys, count)};
	return GPA_OK;
}

void archive_expand(archive_found *found, gpa_archive *a, const unsigned char *prefix, size_t digits)
{
	*found = (archive_found){.count = 0};
	pthread_mutex_lock(&a->lock);
	for (uint32_t i = 0; i < a->map.count; i++)
		if (archive_begins_so(a->rows[i].key, prefix, digits))
			archive_note_found(found, a->rows[i].key);
	archive_view_expand(found, a->view, prefix, digits);
	pthread_mutex_unlock(&a->lock);
}
