/*
 * Pages that are published while `git gc` runs. At its end gc removes each .idx and .keep beside which it has seen no
 * .pack. A directory is not listed in one instant. So gc may see the .idx and the .keep of a page whose .pack got its
 * name during the listing, and not the .pack. The idx therefore keeps its temporary name too for a while. When gc has
 * taken the names, the writer puts back the .keep first, and then the .idx: a visible page without its .keep would be
 * deleted by gc's next repack. When the writer dies, the temporary name stays, and the next writer does the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "write/writer.h"

#define WATCH_NS 10000000000	/* longer than gc lists a directory */
#define PAUSE_NS 50000000	/* between two checks of all pages */

int guard_add(gc_guard *list, temp_page *t, int64_t now_ns)
{
	if (array_reserve(list->pages, list->room, (uint64_t)list->count + 1, 16))
		return -1;
	guarded_page *page = &list->pages[list->count++];
	*page = (guarded_page){.temp = t->idx_path, .since_ns = now_ns};
	memcpy(page->name, t->name, sizeof(page->name));
	t->idx_path = NULL;
	return 0;
}

/* Put back the names that were taken from the page. Returns whether there were any. */
static int put_back(const gpa_writer *w, const guarded_page *page)
{
	char idx[PATH_ROOM], pack[PATH_ROOM], keep[PATH_ROOM];
	gpa_error ignored;
	int stem = (int)(strlen(page->name) - strlen("idx"));
	if (snprintf(idx, sizeof(idx), "%s/%s", w->pack_dir, page->name) >= (int)sizeof(idx) - 1)
		return 0;
	snprintf(pack, sizeof(pack), "%s/%.*spack", w->pack_dir, stem, page->name);
	snprintf(keep, sizeof(keep), "%s/%.*skeep", w->pack_dir, stem, page->name);
	if (!access(idx, F_OK) || access(pack, F_OK))
		return 0;
	return !page_hold(w, keep, &ignored) && !door_link(&w->door, page->temp, idx, &ignored);
}

int guard_put_back(const gpa_writer *w)
{
	int any = 0;
	for (uint32_t i = 0; i < w->guard.count; i++)
		any |= put_back(w, &w->guard.pages[i]);
	return any;
}

void guard_look(gpa_writer *w, int64_t now_ns)
{
	gc_guard *list = &w->guard;
	gpa_error ignored;
	uint32_t kept = 0;
	if (!list->count || now_ns - list->looked_ns < PAUSE_NS)
		return;
	list->looked_ns = now_ns;
	/* A gc that begins later sees all names of these pages. So this is asked before they are put back. */
	int gc_runs = writer_gc_runs(w);
	guard_put_back(w);
	for (uint32_t i = 0; i < list->count; i++) {
		if (gc_runs && now_ns - list->pages[i].since_ns <= WATCH_NS) {
			list->pages[kept++] = list->pages[i];
			continue;
		}
		door_unlink(&w->door, list->pages[i].temp, &ignored);
		free(list->pages[i].temp);
	}
	list->count = kept;
}

void guard_free(gc_guard *list)
{
	while (list->count)
		free(list->pages[--list->count].temp);
	free(list->pages);
	*list = (gc_guard){0};
}
