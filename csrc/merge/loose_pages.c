/*
 * Writing objects into a page: loose ones, and objects in memory. A loose file cannot be copied unchanged, because its
 * zlib stream holds the header too: it is inflated, hashed and deflated again. An object of up to 1 MiB is processed in
 * memory as a whole, a larger one in pieces.
 *
 * I13: the id of each object is computed from the very bytes that are deflated. For a large object it is known only
 * after its entry has been written. So a page with a damaged object is begun again without it.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/files.h"
#include "format/loose.h"
#include "format/pack_write.h"
#include "format/types.h"
#include "merge/merge.h"

#define SMALL (1024 * 1024)			/* bytes of an object that is processed as a whole */
#define CONTENT_ROOM (SMALL + LOOSE_HEADER_MAX)
#define FILE_ROOM (CONTENT_ROOM + 64 * 1024)	/* bytes of its file, which may be longer than the object */
#define PIECE (128 * 1024)

struct gpa_page {
	output out;
	pack_writer pack;
	hasher hash;		/* of one object */
	inflater *z;
	deflater *d;
	int broken;		/* an object failed: the file is no page any more */
	int output_failed;
	gpa_idx_entry *entries;
	unsigned char *file;	/* FILE_ROOM, or the piece of a large file that is being inflated */
	unsigned char *content;	/* CONTENT_ROOM, or a piece of inflated content */
	unsigned char *stream;	/* deflate_room(SMALL) */
};

/* A loose file that is being read. With `checking` it is not written into the page. */
typedef struct loose {
	const unsigned char *oid;
	int fd;
	uint64_t size;		/* of the file */
	uint64_t offset;	/* read so far */
	z_stream z;
	int ended;		/* the end of the zlib stream was read */
	int checking;
	gpa_progress *progress;
} loose;

int gpa_page_new(gpa_page **out, int pack_fd, int algo, int level, uint32_t object_count, gpa_error *err)
{
	gpa_page *p = calloc(1, sizeof(*p));
	if (!p)
		return out_of_memory(err);
	p->entries = malloc(((size_t)object_count + 1) * sizeof(*p->entries));
	p->file = malloc(FILE_ROOM);
	p->content = malloc(CONTENT_ROOM);
	p->stream = malloc(deflate_room(SMALL));
	int status = p->entries && p->file && p->content && p->stream ? GPA_OK : out_of_memory(err);
	if (!status && !(status = output_open(&p->out, pack_fd, algo, NULL, err)) &&
	    !(status = hasher_init(&p->hash, algo, err)) && !(status = inflater_new(&p->z, err)) &&
	    !(status = deflater_new(&p->d, level, err)))
		status = pack_begin(&p->pack, &p->out, p->entries, object_count, err);
	if (status)
		gpa_page_free(p);
	else
		*out = p;
	return status;
}

void gpa_page_free(gpa_page *p)
{
	if (!p)
		return;
	deflater_free(p->d);
	inflater_free(p->z);
	hasher_free(&p->hash);
	output_free(&p->out);
	free(p->stream);
	free(p->content);
	free(p->file);
	free(p->entries);
	free(p);
}

/* ---- one entry of the pack ---- */

static int put(gpa_page *p, const void *data, size_t len, gpa_error *err)
{
	int status = output_write(&p->out, data, len, err);
	p->output_failed |= status != GPA_OK;
	return status;
}

static int begin_entry(gpa_page *p, int type, uint64_t size, gpa_error *err)
{
	int status = pack_begin_entry(&p->pack, type, size, err);
	p->output_failed |= status != GPA_OK;
	return status;
}

/* ---- a small object, at once ---- */

/*
 * Process a small object as a whole. GPA_ENOTFOUND if it is large or damaged: processing in pieces finds out which, and
 * reports it.
 */
static int take_small(gpa_page *p, const loose *l, gpa_error *err)
{
	unsigned char oid[GPA_OID_MAX];
	size_t made, used, header, len;
	uint64_t size;
	int type, status = file_read(l->fd, p->file, l->size, 0, err);
	if (status)
		return status;
	if (inflate_within(p->z, p->content, CONTENT_ROOM, &made, &used, (gpa_bytes){p->file, l->size}) ||
	    used != l->size)
		return GPA_ENOTFOUND;
	gpa_bytes start = {p->content, made < LOOSE_HEADER_MAX ? made : LOOSE_HEADER_MAX};
	if (loose_parse_header(&type, &size, &header, start, err) || size != made - header || size > SMALL)
		return GPA_ENOTFOUND;
	hasher_update(&p->hash, p->content, made);
	hasher_final(&p->hash, oid);
	if (memcmp(oid, l->oid, p->hash.size))
		return GPA_ENOTFOUND;
	if (l->checking)
		return GPA_OK;
	if ((status = deflate_whole(p->d, p->stream, &len, (gpa_bytes){p->content + header, size}, err)) ||
	    (status = begin_entry(p, type, size, err)) || (status = put(p, p->stream, len, err)))
		return status;
	pack_end_entry(&p->pack, l->oid);
	return GPA_OK;
}

/* ---- an object of any size, in pieces ---- */

/* Inflate `room` bytes, or fewer at the end of the stream. GPA_ENOTFOUND if it is damaged. */
static int inflate_some(gpa_page *p, loose *l, unsigned char *out, size_t room, size_t *made, gpa_error *err)
{
	l->z.next_out = out;
	l->z.avail_out = (uInt)room;
	while (l->z.avail_out && !l->ended) {	/* each turn takes input or ends the stream */
		if (is_stopped(l->progress))
			return stopped(err);
		if (!l->z.avail_in && l->offset < l->size) {
			size_t len = l->size - l->offset < PIECE ? l->size - l->offset : PIECE;
			int status = file_read(l->fd, p->file, len, l->offset, err);
			if (status)
				return status;
			l->offset += len;
			l->z.next_in = p->file;
			l->z.avail_in = (uInt)len;
		}
		int result = inflate(&l->z, Z_NO_FLUSH);
		l->ended = result == Z_STREAM_END;
		if (result != Z_OK && !l->ended)
			return GPA_ENOTFOUND;
	}
	*made = room - l->z.avail_out;
	return GPA_OK;
}

static int take_head(gpa_page *p, loose *l, int *type, uint64_t *size, gpa_bytes *rest, gpa_error *err)
{
	size_t made, header;
	int status = inflate_some(p, l, p->content, LOOSE_HEADER_MAX, &made, err);
	if (status == GPA_ENOTFOUND) {
		/* a file that is only cut short may still have its header */
		made = LOOSE_HEADER_MAX - l->z.avail_out;
		if (!made && l->size)
			return corrupt_at(err, 0, "loose object is not a zlib stream");
	} else if (status) {
		return status;
	}
	if ((status = loose_parse_header(type, size, &header, (gpa_bytes){p->content, made}, err)))
		return status;
	object_id_begin(&p->hash, *type, *size);
	*rest = (gpa_bytes){p->content + header, made - header};
	return GPA_OK;
}

static int take_piece(gpa_page *p, const loose *l, gpa_bytes piece, int last, gpa_error *err)
{
	hasher_update(&p->hash, piece.ptr, piece.len);
	if (l->checking)
		return GPA_OK;
	int status = deflate_piece(p->d, &p->out, piece, last, err);
	p->output_failed |= status != GPA_OK;
	return status;
}

/* Process the content, of which `piece` is the beginning. */
static int take_content(gpa_page *p, loose *l, uint64_t size, gpa_bytes piece, gpa_error *err)
{
	uint64_t left = size;
	int status = GPA_OK;
	while (!status) {
		size_t made;
		if (piece.len > left || (l->ended && piece.len < left)) {
			status = GPA_ENOTFOUND;
			break;
		}
		left -= piece.len;
		if ((status = take_piece(p, l, piece, l->ended, err)) || l->ended)
			break;
		if (!(status = inflate_some(p, l, p->content, PIECE, &made, err)))
			piece = (gpa_bytes){p->content, made};
	}
	return status != GPA_ENOTFOUND ? status :
	       corrupt_at(err, 0, "zlib stream does not inflate to %llu bytes", (unsigned long long)size);
}

static int compare_id(const gpa_page *p, const unsigned char *found, const unsigned char *wanted, gpa_error *err)
{
	char hex[2 * GPA_OID_MAX + 1];
	if (!memcmp(found, wanted, p->hash.size))
		return GPA_OK;
	oid_to_hex(hex, found, p->hash.size);
	return corrupt(err, "content has the id %s", hex);
}

static int check_end(gpa_page *p, const loose *l, gpa_error *err)
{
	unsigned char oid[GPA_OID_MAX];
	uint64_t used = l->offset - l->z.avail_in;
	hasher_final(&p->hash, oid);
	if (used != l->size)
		return corrupt_at(err, used, "garbage after the loose object");
	return compare_id(p, oid, l->oid, err);
}

static int take_pieces(gpa_page *p, loose *l, gpa_error *err)
{
	gpa_bytes rest = {0};
	uint64_t size;
	int type, status = take_head(p, l, &type, &size, &rest, err);
	if (!status && !l->checking && !(status = begin_entry(p, type, size, err)))
		status = deflate_begin(p->d, err);
	if (!status)
		status = take_content(p, l, size, rest, err);
	if (!status)
		status = check_end(p, l, err);
	if (!status && !l->checking)
		pack_end_entry(&p->pack, l->oid);
	return status;
}

static int take_large(gpa_page *p, loose *l, gpa_error *err)
{
	unsigned char ignored[GPA_OID_MAX];
	if (inflateInit(&l->z) != Z_OK)
		return out_of_memory(err);
	int status = take_pieces(p, l, err);
	inflateEnd(&l->z);
	if (status)
		hasher_final(&p->hash, ignored);
	return status;
}

/* ---- an object in memory ---- */

static int check_content(gpa_page *p, const unsigned char *oid, int type, gpa_bytes content, gpa_error *err)
{
	unsigned char found[GPA_OID_MAX];
	object_id(found, &p->hash, type, content);
	return compare_id(p, found, oid, err);
}

static int put_in_pieces(gpa_page *p, gpa_bytes content, const gpa_progress *progress, gpa_error *err)
{
	int status = deflate_begin(p->d, err);
	while (!status && content.len) {
		gpa_bytes piece = {content.ptr, content.len < SMALL ? content.len : SMALL};
		status = is_stopped(progress) ? stopped(err) :
			 deflate_piece(p->d, &p->out, piece, piece.len == content.len, err);
		content.ptr += piece.len;
		content.len -= piece.len;
	}
	return status;
}

static int put_at_once(gpa_page *p, gpa_bytes content, gpa_error *err)
{
	size_t len;
	int status = deflate_whole(p->d, p->stream, &len, content, err);
	return status ? status : put(p, p->stream, len, err);
}

int gpa_page_add(gpa_page *p, const unsigned char *oid, int type, gpa_bytes content, gpa_progress *progress,
		 gpa_error *err)
{
	if (p->broken || p->pack.count == p->pack.object_count)
		return unsupported(err, "page takes no more: %u of %u objects", p->pack.count, p->pack.object_count);
	if (is_stopped(progress))
		return stopped(err);
	int status = check_content(p, oid, type, content, err);
	if (status) {
		err->source = 0;
		return status;
	}
	if (!(status = begin_entry(p, type, content.len, err)))
		status = content.len <= SMALL ? put_at_once(p, content, err) : put_in_pieces(p, content, progress, err);
	if (status) {
		p->broken = 1;
		return status;
	}
	pack_end_entry(&p->pack, oid);
	if (progress)
		progress->done++;
	return GPA_OK;
}

/* ---- loose objects ---- */

static int take(gpa_page *p, loose *l, int dir_fd, const char *path, gpa_error *err)
{
	if (is_stopped(l->progress))
		return stopped(err);
	int status = file_open_itself(&l->fd, &l->size, dir_fd, path, err);
	if (status)
		return status;
	status = l->size <= FILE_ROOM ? take_small(p, l, err) : GPA_ENOTFOUND;
	if (status == GPA_ENOTFOUND)
		status = take_large(p, l, err);
	close(l->fd);
	return status;
}

/* Set the source of a failure: the file, unless the output failed. */
static int blame(const gpa_page *p, int status, gpa_error *err)
{
	if (status == GPA_ECORRUPT || (status == GPA_ESYS && !p->output_failed))
		err->source = 0;
	return status;
}

int gpa_page_check_loose(gpa_page *p, const unsigned char *oid, int dir_fd, const char *path, gpa_progress *progress,
			 gpa_error *err)
{
	loose l = {.oid = oid, .checking = 1, .progress = progress};
	int status = take(p, &l, dir_fd, path, err);
	return status ? blame(p, status, err) : GPA_OK;
}

int gpa_page_add_loose(gpa_page *p, const unsigned char *oid, int dir_fd, const char *path, gpa_progress *progress,
		       gpa_error *err)
{
	loose l = {.oid = oid, .progress = progress};
	if (p->broken || p->pack.count == p->pack.object_count)
		return unsupported(err, "page takes no more: %u of %u objects", p->pack.count, p->pack.object_count);
	int status = take(p, &l, dir_fd, path, err);
	if (status) {
		p->broken = 1;
		return blame(p, status, err);
	}
	if (progress)
		progress->done++;
	return GPA_OK;
}

int gpa_page_finish(gpa_page *p, int idx_fd, unsigned char *trailer, gpa_error *err)
{
	if (p->broken || p->pack.count != p->pack.object_count)
		return unsupported(err, "page is not complete: %u of %u objects", p->pack.count, p->pack.object_count);
	p->broken = 1;
	int status = pack_finish(&p->pack, err);
	if (!status)
		memcpy(trailer, p->pack.trailer, p->hash.size);
	return status ? status : pack_write_idx(&p->pack, idx_fd, NULL, err);
}
