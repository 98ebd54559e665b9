/* The open page: objects on their way into one page, in memory and in their journal (open_page.c). */
#ifndef GPA_OPEN_PAGE_H
#define GPA_OPEN_PAGE_H

#include "base/door.h"
#include "base/oidmap.h"
#include "format/journal.h"

typedef struct page_row {
	unsigned char oid[GPA_OID_MAX];
	uint64_t at;		/* of its entry, counted from the end of the journal's header */
	uint64_t size;		/* of the object */
	uint32_t length;	/* of the entry */
	uint32_t crc;
	uint32_t type;
} page_row;

/*
 * No locking here; callers hold the writer's lock. Exception: a page being sealed is immutable and may be read by any
 * thread.
 */
typedef struct open_page {
	uint64_t number;	/* ascending; unique among the pages of a writer */
	page_row *rows;
	uint32_t count;
	uint32_t room;
	uint32_t heads;		/* commits and tags, which refs may name; counted with atomic operations */
	oid_map map;
	uint64_t end;		/* bytes of records */
	uint64_t kept_from;	/* records from here on are in `kept` too */
	unsigned char *kept;
	size_t kept_room;
	/* of its journal; the file is created when needed, and used again by the page after the next */
	char *path;
	int fd;			/* -1: there is none */
	int failed;		/* the file cannot be relied on: its objects have to be sealed */
	int must_sync;		/* sync the page's pack at any durability, because it has records of another journal */
	int is_named;		/* its directory has been synced */
	int syncing;		/* a thread syncs the file, and uses `fd` */
	uint64_t written;	/* bytes of records */
	uint64_t synced;
} open_page;

/* Begin a page. Takes `path` over. */
void open_page_init(open_page *p, char *path);
/* Free memory and close the file, whose name stays. */
void open_page_free(open_page *p);
/* Forget all objects. The file does not change. */
void open_page_clear(open_page *p);
const page_row *open_page_find(const open_page *p, const unsigned char *oid, size_t size);

/* Create the journal's file and lock it with flock(), which shows other processes that its writer lives. */
int open_page_make_file(open_page *p, const door *d, gpa_error *err);
/*
 * Add an object whose entry is `entry`. If memory is full, earlier records are written to the file first. After a
 * failure the page is unchanged, except that more of it may be in the file.
 */
int open_page_add(open_page *p, const door *d, const unsigned char *oid, const journal_entry *entry, int algo,
		  gpa_error *err);
/*
 * Write the records that are not in the file. After a failure the file still ends in a complete record, or `failed` is
 * set.
 */
int open_page_flush(open_page *p, const door *d, int algo, gpa_error *err);
/* Find an entry: in memory, or read from the file into `room` and checked against its CRC32. */
int open_page_read(const unsigned char **out, unsigned char *room, const open_page *p, const page_row *row,
		   gpa_error *err);
/* Empty the file, because all its objects are durable elsewhere. */
void open_page_drop_records(open_page *p, const door *d);
/* Unlink the file, and release its lock. */
int open_page_remove_file(open_page *p, const door *d, gpa_error *err);

#endif
