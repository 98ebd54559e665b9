/*
 * The delta-base cache, by pack and offset. The least recently used object is evicted first. The cache is split into
 * shards, each with its own lock and its share of the bytes, so that threads rarely wait for each other.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/cache.h"

#define SHARDS 8
#define OBJECT_GUESS 512	/* expected bytes of a small object; sets the number of hash rows of a shard */
#define ROWS_MAX (1u << 20)
#define TYPE_ROWS (1u << 16)
#define HINTS (1u << 15)	/* in each shard */
#define OFFSET_BITS 40		/* of the offset in a type row; types at larger offsets are not remembered */
#define PACK_BITS 21

typedef struct shard {
	pthread_mutex_t lock;
	made_object **rows;
	made_object *newest, *oldest;
	uint64_t bytes;
	uint64_t hits;
} __attribute__((aligned(64))) shard;

struct base_cache {
	uint64_t shard_bytes;
	uint32_t row_count;	/* a power of two */
	uint8_t *hints;		/* HINTS for each shard: the number of kept objects with this hash; read without the lock */
	uint64_t *types;	/* TYPE_ROWS words of pack_id, offset and type, accessed without a lock */
	shard shards[SHARDS];
};

int base_cache_new(base_cache **out, uint64_t bytes, gpa_error *err)
{
	base_cache *cache = aligned_alloc(64, sizeof(*cache));
	if (!cache)
		return out_of_memory(err);
	memset(cache, 0, sizeof(*cache));
	cache->shard_bytes = bytes / SHARDS;
	cache->types = calloc(TYPE_ROWS, sizeof(*cache->types));
	cache->hints = calloc(SHARDS, HINTS);
	if (!cache->types || !cache->hints) {
		base_cache_free(cache);
		return out_of_memory(err);
	}
	cache->row_count = 64;
	while (cache->row_count < cache->shard_bytes / OBJECT_GUESS && cache->row_count < ROWS_MAX)
		cache->row_count *= 2;
	for (unsigned i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&cache->shards[i].lock, NULL);
		cache->shards[i].rows = calloc(cache->row_count, sizeof(made_object *));
		if (!cache->shards[i].rows) {
			base_cache_free(cache);
			return out_of_memory(err);
		}
	}
	*out = cache;
	return GPA_OK;
}

static uint64_t mix(uint64_t pack_id, uint64_t offset)
{
	uint64_t h = (offset ^ pack_id << 40) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

static uint64_t cost(const made_object *object)
{
	return object->bytes.len + sizeof(*object);
}

static void take_out(shard *s, made_object *object)
{
	if (object->newer)
		object->newer->older = object->older;
	else
		s->newest = object->older;
	if (object->older)
		object->older->newer = object->newer;
	else
		s->oldest = object->newer;
}

static void put_newest(shard *s, made_object *object)
{
	object->newer = NULL;
	object->older = s->newest;
	if (s->newest)
		s->newest->newer = object;
	else
		s->oldest = object;
	s->newest = object;
}

static made_object **find_row(base_cache *cache, shard **s, uint64_t pack_id, uint64_t offset)
{
	uint64_t h = mix(pack_id, offset);
	*s = &cache->shards[h >> 61];
	return &(*s)->rows[h & (cache->row_count - 1)];
}

/*
 * The hint for an object. Most entries of a chain are not kept, and one byte in a small table says so for most of them.
 */
static uint8_t *hint(base_cache *cache, uint64_t pack_id, uint64_t offset)
{
	uint64_t h = mix(pack_id, offset);
	return &cache->hints[(h >> 61) * HINTS + (h & (HINTS - 1))];
}

/* Count an object in a hint, or out of it, under the shard's lock. A hint that has reached its maximum stays there. */
static void count_hint(uint8_t *hint, int more)
{
	uint8_t count = __atomic_load_n(hint, __ATOMIC_RELAXED);
	if (count != UINT8_MAX)
		__atomic_store_n(hint, (uint8_t)(more ? count + 1 : count - 1), __ATOMIC_RELAXED);
}

static made_object *find_in_row(made_object *object, uint64_t pack_id, uint64_t offset)
{
	while (object && (object->offset != offset || object->pack_id != pack_id))
		object = object->next_in_row;
	return object;
}

/* Evict objects until the rest fits into `bytes`. Returns them as a list, which is dropped without the lock. */
static made_object *make_room(base_cache *cache, shard *s, uint64_t bytes)
{
	made_object *gone = NULL;
	while (s->bytes > bytes) {
		made_object *object = s->oldest;
		shard *same;
		made_object **at = find_row(cache, &same, object->pack_id, object->offset);
		while (*at != object)
			at = &(*at)->next_in_row;
		*at = object->next_in_row;
		take_out(s, object);
		count_hint(hint(cache, object->pack_id, object->offset), 0);
		s->bytes -= cost(object);
		object->next_in_row = gone;
		gone = object;
	}
	return gone;
}

/* Drop evicted objects. An object that still has an owner may be kept again, now or later, in any row. */
static void drop_all(made_object *object)
{
	while (object) {
		made_object *next = object->next_in_row;
		__atomic_store_n(&object->pack_id, 0, __ATOMIC_RELEASE);
		made_object_drop(object);
		object = next;
	}
}

made_object *base_cache_find(base_cache *cache, uint64_t pack_id, uint64_t offset)
{
	shard *s;
	made_object **row = find_row(cache, &s, pack_id, offset), *found;
	if (!__atomic_load_n(hint(cache, pack_id, offset), __ATOMIC_RELAXED))
		return NULL;
	pthread_mutex_lock(&s->lock);
	if ((found = find_in_row(*row, pack_id, offset))) {
		if (found->newer) {
			take_out(s, found);
			put_newest(s, found);
		}
		made_object_share(found);
		s->hits++;
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

void base_cache_keep(base_cache *cache, uint64_t pack_id, uint64_t offset, made_object *object)
{
	shard *s;
	uint64_t nowhere = 0;
	made_object *gone = NULL, **row = find_row(cache, &s, pack_id, offset);
	if (cost(object) > cache->shard_bytes ||
	    !__atomic_compare_exchange_n(&object->pack_id, &nowhere, pack_id, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&s->lock);
	int kept = !find_in_row(*row, pack_id, offset);		/* another thread may have kept it already */
	if (kept) {
		object->offset = offset;
		object->next_in_row = *row;
		*row = made_object_share(object);
		put_newest(s, object);
		count_hint(hint(cache, pack_id, offset), 1);
		s->bytes += cost(object);
		gone = make_room(cache, s, cache->shard_bytes);
	}
	pthread_mutex_unlock(&s->lock);
	if (!kept)
		__atomic_store_n(&object->pack_id, 0, __ATOMIC_RELEASE);
	drop_all(gone);
}

made_object *lately_find(const lately *l, uint64_t pack_id, uint64_t offset)
{
	for (unsigned i = 0; i < LATELY && l->objects[i]; i++)
		if (l->offsets[i] == offset && l->pack_ids[i] == pack_id)
			return made_object_share(l->objects[i]);
	return NULL;
}

void lately_keep(lately *l, base_cache *cache, uint64_t pack_id, uint64_t offset, made_object *object)
{
	if (cost(object) > cache->shard_bytes)
		return;
	unsigned i = l->next++ % LATELY;
	made_object_drop(l->objects[i]);
	l->objects[i] = made_object_share(object);
	l->pack_ids[i] = pack_id;
	l->offsets[i] = offset;
}

void lately_free(lately *l)
{
	for (unsigned i = 0; i < LATELY; i++)
		made_object_drop(l->objects[i]);
}

int base_cache_is_marked(uint64_t offset)
{
	return !(mix(0, offset) >> 63);
}

static uint64_t *type_row(base_cache *cache, uint64_t *word, uint64_t pack_id, uint64_t offset)
{
	*word = (pack_id << OFFSET_BITS | offset) << 3;
	return pack_id >> PACK_BITS || offset >> OFFSET_BITS ? NULL : &cache->types[mix(pack_id, offset) & (TYPE_ROWS - 1)];
}

int base_cache_type(base_cache *cache, uint64_t pack_id, uint64_t offset)
{
	uint64_t word, *row = type_row(cache, &word, pack_id, offset);
	uint64_t found = row ? __atomic_load_n(row, __ATOMIC_RELAXED) : 0;
	return found >> 3 == word >> 3 ? (int)(found & 7) : 0;
}

void base_cache_keep_type(base_cache *cache, uint64_t pack_id, uint64_t offset, int type)
{
	uint64_t word, *row = type_row(cache, &word, pack_id, offset);
	if (row)
		__atomic_store_n(row, word | (uint64_t)type, __ATOMIC_RELAXED);
}

void base_cache_count(base_cache *cache, uint64_t *bytes, uint64_t *hits)
{
	*bytes = *hits = 0;
	for (unsigned i = 0; i < SHARDS; i++) {
		shard *s = &cache->shards[i];
		pthread_mutex_lock(&s->lock);
		*bytes += s->bytes;
		*hits += s->hits;
		pthread_mutex_unlock(&s->lock);
	}
}

void base_cache_lock(base_cache *cache)
{
	for (unsigned i = 0; i < SHARDS; i++)
		pthread_mutex_lock(&cache->shards[i].lock);
}

void base_cache_unlock(base_cache *cache)
{
	for (unsigned i = 0; i < SHARDS; i++)
		pthread_mutex_unlock(&cache->shards[i].lock);
}

void base_cache_free(base_cache *cache)
{
	if (!cache)
		return;
	free(cache->types);
	free(cache->hints);
	for (unsigned i = 0; i < SHARDS; i++) {
		for (made_object *object = cache->shards[i].newest, *older; object; object = older) {
			older = object->older;
			made_object_drop(object);
		}
		free(cache->shards[i].rows);
		pthread_mutex_destroy(&cache->shards[i].lock);
	}
	free(cache);
}
