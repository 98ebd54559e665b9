/* The journal's format, and the open page that it is the file of. */
#ifndef GPA_JOURNAL_H
#define GPA_JOURNAL_H

#include "base/door.h"

/* ---- journal.c ---- */

#define JOURNAL_HEADER 12
#define RECORD_HEADER 8

/* The object of a complete record; `stream` is what follows the entry's header. Borrowed from the file. */
typedef struct journal_entry {
	gpa_bytes entry;
	uint32_t crc;
	int type;
	uint64_t size;		/* as the entry says */
	gpa_bytes stream;
} journal_entry;

void journal_write_header(unsigned char *out, int algo);
void journal_write_record(unsigned char *out, uint32_t length, uint32_t crc);
/* GPA_ENOTFOUND when the file is too short to hold a header. */
int journal_check(gpa_bytes file, int algo, gpa_error *err);
/* The record at *at (JOURNAL_HEADER to begin with), and step behind it. GPA_ENOTFOUND: no complete one is there. */
int journal_next(journal_entry *out, size_t *at, gpa_bytes file);

/* ---- oidmap.c: rows that begin with an id of GPA_OID_MAX bytes, found by it ---- */

#define NO_ROW UINT32_MAX

typedef struct oid_map {
	uint32_t *slots;	/* a row's number and one; 0: free */
	uint32_t room;		/* a power of two, or 0 */
	uint32_t count;
} oid_map;

/* NO_ROW when there is none. `oid` has `size` bytes. */
uint32_t oid_map_find(const oid_map *map, const void *rows, size_t stride, const unsigned char *oid, size_t size);
/* Row `count` of `rows`, which is not there yet. -1 without memory. */
int oid_map_add(oid_map *map, const void *rows, size_t stride);
void oid_map_clear(oid_map *map);
void oid_map_free(oid_map *map);

/* ---- open_page.c: objects on their way into one page, in memory and in their journal ---- */

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
