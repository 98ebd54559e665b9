/*
 * The writer from inside: writer.c (opening, batches, forks), add.c (adding), exists.c (what is there already, and reading
 * what is not sealed), seal.c (the open page becomes a pack), seal_deltas.c (deltas in it), gc_guard.c (what `git gc` might take
 * away), sealed_lately.c (what was sealed lately), new_object.c (objects that come in pieces), recover.c (journals of dead writers).
 *
 * One lock; it is let go while a page is being sealed, a journal synced, an object hashed or deflated. Threads that wait
 * for one another's work wait on `changed`.
 */
#ifndef GPA_WRITER_H
#define GPA_WRITER_H

#include <pthread.h>
#include <sys/types.h>

#include "read/reader.h"
#include "write/gpa_write.h"
#include "write/open_page.h"

#define LARGE_OBJECT (16 * 1024 * 1024)	/* bytes; such an object goes into a page of its own */
#define SEALED_MOST 65536		/* objects of pages that the reader has not looked at */
#define LOOK_NS 2000000000		/* for new packs of others */

/* ---- sealed_lately.c: pages that were sealed since the reader looked at its directories ---- */

typedef struct sealed_page {
	char name[sizeof("pack-.idx") + 2 * GPA_OID_MAX];
	int64_t freshened_ns;
	int gone;			/* somebody has deleted it */
	pack_file *file;		/* NULL before it is read */
} sealed_page;

typedef struct sealed_row {
	unsigned char oid[GPA_OID_MAX];
	uint64_t offset;
	uint32_t page;
} sealed_row;

typedef struct sealed_lately {
	sealed_page *pages;
	uint32_t page_count;
	uint32_t page_room;
	uint64_t dropped;		/* how many pages were before these */
	sealed_row *rows;
	uint32_t room;
	oid_map map;			/* map.count: how many rows */
} sealed_lately;

/* -1 without memory: then not all of its objects are among them. */
int sealed_add(sealed_lately *r, const char *idx_name, const gpa_idx_entry *entries, uint32_t count, int64_t now_ns);
/* NULL when it is in none, or in one that is gone. */
const sealed_row *sealed_find(const sealed_lately *r, const unsigned char *oid, size_t size);
/* Where the next page will come; sealed_drop() forgets those before such a place. */
uint64_t sealed_end(const sealed_lately *r);
void sealed_drop(sealed_lately *r, uint64_t end);
void sealed_free(sealed_lately *r);

/* ---- temp_page.c, below ---- */

/* A page on its way to its name. */
typedef struct temp_page {
	pid_t pid;			/* whose files they are */
	int named;			/* the .pack has its name */
	int guarded;			/* the idx has, and its temporary name too */
	char *pack_path;
	char *idx_path;
	int pack_fd;
	int idx_fd;
	char name[sizeof("pack-.idx") + 2 * GPA_OID_MAX];
} temp_page;

/* ---- gc_guard.c: pages that were published while `git gc` runs ---- */

typedef struct guarded_page {
	char *temp;			/* the idx by its temporary name */
	char name[sizeof("pack-.idx") + 2 * GPA_OID_MAX];
	int64_t since_ns;
} guarded_page;

typedef struct gc_guard {
	guarded_page *pages;
	uint32_t count;
	uint32_t room;
	int64_t looked_ns;
} gc_guard;

/* Takes the path of the page's idx. -1 without memory. */
int guard_add(gc_guard *list, temp_page *t, int64_t now_ns);
/* Put back what was taken away. Returns whether anything was. */
int guard_put_back(const gpa_writer *w);
/* Now and then: put back what was taken away, and forget the pages that are safe. */
void guard_look(gpa_writer *w, int64_t now_ns);
void guard_free(gc_guard *list);

/* ---- the writer ---- */

/* What a thread borrows while it adds. */
typedef struct encoder {
	hasher hash;
	deflater *d;
	unsigned char *room;		/* for an entry */
	size_t room_size;
	struct encoder *next;
} encoder;

typedef struct batch {
	pthread_t thread;
	uint32_t depth;
} batch;

struct gpa_writer {
	overlay layer;			/* first: the reader knows no more */
	uint32_t owners;
	door door;
	int algo;
	size_t hash_size;
	gpa_writer_options options;
	char *journal_dir;
	char *state_dir;		/* the folder that it is in */
	char *gc_pid;
	char *objects;			/* the own object directory */
	char *pack_dir;
	int temp_in_packs;		/* the journals are on another file system */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* the rest is under the lock */
	gpa_reader *reader;		/* with an owner */
	pid_t pid;
	char id[32];			/* begins the names of its files */
	uint32_t temp_count;
	char *keep;			/* a file that is lent to packs as their .keep; NULL before it is made */
	int closed;
	open_page pages[2];
	open_page *open;
	open_page *closing;		/* being sealed, or could not be sealed yet; or NULL */
	int sealing;			/* a thread is, and has `closing` and `out` for itself */
	uint64_t sealed;		/* the last page that is */
	output out;
	int out_ready;
	sealed_lately lately;
	gc_guard guard;
	int64_t looked_ns;
	int looking;			/* a thread is, at the directories */
	batch *batches;
	uint32_t batch_count;
	uint32_t batch_room;
	encoder *idle;
	gpa_writer_stats stats;
};

static inline void writer_lock(gpa_writer *w)
{
	pthread_mutex_lock(&w->lock);
}
static inline void writer_unlock(gpa_writer *w)
{
	pthread_mutex_unlock(&w->lock);
}
/* ---- state.c ---- */

/* Begin with new names for the files, and without pages. */
int writer_name_files(gpa_writer *w, gpa_error *err);
/* The lock, for whoever comes from outside: a process that was forked without gpa_reader_in_child() is told here. */
void writer_enter(gpa_writer *w);
/* The reader that its objects are found through, with one owner more. */
gpa_reader *writer_reader(gpa_writer *w);
/* The batch of this thread, or NULL. Under the lock. */
batch *writer_own_batch(const gpa_writer *w);

/* ---- group.c ---- */

/* One call's adding: its encoder and reader, and whether its end has to seal. */
typedef struct group {
	gpa_writer *w;
	gpa_reader *r;
	encoder *m;
	int seals;
	int packs_loose;		/* a loose object is put into a page as well */
	uint32_t known;			/* how many were there already */
} group;

void encoder_free(encoder *m);
/* The error that a closed writer reports. */
int writer_closed(gpa_error *err);
int group_begin(group *g, gpa_writer *w, gpa_error *err);
/* The objects of the group, in the journal or sealed as the writer's durability and the thread's batch ask for. */
int group_end(group *g, int status, gpa_error *err);
/* The end of a group that has acknowledged nothing; gives `status`. */
int group_leave(group *g, int status);
/* Add an object of at most LARGE_OBJECT bytes. */
int group_put(group *g, unsigned char *oid, int type, gpa_bytes data, gpa_error *err);
/* An entry that is made. `must_sync`: see open_page. */
int group_append(group *g, const unsigned char *oid, const journal_entry *entry, int must_sync, gpa_error *err);
/* A commit or tag that was written, and could not be sealed, or is not yet: seal it now, unless in a batch. */
int writer_settle(gpa_writer *w, const unsigned char *oid, gpa_error *err);
/* new_object.c: it goes into a page even when there is a loose one. */
void new_object_pack_loose(gpa_new_object *object);
void make_id(unsigned char *oid, encoder *m, int type, gpa_bytes data);

/* ---- temp_page.c ---- */

/* Whether `git gc` runs, which may remove names of pages that are published meanwhile. */
int writer_gc_runs(const gpa_writer *w);

/* Names for it. Under the lock. */
int temp_page_open(temp_page *t, gpa_writer *w, gpa_error *err);
/* Its two files, empty. */
int temp_page_create(temp_page *t, const gpa_writer *w, gpa_error *err);
/* Both files are written, and are closed. */
int temp_page_publish(temp_page *t, const gpa_writer *w, const unsigned char *trailer, int sync, gpa_error *err);
/*
 * Of a page that is not published: removes its files. When the .pack has its name already, the idx stays where it is: the
 * next writer publishes it, or it has been by then.
 */
void temp_page_drop(temp_page *t, const gpa_writer *w);
void temp_page_free(temp_page *t);
/* Make the .keep `path` of a page. One that is there already stays. */
int page_hold(const gpa_writer *w, const char *path, gpa_error *err);

/* ---- seal.c ---- */

/* Under the lock, which is let go meanwhile: seal the open page and those before it. */
int writer_seal(gpa_writer *w, gpa_error *err);
/* Under the lock: until page `number` is sealed. */
int writer_seal_through(gpa_writer *w, uint64_t number, gpa_error *err);
/* Under the lock: a page of these objects is there now. */
void writer_note_page(gpa_writer *w, temp_page *t, const gpa_idx_entry *entries, uint32_t count);
/* Look at the directories now and then: for others' packs, and to let go of what the reader finds by itself then. */
void writer_look(gpa_writer *w, gpa_reader *r);
/* Is it time to? Under the lock. */
int writer_is_due(const gpa_writer *w);

/* ---- seal_deltas.c ---- */

typedef struct delta_search delta_search;
/*
 * `order`, all rows by type as they would be written, gets the order in which a base is before its deltas, and is borrowed.
 * `room` is for the longest entry of the page. NULL: there are no deltas to be made, and the order is as it was.
 */
delta_search *delta_search_new(uint32_t *order, const gpa_writer *w, const open_page *page, unsigned char *room);
/*
 * The row order[at], to be written at `offset`; each in turn. GPA_OK: *entry, its entry, is replaced by a smaller one, which
 * holds until the next call. GPA_ENOTFOUND: it is to be written as it is.
 */
int delta_search_next(gpa_bytes *entry, delta_search *s, uint32_t at, uint64_t offset);
void delta_search_free(delta_search *s);

/* ---- freshen.c ---- */

/* A clock that only goes forward, and costs next to nothing. */
int64_t coarse_ns(void);
/* Set a pack's time to now, unless that was done just before. GPA_ENOTFOUND: it is gone. Else: it cannot be set, or that
 * of a cruft pack would say nothing. `freshened_ns` is the pack's, and may be any thread's. */
int freshen_pack(int64_t *freshened_ns, const door *d, const char *idx_path);
/* Of a loose object. GPA_ENOTFOUND also when it cannot be set. */
int freshen_loose(const gpa_reader *r, const door *d, const unsigned char *oid);

/* ---- exists.c ---- */

/* GPA_OK when the object is stored or about to be, and stays so; GPA_ENOTFOUND. Not under the lock. Without `with_loose`
 * a loose object is not one that is stored. */
int writer_has_stored(gpa_writer *w, gpa_reader *r, const unsigned char *oid, int with_loose, gpa_error *err);
/* In a page of this writer that is open, being sealed, or was sealed lately and is there? Under the lock. */
int writer_holds(gpa_writer *w, const unsigned char *oid);

/* ---- the writer as an overlay of its reader: see overlay_calls ---- */

int writer_find(overlay_object *out, overlay *o, const gpa_reader *r, const unsigned char *oid, int with_entry,
		gpa_error *err);
void writer_forget(overlay *o, const pack_file *file);
int writer_put_back(overlay *o);
int writer_ids(gpa_buffer *oids, size_t *room, overlay *o, gpa_error *err);
uint64_t writer_before_scan(overlay *o);
void writer_after_scan(overlay *o, const gpa_reader *r, uint64_t end);

#endif
