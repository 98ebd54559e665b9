/*
 * The writer, from inside.
 *
 * writer.c opens and closes it; state.c has what the other files share. group.c adds the objects of one call, add.c and
 * new_object.c are the calls. exists.c checks whether an object is stored, and freshen.c updates its mtime. open_page.h
 * has the objects that are not sealed; seal.c, seal_deltas.c and temp_page.c make a pack of them. sealed_lately.c and
 * overlay.c let the reader find them. gc_guard.c protects pages from `git gc`, and recover.c reads journals of dead
 * writers.
 *
 * There is one lock. It is released while a page is sealed, a journal synced, or an object hashed or deflated. Threads
 * that wait for each other wait on `changed`.
 */
#ifndef GPA_WRITER_H
#define GPA_WRITER_H

#include <pthread.h>
#include <sys/types.h>

#include "read/reader.h"
#include "write/gpa_write.h"
#include "write/open_page.h"

#define LARGE_OBJECT (16 * 1024 * 1024)	/* bytes; such an object goes into a page of its own */
#define SEALED_MOST 65536		/* objects of pages that the reader has not scanned */
#define LOOK_NS 2000000000		/* between scans for packs of other writers */

/* ---- sealed_lately.c: pages sealed since the reader's last scan ---- */

typedef struct sealed_page {
	char name[sizeof("pack-.idx") + 2 * GPA_OID_MAX];
	int64_t freshened_ns;
	int gone;			/* another process has deleted it */
	pack_file *file;		/* NULL until it is read */
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
	uint64_t dropped;		/* pages before these */
	sealed_row *rows;
	uint32_t room;
	oid_map map;			/* map.count: number of rows */
} sealed_lately;

/* Add a page. Returns -1 without memory: then some of its objects may be missing. */
int sealed_add(sealed_lately *r, const char *idx_name, const gpa_idx_entry *entries, uint32_t count, int64_t now_ns);
/* Find an object. NULL if it is in no page, or in one that is gone. */
const sealed_row *sealed_find(const sealed_lately *r, const unsigned char *oid, size_t size);
/* The position of the next page. sealed_drop() forgets the pages before a position. */
uint64_t sealed_end(const sealed_lately *r);
void sealed_drop(sealed_lately *r, uint64_t end);
void sealed_free(sealed_lately *r);

/* ---- temp_page.c, below ---- */

/* A page whose files still have temporary names. */
typedef struct temp_page {
	pid_t pid;			/* the process that owns the files */
	int named;			/* the .pack has its final name */
	int guarded;			/* the idx has its final name, and the temporary one too */
	char *pack_path;
	char *idx_path;
	int pack_fd;
	int idx_fd;
	char name[sizeof("pack-.idx") + 2 * GPA_OID_MAX];
} temp_page;

/* ---- gc_guard.c: pages published while `git gc` runs ---- */

typedef struct guarded_page {
	char *temp;			/* the temporary name of the idx */
	char name[sizeof("pack-.idx") + 2 * GPA_OID_MAX];
	int64_t since_ns;
} guarded_page;

typedef struct gc_guard {
	guarded_page *pages;
	uint32_t count;
	uint32_t room;
	int64_t looked_ns;
} gc_guard;

/* Add a page. Takes over the path of its idx. Returns -1 without memory. */
int guard_add(gc_guard *list, temp_page *t, int64_t now_ns);
/* Put back the names that gc took away. Returns whether there were any. */
int guard_put_back(const gpa_writer *w);
/* From time to time: put back names that gc took away, and forget the pages that are safe. */
void guard_look(gpa_writer *w, int64_t now_ns);
void guard_free(gc_guard *list);

/* ---- the writer ---- */

/* Memory that a thread borrows while it adds. */
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
	overlay layer;			/* first: the reader knows only this */
	uint32_t owners;
	door door;
	int algo;
	size_t hash_size;
	gpa_writer_options options;
	char *journal_dir;
	char *state_dir;		/* the folder that contains journal_dir */
	char *gc_pid;
	char *objects;			/* the reader's own object directory */
	char *pack_dir;
	int temp_in_packs;		/* the journals are on another file system */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* the rest is under the lock */
	gpa_reader *reader;		/* with an owner */
	pid_t pid;
	char id[32];			/* begins the names of its files */
	uint32_t temp_count;
	char *keep;			/* a file that packs get as their .keep, by a link; NULL until it is created */
	int closed;
	open_page pages[2];
	open_page *open;
	open_page *closing;		/* being sealed, or waiting for that after a failure; or NULL */
	int sealing;			/* a thread seals, and only it uses `closing` and `out` */
	uint64_t sealed;		/* number of the last sealed page */
	output out;
	int out_ready;
	sealed_lately lately;
	gc_guard guard;
	int64_t looked_ns;
	int looking;			/* a thread scans the directories */
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

/* Choose new names for the files, and begin without pages. */
int writer_name_files(gpa_writer *w, gpa_error *err);
/*
 * Take the lock in a call from outside. A process that was forked without gpa_reader_in_child() becomes the child here.
 */
void writer_enter(gpa_writer *w);
/* The reader that finds the writer's objects, with an owner added. */
gpa_reader *writer_reader(gpa_writer *w);
/* The batch of the calling thread, or NULL. Call with the lock held. */
batch *writer_own_batch(const gpa_writer *w);

/* ---- group.c ---- */

/* The adding of one call: its encoder and reader, and whether it has to seal at the end. */
typedef struct group {
	gpa_writer *w;
	gpa_reader *r;
	encoder *m;
	int seals;
	int packs_loose;		/* put an object into a page also if it exists as a loose file */
	uint32_t known;			/* objects that existed already */
} group;

void encoder_free(encoder *m);
/* The error that a closed writer reports. */
int writer_closed(gpa_error *err);
int group_begin(group *g, gpa_writer *w, gpa_error *err);
/*
 * End a group. Its objects are then in the journal, or sealed, as the writer's durability and the thread's batch
 * require.
 */
int group_end(group *g, int status, gpa_error *err);
/* End a group that has acknowledged nothing. Returns `status`. */
int group_leave(group *g, int status);
/* Add an object of at most LARGE_OBJECT bytes. */
int group_put(group *g, unsigned char *oid, int type, gpa_bytes data, gpa_error *err);
/* Add an object whose entry has been made. `must_sync`: see open_page. */
int group_append(group *g, const unsigned char *oid, const journal_entry *entry, int must_sync, gpa_error *err);
/* Seal a commit or tag that has been written but is not sealed, unless in a batch. */
int writer_settle(gpa_writer *w, const unsigned char *oid, gpa_error *err);
/* new_object.c: put the object into a page also if it exists as a loose file. */
void new_object_pack_loose(gpa_new_object *object);
void make_id(unsigned char *oid, encoder *m, int type, gpa_bytes data);

/* ---- temp_page.c ---- */

/* Whether `git gc` runs, which may remove names of pages that are published meanwhile. */
int writer_gc_runs(const gpa_writer *w);

/* Choose the temporary names. Call with the lock held. */
int temp_page_open(temp_page *t, gpa_writer *w, gpa_error *err);
/* Create the two files, empty. */
int temp_page_create(temp_page *t, const gpa_writer *w, gpa_error *err);
/* Name the two files, which have been written. Closes them. */
int temp_page_publish(temp_page *t, const gpa_writer *w, const unsigned char *trailer, int sync, gpa_error *err);
/*
 * Remove the files of a page that is not published. If the .pack has its final name, the idx stays: the next writer
 * publishes it.
 */
void temp_page_drop(temp_page *t, const gpa_writer *w);
void temp_page_free(temp_page *t);
/* Create the .keep `path` of a page. An existing one stays. */
int page_hold(const gpa_writer *w, const char *path, gpa_error *err);

/* ---- seal.c ---- */

/* Seal the open page and those before it. Call with the lock held; it is released meanwhile. */
int writer_seal(gpa_writer *w, gpa_error *err);
/* Seal all pages up to `number`. Call with the lock held; it is released meanwhile. */
int writer_seal_through(gpa_writer *w, uint64_t number, gpa_error *err);
/* Note that a page of these objects has been published. Call with the lock held. */
void writer_note_page(gpa_writer *w, temp_page *t, const gpa_idx_entry *entries, uint32_t count);
/*
 * Rescan the directories if due. Finds packs of other writers and drops sealed pages that the reader now sees itself.
 */
void writer_look(gpa_writer *w, gpa_reader *r);
/* Whether writer_look() is due. Call with the lock held. */
int writer_is_due(const gpa_writer *w);

/* ---- seal_deltas.c ---- */

typedef struct delta_search delta_search;
/*
 * Begin to search deltas. `order` has all rows by type; it is borrowed, and reordered so that each base comes before
 * its deltas. `room` is for the longest entry of the page. Returns NULL if no deltas are to be made; then the order is
 * unchanged.
 */
delta_search *delta_search_new(uint32_t *order, const gpa_writer *w, const open_page *page, unsigned char *room);
/*
 * Process the row order[at], which will be written at `offset`; rows come in order. GPA_OK: *entry has been replaced by
 * a smaller one, valid until the next call. GPA_ENOTFOUND: write the entry unchanged.
 */
int delta_search_next(gpa_bytes *entry, delta_search *s, uint32_t at, uint64_t offset);
void delta_search_free(delta_search *s);

/* ---- freshen.c ---- */

/* The time of a cheap monotonic clock. */
int64_t coarse_ns(void);
/*
 * Set a pack's mtime to now, unless that was done within the last seconds. GPA_ENOTFOUND if the pack is gone. Any other
 * failure: the mtime cannot be set, or is of no use because this is a cruft pack. `freshened_ns` belongs to the pack,
 * and any thread may use it.
 */
int freshen_pack(int64_t *freshened_ns, const door *d, const char *idx_path);
/* Set the mtime of a loose object to now. GPA_ENOTFOUND also if that fails. */
int freshen_loose(const gpa_reader *r, const door *d, const unsigned char *oid);

/* ---- exists.c ---- */

/*
 * GPA_OK if the object is stored or about to be, and will stay; GPA_ENOTFOUND. Call without the lock. Without
 * `with_loose` a loose object does not count.
 */
int writer_has_stored(gpa_writer *w, gpa_reader *r, const unsigned char *oid, int with_loose, gpa_error *err);
/*
 * Whether a page of this writer has the object: the open one, the one being sealed, or one sealed lately that still
 * exists. Call with the lock held.
 */
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
