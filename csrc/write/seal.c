/*
 * Sealing: the entries of the open page are copied into a pack as they are, an idx is written, and both get their names.
 * They stand in git's order: commits, tags, trees, blobs, and within a type as they were added. Where deltas are asked for,
 * seal_deltas.c orders trees and blobs, and gives smaller entries for some of them.
 *
 * I4: .pack before .idx. A page is synced before it has a name; then the directory. I14: it gets a .keep before it is visible.
 *
 * One thread seals at a time, and what comes meanwhile goes into the next page; threads that wait for the same seal do
 * not each make one.
 */
#include <unistd.h>

#include "write/writer.h"

#define PATH_ROOM 4096

/* ---- files on their way to their names ---- */

/* What a .keep of ours begins with; gpa_maint/fs/holds.py reads it. */
static const char new_objects[] = "git-gpa new\n";

/* A file with the words of a hold. */
static int write_hold(const gpa_writer *w, const char *path, gpa_error *err)
{
	gpa_error ignored;
	int fd, status = door_create(&fd, &w->door, path, 0444, err);
	if (status)
		return status;
	status = door_write(NULL, &w->door, fd, path, new_objects, sizeof(new_objects) - 1, 0, err);
	/* an empty one would be somebody else's */
	if (!status && w->options.durability != GPA_DURABLE_NONE)
		status = door_sync_unnamed(&w->door, fd, path, err);
	close(fd);
	if (status)
		door_unlink(&w->door, path, &ignored);
	return status;
}

static int make_keep(gpa_writer *w, gpa_error *err)
{
	char *path = writer_temp_path(w, w->temp_count++, "keep");
	int status = path ? write_hold(w, path, err) : out_of_memory(err);
	if (status)
		free(path);
	else
		w->keep = path;
	return status;
}

int temp_page_open(temp_page *t, gpa_writer *w, gpa_error *err)
{
	*t = (temp_page){.pid = w->pid, .pack_fd = -1, .idx_fd = -1};
	/* by this file others know that the writer of the temporary ones lives */
	int status = open_page_make_file(&w->pages[0], &w->door, err);
	if (!status && !w->keep)
		status = make_keep(w, err);
	uint32_t number = w->temp_count++;
	t->pack_path = writer_temp_path(w, number, "pack");
	t->idx_path = writer_temp_path(w, number, "idx");
	if (!status && !(t->pack_path && t->idx_path))
		status = out_of_memory(err);
	return status;
}

int temp_page_create(temp_page *t, const gpa_writer *w, gpa_error *err)
{
	int status = door_create(&t->pack_fd, &w->door, t->pack_path, 0444, err);
	return status ? status : door_create(&t->idx_fd, &w->door, t->idx_path, 0444, err);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* "<pack_dir>/pack-<hex>.<suffix>" */
static int pack_path(char *out, const gpa_writer *w, const char *hex, const char *suffix, gpa_error *err)
{
	if (snprintf(out, PATH_ROOM, "%s/pack-%s.%s", w->pack_dir, hex, suffix) < PATH_ROOM)
		return GPA_OK;
	errno = ENAMETOOLONG;
	return system_failed(err, "cannot name a pack");
}

static int name_files(temp_page *t, const gpa_writer *w, const char *hex, gpa_error *err)
{
	char path[PATH_ROOM];
	int status = pack_path(path, w, hex, "pack", err);
	/* A pack of this name holds the same bytes, or was damaged since. */
	if (status || (status = door_rename(&w->door, t->pack_path, path, err)))
		return status;
	t->named = 1;
	if ((status = pack_path(path, w, hex, "idx", err)))
		return status;
	t->watched = watch_is_needed(w) && !door_link(&w->door, t->idx_path, path, err);
	return t->watched ? GPA_OK : door_rename(&w->door, t->idx_path, path, err);
}

/* Is there a pack of this name, or one on its way? */
static int is_taken(const gpa_writer *w, const char *hex)
{
	static const char *const suffixes[] = {"idx", "keep"};
	char path[PATH_ROOM];
	gpa_error ignored;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++)
		if (!pack_path(path, w, hex, suffixes[i], &ignored) && !access(path, F_OK))
			return 1;
	return 0;
}

/*
 * The pack's checksum, or where a pack of that name is there, which has the same bytes, a hash of it: that pack may be
 * old, or cruft, or about to be deleted by somebody, and is not held.
 */
static int free_name(char *hex, const gpa_writer *w, const unsigned char *trailer, gpa_error *err)
{
	unsigned char id[GPA_OID_MAX];
	memcpy(id, trailer, w->hash_size);
	for (;;) {
		oid_to_hex(hex, id, w->hash_size);
		if (!is_taken(w, hex))
			return GPA_OK;
		int status = gpa_hash_bytes(id, w->algo, (gpa_bytes){id, w->hash_size}, err);
		if (status)
			return status;
	}
}

/*
 * The .keep is there before the page is visible, so that no `git repack` that lists packs deletes the page before a ref names
 * its objects. It stays: maintenance removes it when it is old.
 */
int page_hold(const gpa_writer *w, const char *path, gpa_error *err)
{
	if (w->keep && !door_link(&w->door, w->keep, path, err))
		return GPA_OK;
	/* there are no links, or too many of this one */
	int status = write_hold(w, path, err);
	return status && err->sys_errno == EEXIST ? GPA_OK : status;
}

static int name_both(temp_page *t, const gpa_writer *w, const unsigned char *trailer, gpa_error *err)
{
	char hex[2 * GPA_OID_MAX + 1], keep[PATH_ROOM];
	int status = free_name(hex, w, trailer, err);
	if (status || (status = pack_path(keep, w, hex, "keep", err)))
		return status;
	snprintf(t->name, sizeof(t->name), "pack-%s.idx", hex);
	return (status = page_hold(w, keep, err)) ? status : name_files(t, w, hex, err);
}

int temp_page_publish(temp_page *t, const gpa_writer *w, const unsigned char *trailer, int sync, gpa_error *err)
{
	int status = GPA_OK;
	if (sync) {
		door_begin_sync(t->pack_fd);
		door_begin_sync(t->idx_fd);
		status = door_sync_unnamed(&w->door, t->pack_fd, t->pack_path, err);
	}
	if (!status && sync)
		status = door_sync_unnamed(&w->door, t->idx_fd, t->idx_path, err);
	close_fd(&t->pack_fd);
	close_fd(&t->idx_fd);
	if (!status && !(status = name_both(t, w, trailer, err)) && sync)
		status = door_sync_dir(&w->door, w->pack_dir, err);
	return status;
}

void temp_page_free(temp_page *t)
{
	close_fd(&t->pack_fd);
	close_fd(&t->idx_fd);
	free(t->pack_path);
	free(t->idx_path);
	t->pack_path = t->idx_path = NULL;
}

/* In a forked child the files are the parent's. */
void temp_page_drop(temp_page *t, const gpa_writer *w)
{
	gpa_error ignored;
	if (t->pack_path && t->idx_path && t->pid == getpid() && !t->named) {
		door_unlink(&w->door, t->pack_path, &ignored);
		door_unlink(&w->door, t->idx_path, &ignored);
	}
	temp_page_free(t);
}

/* ---- the pack ---- */

static const uint32_t types[] = {GPA_COMMIT, GPA_TAG, GPA_TREE, GPA_BLOB};

typedef struct sealing {
	gpa_writer *w;
	const open_page *page;
	temp_page temp;
	gpa_idx_entry *entries;		/* of the idx */
	uint32_t entry_count;
	unsigned char *room;		/* for the longest entry */
	uint32_t *order;		/* the page's rows as they are written */
	delta_search *deltas;		/* or NULL */
} sealing;

static int make_rooms(sealing *s, gpa_error *err)
{
	uint32_t longest = 1;
	for (uint32_t i = 0; i < s->page->count; i++)
		longest = s->page->rows[i].length > longest ? s->page->rows[i].length : longest;
	s->entries = malloc(s->page->count * sizeof(*s->entries));
	s->room = s->page->kept_from ? malloc(longest) : NULL;
	s->order = malloc(s->page->count * sizeof(*s->order));
	return s->entries && s->order && (s->room || !s->page->kept_from) ? GPA_OK : out_of_memory(err);
}

static void free_rooms(sealing *s)
{
	delta_search_free(s->deltas);
	free(s->order);
	free(s->entries);
	free(s->room);
}

static void make_order(sealing *s)
{
	uint32_t n = 0;
	for (size_t k = 0; k < sizeof(types) / sizeof(*types); k++)
		for (uint32_t i = 0; i < s->page->count; i++)
			if (s->page->rows[i].type == types[k])
				s->order[n++] = i;
	if (s->w->options.delta_depth)
		s->deltas = delta_search_new(s->order, s->w, s->page, s->room);
}

static int write_entry(sealing *s, uint32_t at, gpa_error *err)
{
	const page_row *row = &s->page->rows[s->order[at]];
	gpa_bytes entry = {NULL, row->length};
	output *out = &s->w->out;
	gpa_idx_entry *e = &s->entries[s->entry_count++];
	int status = open_page_read(&entry.ptr, s->room, s->page, row, err);
	if (status)
		return status;
	int is_delta = s->deltas && !delta_search_next(&entry, s->deltas, at, out->written);
	memcpy(e->oid, row->oid, sizeof(e->oid));
	e->offset = out->written;
	e->crc = is_delta ? gpa_crc32(0, entry) : row->crc;
	return output_write(out, entry.ptr, entry.len, err);
}

static int write_pack(sealing *s, unsigned char *trailer, gpa_error *err)
{
	unsigned char header[12] = "PACK";
	output *out = &s->w->out;
	output_begin(out, s->temp.pack_fd, &s->w->door, s->temp.pack_path);
	put_be32(header + 4, 2);
	put_be32(header + 8, s->page->count);
	int status = output_write(out, header, sizeof(header), err);
	for (uint32_t i = 0; !status && i < s->page->count; i++)
		status = write_entry(s, i, err);
	return status ? status : output_finish(out, trailer, err);
}

static int write_page(sealing *s, gpa_error *err)
{
	unsigned char trailer[GPA_OID_MAX];
	gpa_writer *w = s->w;
	int status = make_rooms(s, err);
	if (status)
		return status;
	make_order(s);
	if ((status = temp_page_create(&s->temp, w, err)) || (status = write_pack(s, trailer, err)))
		return status;
	output_begin(&w->out, s->temp.idx_fd, &w->door, s->temp.idx_path);
	if ((status = idx_write(&w->out, s->entries, s->page->count, trailer, err)))
		return status;
	int sync = w->options.durability != GPA_DURABLE_NONE || s->page->must_sync;
	return temp_page_publish(&s->temp, w, trailer, sync, err);
}

/* ---- whose turn it is ---- */

void writer_note_page(gpa_writer *w, temp_page *t, const gpa_idx_entry *entries, uint32_t count)
{
	int64_t now = coarse_ns();
	w->stats.page_count++;
	if (recent_add(&w->recent, t->name, entries, count, now))
		w->looked_ns = 0;	/* the reader has to find it by itself */
	if (t->watched)
		watch_add(&w->watch, t, now);
	watch_look(w, now);
}

/* Its objects are in a pack: the page is empty, and its journal too. */
static void end_page(sealing *s, open_page *p)
{
	gpa_writer *w = s->w;
	while (p->syncing)
		pthread_cond_wait(&w->changed, &w->lock);
	writer_note_page(w, &s->temp, s->entries, s->entry_count);
	open_page_drop_records(p, &w->door);
	w->sealed = p->number;
	w->closing = NULL;
	open_page_clear(p);
}

static int seal_closing(gpa_writer *w, gpa_error *err)
{
	open_page *p = w->closing;
	sealing s = {.w = w, .page = p};
	int status = w->out_ready ? GPA_OK : output_open(&w->out, -1, w->algo, NULL, err);
	w->out_ready |= !status;
	if (status || (status = temp_page_open(&s.temp, w, err))) {
		temp_page_free(&s.temp);
		return status;
	}
	w->sealing = 1;
	writer_unlock(w);
	status = write_page(&s, err);
	if (status)
		temp_page_drop(&s.temp, w);
	writer_lock(w);
	if (!status)
		end_page(&s, p);
	temp_page_free(&s.temp);
	w->sealing = 0;
	pthread_cond_broadcast(&w->changed);
	free_rooms(&s);
	return status;
}

static void turn_page(gpa_writer *w)
{
	open_page *next = w->open == &w->pages[0] ? &w->pages[1] : &w->pages[0];
	next->number = w->open->number + 1;
	w->closing = w->open;
	w->open = next;
}

int writer_seal_through(gpa_writer *w, uint64_t number, gpa_error *err)
{
	while (w->sealed < number) {
		if (w->sealing) {
			pthread_cond_wait(&w->changed, &w->lock);
			continue;
		}
		if (!w->closing)
			turn_page(w);
		int status = seal_closing(w, err);
		if (status)
			return status;
	}
	return GPA_OK;
}

int writer_seal(gpa_writer *w, gpa_error *err)
{
	return writer_seal_through(w, w->open->count ? w->open->number : w->open->number - 1, err);
}
