/*
 * Pages that were published while `git gc` runs. gc removes each .idx beside which it has not seen a .pack; and since a
 * large directory is not listed in one instant, it may see an .idx whose .pack got its name just before it. So the idx
 * keeps its temporary name too for a while, and gets its name back when that was taken. A process that dies leaves the
 * temporary name, by which the next writer does the same.
 */
#include <unistd.h>

#include "write/writer.h"

#define WATCH_NS 10000000000	/* longer than gc lists a directory */
#define PAUSE_NS 500000000	/* between two looks at all of them */
#define PATH_ROOM 4096

int watch_is_needed(const gpa_writer *w)
{
	return w->options.gc_pid && !access(w->options.gc_pid, F_OK);
}

int watch_add(watch *list, temp_page *t, int64_t now_ns)
{
	if (list->count == list->room) {
		uint32_t room = 2 * list->room + 16;
		watched *longer = realloc(list->pages, room * sizeof(*longer));
		if (!longer)
			return -1;
		list->pages = longer;
		list->room = room;
	}
	watched *page = &list->pages[list->count++];
	*page = (watched){.temp = t->idx_path, .since_ns = now_ns};
	memcpy(page->name, t->name, sizeof(page->name));
	t->idx_path = NULL;
	return 0;
}

/* Whether it may be forgotten. */
static int is_safe(const gpa_writer *w, const watched *page, int64_t now_ns)
{
	char idx[PATH_ROOM], pack[PATH_ROOM];
	gpa_error ignored;
	int stem = (int)(strlen(page->name) - strlen("idx"));
	if (snprintf(idx, sizeof(idx), "%s/%s", w->pack_dir, page->name) >= (int)sizeof(idx) - 1)
		return 1;
	snprintf(pack, sizeof(pack), "%s/%.*spack", w->pack_dir, stem, page->name);
	if (access(idx, F_OK) && !access(pack, F_OK))
		door_link(&w->door, page->temp, idx, &ignored);
	return now_ns - page->since_ns > WATCH_NS;
}

void watch_look(gpa_writer *w, int64_t now_ns)
{
	watch *list = &w->watch;
	gpa_error ignored;
	uint32_t kept = 0;
	if (!list->count || now_ns - list->looked_ns < PAUSE_NS)
		return;
	list->looked_ns = now_ns;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!is_safe(w, &list->pages[i], now_ns)) {
			list->pages[kept++] = list->pages[i];
			continue;
		}
		door_unlink(&w->door, list->pages[i].temp, &ignored);
		free(list->pages[i].temp);
	}
	list->count = kept;
}

void watch_free(watch *list)
{
	while (list->count)
		free(list->pages[--list->count].temp);
	free(list->pages);
	*list = (watch){0};
}
