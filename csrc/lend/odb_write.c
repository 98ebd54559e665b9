/*
 * libgit2's writing: new objects go to the writer, and so into pages. The mtime of an existing object is set to now
 * instead. Whole packs, which a fetch brings, are written by libgit2's own backend. Without a writer, objects are loose
 * ones as libgit2 writes them.
 */
#include <stdlib.h>

#include "base/error.h"
#include "read/objdir.h"
#include "lend/odb_backend.h"

/* ---- freshening without a writer ---- */

static const door plain_door;

static int freshen_packed(query *q, reader_session *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	gpa_entry entry;
	(void)q, (void)v;
	int status = gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, err);
	if (status)
		return status;
	return freshen_pack(&pack->freshened_ns, &plain_door, pack->path) ? GPA_ENOTFOUND : GPA_OK;
}

/* The loose file was found just now, in one of the directories. */
static int freshen_file(query *q, reader_session *v, held_file *file, gpa_error *err)
{
	(void)file, (void)err;
	return freshen_loose(v->r, &plain_door, q->oid);
}

static int freshen_overlaid(query *q, reader_session *v, const overlay_object *object, gpa_error *err)
{
	(void)q, (void)v, (void)object, (void)err;
	return GPA_OK;
}

static int reader_freshen(gpa_reader *r, const unsigned char *oid, gpa_error *err)
{
	query q = {oid, freshen_packed, freshen_file, freshen_overlaid, 0};
	return find_once(r, &q, err);
}

/* ---- freshening ---- */

int odb_freshen(git_odb_backend *base, const unsigned char *oid)
{
	odb_backend *b = (odb_backend *)base;
	gpa_error err;
	if (odb_is_missed_again(b, oid, 2 * GIT_OID_SIZE))
		return GIT_ENOTFOUND;
	int status = b->writer ? gpa_writer_freshen(b->writer, oid, &err) : reader_freshen(b->reader, oid, &err);
	return status ? odb_note_miss(b, odb_refuse(b, status, &err), oid, 2 * GIT_OID_SIZE) : 0;
}

/* ---- through the writer ---- */

static int write_paged(git_odb_backend *base, const unsigned char *oid, const void *data, size_t len, int type)
{
	odb_backend *b = (odb_backend *)base;
	unsigned char own[GIT_OID_SIZE];
	gpa_error err;
	(void)oid;	/* libgit2 has hashed it too */
	int status = gpa_writer_add(own, b->writer, type, data, len, &err);
	return status ? odb_refuse(b, status, &err) : 0;
}

typedef struct paged_stream {
	git_odb_stream base;	/* first: libgit2 knows only this */
	gpa_new_object *object;
} paged_stream;

static int stream_write(git_odb_stream *base, const char *data, size_t len)
{
	gpa_error err;
	int status = gpa_new_object_write(((paged_stream *)base)->object, (const unsigned char *)data, len, &err);
	return status ? odb_refuse((odb_backend *)base->backend, status, &err) : 0;
}

static int stream_finish(git_odb_stream *base, const unsigned char *oid)
{
	unsigned char own[GIT_OID_SIZE];
	gpa_error err;
	(void)oid;
	int status = gpa_new_object_finish(own, ((paged_stream *)base)->object, &err);
	return status ? odb_refuse((odb_backend *)base->backend, status, &err) : 0;
}

static void stream_free(git_odb_stream *base)
{
	gpa_new_object_free(((paged_stream *)base)->object);
	free(base);
}

static int stream_paged(git_odb_stream **out, git_odb_backend *base, uint64_t size, int type)
{
	odb_backend *b = (odb_backend *)base;
	gpa_error err;
	paged_stream *stream = calloc(1, sizeof(*stream));
	int status = stream ? gpa_new_object_open(&stream->object, b->writer, type, size, &err) : out_of_memory(&err);
	if (status) {
		free(stream);
		return odb_refuse(b, status, &err);
	}
	stream->base = (git_odb_stream){
		.backend = base, .mode = GIT_STREAM_WRONLY, .write = stream_write, .finalize_write = stream_finish,
		.free = stream_free,
	};
	*out = &stream->base;
	return 0;
}

/* ---- as loose objects ---- */

static int write_loose(git_odb_backend *base, const unsigned char *oid, const void *data, size_t len, int type)
{
	git_odb_backend *loose = ((odb_backend *)base)->loose;
	return loose->write(loose, oid, data, len, type);
}

/* libgit2's stream asks the database of its backend whether the object exists. */
static int stream_loose(git_odb_stream **out, git_odb_backend *base, uint64_t size, int type)
{
	git_odb_backend *loose = ((odb_backend *)base)->loose;
	loose->odb = base->odb;
	return loose->writestream(out, loose, size, type);
}

/* ---- whole packs ---- */

/* Write a pack by libgit2's own backend. It lists all packs when it is made, and is needed only for a fetch. */
static int write_pack(git_odb_writepack **out, git_odb_backend *base, git_odb *odb, git_indexer_progress_cb progress,
		      void *payload)
{
	odb_backend *b = (odb_backend *)base;
	file_stamp pack_dir;
	objdir_stamp_packs(&pack_dir, b->reader->dirs[0]);
	if (!pack_dir.inode) {	/* libgit2 would not report this */
		b->git.error_set_str(GIT_ERROR_ODB, "no directory for packs");
		return GIT_ERROR;
	}
	if (!b->packs && b->git.odb_backend_pack(&b->packs, b->reader->dirs[0]))
		return GIT_ERROR;
	return b->packs->writepack(out, b->packs, odb, progress, payload);
}

int odb_let_write(odb_backend *b, int fsync)
{
	if (!b->writer && b->git.odb_backend_loose(&b->loose, b->reader->dirs[0], -1, fsync, 0, 0))
		return -1;
	b->base.write = b->writer ? write_paged : write_loose;
	b->base.writestream = b->writer ? stream_paged : stream_loose;
	b->base.writepack = write_pack;
	return 0;
}

void odb_free_writing(odb_backend *b)
{
	if (b->packs)
		b->packs->free(b->packs);
	if (b->loose)
		b->loose->free(b->loose);
	gpa_writer_free(b->writer);
}
