/* What the object directories held at the last scan (snapshot.c). A snapshot never changes; a rescan makes a new one. */
#ifndef GPA_SNAPSHOT_H
#define GPA_SNAPSHOT_H

#include "base/oidsort.h"
#include "read/packs.h"

/* A combined index, shared by the views that found the same file. */
typedef struct index_file {
	uint32_t owners;
	file_stamp stamp;
	held_file file;
	gpa_midx midx;
} index_file;

/* The packs of one object directory. Borrows the directory's path. */
typedef struct view {
	uint32_t owners;
	index_file *index;		/* NULL: there is none, or it cannot be read */
	uint32_t pack_count;
	pack_file **packs;		/* all, ascending by name */
	pack_file **named;		/* the packs that the index names, in its order */
	uint32_t unindexed_count;
	pack_file **unindexed;		/* the other packs: first the large ones, each looked up by its idx */
	uint32_t large_count;
	uint32_t table_count;
	oid_ref *table;			/* the objects of the small ones; source is a place in `unindexed` */
	pack_file *unreadable;		/* one whose idx cannot be read; or NULL */
} view;

typedef struct scanned_dir {
	view *view;
	file_stamp pack_dir;
	file_stamp index;
	int64_t began_ns;		/* the clock before the first stat */
} scanned_dir;

typedef struct snapshot {
	uint32_t owners;
	uint32_t dir_count;
	scanned_dir dirs[];
} snapshot;

/* Scan the directories. Unchanged parts of `old`, which may be NULL, are reused. Suspect packs are opened anew. */
int snapshot_new(snapshot **out, char *const *dirs, uint32_t dir_count, const snapshot *old, pack_maps *maps, int algo,
		 gpa_error *err);
void snapshot_drop(snapshot *s);
/* Compare the directories with the snapshot. Returns 0 if they changed, or one of: */
#define SNAPSHOT_SAME 1		/* unchanged, but a change right after the scan may not show */
#define SNAPSHOT_SURE 2		/* unchanged */
int snapshot_check(const snapshot *s, char *const *dirs);

/* The location of an object. */
typedef struct place {
	pack_file *pack;
	uint64_t offset;
} place;
/* Look `oid` up in the combined index. A damaged row is GPA_ECORRUPT, which names the index. */
int view_find_indexed(place *out, const scanned_dir *l, uint32_t dir, const unsigned char *oid, gpa_error *err);
/* Find the next copy in a pack that the index does not name. *turn is 0 for the first one. */
int view_find_unindexed(place *out, const view *v, uint32_t *turn, const unsigned char *oid, gpa_error *err);

#endif
