/*
 * One object with its chain of deltas. A chain is followed with a stack of entries, never by recursion; a cyclic chain
 * is longer than the pack has objects. Bases come from the cache if they are there, and the objects made on the way are
 * offered to it. Any number of threads may read from one pack, each with its own inflater.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/cache.h"
#include "format/chain.h"
#include "format/delta.h"
#include "format/pack.h"

#define NEAR 64			/* steps without an allocation: a little more than git's default depth */
#define KEEP_EVERY 8		/* chosen by `python -m tests.bench run read` */
#define NEARBY 3		/* deltas above a kept base: such an object is cheap to rebuild, and goes to `lately` */
#define SMALL_PROGRAM 4096	/* bytes; it is faster to inflate such a delta whole than to begin it with zlib */

typedef struct chain_step {
	uint64_t offset;
	gpa_bytes stream;
	uint64_t size;
} chain_step;

typedef struct chain {
	chain_step near[NEAR];
	chain_step *steps;		/* the deltas between the object and its base, the object's own first */
	uint64_t length;
	uint64_t room;
} chain;

static int push(chain *c, chain_step s, gpa_error *err)
{
	if (c->length == c->room) {
		chain_step *longer = malloc(2 * c->room * sizeof(*longer));
		if (!longer)
			return out_of_memory(err);
		memcpy(longer, c->steps, c->length * sizeof(*longer));
		if (c->steps != c->near)
			free(c->steps);
		c->steps = longer;
		c->room *= 2;
	}
	c->steps[c->length++] = s;
	return GPA_OK;
}

static void chain_begin(chain *c)
{
	c->steps = c->near;
	c->length = 0;
	c->room = NEAR;
}

static void chain_end(chain *c)
{
	if (c->steps != c->near)
		free(c->steps);
}

int chain_base(uint64_t *base, const gpa_idx *idx, const gpa_entry *entry, uint64_t offset, gpa_error *err)
{
	uint32_t pos;
	if (entry->type == GPA_OFS_DELTA) {
		*base = entry->base_offset;
		return GPA_OK;
	}
	if (gpa_idx_find(&pos, idx, entry->base_oid))
		return corrupt_at(err, offset, "delta base is not in this pack");
	return gpa_idx_offset(base, idx, pos, err);
}

/* Parse one entry: its stream and size, and for a delta the offset of its base. */
static int take_step(chain_step *out, int *type, uint64_t *base, const chain_source *source, uint64_t offset,
		     gpa_error *err)
{
	gpa_entry entry;
	const gpa_idx *idx = source->idx;
	int status = gpa_entry_parse(&entry, source->pack, offset, idx->algo, err);
	if (status)
		return status;
	out->offset = offset;
	out->size = entry.size;
	*type = entry.type;
	status = entry_stream(&out->stream, source->pack, &entry, offset, idx->hash_size, err);
	return status || entry.type <= GPA_TAG ? status : chain_base(base, idx, &entry, offset, err);
}

static int inflate_step(unsigned char *out, const chain_step *s, inflater *z, const gpa_progress *progress, gpa_error *err)
{
	size_t used;
	int status = inflate_stoppable(z, out, s->size, &used, s->stream, progress, err);
	if (status == GPA_ECORRUPT)
		err->offset = (int64_t)s->offset;
	return status;
}

static int read_whole(made_object **out, int type, const chain_step *s, inflater *z, const gpa_progress *progress,
		      gpa_error *err)
{
	made_object *made = made_object_new(s->size);
	if (!made)
		return out_of_memory(err);
	int status = inflate_step(made->room, s, z, progress, err);
	if (status) {
		made_object_drop(made);
		return status;
	}
	made->type = type;
	*out = made;
	return GPA_OK;
}

/* Go down the chain to an entry that is whole or cached. *out is that object, and `c` the deltas above it. */
static int descend(made_object **out, chain *c, const chain_source *source, uint64_t offset, inflater *z, gpa_error *err)
{
	for (;;) {
		chain_step s;
		int type;
		uint64_t base;
		if (is_stopped(source->progress))
			return stopped(err);
		if (source->cache) {
			if ((*out = base_cache_find(source->cache, source->pack_id, offset)) ||
			    (*out = lately_find(source->lately, source->pack_id, offset)))
				return GPA_OK;
			++*source->misses;
		}
		int status = take_step(&s, &type, &base, source, offset, err);
		if (!status && type <= GPA_TAG) {
			status = read_whole(out, type, &s, z, source->progress, err);
			if (!status && source->cache)
				base_cache_keep(source->cache, source->pack_id, offset, *out);
			return status;
		}
		if (!status && c->length >= source->idx->object_count)
			status = corrupt_at(err, offset, "delta chain is a cycle");
		if (!status)
			status = push(c, s, err);
		if (status)
			return status;
		offset = base;
	}
}

/* Replace *object by the target of one delta on it. */
static int climb(made_object **object, const chain_step *s, inflater *z, const gpa_progress *progress, gpa_error *err)
{
	unsigned char near[SMALL_PROGRAM], *program = s->size <= sizeof(near) ? near : malloc(s->size);
	made_object *target = NULL;
	if (!program)
		return out_of_memory(err);
	int status = is_stopped(progress) ? stopped(err) : inflate_step(program, s, z, progress, err);
	if (!status)
		status = delta_target(&target, *object, (gpa_bytes){program, s->size}, progress, err);
	if (program != near)
		free(program);
	if (status) {
		if (status == GPA_ECORRUPT && err->offset == GPA_NO_OFFSET)
			err->offset = (int64_t)s->offset;
		return status;
	}
	made_object_drop(*object);
	*object = target;
	return GPA_OK;
}

/*
 * Decide what to keep on the way up. The object itself is kept, because the next one is often a delta on it. A few of
 * those below are kept, so that another object of the same chain is near. Keeping all of them would evict objects of
 * other chains and use fresh memory. `climbed` deltas have been applied, and `above` are left.
 */
static void keep(const chain_source *source, uint64_t offset, made_object *object, uint64_t climbed, uint64_t above)
{
	if (!source->cache || above % KEEP_EVERY)
		return;
	if (!above && climbed < NEARBY && object->bytes.len <= LATELY_MOST)
		lately_keep(source->lately, source->cache, source->pack_id, offset, object);
	else
		base_cache_keep(source->cache, source->pack_id, offset, object);
}

int chain_read(made_object **out, const chain_source *source, uint64_t offset, inflater *z, gpa_error *err)
{
	chain c;
	made_object *object = NULL;
	chain_begin(&c);
	uint64_t before = source->misses ? *source->misses : 0;
	int status = descend(&object, &c, source, offset, z, err);
	if (!status && source->bytes_made && *source->misses - before > c.length)
		*source->bytes_made += object->bytes.len;	/* the whole object was in neither cache */
	for (uint64_t left = c.length; !status && left; left--) {
		const chain_step *s = &c.steps[left - 1];
		status = climb(&object, s, z, source->progress, err);
		if (status)
			break;
		if (source->bytes_made)
			*source->bytes_made += object->bytes.len;
		keep(source, s->offset, object, c.length - left + 1, left - 1);
	}
	chain_end(&c);
	if (status) {
		made_object_drop(object);
		return status;
	}
	*out = object;
	return GPA_OK;
}

/* The size of a delta's target: the second number of its program. */
static int target_size(uint64_t *size, const chain_step *s, inflater *z, gpa_error *err)
{
	unsigned char program[SMALL_PROGRAM];
	uint64_t source_size;
	gpa_error ignored;
	size_t len = inflate_peek(program, s->stream);
	if (!gpa_delta_sizes(&source_size, size, (gpa_bytes){program, len}, &ignored))
		return GPA_OK;
	len = s->size;
	int status = s->size <= sizeof(program) ? inflate_step(program, s, z, NULL, err) :
		     inflate_start(program, 32, &len, s->stream, err);
	if (!status)
		status = gpa_delta_sizes(&source_size, size, (gpa_bytes){program, len}, err);
	if (status == GPA_ECORRUPT)
		err->offset = (int64_t)s->offset;
	return status;
}

#define MARKS 16	/* offsets of one chain whose type is remembered */

/* The type at the end of a chain that begins with the base at `offset`. */
static int root_type(int *type, const chain_source *source, uint64_t offset, gpa_error *err)
{
	uint64_t marked[MARKS];
	unsigned marks = 0;
	int status = GPA_OK;
	*type = 0;
	for (uint64_t length = 1; !status && (*type < GPA_COMMIT || *type > GPA_TAG); length++) {
		chain_step s;
		if (source->cache && base_cache_is_marked(offset)) {
			if ((*type = base_cache_type(source->cache, source->pack_id, offset)))
				break;
			marked[marks++ % MARKS] = offset;
		}
		if (length > source->idx->object_count)
			return corrupt_at(err, offset, "delta chain is a cycle");
		status = take_step(&s, type, &offset, source, offset, err);
	}
	for (unsigned i = 0; !status && i < marks && i < MARKS; i++)
		base_cache_keep_type(source->cache, source->pack_id, marked[i], *type);
	return status;
}

int chain_info(int *type, uint64_t *size, const chain_source *source, uint64_t offset, inflater *z, gpa_error *err)
{
	chain_step s;
	uint64_t base;
	int status = take_step(&s, type, &base, source, offset, err);
	if (status)
		return status;
	*size = s.size;
	if (*type <= GPA_TAG)
		return GPA_OK;
	status = target_size(size, &s, z, err);
	return status ? status : root_type(type, source, base, err);
}
