/* The delta-base cache of a reader, shared by its threads. */
#ifndef GPA_CACHE_H
#define GPA_CACHE_H

#include "base/core.h"

typedef struct base_cache base_cache;

/* Keeps at most about `bytes` of objects; 0 keeps none. */
int base_cache_new(base_cache **out, uint64_t bytes, gpa_error *err);
void base_cache_free(base_cache *cache);
/* The object kept for (pack_id, offset), with an owner more; or NULL. */
made_object *base_cache_find(base_cache *cache, uint64_t pack_id, uint64_t offset);
/* Keep `object` as long as there is room for it. Nothing happens when it is too large, or kept already. */
void base_cache_keep(base_cache *cache, uint64_t pack_id, uint64_t offset, made_object *object);
/*
 * The last objects that a thread was asked for and that were cheap to make, being few deltas away from one made before.
 * The next one is often a delta on one of them, and seldom one that comes later: in the cache they would cost fresh
 * memory, and drive out what is dear.
 */
#define LATELY 4
#define LATELY_MOST (256 * 1024)	/* bytes; a larger object is kept in the cache */
typedef struct lately {
	made_object *objects[LATELY];
	uint64_t pack_ids[LATELY];
	uint64_t offsets[LATELY];
	unsigned next;
} lately;

/* As base_cache_find() and base_cache_keep(). */
made_object *lately_find(const lately *l, uint64_t pack_id, uint64_t offset);
void lately_keep(lately *l, base_cache *cache, uint64_t pack_id, uint64_t offset, made_object *object);
void lately_free(lately *l);
/*
 * The type of the object at (pack_id, offset), if it is remembered; else 0. Only offsets that base_cache_is_marked() says
 * are worth asking for and remembering: one of two, so that a walk down a chain soon meets one.
 */
int base_cache_is_marked(uint64_t offset);
int base_cache_type(base_cache *cache, uint64_t pack_id, uint64_t offset);
void base_cache_keep_type(base_cache *cache, uint64_t pack_id, uint64_t offset, int type);
/* Bytes kept now, and how often an object was found. */
void base_cache_count(base_cache *cache, uint64_t *bytes, uint64_t *hits);
/* No other thread is inside between the two: for a fork. */
void base_cache_lock(base_cache *cache);
void base_cache_unlock(base_cache *cache);

#endif
