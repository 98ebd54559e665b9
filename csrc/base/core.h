/*
 * What the C files lend each other and Python does not see: streams of hashed output, inflating, sorting by oid,
 * reading a source by descriptor. Each part is described where it is written.
 */
#ifndef GPA_CORE_H
#define GPA_CORE_H

#include <stdlib.h>

#include "base/bytes.h"

/* ---- hash.c: one running hash; reusable after final ---- */

typedef struct hasher {
	void *context;
	uint32_t size;
} hasher;

int hasher_init(hasher *h, int algo, gpa_error *err);
void hasher_update(hasher *h, const void *data, size_t len);
/* The same for what may be large. GPA_ESTOPPED leaves the hasher as new; `progress` may be NULL. */
int hasher_update_stoppable(hasher *h, gpa_bytes data, const gpa_progress *progress, gpa_error *err);
/* Writes h->size bytes and begins anew. */
void hasher_final(hasher *h, unsigned char *out);
void hasher_free(hasher *h);
/* Begin an object's id: the hash of "<type> <size>\0<content>". */
void hasher_begin_object(hasher *h, int type, uint64_t size);
void oid_to_hex(char *hex, const unsigned char *oid, size_t size);

/* ---- output.c: a file written once from its start, hashed as it grows ---- */

struct door;

typedef struct output {
	int fd;
	const struct door *door;	/* door.h; NULL: bytes are written to wherever `fd` stands */
	const char *path;	/* borrowed, for the door */
	hasher hash;
	uint64_t written;	/* bytes so far, those still in the buffer included */
	uint64_t flushed;	/* of them in the file */
	const gpa_progress *progress;	/* may be NULL; looked at before each write of at most 1 MiB */
	uint32_t crc;		/* CRC32 since output_crc_begin(), for the entries of a pack */
	int with_crc;
	size_t used;
	unsigned char *buffer;
} output;

int output_open(output *out, int fd, int algo, const gpa_progress *progress, gpa_error *err);
/* Begin another file with an output that is open; whatever was in its buffer is forgotten. */
void output_begin(output *out, int fd, const struct door *door, const char *path);
int output_write(output *out, const void *data, size_t len, gpa_error *err);
static inline void output_crc_begin(output *out)
{
	out->crc = 0;
	out->with_crc = 1;
}

/* Flush, and give the hash of everything so far; what is written afterwards is hashed anew. */
int output_flush(output *out, unsigned char *hash, gpa_error *err);
/* Flush, write the hash of everything as the trailer, and copy it to `trailer`. */
int output_finish(output *out, unsigned char *trailer, gpa_error *err);
void output_free(output *out);

/* ---- inflate.c: zlib streams; inflaters and deflaters serve one thread, again and again ---- */

typedef struct inflater inflater;
int inflater_new(inflater **out, gpa_error *err);
void inflater_free(inflater *z);
/* Inflate a stream of exactly `len` bytes into `out`. *used: bytes of `in` it took. */
int inflate_whole(inflater *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in, gpa_error *err);
/* Inflate a stream that makes at most `room` bytes, *made of them; both lengths are below 1 GiB. GPA_ENOTFOUND: it makes
 * more, or is damaged. */
int inflate_within(inflater *z, unsigned char *out, size_t room, size_t *made, size_t *used, gpa_bytes in);
/* As inflate_whole(), and GPA_ESTOPPED soon also within a large object. `progress` may be NULL. */
int inflate_stoppable(inflater *z, unsigned char *out, size_t len, size_t *used, gpa_bytes in,
		      const gpa_progress *progress, gpa_error *err);
/* Inflate without keeping: hand each piece to `sink` (may be NULL). Constant memory. `progress` may be NULL. */
typedef void (*inflate_sink)(void *context, const unsigned char *piece, size_t len);
int inflate_pieces(uint64_t size, size_t *used, gpa_bytes in, inflate_sink sink, void *context,
		   const gpa_progress *progress, gpa_error *err);

/* Inflate as the caller asks for it: fewer than `room` bytes come only at the end. Constant memory. */
typedef struct inflate_stream inflate_stream;
int inflate_stream_new(inflate_stream **out, gpa_bytes in, gpa_error *err);
int inflate_stream_read(inflate_stream *s, unsigned char *out, size_t room, size_t *got, gpa_error *err);
/* Whether the stream's own end was read, and how many bytes of `in` were not needed. */
int inflate_stream_ended(const inflate_stream *s, size_t *left);
void inflate_stream_free(inflate_stream *s);
/* The first bytes that a stream inflates to: `room` of them, or as many as there are. */
int inflate_start(unsigned char *out, size_t room, size_t *got, gpa_bytes in, gpa_error *err);

/* As a zlib stream has it at its end. */
uint32_t content_adler(gpa_bytes content);

typedef struct deflater deflater;
int deflater_new(deflater **out, int level, gpa_error *err);
void deflater_free(deflater *d);
/* The most that deflate_whole() makes of `len` bytes. */
size_t deflate_room(size_t len);
/* Deflate less than 1 GiB; `out` has deflate_room(in.len) bytes. */
int deflate_whole(deflater *d, unsigned char *out, size_t *len, gpa_bytes in, gpa_error *err);
/* Or in pieces: what goes in between two beginnings becomes one stream in `out`; `last` ends it. Constant memory. */
int deflate_begin(deflater *d, gpa_error *err);
int deflate_piece(deflater *d, output *out, gpa_bytes in, int last, gpa_error *err);

/* ---- peek.c ---- */

#define PEEK 8
/* A quick look at the literal bytes a stream begins with, at most PEEK; 0 where that would take more than a look. */
size_t inflate_peek(unsigned char *out, gpa_bytes in);

/* ---- map.c: files read piece by piece, and files held whole ---- */

/* Closed as gpa_map_open()'s are. */
int file_map(gpa_bytes *out, int fd, uint64_t size, gpa_error *err);
/*
 * A map whose first and last bytes are looked at before others are: of a large file these two come from the disk by
 * themselves, where a fault would bring as much around each as the kernel reads ahead, which may be megabytes.
 */
int file_map_ends(gpa_bytes *out, const char *path, gpa_error *err);
int file_open(int *fd, uint64_t *size, int dir_fd, const char *path, gpa_error *err);
/* Not through a symbolic link: what is unlinked afterwards must be what was read. */
int file_open_itself(int *fd, uint64_t *size, int dir_fd, const char *path, gpa_error *err);
/* What tells whether a file or directory is the same as before. All 0 when there is none. */
typedef struct file_stamp {
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	int64_t mtime_ns;
	int64_t ctime_ns;
} file_stamp;

static inline int same_stamp(const file_stamp *a, const file_stamp *b)
{
	return a->inode == b->inode && a->ctime_ns == b->ctime_ns && a->mtime_ns == b->mtime_ns && a->size == b->size &&
	       a->device == b->device;
}

void stamp_path(file_stamp *out, const char *path);

/* A file's content: mapped, or read where a map would cost more than the copy. */
typedef struct held_file {
	gpa_bytes bytes;
	int is_copy;
} held_file;
/* Files of up to `copy_most` bytes are copied. `stamp` may be NULL. */
int file_hold(held_file *out, file_stamp *stamp, int dir_fd, const char *path, size_t copy_most, gpa_error *err);
/* Up to so many bytes a copy costs less than a map, which other processors may have to be told of when it goes. */
#define FILE_COPY_MOST (32 * 1024)
void file_release(held_file *file);
int file_read(int fd, unsigned char *out, size_t len, uint64_t offset, gpa_error *err);

/* ---- pack.c ---- */

#define ENTRY_HEADER_MAX (10 + 10 + GPA_OID_MAX)

/* Writes type and size as an entry begins; returns the bytes used, at most 10. */
size_t entry_header_write(unsigned char *out, int type, uint64_t size);
/* Writes the distance back to a delta base; returns the bytes used, at most 10. */
size_t entry_distance_write(unsigned char *out, uint64_t distance);
const char *type_name(int type);
/* The header of an entry of which only the first bytes are at hand. `offset` is its place in the pack. */
int entry_parse_bytes(gpa_entry *out, gpa_bytes head, uint64_t offset, uint32_t hash_size, gpa_error *err);
/* GPA_ECORRUPT when an entry claims more than its zlib stream can hold; `stream` is what follows its header. */
int entry_stream(gpa_bytes *stream, gpa_bytes pack, const gpa_entry *entry, uint64_t offset, uint32_t hash_size,
		 gpa_error *err);

/* ---- delta_make.c: delta programs ---- */

/* Where the blocks of a base are; takes three quarters of its memory at most, and borrows it. */
typedef struct delta_index delta_index;
int delta_index_new(delta_index **out, gpa_bytes base, gpa_error *err);
void delta_index_free(delta_index *index);
/*
 * Writes a program that makes `target` of the base, and returns its length. 0: it would be longer than `most`, or is so
 * near to it that it was given up early; never when `most` is the target's length and a 64th, and 32.
 */
size_t delta_make(unsigned char *out, size_t most, const delta_index *index, gpa_bytes target);

/* ---- chain.c: an object made from its chain of deltas ---- */

/* An object's content, held by any number of owners in any threads; it never changes. */
typedef struct made_object {
	uint32_t owners;
	int32_t type;
	gpa_bytes bytes;	/* somewhere in `room` */
	/* cache.c's alone: what it is kept for, and its neighbours */
	uint64_t pack_id;
	uint64_t offset;
	struct made_object *next_in_row;
	struct made_object *newer, *older;
	unsigned char room[];
} made_object;

/* One owner, content unset: NULL when there is no memory. */
made_object *made_object_new(uint64_t size);
made_object *made_object_share(made_object *object);
void made_object_drop(made_object *object);

/* As gpa_delta_apply(), and GPA_ESTOPPED soon also within a large object. `progress` may be NULL. */
int delta_apply(unsigned char *out, size_t out_len, gpa_bytes base, gpa_bytes delta, const gpa_progress *progress,
		gpa_error *err);
/* The target of a delta program, of the base's type. `progress` may be NULL. */
int delta_target(made_object **out, const made_object *base, gpa_bytes program, const gpa_progress *progress,
		 gpa_error *err);

struct base_cache;
struct lately;

/* A pack to read from. `cache` may be NULL; `pack_id` tells packs of one cache apart. */
typedef struct chain_source {
	gpa_bytes pack;
	const gpa_idx *idx;
	struct base_cache *cache;
	struct lately *lately;	/* of this thread; with a cache, as what follows */
	uint64_t pack_id;
	uint64_t *misses;	/* counts the entries that were in neither */
	uint64_t *bytes_made;	/* counts the bytes of the objects made on the way, the last one too; may be NULL */
	const gpa_progress *progress;	/* may be NULL: nobody asks for an early end */
} chain_source;

/* Where the base of a delta is, in the same pack. */
int chain_base(uint64_t *base, const gpa_idx *idx, const gpa_entry *entry, uint64_t offset, gpa_error *err);
/*
 * The object stored at `offset`, its delta chain resolved inside this pack without recursion. Memory: the object, one
 * base and one delta program, beside what the cache keeps. GPA_ECORRUPT also for a cyclic chain.
 */
int chain_read(made_object **out, const chain_source *source, uint64_t offset, inflater *z, gpa_error *err);
/* Type and size alone: entry headers, and the first bytes of one delta program. */
int chain_info(int *type, uint64_t *size, const chain_source *source, uint64_t offset, inflater *z, gpa_error *err);

/* ---- loose.c ---- */

/* The whole object of a loose file, checked to end where the file does. */
int loose_read(made_object **out, gpa_bytes file, inflater *z, gpa_error *err);
/* What its inflated start says; *header is how many inflated bytes that takes. */
int loose_header(int *type, uint64_t *size, size_t *header, gpa_bytes file, gpa_error *err);

#define LOOSE_HEADER_MAX 32	/* git's own bound */
/* Parse the inflated start of a loose object; *header is its length with the NUL. */
int loose_parse_header(int *type, uint64_t *size, size_t *header, gpa_bytes start, gpa_error *err);

/* ---- idx.c ---- */

/* gpa_idx_write() into an output that has just begun. */
int idx_write(output *out, gpa_idx_entry *entries, uint32_t count, const unsigned char *pack_trailer, gpa_error *err);

/* idx positions ordered by pack offset; `offsets` (may be NULL) gets each position's offset in that order. */
typedef struct idx_place {
	uint64_t offset;
	uint32_t pos;
} idx_place;
/* `places` has room for object_count. Checks that offsets lie inside a pack of `pack_size` and differ. */
int idx_places(idx_place *places, const gpa_idx *idx, uint64_t pack_size, gpa_error *err);
/* A pack may hold an object twice; its idx then has equal neighbours. The one of them that git's bisection finds. */
uint32_t idx_git_place(const gpa_idx *idx, uint32_t pos);
/* Is one of the copies of the object at `pos` at `offset` of the pack? */
int idx_holds_at(int *found, const gpa_idx *idx, uint32_t pos, uint64_t offset, gpa_error *err);
/* Index into `places` of the entry at `offset`, or object_count when there is none. */
uint32_t idx_place_find(const idx_place *places, uint32_t count, uint64_t offset);

/* ---- oidsort.c ---- */

typedef struct oid_ref {
	uint64_t key;		/* the oid's first eight bytes as a number */
	uint32_t source;
	uint32_t pos;
} oid_ref;
typedef const unsigned char *(*oid_of)(const void *context, const oid_ref *ref);
/* Sort by oid, then source. `scratch` has room for `count`; the result is in `refs`. */
void oid_sort(oid_ref *refs, oid_ref *scratch, size_t count, uint32_t hash_size, oid_of oid, const void *context);

/* ---- pack_check.c ---- */

enum {
	ENTRY_UNKNOWN,		/* its chain of deltas cannot be followed */
	ENTRY_PROVED,		/* its content has the id that the idx says */
	ENTRY_LIES,		/* it is sound, and has another id */
	ENTRY_DAMAGED,
};
/* Make every object of a pack that matches its idx, and say of each idx position which of these its entry is. */
int pack_check_ids(unsigned char *verdicts, gpa_bytes pack, const gpa_idx *idx, unsigned threads, gpa_progress *progress,
		   gpa_error *err);

/* ---- report.c ---- */

__attribute__((format(printf, 2, 3)))
int report_add(gpa_report *report, const char *format, ...);

/* ---- dotgit.c: names, each with a NUL byte at its end, that a file system may take for others ---- */

/* For ".git": on HFS+ or NTFS, and on NTFS alone. */
int name_is_dotgit(const unsigned char *name);
int name_is_dotgit_on_ntfs(const unsigned char *name);
int name_is_gitmodules_on_ntfs(const unsigned char *name);
/* The dot file of git's (".gitmodules" and others) that it may be taken for, or NULL. */
const char *name_of_dot_file(const unsigned char *name);

#endif
