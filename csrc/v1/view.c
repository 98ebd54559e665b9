/*
 * The pages of a v1 archive, mapped, and the tables over them. A table is a shortcut: if it leads to another key, or to
 * a page that is no longer in the list, all pages are searched, the newest first.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "v1/archive.h"

#define NO_PAGE UINT32_MAX

struct gpa_archive_table {
	uint32_t owners;
	gpa_bytes map;		/* of its file */
	unsigned char *image;	/* or a copied image */
	gpa_archive_index index;
};

typedef struct page_map {
	gpa_bytes map;
	gpa_archive_page page;
} page_map;

/* `mapped` is NULL until the page is first needed. Set once, without a lock: a fork may come at any moment. */
typedef struct mapped_page {
	uint32_t owners;
	page_map *mapped;
	char path[];
} mapped_page;

typedef struct asked_table {
	gpa_archive_table *table;
	uint32_t *numbers;
} asked_table;

struct archive_view {
	uint32_t owners;
	uint32_t searches;	/* how often all pages were asked one after the other */
	uint32_t page_count;
	uint32_t table_count;
	mapped_page **pages;	/* oldest first */
	asked_table *tables;
};

static void *shared(void *thing, uint32_t *owners)
{
	__atomic_add_fetch(owners, 1, __ATOMIC_RELAXED);
	return thing;
}

static int was_last(uint32_t *owners)
{
	return !__atomic_sub_fetch(owners, 1, __ATOMIC_ACQ_REL);
}

/* ---- tables ---- */

static int table_parse(gpa_archive_table **out, gpa_archive_table *t, gpa_bytes file, gpa_error *err)
{
	int status = gpa_archive_index_parse(&t->index, file, err);
	if (status)
		gpa_archive_table_free(t);
	else
		*out = t;
	return status;
}

int gpa_archive_table_open(gpa_archive_table **out, const char *path, gpa_error *err)
{
	gpa_archive_table *t = calloc(1, sizeof(*t));
	if (!t)
		return out_of_memory(err);
	t->owners = 1;
	int status = gpa_map_open(&t->map, AT_FDCWD, path, err);
	if (status) {
		free(t);
		return status;
	}
	return table_parse(out, t, t->map, err);
}

int gpa_archive_table_make(gpa_archive_table **out, gpa_bytes image, gpa_error *err)
{
	gpa_archive_table *t = calloc(1, sizeof(*t));
	if (!t || !(t->image = malloc(image.len + 1))) {
		free(t);
		return out_of_memory(err);
	}
	t->owners = 1;
	memcpy(t->image, image.ptr, image.len);
	return table_parse(out, t, (gpa_bytes){t->image, image.len}, err);
}

const gpa_archive_index *gpa_archive_table_index(const gpa_archive_table *table)
{
	return &table->index;
}

void gpa_archive_table_free(gpa_archive_table *t)
{
	if (!t || !was_last(&t->owners))
		return;
	gpa_map_close(&t->map);
	free(t->image);
	free(t);
}

/* ---- pages ---- */

static void name_page(gpa_error *err, const mapped_page *p)
{
	const char *slash = strrchr(p->path, '/');
	snprintf(err->file, sizeof(err->file), "%.*s", (int)sizeof(err->file) - 1, slash ? slash + 1 : p->path);
}

static void map_free(page_map *m)
{
	if (m)
		gpa_map_close(&m->map);
	free(m);
}

static void page_drop(mapped_page *p)
{
	if (!p || !was_last(&p->owners))
		return;
	map_free(p->mapped);
	free(p);
}

static mapped_page *page_new(const char *path)
{
	size_t len = strlen(path) + 1;
	mapped_page *p = calloc(1, sizeof(*p) + len);
	if (p) {
		p->owners = 1;
		memcpy(p->path, path, len);
	}
	return p;
}

/* Map the page unless it is mapped. Of two threads that do it at once, one takes the map of the other. */
static int page_map_now(const gpa_archive_page **out, mapped_page *p, gpa_error *err)
{
	page_map *m = __atomic_load_n(&p->mapped, __ATOMIC_ACQUIRE), *none = NULL;
	if (!m) {
		if (!(m = calloc(1, sizeof(*m))))
			return out_of_memory(err);
		int status = gpa_map_open(&m->map, AT_FDCWD, p->path, err);
		if (!status)
			status = gpa_archive_parse(&m->page, m->map, err);
		if (status) {
			name_page(err, p);
			map_free(m);
			return status;
		}
		if (!__atomic_compare_exchange_n(&p->mapped, &none, m, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			map_free(m);
			m = none;
		}
	}
	*out = &m->page;
	return GPA_OK;
}

/* Find a page of the previous view. Lists mostly keep their order, so the search begins after the page found last. */
static mapped_page *page_of(const archive_view *before, uint32_t *at, const char *path)
{
	for (uint32_t i = 0; before && i < before->page_count; i++) {
		uint32_t place = (*at + i) % before->page_count;
		if (!strcmp(before->pages[place]->path, path)) {
			*at = place + 1;
			return shared(before->pages[place], &before->pages[place]->owners);
		}
	}
	return NULL;
}

/* ---- a view ---- */

archive_view *archive_view_share(archive_view *view)
{
	return shared(view, &view->owners);
}

void archive_view_drop(archive_view *v)
{
	if (!v || !was_last(&v->owners))
		return;
	for (uint32_t i = 0; v->tables && i < v->table_count; i++) {
		gpa_archive_table_free(v->tables[i].table);
		free(v->tables[i].numbers);
	}
	for (uint32_t i = 0; v->pages && i < v->page_count; i++)
		page_drop(v->pages[i]);
	free(v->tables);
	free(v->pages);
	free(v);
}

static int add_pages(archive_view *v, const archive_view *before, const gpa_archive_shown *shown, gpa_error *err)
{
	uint32_t at = 0;
	const gpa_archive_page *ignored;
	for (uint32_t i = 0; i < v->page_count; i++) {
		if ((v->pages[i] = page_of(before, &at, shown->paths[i])))
			continue;
		if (!(v->pages[i] = page_new(shown->paths[i])))
			return out_of_memory(err);
		int status = i < shown->later ? GPA_OK : page_map_now(&ignored, v->pages[i], err);
		if (status) {
			err->source = (int32_t)i;
			return status;
		}
	}
	return GPA_OK;
}

static int add_tables(archive_view *v, gpa_archive_table *const *tables, const uint32_t *const *numbers)
{
	for (uint32_t i = 0; i < v->table_count; i++) {
		size_t size = tables[i]->index.page_count * sizeof(**numbers);
		v->tables[i].table = shared(tables[i], &tables[i]->owners);
		if (!(v->tables[i].numbers = malloc(size + 1)))
			return -1;
		memcpy(v->tables[i].numbers, numbers[i], size);
	}
	return 0;
}

int archive_view_new(archive_view **out, const archive_view *before, const gpa_archive_shown *shown, gpa_error *err)
{
	archive_view *v = calloc(1, sizeof(*v));
	if (!v)
		return out_of_memory(err);
	*v = (archive_view){.owners = 1, .page_count = shown->count, .table_count = shown->table_count};
	v->pages = calloc((size_t)shown->count + 1, sizeof(*v->pages));
	v->tables = calloc((size_t)shown->table_count + 1, sizeof(*v->tables));
	int status = GPA_OK;
	if (!v->pages || !v->tables || add_tables(v, shown->tables, shown->numbers))
		status = out_of_memory(err);
	else
		status = add_pages(v, before, shown, err);
	if (status)
		archive_view_drop(v);
	else
		*out = v;
	return status;
}

/* ---- looking up ---- */

/* Find the newest entry of a key in the first `count` pages. A page that is damaged as a whole has none. */
static int search(gpa_archive_row *row, const archive_view *v, const unsigned char *key, uint32_t count, gpa_error *err)
{
	while (count--) {
		const gpa_archive_page *page;
		int status = page_map_now(&page, v->pages[count], err);
		if (status == GPA_ECORRUPT)
			continue;
		if (status)
			return status;
		if (!gpa_archive_find(row, page, key, GPA_ARCHIVE_KEY)) {
			row->page = count;
			return GPA_OK;
		}
	}
	return GPA_ENOTFOUND;
}

static int search_all(gpa_archive_row *row, const archive_view *v, const unsigned char *key, gpa_error *err)
{
	__atomic_add_fetch(&((archive_view *)v)->searches, 1, __ATOMIC_RELAXED);
	return search(row, v, key, v->page_count, err);
}

static uint32_t number_of(const archive_view *v, const asked_table *asked, uint32_t page)
{
	uint32_t number = asked->numbers[page];
	return number < v->page_count ? number : NO_PAGE;
}

int archive_view_find(gpa_archive_row *row, const archive_view *v, const unsigned char *key, gpa_error *err)
{
	for (uint32_t i = 0; i < v->table_count; i++) {
		const gpa_archive_page *page;
		uint32_t place, slot;
		int status = gpa_archive_index_find(&place, &slot, &v->tables[i].table->index, key, err);
		if (status == GPA_ENOTFOUND)
			continue;
		uint32_t number = status ? NO_PAGE : number_of(v, &v->tables[i], place);
		if (number == NO_PAGE)
			return search_all(row, v, key, err);
		if ((status = page_map_now(&page, v->pages[number], err)))
			return status;
		if (gpa_archive_entry(row, page, slot) || memcmp(row->key, key, GPA_ARCHIVE_KEY))
			return search_all(row, v, key, err);
		row->page = number;
		return GPA_OK;
	}
	return GPA_ENOTFOUND;
}

void archive_view_counts(uint32_t *mapped, uint32_t *searches, const archive_view *v)
{
	*mapped = 0;
	for (uint32_t i = 0; i < v->page_count; i++)
		*mapped += !!__atomic_load_n(&v->pages[i]->mapped, __ATOMIC_RELAXED);
	*searches = __atomic_load_n(&v->searches, __ATOMIC_RELAXED);
}

static int read_row(int *type, gpa_bytes *out, mapped_page *p, const gpa_archive_row *row, int as, gpa_error *err)
{
	const gpa_archive_page *page;
	int status = page_map_now(&page, p, err);
	if (status)
		return status;
	*type = 0;
	if (as == GPA_ARCHIVE_OBJECT)
		status = gpa_archive_object(type, out, page, row, err);
	else
		status = gpa_archive_value(out, page, row, err);
	if (!status && as == GPA_ARCHIVE_HEADER)
		status = archive_split_value(type, out, *out, GPA_ARCHIVE_DATA_START + (size_t)row->offset, err);
	if (status)
		name_page(err, p);
	return status;
}

int archive_view_read(int *type, gpa_bytes *out, const archive_view *v, const unsigned char *key, int as, gpa_error *err)
{
	gpa_archive_row row;
	gpa_error ignored;
	int status = archive_view_find(&row, v, key, err);
	if (status)
		return status;
	status = read_row(type, out, v->pages[row.page], &row, as, err);
	/* only an older copy of an object is the same value */
	while (status == GPA_ECORRUPT && as != GPA_ARCHIVE_STORED && !search(&row, v, key, row.page, &ignored))
		if (!read_row(type, out, v->pages[row.page], &row, as, &ignored))
			return GPA_OK;
	return status;
}

/* ---- all keys, and keys by prefix ---- */

uint64_t archive_view_most_keys(const archive_view *v)
{
	uint64_t count = 0;
	for (uint32_t i = 0; i < v->table_count; i++)
		count += v->tables[i].table->index.object_count;
	return count;
}

/* The key at `pos` of a table; NULL if no page of the list has it. */
static const unsigned char *listed_key(const archive_view *v, const asked_table *asked, uint32_t pos)
{
	gpa_archive_row row;
	gpa_error ignored;
	const unsigned char *key = gpa_archive_index_key(&asked->table->index, pos);
	return archive_view_find(&row, v, key, &ignored) == GPA_ENOTFOUND ? NULL : key;
}

uint64_t archive_view_keys(unsigned char *keys, const archive_view *v)
{
	uint64_t count = 0;
	for (uint32_t i = 0; i < v->table_count; i++)
		for (uint32_t pos = 0; pos < v->tables[i].table->index.object_count; pos++) {
			const unsigned char *key = listed_key(v, &v->tables[i], pos);
			if (key)
				memcpy(keys + GPA_ARCHIVE_KEY * count++, key, GPA_ARCHIVE_KEY);
		}
	return count;
}

int archive_begins_so(const unsigned char *key, const unsigned char *prefix, size_t digits)
{
	return !memcmp(key, prefix, digits / 2) && (digits % 2 == 0 || key[digits / 2] >> 4 == prefix[digits / 2] >> 4);
}

void archive_note_found(archive_found *found, const unsigned char *key)
{
	if (found->count < 2 && !(found->count && !memcmp(found->keys[0], key, GPA_ARCHIVE_KEY)))
		memcpy(found->keys[found->count++], key, GPA_ARCHIVE_KEY);
}

void archive_view_expand(archive_found *found, const archive_view *v, const unsigned char *prefix, size_t digits)
{
	for (uint32_t i = 0; i < v->table_count; i++) {
		uint32_t first, count;
		gpa_archive_index_range(&first, &count, &v->tables[i].table->index, prefix, digits / 2);
		for (uint32_t pos = first; count-- && found->count < 2; pos++) {
			const unsigned char *key = gpa_archive_index_key(&v->tables[i].table->index, pos);
			if (archive_begins_so(key, prefix, digits) && listed_key(v, &v->tables[i], pos))
				archive_note_found(found, key);
		}
	}
}
