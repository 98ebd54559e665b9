/* The open page: objects on their way into one page, in memory and in their journal (open_page.c). */
#ifndef GPA_OPEN_PAGE_H
#define GPA_OPEN_PAGE_H

#include "base/door.h"
#include "base/oidmap.h"
#include "format/journal.h"

typedef struct page_row {
	unsigned char oid[GPA_OID_MAX];
	uint64_t at;		/* of its entry, in bytes behind the journal's header */
	uint64_t size;		/* of the object */
	uint32_t length;	/* of the entry */
	uint32_t crc;
	uint32_t type;
} page_row;

/*
 * Nothing here takes a lock: the writer holds its own, but that a page which is being sealed does not change, and any
 * thread may read from it.
 */
typedef struct open_page {
	uint64_t number;	/* each page of a writer has another one, ascending */
	page_row *rows;
	uint32_t count;
	uint32_t room;
	uint32_t heads;		/* commits and tags, which refs may name; counted with atomic operations */
	oid_map map;
	uint64_t end;		/* bytes of records */
	uint64_t kept_from;	/* those from here on are in `kept` too */
	unsigned char *kept;
	size_t kept_room;
	/* its journal; the file is made when first needed, and used again by the page after the next */
	char *path;
	int fd;			/* -1: there is none */
	int failed;		/* it cannot be relied on any more: what it holds has to go into a page */
	int must_sync;		/* its pack, whatever the writer's durability: records of another journal are in it */
	int is_named;		/* its directory has been synced */
	int syncing;		/* a thread is, and uses `fd` */
	uint64_t written;	/* bytes of records */
	uint64_t synced;
} open_page;

/* The path is taken over. */
void open_page_init(open_page *p, char *path);
/* Frees memory and closes the file, whose name stays. */
void open_page_free(open_page *p);
/* Forget all objects; the file stays as it is. */
void open_page_clear(open_page *p);
const page_row *open_page_find(const open_page *p, const unsigned char *oid, size_t size);

/* Make the journal's file, which `flock` holds from then on: that tells others that its writer lives. */
int open_page_make_file(open_page *p, const door *d, gpa_error *err);
/*
 * Add an object whose entry is `entry`. What is too much for memory is written out first; a failure leaves the page as it
 * was, but that more of it may be written.
 */
int open_page_add(open_page *p, const door *d, const unsigned char *oid, const journal_entry *entry, int algo,
		  gpa_error *err);
/* Write what is not written yet. After a failure the file still ends in a complete record, or `failed` is set. */
int open_page_flush(open_page *p, const door *d, int algo, gpa_error *err);
/* An entry where it lies in memory, or read from the file into `room` and checked against its CRC32. */
int open_page_read(const unsigned char **out, unsigned char *room, const open_page *p, const page_row *row,
		   gpa_error *err);
/* All its objects are durable elsewhere: empty the file. */
void open_page_drop_records(open_page *p, const door *d);
/* The file's name goes, and its lock. */
int open_page_remove_file(open_page *p, const door *d, gpa_error *err);

#endif
