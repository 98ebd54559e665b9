/*
 * The verbatim merge, from inside. merge.c begins and frees it; sources.c collects the sources; plan.c,
 * choose_copies.c, find_deltas.c and assign_pages.c decide; write_pages.c writes the bytes; prove_pages.c checks their
 * ids.
 *
 * An object may be stored several times in the sources: each time is a *copy*. A copy is whole, or a delta on another
 * object of its pack. A *slot* is an object's place in a page: one for each object taken, and one more for a base that
 * two pages need.
 */
#ifndef GPA_MERGE_H
#define GPA_MERGE_H

#include "base/inflate.h"
#include "format/cache.h"
#include "merge/gpa_merge.h"

#define NONE UINT32_MAX
#define MADE UINT32_MAX		/* copy.source of a delta that find_deltas.c made */
#define MADE_HEADER 8		/* approximate bytes of its header */

/* A stored copy; 32 bytes. */
typedef struct copy {
	uint64_t offset : 48;	/* in its pack; of a MADE one, of its zlib stream in merge.made */
	uint64_t fold : 16;	/* of the object's size, see size_fold(); 0: unknown */
	uint64_t size : 48;	/* stored bytes, header included */
	uint64_t type : 3;	/* of the object, not of the entry */
	uint64_t damaged : 1;	/* never chosen */
	uint64_t lies : 1;	/* its content has another id than its idx says: neither it nor a delta on it is chosen */
	uint64_t proved : 1;	/* its content has its id, made as in its own pack */
	uint64_t named : 1;	/* the combined index names it, so git reads this copy */
	uint32_t object;
	uint32_t base;		/* copy that is the delta base in its own pack; NONE: whole */
	uint32_t sum;		/* whole: the Adler-32 at the end of its zlib stream; MADE: length of its program */
	uint32_t source;
} copy;

typedef struct object {
	const unsigned char *oid;	/* borrowed from a source's idx */
	uint32_t first_copy;		/* in merge.by_object; ends where those of the next object begin */
	uint32_t chosen;		/* copy to take; NONE: undecided, or left out */
	uint32_t depth;			/* length of the chosen chain of deltas; see choose_copies.c */
	uint8_t taken;
	uint8_t rebuild;		/* inflate the chosen copy's chain and deflate the whole object */
	uint8_t lost;			/* no source can provide it */
	uint8_t doubt;			/* why a page's copy of it has to be proved: UNLIKE, NOT_NAMED */
} object;

#define UNLIKE 1		/* its copies are not all whole and alike */
#define NOT_NAMED 2		/* the index names a copy that no source has */

typedef struct slot {
	uint32_t object;
	uint32_t base;		/* slot of the delta base, earlier in the same page; NONE: stored whole */
	uint32_t chosen;	/* copy */
	uint8_t rebuild;
} slot;

typedef struct source {
	const gpa_idx *idx;
	int dir_fd;
	char *path;
	uint32_t first_copy;	/* its entries are copies[first_copy ...], in idx order */
	uint64_t size;
} source;

typedef struct page {
	uint32_t first_slot;
	uint32_t slot_count;
	uint64_t bytes;
} page;

/* Descriptors of the sources read last. Neighbours in a page mostly come from neighbouring packs. */
#define OPEN_FILES 32
typedef struct open_file {
	uint32_t source;
	int fd;
} open_file;

struct gpa_merge {
	gpa_merge_options options;
	uint32_t hash_size;
	source *sources;
	uint32_t source_count, source_room;
	copy *copies;		/* copy_count, then made_count that are MADE */
	uint32_t copy_count, copy_room;
	uint32_t made_count;
	unsigned char *made;
	size_t made_size;
	object *objects;	/* object_count, and one more, whose first_copy ends the last */
	uint32_t object_count;
	uint32_t *by_object;	/* copies grouped by object */
	slot *slots;		/* in the order they are written */
	uint32_t slot_count, slot_room;
	page *pages;
	uint32_t page_count, page_room;
	uint32_t rebuilt_count, cut_count, left_out_count, conflict_count;
	int in_doubt;		/* a source lies: gpa_merge_check() computes every id */
	int is_checked;		/* gpa_merge_check() has done so */
	int no_made;		/* a new delta yielded another object */
	struct proof *proof;	/* of the page written last; NULL if none is under way */
	inflater *z;
	deflater *d;
	open_file files[OPEN_FILES];
	uint32_t next_file;	/* the one to replace */
	base_cache *bases;	/* of objects that are made; NULL until there is one */
	lately lately;
	uint64_t entries_read;	/* to make objects, also for proofs, except those that `bases` had */
	uint64_t bytes_made, bytes_asked;	/* by make_copy(): in all, and of the objects it was asked for */
	uint64_t steps_left;	/* of the search for ways out of cycles */
	int no_cuts;		/* rebuilding was too expensive: chains stay as long as they are */
	unsigned char *buffer;	/* COPY_BUFFER bytes */
	gpa_progress *progress;	/* of the current call; may be NULL */
};

#define COPY_BUFFER (1024 * 1024)

#define PACK_MOST ((uint64_t)1 << 48)	/* bytes of a pack: see copy.offset */

/* A short number that differs for most different sizes. Never 0. */
static inline uint32_t size_fold(uint64_t size)
{
	return (uint32_t)(size % 65535 + 1);
}

static inline uint32_t copies_begin(const gpa_merge *m, uint32_t object)
{
	return m->objects[object].first_copy;
}

static inline uint32_t copies_end(const gpa_merge *m, uint32_t object)
{
	return m->objects[object + 1].first_copy;
}

/* The CRC32 of a copy in a source, from its idx. */
static inline uint32_t copy_crc(const gpa_merge *m, const copy *c)
{
	const source *s = &m->sources[c->source];
	return gpa_idx_crc(s->idx, (uint32_t)(c - m->copies) - s->first_copy);
}

/* The object that a copy is a delta on; NONE for a whole copy. */
static inline uint32_t base_object(const gpa_merge *m, const copy *c)
{
	return c->base == NONE ? NONE : m->copies[c->base].object;
}

/* The object on whose chosen form `object` is stored as a delta; NONE if it is stored whole. */
static inline uint32_t chosen_base(const gpa_merge *m, uint32_t object)
{
	const struct object *o = &m->objects[object];
	return o->rebuild || o->chosen == NONE ? NONE : base_object(m, &m->copies[o->chosen]);
}

/* The smallest undamaged whole copy of `object`; NONE if there is none. */
uint32_t smallest_whole(const gpa_merge *m, uint32_t object);

/* choose_copies.c: set chosen, depth and rebuild of every object taken, and take the bases they need. */
int choose_copies(gpa_merge *m, gpa_error *err);
/* find_deltas.c: make some whole objects deltas that no source has. They are chosen like any copy. */
void make_deltas(gpa_merge *m);
/* assign_pages.c: fill slots and pages. `reverse` as in gpa_merge_plan(). */
int assign_pages(gpa_merge *m, int reverse, gpa_error *err);
/* sources.c: the descriptor of a source, borrowed until OPEN_FILES others have been asked for. */
int source_file(int *fd, gpa_merge *m, uint32_t number, gpa_error *err);
void close_files(gpa_merge *m);
/* sources.c: read a copy of at most COPY_BUFFER bytes, and check its CRC32. *out is valid until the next call. */
int read_copy(gpa_bytes *out, gpa_merge *m, const copy *c, gpa_error *err);
/* plan.c: forget the plan, and give up a proof that is under way. */
void forget_plan(gpa_merge *m);
/*
 * prove_pages.c: begin to prove page `number`, which has just been written to `fd`. Its slots are at `offsets`, which
 * the proof will free, and its trailer is at `end`. Call proof_end() before the next one.
 */
int proof_begin(gpa_merge *m, uint32_t number, int fd, uint64_t *offsets, uint64_t end, gpa_error *err);
/* Wait for the proof under way, if any. GPA_ECORRUPT as in gpa_merge_prove(). */
int proof_end(gpa_merge *m, gpa_error *err);
/* Give up the proof under way, if any. */
void proof_drop(gpa_merge *m);
/* Make every object of every source and compute its id. Sets damaged, lies and proved. */
int check_ids(gpa_merge *m, gpa_error *err);

/* write_pages.c: make the object of a copy, as in its own pack, which is mapped as `pack`. */
int make_copy(made_object **out, gpa_merge *m, const copy *c, gpa_bytes pack, gpa_error *err);

#endif
