/* An object made from its chain of deltas. */
#ifndef GPA_CHAIN_H
#define GPA_CHAIN_H

#include "base/inflate.h"
#include "base/object.h"
#include "format/gpa_format.h"

struct base_cache;
struct lately;

/* A pack to read from. */
typedef struct chain_source {
	gpa_bytes pack;
	const gpa_idx *idx;
	struct base_cache *cache;	/* NULL: there is none, and the next three are not used */
	struct lately *lately;		/* of the calling thread */
	uint64_t pack_id;		/* distinguishes the packs of one cache */
	uint64_t *misses;		/* counts entries found neither in `cache` nor in `lately` */
	uint64_t *bytes_made;		/* counts the bytes of all objects made, the last one included; may be NULL */
	const gpa_progress *progress;	/* may be NULL */
} chain_source;

/* The offset of a delta's base, in the same pack. */
int chain_base(uint64_t *base, const gpa_idx *idx, const gpa_entry *entry, uint64_t offset, gpa_error *err);
/*
 * Make the object stored at `offset`. Its delta chain is resolved inside this pack, without recursion. Memory: the
 * object, one base and one delta program, plus the cache. GPA_ECORRUPT also for a cyclic chain.
 */
int chain_read(made_object **out, const chain_source *source, uint64_t offset, inflater *z, gpa_error *err);
/* Type and size of the object at `offset`. Reads entry headers and the first bytes of one delta program. */
int chain_info(int *type, uint64_t *size, const chain_source *source, uint64_t offset, inflater *z, gpa_error *err);

#endif
