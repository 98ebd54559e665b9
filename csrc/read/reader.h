/*
 * The reader, from inside: reader.c (opening, sessions, rescans), find.c (finding an object), read.c (what is asked
 * about it), parallel.c and the files on top of it (many objects).
 *
 * A snapshot never changes. A rescan makes a new one; a session that uses the old one keeps it. Locks, in this order:
 * an overlay's, reader.scan_lock, then one of reader.lock, the lock of pack_maps and the cache's.
 */
#ifndef GPA_READER_H
#define GPA_READER_H

#include <pthread.h>

#include "base/inflate.h"
#include "format/cache.h"
#include "read/overlay.h"

/* What a thread needs while it reads. */
typedef struct scratch {
	inflater *z;
	hasher hash;
	lately lately;
	uint64_t misses;		/* of the cache, in the current call */
	struct scratch *next;
} scratch;

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
	overlay *overlays;		/* under lock; NULL: there is none */
	held_overlays forking;		/* during a fork */
	scratch *idle;			/* under lock */
	uint64_t cache_misses;		/* under lock */
};

/* The current snapshot, with an owner added. */
snapshot *reader_snapshot(gpa_reader *r);
/*
 * Rescan the directories if they may have changed, or `anyway`. Replaces *s by the current snapshot; *changed: it is
 * another.
 */
int reader_look_again(int *changed, snapshot **s, gpa_reader *r, int anyway, gpa_error *err);

/* What a thread borrows from a reader while it reads, for one call or for many objects. */
typedef struct reader_session {
	gpa_reader *r;
	snapshot *s;
	scratch *w;
	held_overlays overlays;
} reader_session;

int session_begin(reader_session *v, gpa_reader *r, gpa_error *err);
void session_end(reader_session *v);

/*
 * A question about one object. One of the three functions is called for a copy that was found. If it returns
 * GPA_ECORRUPT, the next copy is tried.
 */
typedef struct query query;
struct query {
	const unsigned char *oid;
	/* The copy is in a pack, which is pinned during the call. */
	int (*packed)(query *q, reader_session *v, pack_file *pack, uint64_t offset, gpa_error *err);
	/* The copy is a loose file. */
	int (*loose)(query *q, reader_session *v, held_file *file, gpa_error *err);
	/* The copy is in an overlay. Its entry is there if `with_entry` is set. */
	int (*overlaid)(query *q, reader_session *v, const overlay_object *object, gpa_error *err);
	int with_entry;
};
/*
 * Find a copy and call the query's function for it. Rescans the directories if the object is missing and something
 * moved.
 */
int session_find(reader_session *v, query *q, gpa_error *err);
/* session_find() in a session of its own. */
int find_once(gpa_reader *r, query *q, gpa_error *err);

int session_has(reader_session *v, const unsigned char *oid, gpa_error *err);
int session_info(int *type, uint64_t *size, reader_session *v, const unsigned char *oid, gpa_error *err);
int session_read(gpa_object *out, reader_session *v, const unsigned char *oid, gpa_error *err);
/* session_read(); out->owner is NULL if the object is not stored as a delta and has more than `most` bytes. */
int session_read_most(gpa_object *out, reader_session *v, const unsigned char *oid, uint64_t most, gpa_error *err);
/*
 * Ask about an object that was found at `at`, in a snapshot that the caller holds. That copy is
 * tried first. If at->pack is NULL, the location is unknown.
 */
int session_has_at(reader_session *v, const unsigned char *oid, const place *at, gpa_error *err);
int session_info_at(int *type, uint64_t *size, reader_session *v, const unsigned char *oid, const place *at,
		    gpa_error *err);
int session_read_at(gpa_object *out, reader_session *v, const unsigned char *oid, const place *at, uint64_t most,
		    gpa_error *err);

/* Type and size in one number, as gpa_slot_info() returns them. GPA_ECORRUPT if the size is too large for that. */
int64_t info_number(int type, uint64_t size, gpa_error *err);

/*
 * Read `count` objects with `threads` threads (parallel.c). statuses[i] is the status of out[i]. Only after GPA_OK is
 * there something to free; out[i].owner is NULL for an object of more than `most` bytes. *failed is the first object
 * whose status is neither GPA_OK nor GPA_ENOTFOUND, or `count`, and `err` is about it. Returns GPA_OK even if some
 * failed.
 */
int reader_read_many(gpa_object *out, int32_t *statuses, uint32_t *failed, gpa_reader *r, const unsigned char *oids,
		     uint32_t count, uint64_t most, unsigned threads, gpa_error *err);

#endif
