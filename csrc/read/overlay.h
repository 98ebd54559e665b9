/*
 * Overlays: objects that a reader finds beside its packs and loose files. A writer is one, because its objects can be
 * read before they are in a pack that others see. A cold store or a cache may be others.
 *
 * A reader has a list of overlays, which is NULL if there is none: a read then calls nothing of an overlay. A reader
 * owns none of its overlays. A session does, for as long as it lasts.
 */
#ifndef GPA_OVERLAY_H
#define GPA_OVERLAY_H

#include "read/snapshot.h"

#define OVERLAYS_MOST 4		/* of one reader */

typedef struct overlay overlay;

/* An object that an overlay has. */
typedef struct overlay_object {
	int type;
	uint64_t size;
	unsigned char *room;	/* memory of `entry`, which the caller frees */
	gpa_bytes entry;	/* the object as an entry of a pack, if it was asked for */
	place at;		/* if `pack` is set: the object is there, and all else is 0; the caller drops the pack */
} overlay_object;

/* Any number of threads may call at once. No function waits for a scan of the reader. */
typedef struct overlay_calls {
	/* Add an owner. Returns 0 if the overlay is about to be freed: then it must not be used. */
	int (*share)(overlay *o);
	/* Remove an owner. */
	void (*free)(overlay *o);
	/* GPA_OK, GPA_ENOTFOUND, or a failure. `with_entry`: the content is needed, not only type and size. */
	int (*find)(overlay_object *out, overlay *o, const gpa_reader *r, const unsigned char *oid, int with_entry,
		    gpa_error *err);
	/* A pack that find() returned could not be opened: it is gone. */
	void (*forget)(overlay *o, const pack_file *pack);
	/* Put back files of packs that another program took away. Returns whether there were any. May be NULL. */
	int (*put_back)(overlay *o);
	/* Append the ids of all objects that the reader's packs and loose files may lack. */
	int (*list)(gpa_buffer *oids, size_t *room, overlay *o, gpa_error *err);
	/*
	 * The reader is about to scan its directories, and has done so. The number is passed from the first to the
	 * second.
	 */
	uint64_t (*before_scan)(overlay *o);
	void (*after_scan)(overlay *o, const gpa_reader *r, uint64_t number);
	/* Between these two no other thread is inside the overlay. */
	void (*before_fork)(overlay *o);
	void (*after_fork)(overlay *o);
	/* In the child, after after_fork(). */
	void (*in_child)(overlay *o);
} overlay_calls;

#define OVERLAY_FIRST 0		/* asked before packs and loose files */
#define OVERLAY_LAST 1		/* asked when nothing else has the object */

struct overlay {
	const overlay_calls *calls;
	int turn;		/* OVERLAY_FIRST or OVERLAY_LAST */
	struct overlay *next;	/* of the same reader, under its lock */
};

/* Overlays with an owner added. */
typedef struct held_overlays {
	uint32_t count;
	overlay *list[OVERLAYS_MOST];
} held_overlays;

/* Hold all overlays of a list; `list` is not NULL. Call with the reader's lock held. */
void overlays_hold(held_overlays *out, overlay *list);
/* Hold all overlays of a reader. */
void reader_hold_overlays(held_overlays *out, gpa_reader *r);
void overlays_release(held_overlays *held);
/* Add an overlay to a reader. Returns -1 if it has one with the same calls, or OVERLAYS_MOST. */
int reader_attach(gpa_reader *r, overlay *o);
/* Remove an overlay from a reader, if it has it. */
void reader_detach(gpa_reader *r, overlay *o);

#endif
