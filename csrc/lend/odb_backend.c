/*
 * A reader, lent to a libgit2 repository: one git_odb_backend for all that it reads. It owns a share of the reader, and of
 * the writer if there is one (odb_write.c), so that everything may be let go in any order; and nothing here knows of
 * Python.
 *
 * libgit2 calls the functions of one backend with its object database locked, one at a time, except for list_objects(),
 * which changes nothing.
 */
#include "lend/odb_backend.h"

#define PRIORITY 3	/* libgit2's own backends have 1 and 2 */
#define PATH_ROOM 4096

/* ---- answers ---- */

/* The reader names files below one of its directories, the writer names whole paths. */
int odb_refuse(backend *b, int status, const gpa_error *err)
{
	char text[sizeof(err->text) + sizeof(err->file) + PATH_ROOM];
	int class = status == GPA_ENOMEM ? GIT_ERROR_NOMEMORY : status == GPA_ESYS ? GIT_ERROR_OS : GIT_ERROR_ODB;
	if (status == GPA_ENOTFOUND)
		return GIT_ENOTFOUND;	/* libgit2 finds the words */
	pthread_mutex_lock(&b->lock);
	const char *dir = err->file[0] == '/' ? "" : b->reader->dirs[err->source > 0 ? err->source : 0];
	snprintf(text, sizeof(text), "%s'%s%s%s': %s", status == GPA_ECORRUPT ? "corrupt " : "", dir,
		 err->file[0] && dir[0] ? "/" : "", err->file, err->text);
	pthread_mutex_unlock(&b->lock);
	b->git.error_set_str(class, text);
	return GIT_ERROR;
}

int odb_is_missed_again(backend *b, const unsigned char *oid, size_t digits)
{
	int is_same = b->recently == RECENTLY_REFRESHED && b->missed_digits == digits &&
		      !memcmp(b->missed, oid, GIT_OID_SIZE);
	b->recently = RECENTLY_NOTHING;
	return is_same;
}

int odb_note_miss(backend *b, int answer, const unsigned char *oid, size_t digits)
{
	if (answer == GIT_ENOTFOUND) {
		b->recently = RECENTLY_MISSED;
		b->missed_digits = digits;
		memcpy(b->missed, oid, GIT_OID_SIZE);
	}
	return answer;
}

/* A store whose alternates have changed has another reader, and what waits in the writer is found through that. */
static int follow_writer(backend *b)
{
	gpa_reader *before = b->reader, *now = b->writer ? writer_reader(b->writer) : gpa_reader_share(before);
	pthread_mutex_lock(&b->lock);
	b->reader = now;
	pthread_mutex_unlock(&b->lock);
	gpa_reader_free(before);
	return now != before;
}

static int refresh(git_odb_backend *base)
{
	backend *b = (backend *)base;
	gpa_error err;
	int is_other = follow_writer(b);
	if (b->recently == RECENTLY_MISSED && !is_other) {
		b->recently = RECENTLY_REFRESHED;
		return 0;
	}
	b->recently = RECENTLY_NOTHING;
	int status = gpa_reader_refresh(b->reader, &err);
	return status ? odb_refuse(b, status, &err) : 0;
}

/* ---- reading ---- */

/* libgit2 owns the copy. As its own backends do, a NUL byte is put behind it. */
static int copy_out(void **data, size_t *len, int *type, const backend *b, const gpa_object *object)
{
	unsigned char *copy = b->git.odb_backend_data_alloc((git_odb_backend *)&b->base, object->len + 1);
	if (!copy)
		return GIT_ERROR;
	if (object->len)
		memcpy(copy, object->ptr, object->len);
	copy[object->len] = 0;
	*data = copy;
	*len = object->len;
	*type = object->type;
	return 0;
}

static int read_whole(void **data, size_t *len, int *type, backend *b, const unsigned char *oid)
{
	gpa_object object;
	gpa_error err;
	if (odb_settle(b, oid))
		return GIT_ERROR;
	int status = gpa_reader_read(&object, b->reader, oid, &err);
	if (status)
		return odb_refuse(b, status, &err);
	int answer = copy_out(data, len, type, b, &object);
	gpa_object_free(&object);
	return answer;
}

static int read_object(void **data, size_t *len, int *type, git_odb_backend *base, const unsigned char *oid)
{
	backend *b = (backend *)base;
	if (odb_is_missed_again(b, oid, 2 * GIT_OID_SIZE))
		return GIT_ENOTFOUND;
	return odb_note_miss(b, read_whole(data, len, type, b, oid), oid, 2 * GIT_OID_SIZE);
}

static int read_header(size_t *len, int *type, git_odb_backend *base, const unsigned char *oid)
{
	backend *b = (backend *)base;
	gpa_error err;
	uint64_t size;
	if (odb_is_missed_again(b, oid, 2 * GIT_OID_SIZE))
		return GIT_ENOTFOUND;
	if (odb_settle(b, oid))
		return GIT_ERROR;
	int found, status = gpa_reader_info(&found, &size, b->reader, oid, &err);
	if (status)	/* pygit2 relies on `len` being as it was */
		return odb_note_miss(b, odb_refuse(b, status, &err), oid, 2 * GIT_OID_SIZE);
	*type = found;
	*len = size;
	return 0;
}

static int exists(git_odb_backend *base, const unsigned char *oid)
{
	backend *b = (backend *)base;
	gpa_error err;
	if (odb_is_missed_again(b, oid, 2 * GIT_OID_SIZE))
		return 0;
	if (odb_settle(b, oid))
		return 0;
	int status = gpa_reader_has(b->reader, oid, &err);
	if (status == GPA_ENOTFOUND)
		odb_note_miss(b, GIT_ENOTFOUND, oid, 2 * GIT_OID_SIZE);
	return !status;
}

/* ---- by prefix ---- */

static int exists_prefix(unsigned char *found, git_odb_backend *base, const unsigned char *oid, size_t digits)
{
	backend *b = (backend *)base;
	unsigned char oids[2 * GIT_OID_SIZE];
	uint32_t count;
	gpa_error err;
	digits = digits < 2 * GIT_OID_SIZE ? digits : 2 * GIT_OID_SIZE;
	if (odb_is_missed_again(b, oid, digits))
		return GIT_ENOTFOUND;
	int status = gpa_reader_expand(oids, &count, 2, b->reader, oid, (unsigned)digits, &err);
	if (status)
		return odb_refuse(b, status, &err);
	if (count > 1)
		return libgit2_ambiguous(&b->git, oid, digits);
	if (!count)
		return odb_note_miss(b, GIT_ENOTFOUND, oid, digits);
	memcpy(found, oids, GIT_OID_SIZE);
	return 0;
}

/* ---- listing ---- */

static int compare_oids(const void *left, const void *right)
{
	return memcmp(left, right, GIT_OID_SIZE);
}

/* Ids that are in order; one that follows itself is passed over. */
static int hand_out(const gpa_buffer *oids, git_odb_foreach_cb callback, void *payload)
{
	int answer = 0;
	for (size_t at = 0; !answer && at < oids->len; at += GIT_OID_SIZE)
		if (!at || compare_oids(oids->ptr + at - GIT_OID_SIZE, oids->ptr + at))
			answer = callback(oids->ptr + at, payload);
	return answer;
}

typedef struct foreign {
	const gpa_buffer *own;
	gpa_buffer oids;
	size_t room;
} foreign;

static int keep_foreign(const unsigned char *oid, void *payload)
{
	foreign *f = payload;
	if (f->own->len && bsearch(oid, f->own->ptr, f->own->len / GIT_OID_SIZE, GIT_OID_SIZE, compare_oids))
		return 0;
	if (f->oids.len == f->room) {
		size_t room = f->room ? 2 * f->room : 64 * GIT_OID_SIZE;
		unsigned char *longer = realloc(f->oids.ptr, room);
		if (!longer)
			return GIT_ERROR;
		f->oids.ptr = longer;
		f->room = room;
	}
	memcpy(f->oids.ptr + f->oids.len, oid, GIT_OID_SIZE);
	f->oids.len += GIT_OID_SIZE;
	return 0;
}

/* What the other backends have and the reader has not. A pack that they miss was deleted since they looked. */
static int list_foreign(const backend *b, const gpa_buffer *own, git_odb_foreach_cb callback, void *payload)
{
	foreign f = {.own = own};
	int answer = 0;
	for (size_t i = 0; !answer && i < b->other_count; i++) {
		answer = b->others[i].foreach(b->others[i].backend, keep_foreign, &f);
		answer = answer == GIT_ENOTFOUND ? 0 : answer;
	}
	if (!answer && f.oids.len) {
		qsort(f.oids.ptr, f.oids.len / GIT_OID_SIZE, GIT_OID_SIZE, compare_oids);
		answer = hand_out(&f.oids, callback, payload);
	}
	gpa_buffer_free(&f.oids);
	return answer;
}

static int list_objects(git_odb_backend *base, git_odb_foreach_cb callback, void *payload)
{
	backend *b = (backend *)base;
	gpa_buffer own;
	gpa_error err;
	pthread_mutex_lock(&b->lock);
	gpa_reader *reader = gpa_reader_share(b->reader);
	pthread_mutex_unlock(&b->lock);
	int status = gpa_reader_list(&own, reader, &err);
	gpa_reader_free(reader);
	if (status)
		return odb_refuse(b, status, &err);
	int answer = hand_out(&own, callback, payload);
	if (!answer)
		answer = list_foreign(b, &own, callback, payload);
	gpa_buffer_free(&own);
	return answer;
}

static int list_nothing(git_odb_backend *base, git_odb_foreach_cb callback, void *payload)
{
	(void)base, (void)callback, (void)payload;
	return 0;
}

/* ---- making one, and giving it to a repository ---- */

static void free_backend(git_odb_backend *base)
{
	backend *b = (backend *)base;
	odb_free_writing(b);
	gpa_reader_free(b->reader);
	pthread_mutex_destroy(&b->lock);
	free(b->others);
	free(b);
}

static int backend_new(backend **out, const libgit2 *git, gpa_reader *reader, gpa_writer *writer, gpa_error *err)
{
	backend *b = calloc(1, sizeof(*b));
	if (!b)
		return out_of_memory(err);
	b->git = *git;
	pthread_mutex_init(&b->lock, NULL);
	b->reader = gpa_reader_share(reader);
	b->writer = writer ? gpa_writer_share(writer) : NULL;
	b->base = (git_odb_backend){
		.version = GIT_ODB_BACKEND_VERSION, .read = read_object, .read_prefix = libgit2_read_prefix,
		.read_header = read_header, .exists = exists, .exists_prefix = exists_prefix, .refresh = refresh,
		.foreach = list_objects, .freshen = odb_freshen, .free = free_backend,
	};
	*out = b;
	return GPA_OK;
}

/* From now on the other backends list nothing by themselves. */
static int take_listing(backend *b, git_odb *odb)
{
	size_t count = b->git.odb_num_backends(odb);
	if (!(b->others = calloc(count + 1, sizeof(*b->others))))
		return -1;
	for (size_t i = 0; i < count; i++) {
		git_odb_backend *one;
		if (b->git.odb_get_backend(&one, odb, i) || one == &b->base)
			continue;
		b->others[b->other_count++] = (other){one, one->foreach};
		one->foreach = list_nothing;
	}
	return 0;
}

/* A commit-graph makes walks faster; a repository's own database has it too. */
static void lend_commit_graph(const backend *b, git_odb *odb)
{
	git_commit_graph *graph;
	if (b->git.commit_graph_open(&graph, b->reader->dirs[0]))
		b->git.error_clear();
	else
		b->git.odb_set_commit_graph(odb, graph);
}

/* The database owns the backend once it was added. What can fail here is memory. */
static int give(backend *b, git_odb *odb, git_repository *repository, int replace)
{
	git_odb_backend *base = &b->base;
	if (b->git.odb_add_backend(odb, base, PRIORITY)) {
		free_backend(base);
		return -1;
	}
	if (!replace)
		return take_listing(b, odb);
	lend_commit_graph(b, odb);
	return b->git.repository_set_odb(repository, odb);
}

int gpa_libgit2_attach(const char *library, void *repository, gpa_reader *reader, gpa_writer *writer,
		       int replace, int fsync, gpa_error *err)
{
	libgit2 git;
	backend *b = NULL;
	git_odb *odb;
	int status = libgit2_find(&git, library, err);
	if (!status && reader->options.algo != GPA_SHA1)
		status = unsupported(err, "SHA-256");
	if (!status)
		status = backend_new(&b, &git, reader, writer, err);
	if (status)
		return status;
	if ((replace && odb_let_write(b, fsync)) || (replace ? git.odb_new(&odb) : git.repository_odb(&odb, repository))) {
		free_backend(&b->base);
		return out_of_memory(err);
	}
	status = give(b, odb, repository, replace) ? out_of_memory(err) : GPA_OK;
	git.odb_free(odb);
	return status;
}
