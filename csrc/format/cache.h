/* The delta-base cache of a reader, shared by its threads. */
#ifndef GPA_CACHE_H
#define GPA_CACHE_H

#include "base/object.h"

typedef struct base_cache base_cache;

/* Keeps at most about `bytes` of objects; 0 keeps none. */
int base_cache_new(base_cache **out, uint64_t bytes, gpa_error *err);
void base_cache_free(base_cache *cache);
/* The object kept for (pack_id, offset), with an owner added; NULL if there is none. */
made_object *base_cache_find(base_cache *cache, uint64_t pack_id, uint64_t offset);
/* Keep `object` as long as there is room. Does nothing if it is too large, or kept already. */
void base_cache_keep(base_cache *cache, uint64_t pack_id, uint64_t offset, made_object *object);

/*
 * The last objects that a thread was asked for and that were cheap to make, because they were few deltas above a kept
 * base. The next object is often a delta on one of these. Later ones rarely are, so putting them into the cache would
 * evict entries that are expensive to rebuild.
 */
#define LATELY 4
#define LATELY_MOST (256 * 1024)	/* bytes; a larger object is kept in the cache */
typedef struct lately {
	made_object *objects[LATELY];
	uint64_t pack_ids[LATELY];
	uint64_t offsets[LATELY];
	unsigned next;
} lately;

/* The object kept for (pack_id, offset) in `l`, with an owner added; NULL if there is none. */
made_object *lately_find(const lately *l, uint64_t pack_id, uint64_t offset);
/* Keep `object` in `l` in place of the oldest one, unless it is too large for the cache. */
void lately_keep(lately *l, base_cache *cache, uint64_t pack_id, uint64_t offset, made_object *object);
void lately_free(lately *l);

/*
 * Whether the type of an object at `offset` is worth remembering: at one offset of two, so that a walk down a chain
 * meets one soon.
 */
int base_cache_is_marked(uint64_t offset);
/* The remembered type of the object at (pack_id, offset), a marked offset; 0 if it is not known. */
int base_cache_type(base_cache *cache, uint64_t pack_id, uint64_t offset);
void base_cache_keep_type(base_cache *cache, uint64_t pack_id, uint64_t offset, int type);

/* Count the bytes kept now, and how often an object was found. */
void base_cache_count(base_cache *cache, uint64_t *bytes, uint64_t *hits);
/* Between these two calls no other thread is inside the cache: for fork(). */
void base_cache_lock(base_cache *cache);
void base_cache_unlock(base_cache *cache);

#endif
