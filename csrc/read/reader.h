/*
 * The reader from inside: packs.c (packs, mapped while they are used), snapshot.c (what the directories held when they
 * were looked at), reader.c, find.c and read.c (one object), parallel.c, read_many.c, list.c and stream.c (on top of it). A writer
 * may hang on a reader (writer.h).
 *
 * A snapshot never changes. A refresh makes a new one; whoever works with the old one keeps it. Locks, in this order:
 * the writer's, reader.scan_lock, then one of reader.lock, pack_maps.lock and the cache's.
 */
#ifndef GPA_READER_H
#define GPA_READER_H

#include <pthread.h>

#include "format/cache.h"

/* ---- objdir.c: what an object directory's files are called ---- */

typedef struct names {
	char **names;
	uint32_t count;
	uint32_t room;
} names;

void names_free(names *list);
/* The packs in <dir>/pack that have both .idx and .pack, as "pack-<hex>.idx", ascending. No directory: none. */
int objdir_packs(names *out, const char *dir, gpa_error *err);
/* As gpa_files_ahead(), of files in the pack directory. */
void objdir_packs_ahead(const char *dir, uint32_t count, const char *const *names);
/* Of <dir>/pack, and of the combined index in it. */
void objdir_stamp_packs(file_stamp *out, const char *dir);
void objdir_stamp_index(file_stamp *out, const char *dir);
int objdir_hold_index(held_file *out, file_stamp *stamp, const char *dir, gpa_error *err);
/* `name` as objdir_loose_name() makes it. GPA_ENOTFOUND when there is no such file. */
int objdir_hold_loose(held_file *out, const char *dir, const char *name, size_t copy_most, gpa_error *err);
/* "<dir>/pack/<idx_name>"; NULL without memory. */
char *objdir_pack_path(const char *dir, const char *idx_name);
#define OBJDIR_LOOSE_ROOM (2 * GPA_OID_MAX + 3)
/* "/xx/yyyy...": an object's loose file below its directory. */
void objdir_loose_name(char *out, const unsigned char *oid, size_t hash_size);
/* Adds the ids of loose files in <dir>/<first> to `oids`, `hash_size` bytes each, in no order. */
int objdir_loose_ids(gpa_buffer *oids, size_t *room, const char *dir, unsigned first, size_t hash_size, gpa_error *err);

/* ---- packs.c ---- */

typedef struct pack_maps pack_maps;

/*
 * A pack, known by its idx name. While it is pinned, `pack` and `idx` stay what they are; they are mapped by the first
 * pin and unmapped when there are too many maps. Its idx stays while a snapshot looks up in it.
 */
typedef struct pack_file {
	pack_maps *maps;
	uint64_t id;
	const char *name;		/* "pack-<hex>.idx", in `path` */
	char *path;
	uint32_t dir;
	uint32_t owners;
	int suspect;			/* it could not be opened, or an entry was damaged: the next scan begins anew */
	uint32_t hold;			/* PACK_MAPPED, and how many have pinned it */
	int used;			/* since it was last considered for unmapping */
	int64_t freshened_ns;		/* when its mtime was last set, by a clock that only goes forward */
	/* the rest changes under maps->lock, and what is mapped never while it is pinned */
	uint32_t idx_pins;
	held_file idx_file;
	gpa_idx idx;
	gpa_bytes pack;
	struct pack_file *newer, *older;
} pack_file;

#define PACK_MAPPED 0x80000000u

int pack_maps_new(pack_maps **out, const gpa_reader_options *options, gpa_error *err);
void pack_maps_free(pack_maps *maps);
void pack_maps_count(pack_maps *maps, gpa_reader_stats *out);
void pack_maps_lock(pack_maps *maps);
void pack_maps_unlock(pack_maps *maps);

int pack_file_new(pack_file **out, pack_maps *maps, const char *dir_path, uint32_t dir, const char *idx_name,
		  gpa_error *err);
pack_file *pack_file_share(pack_file *pack);
void pack_file_drop(pack_file *pack);
/* GPA_ENOTFOUND when a file is not there (any more). err->file is set. */
int pack_file_pin(pack_file *pack, gpa_error *err);
void pack_file_unpin(pack_file *pack);
/* The same for the idx alone. */
int pack_file_pin_idx(pack_file *pack, gpa_error *err);
void pack_file_unpin_idx(pack_file *pack);
/* An object of that many bytes was read. Where more is mapped than `map_bytes`, pages are let go once so much was read. */
void pack_maps_note_read(pack_maps *maps, uint64_t bytes);

/* Say which file an error is about: `path` is below the object directory `dir`, number `number`. */
void blame_file(gpa_error *err, uint32_t number, const char *pack_path, const char *suffix);

/* ---- snapshot.c ---- */

/* A combined index, shared by the views that found the same file. */
typedef struct index_file {
	uint32_t owners;
	file_stamp stamp;
	held_file file;
	gpa_midx midx;
} index_file;

/* What one object directory's packs are. Borrows the directory's path. */
typedef struct view {
	uint32_t owners;
	index_file *index;		/* NULL: none, or one that cannot be read */
	uint32_t pack_count;
	pack_file **packs;		/* all, ascending by name */
	pack_file **named;		/* those of the index, in its order */
	uint32_t plain_count;
	pack_file **plain;		/* the others: first the large ones, each looked up by its idx */
	uint32_t large_count;
	uint32_t table_count;
	oid_ref *table;			/* the objects of the small ones; source is a place in `plain` */
	pack_file *unreadable;		/* one whose idx cannot be read; or NULL */
} view;

typedef struct looked {
	view *view;
	file_stamp pack_dir;
	file_stamp index;
	int64_t began_ns;		/* the clock before the first stat */
} looked;

typedef struct snapshot {
	uint32_t owners;
	uint32_t dir_count;
	looked dirs[];
} snapshot;

/* `old` may be NULL; what did not change is taken over from it. All packs that were suspect are opened anew. */
int snapshot_new(snapshot **out, char *const *dirs, uint32_t dir_count, const snapshot *old, pack_maps *maps, int algo,
		 gpa_error *err);
void snapshot_drop(snapshot *s);
/* The directories look as when the snapshot was made. */
#define SNAPSHOT_SAME 1
/* They do, and a change that came right after the look would show. */
#define SNAPSHOT_SURE 2
int snapshot_check(const snapshot *s, char *const *dirs);

/* Where an object is stored. */
typedef struct place {
	pack_file *pack;
	uint64_t offset;
} place;
/* Where the index says an object is. A damaged row is GPA_ECORRUPT and names the index. */
int view_find_indexed(place *out, const looked *l, uint32_t dir, const unsigned char *oid, gpa_error *err);
/* Its next copy in a pack that the index does not name; *turn is 0 to begin with. */
int view_find_plain(place *out, const view *v, uint32_t *turn, const unsigned char *oid, gpa_error *err);
/* Where an oid is, or would be, in the table of small packs. */
uint32_t view_table_begin(const view *v, const unsigned char *oid);
const unsigned char *view_table_oid(const view *v, uint32_t at);

/* ---- reader.c, find.c, read.c ---- */

typedef struct worker {
	inflater *z;
	hasher hash;
	lately lately;
	uint64_t misses;		/* of the cache, in the call under way */
	struct worker *next;
} worker;

struct gpa_reader {
	uint32_t owners;
	uint32_t dir_count;
	char **dirs;
	size_t hash_size;
	gpa_reader_options options;
	pack_maps *maps;
	base_cache *cache;
	pthread_mutex_t scan_lock;
	uint64_t scan_count;		/* under scan_lock */
	pthread_mutex_t lock;
	snapshot *current;		/* under lock */
	gpa_writer *writer;		/* under lock; the reader is no owner of it. NULL: there is none */
	gpa_writer *forking;		/* during a fork: the writer, with an owner */
	worker *idle;			/* under lock */
	uint64_t cache_misses;		/* under lock */
};

snapshot *reader_snapshot(gpa_reader *r);
/* Replace *s by what is there now, if that may differ. *changed says whether it is another one. */
int reader_look_again(int *changed, snapshot **s, gpa_reader *r, int anyway, gpa_error *err);

/* What a thread borrows for as long as it reads: once for a call, or for many objects. */
typedef struct visitor {
	gpa_reader *r;
	gpa_writer *writer;		/* with an owner; or NULL */
	snapshot *s;
	worker *w;
} visitor;

int visitor_begin(visitor *v, gpa_reader *r, gpa_error *err);
void visitor_end(visitor *v);

/*
 * What is done with a copy of an object once it is found. A copy that gives GPA_ECORRUPT is passed over. In `packed` the
 * pack is pinned for the length of the call.
 */
struct written_object;
typedef struct task task;
struct task {
	const unsigned char *oid;
	int (*packed)(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err);
	int (*loose)(task *t, visitor *v, held_file *file, gpa_error *err);
	/* It is in the open page of the reader's writer; its entry is given where `takes_entry` says so. */
	int (*written)(task *t, visitor *v, const struct written_object *object, gpa_error *err);
	int takes_entry;
};
/* Find a copy and do the task with it, looking again where something moved. */
int visitor_do(visitor *v, task *t, gpa_error *err);
/* The same for one task alone. */
int visit_once(gpa_reader *r, task *t, gpa_error *err);
int visitor_has(visitor *v, const unsigned char *oid, gpa_error *err);
int visitor_info(int *type, uint64_t *size, visitor *v, const unsigned char *oid, gpa_error *err);
int visitor_read(gpa_object *out, visitor *v, const unsigned char *oid, gpa_error *err);
/* out->owner is NULL when the object is stored whole and has more than `most` bytes; deltas are made in any case. */
int visitor_read_most(gpa_object *out, visitor *v, const unsigned char *oid, uint64_t most, gpa_error *err);
/* The same, trying first where the object was found in a snapshot that is still held; without a pack, as if unknown. */
int visitor_has_at(visitor *v, const unsigned char *oid, const place *at, gpa_error *err);
int visitor_info_at(int *type, uint64_t *size, visitor *v, const unsigned char *oid, const place *at, gpa_error *err);
int visitor_read_at(gpa_object *out, visitor *v, const unsigned char *oid, const place *at, uint64_t most,
		    gpa_error *err);

/* As gpa_answer_info() says it. */
int64_t answer_packed(int type, uint64_t size, gpa_error *err);

/* ---- parallel.c ---- */

/*
 * Read `count` objects with `threads` threads. statuses[i] says how out[i] went; where it is not GPA_OK, nothing is to be
 * freed, and of larger objects than `most` bytes the owner is NULL. *failed is the place of the first failure that is not
 * a miss, or count; `err` is about it. GPA_OK also when some failed.
 */
int reader_read_many(gpa_object *out, int32_t *statuses, uint32_t *failed, gpa_reader *r, const unsigned char *oids,
		     uint32_t count, uint64_t most, unsigned threads, gpa_error *err);

/* ---- freshen.c ---- */

/* Set the mtime of a file that holds the object. GPA_ENOTFOUND when there is none whose mtime could be set. */
int reader_freshen(gpa_reader *r, const unsigned char *oid, gpa_error *err);

#endif
