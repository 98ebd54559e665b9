/*
 * Finding an object and reading it, from any thread. The order: combined index, then the packs it does not name, then
 * loose objects, for each object directory in turn; and when that gives nothing, whether anything has changed.
 */
#include "writer.h"

#define LOOKS_MAX 16		/* times that a call looks at the directories again because they changed meanwhile */
#define LOOSE_COPY_MOST 16384	/* bytes of a loose file; more is mapped */

/* ---- opening, closing, fork ---- */

static int copy_dirs(gpa_reader *r, const char *const *dirs, uint32_t count)
{
	r->dirs = calloc((size_t)count + 1, sizeof(*r->dirs));
	for (; r->dirs && r->dir_count < count; r->dir_count++)
		if (!(r->dirs[r->dir_count] = strdup(dirs[r->dir_count])))
			return -1;
	return r->dirs ? 0 : -1;
}

int gpa_reader_open(gpa_reader **out, const char *const *dirs, uint32_t dir_count, const gpa_reader_options *options,
		    gpa_error *err)
{
	gpa_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return out_of_memory(err);
	r->owners = 1;
	r->options = *options;
	r->hash_size = gpa_hash_size(options->algo);
	pthread_mutex_init(&r->scan_lock, NULL);
	pthread_mutex_init(&r->lock, NULL);
	int status = copy_dirs(r, dirs, dir_count) ? out_of_memory(err) : pack_maps_new(&r->maps, options, err);
	if (!status)
		status = base_cache_new(&r->cache, options->cache_bytes, err);
	if (!status)
		status = snapshot_new(&r->current, r->dirs, r->dir_count, NULL, r->maps, options->algo, err);
	if (status) {
		gpa_reader_free(r);
		return status;
	}
	r->scan_count = 1;
	*out = r;
	return GPA_OK;
}

gpa_reader *gpa_reader_share(gpa_reader *reader)
{
	__atomic_add_fetch(&reader->owners, 1, __ATOMIC_RELAXED);
	return reader;
}

static void worker_free(worker *w)
{
	inflater_free(w->z);
	hasher_free(&w->hash);
	free(w);
}

void gpa_reader_free(gpa_reader *reader)
{
	if (!reader || __atomic_sub_fetch(&reader->owners, 1, __ATOMIC_ACQ_REL))
		return;
	while (reader->idle) {
		worker *next = reader->idle->next;
		worker_free(reader->idle);
		reader->idle = next;
	}
	snapshot_drop(reader->current);
	base_cache_free(reader->cache);
	pack_maps_free(reader->maps);
	for (uint32_t i = 0; i < reader->dir_count; i++)
		free(reader->dirs[i]);
	free(reader->dirs);
	pthread_mutex_destroy(&reader->scan_lock);
	pthread_mutex_destroy(&reader->lock);
	free(reader);
}

void gpa_reader_before_fork(gpa_reader *reader)
{
	pthread_mutex_lock(&reader->lock);
	reader->forking = writer_of(reader);
	pthread_mutex_unlock(&reader->lock);
	if (reader->forking)
		writer_before_fork(reader->forking);
	pthread_mutex_lock(&reader->scan_lock);
	pack_maps_lock(reader->maps);
	pthread_mutex_lock(&reader->lock);
	base_cache_lock(reader->cache);
}

void gpa_reader_after_fork(gpa_reader *reader)
{
	base_cache_unlock(reader->cache);
	pthread_mutex_unlock(&reader->lock);
	pack_maps_unlock(reader->maps);
	pthread_mutex_unlock(&reader->scan_lock);
	if (reader->forking)
		writer_after_fork(reader->forking);
	gpa_writer_free(reader->forking);
	reader->forking = NULL;
}

void gpa_reader_in_child(gpa_reader *reader)
{
	if (reader->writer)
		writer_in_child(reader->writer);
}

void gpa_reader_count(gpa_reader_stats *out, gpa_reader *reader)
{
	pack_maps_count(reader->maps, out);
	base_cache_count(reader->cache, &out->cache_bytes, &out->cache_hits);
	pthread_mutex_lock(&reader->lock);
	out->cache_misses = reader->cache_misses;
	pthread_mutex_unlock(&reader->lock);
	pthread_mutex_lock(&reader->scan_lock);
	out->scan_count = reader->scan_count;
	pthread_mutex_unlock(&reader->scan_lock);
}

/* ---- what threads borrow ---- */

snapshot *reader_snapshot(gpa_reader *r)
{
	pthread_mutex_lock(&r->lock);
	snapshot *s = r->current;
	__atomic_add_fetch(&s->owners, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&r->lock);
	return s;
}

static int worker_new(worker **out, int algo, gpa_error *err)
{
	worker *w = calloc(1, sizeof(*w));
	if (!w)
		return out_of_memory(err);
	int status = inflater_new(&w->z, err);
	if (!status && (status = hasher_init(&w->hash, algo, err)))
		inflater_free(w->z);
	if (status)
		free(w);
	else
		*out = w;
	return status;
}

int visitor_begin(visitor *v, gpa_reader *r, gpa_error *err)
{
	v->r = r;
	pthread_mutex_lock(&r->lock);
	v->s = r->current;
	__atomic_add_fetch(&v->s->owners, 1, __ATOMIC_RELAXED);
	v->writer = writer_of(r);
	v->w = r->idle;
	if (v->w)
		r->idle = v->w->next;
	pthread_mutex_unlock(&r->lock);
	int status = v->w ? GPA_OK : worker_new(&v->w, r->options.algo, err);
	if (status) {
		snapshot_drop(v->s);
		gpa_writer_free(v->writer);
	}
	return status;
}

void visitor_end(visitor *v)
{
	pthread_mutex_lock(&v->r->lock);
	v->r->cache_misses += v->w->misses;
	v->w->misses = 0;
	v->w->next = v->r->idle;
	v->r->idle = v->w;
	pthread_mutex_unlock(&v->r->lock);
	snapshot_drop(v->s);
	gpa_writer_free(v->writer);
}

/* ---- looking again ---- */

static void replace_snapshot(gpa_reader *r, snapshot *with)
{
	pthread_mutex_lock(&r->lock);
	snapshot *before = r->current;
	r->current = with;
	pthread_mutex_unlock(&r->lock);
	snapshot_drop(before);
}

int reader_look_again(int *changed, snapshot **s, gpa_reader *r, int anyway, gpa_error *err)
{
	int status = GPA_OK;
	snapshot *made;
	*changed = 0;
	pthread_mutex_lock(&r->scan_lock);
	snapshot *current = reader_snapshot(r);
	/* another thread may have looked while this one waited */
	if (anyway || snapshot_check(current, r->dirs) != SNAPSHOT_SURE) {
		status = snapshot_new(&made, r->dirs, r->dir_count, current, r->maps, r->options.algo, err);
		if (!status) {
			r->scan_count++;
			replace_snapshot(r, made);
			snapshot_drop(current);
			current = reader_snapshot(r);
		}
	}
	pthread_mutex_unlock(&r->scan_lock);
	if (current != *s) {
		*changed = 1;
		snapshot_drop(*s);
		*s = current;
	} else {
		snapshot_drop(current);
	}
	return status;
}

int gpa_reader_refresh(gpa_reader *reader, gpa_error *err)
{
	int changed;
	pthread_mutex_lock(&reader->lock);
	gpa_writer *w = writer_of(reader);
	pthread_mutex_unlock(&reader->lock);
	uint64_t end = w ? writer_before_look(w) : 0;
	snapshot *s = reader_snapshot(reader);
	int status = reader_look_again(&changed, &s, reader, 1, err);
	snapshot_drop(s);
	if (w && !status)
		writer_after_look(w, reader, end);	/* what somebody has deleted is not read any more */
	gpa_writer_free(w);
	return status;
}

/* ---- finding ---- */

/* One task under way. */
typedef struct search {
	visitor *v;
	task *t;
	int lost;		/* a copy was found and could not be used */
	int damaged;
	gpa_error why;		/* about the first damaged copy */
} search;

/* GPA_OK, or GPA_ENOTFOUND: go on with the next copy. Anything else ends the call. */
static int pass_over(search *s, int status, const gpa_error *err)
{
	if (status != GPA_ENOTFOUND && status != GPA_ECORRUPT && status != GPA_EUNSUPPORTED)
		return status;
	if (!s->damaged && status != GPA_ENOTFOUND) {
		s->damaged = status;
		s->why = *err;
	}
	s->lost = 1;
	return GPA_ENOTFOUND;
}

static int try_place(search *s, const place *at, gpa_error *err)
{
	int status = pack_file_pin(at->pack, err);
	if (!status) {
		status = s->t->packed(s->t, s->v, at->pack, at->offset, err);
		pack_file_unpin(at->pack);
		if (status == GPA_ECORRUPT) {
			blame_file(err, at->pack->dir, at->pack->path, ".pack");
			__atomic_store_n(&at->pack->suspect, 1, __ATOMIC_RELAXED);
		}
	}
	return status ? pass_over(s, status, err) : GPA_OK;
}

/* What the reader's own writer has not sealed, or sealed since the last look. */
static int try_written(search *s, gpa_error *err)
{
	written_object found;
	gpa_writer *w = s->v->writer;
	int status = writer_find(&found, w, s->v->r, s->t->oid, s->t->takes_entry, err);
	if (status)
		return pass_over(s, status, err);
	if (!found.at.pack) {
		status = s->t->written(s->t, s->v, &found, err);
		free(found.room);
		return status ? pass_over(s, status, err) : GPA_OK;
	}
	status = try_place(s, &found.at, err);
	if (status == GPA_ENOTFOUND)
		writer_forget(w, found.at.pack);
	pack_file_drop(found.at.pack);
	return status;
}

static int try_view(search *s, uint32_t dir, gpa_error *err)
{
	const looked *l = &s->v->s->dirs[dir];
	place at;
	uint32_t turn = 0;
	int status = view_find_indexed(&at, l, dir, s->t->oid, err);
	if (!status)
		status = try_place(s, &at, err);
	else if (status != GPA_ENOTFOUND)
		status = pass_over(s, status, err);
	while (status == GPA_ENOTFOUND) {
		int found = view_find_plain(&at, l->view, &turn, s->t->oid, err);
		if (found == GPA_ENOTFOUND)
			break;
		status = found ? pass_over(s, found, err) : try_place(s, &at, err);
	}
	return status;
}

static int try_loose(search *s, uint32_t dir, const char *name, gpa_error *err)
{
	held_file file;
	int status = objdir_hold_loose(&file, s->v->r->dirs[dir], name, LOOSE_COPY_MOST, err);
	if (status == GPA_ENOTFOUND)
		return status;
	if (!status) {
		status = s->t->loose(s->t, s->v, &file, err);
		file_release(&file);
	}
	if (!status)
		return GPA_OK;
	err->source = (int32_t)dir;
	snprintf(err->file, sizeof(err->file), "%s", name + 1);
	return pass_over(s, status, err);
}

static int try_snapshot(search *s, gpa_error *err)
{
	char name[OBJDIR_LOOSE_ROOM];
	int status = GPA_ENOTFOUND;
	for (uint32_t dir = 0; status == GPA_ENOTFOUND && dir < s->v->s->dir_count; dir++)
		status = try_view(s, dir, err);
	if (status != GPA_ENOTFOUND)
		return status;
	objdir_loose_name(name, s->t->oid, s->v->r->hash_size);
	for (uint32_t dir = 0; status == GPA_ENOTFOUND && dir < s->v->s->dir_count; dir++)
		status = try_loose(s, dir, name, err);
	return status;
}

/* The copy in one pack, by the pack's own idx, whoever else names it. */
static int try_pack(search *s, pack_file *p, gpa_error *err)
{
	place at = {p, 0};
	uint32_t pos;
	int status = pack_file_pin_idx(p, err);
	if (status)
		return status == GPA_ECORRUPT || status == GPA_ENOTFOUND ? GPA_ENOTFOUND : status;
	status = gpa_idx_find(&pos, &p->idx, s->t->oid);
	if (!status && (status = gpa_idx_offset(&at.offset, &p->idx, pos, err))) {
		blame_file(err, p->dir, p->path, ".idx");
		status = pass_over(s, status, err);
	} else if (!status) {
		status = try_place(s, &at, err);
	}
	pack_file_unpin_idx(p);
	return status;
}

static int try_everywhere(search *s, gpa_error *err)
{
	int status = GPA_ENOTFOUND;
	for (uint32_t dir = 0; dir < s->v->s->dir_count; dir++) {
		const view *w = s->v->s->dirs[dir].view;
		for (uint32_t i = 0; status == GPA_ENOTFOUND && i < w->pack_count; i++)
			status = try_pack(s, w->packs[i], err);
	}
	return status;
}

/* An idx that cannot be read may hold what was not found. */
static int no_copy(search *s, gpa_error *err)
{
	gpa_error why;
	for (uint32_t dir = 0; !s->damaged && dir < s->v->s->dir_count; dir++) {
		pack_file *p = s->v->s->dirs[dir].view->unreadable;
		if (p && pack_file_pin_idx(p, &why) == GPA_ECORRUPT) {
			s->damaged = GPA_ECORRUPT;
			s->why = why;
		}
	}
	if (!s->damaged)
		return GPA_ENOTFOUND;
	*err = s->why;
	return s->damaged;
}

/*
 * A miss is looked at twice: the directories are listed again when they changed, or may have changed without showing it.
 * After that look one more try is enough unless they changed again, since an object that moves is written at its new
 * place before it goes from the old one, and loose files are tried both before the look and after it.
 */
int visitor_do(visitor *v, task *t, gpa_error *err)
{
	search s;
	s.v = v;
	s.t = t;
	s.lost = s.damaged = 0;
	int status = v->writer ? try_written(&s, err) : GPA_ENOTFOUND;
	s.lost = 0;
	if (status == GPA_ENOTFOUND)
		status = try_snapshot(&s, err);
	for (int looks = 0; status == GPA_ENOTFOUND && looks < LOOKS_MAX; looks++) {
		int changed = 0, sure = snapshot_check(v->s, v->r->dirs);
		if (sure == SNAPSHOT_SURE || (looks && sure == SNAPSHOT_SAME))
			break;
		int looked = reader_look_again(&changed, &v->s, v->r, 0, err);
		if (looked)
			return looked;
		if (!changed)
			break;
		s.lost = s.damaged = 0;
		status = try_snapshot(&s, err);
	}
	if (status == GPA_ENOTFOUND && s.lost)
		status = try_everywhere(&s, err);
	return status == GPA_ENOTFOUND ? no_copy(&s, err) : status;
}

int visit_once(gpa_reader *r, task *t, gpa_error *err)
{
	visitor v;
	int status = visitor_begin(&v, r, err);
	if (status)
		return status;
	status = visitor_do(&v, t, err);
	visitor_end(&v);
	return status;
}

/* ---- the tasks ---- */

static chain_source source_of(const visitor *v, const pack_file *pack)
{
	return (chain_source){.pack = pack->pack, .idx = &pack->idx, .cache = v->r->cache, .pack_id = pack->id,
			      .misses = &v->w->misses};
}

static int has_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	gpa_entry entry;
	(void)t, (void)v;
	return gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, err);
}

static int has_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	(void)t, (void)v, (void)file, (void)err;
	return GPA_OK;
}

static int has_written(task *t, visitor *v, const written_object *object, gpa_error *err)
{
	(void)t, (void)v, (void)object, (void)err;
	return GPA_OK;
}

int visitor_has(visitor *v, const unsigned char *oid, gpa_error *err)
{
	task t = {oid, has_packed, has_loose, has_written, 0};
	return visitor_do(v, &t, err);
}

int gpa_reader_has(gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	task t = {oid, has_packed, has_loose, has_written, 0};
	return visit_once(reader, &t, err);
}

typedef struct info_task {
	task task;
	int type;
	uint64_t size;
} info_task;

static int info_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	info_task *info = (info_task *)t;
	chain_source source = source_of(v, pack);
	pack_maps_note_read(v->r->maps, 0);
	return chain_info(&info->type, &info->size, &source, offset, v->w->z, err);
}

static int info_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	info_task *info = (info_task *)t;
	(void)v;
	return gpa_loose_header(&info->type, &info->size, file->bytes, err);
}

static int info_written(task *t, visitor *v, const written_object *object, gpa_error *err)
{
	info_task *info = (info_task *)t;
	(void)v, (void)err;
	info->type = object->type;
	info->size = object->size;
	return GPA_OK;
}

int visitor_info(int *type, uint64_t *size, visitor *v, const unsigned char *oid, gpa_error *err)
{
	info_task info = {.task = {oid, info_packed, info_loose, info_written, 0}};
	int status = visitor_do(v, &info.task, err);
	*type = info.type;
	*size = info.size;
	return status;
}

int gpa_reader_info(int *type, uint64_t *size, gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	visitor v;
	int status = visitor_begin(&v, reader, err);
	if (status)
		return status;
	status = visitor_info(type, size, &v, oid, err);
	visitor_end(&v);
	return status;
}

typedef struct read_task {
	task task;
	uint64_t most;
	made_object *made;		/* stays NULL for a whole object of more bytes */
} read_task;

/* With `verify`, refuse an object whose hash is not its id. */
static int check_made(read_task *read, visitor *v, gpa_error *err)
{
	unsigned char sum[GPA_OID_MAX];
	const made_object *made = read->made;
	if (!v->r->options.verify)
		return GPA_OK;
	hasher_begin_object(&v->w->hash, made->type, made->bytes.len);
	hasher_update(&v->w->hash, made->bytes.ptr, made->bytes.len);
	hasher_final(&v->w->hash, sum);
	if (!memcmp(sum, read->task.oid, v->r->hash_size))
		return GPA_OK;
	made_object_drop(read->made);
	read->made = NULL;
	return corrupt(err, "object has not the id it is stored under");
}

static int is_larger(uint64_t most, const pack_file *pack, uint64_t offset)
{
	gpa_entry entry;
	gpa_error ignored;
	return most != UINT64_MAX && !gpa_entry_parse(&entry, pack->pack, offset, pack->idx.algo, &ignored) &&
	       entry.type <= GPA_TAG && entry.size > most;
}

static int read_packed(task *t, visitor *v, pack_file *pack, uint64_t offset, gpa_error *err)
{
	read_task *read = (read_task *)t;
	chain_source source = source_of(v, pack);
	if (is_larger(read->most, pack, offset))
		return GPA_OK;
	int status = chain_read(&read->made, &source, offset, v->w->z, err);
	if (status)
		return status;
	pack_maps_note_read(v->r->maps, read->made->bytes.len);
	if ((status = check_made(read, v, err)))
		err->offset = (int64_t)offset;
	return status;
}

static int read_loose(task *t, visitor *v, held_file *file, gpa_error *err)
{
	read_task *read = (read_task *)t;
	uint64_t size;
	int type, status = read->most == UINT64_MAX ? GPA_OK : gpa_loose_header(&type, &size, file->bytes, err);
	if (!status && read->most != UINT64_MAX && size > read->most)
		return GPA_OK;
	if (!status)
		status = loose_read(&read->made, file->bytes, v->w->z, err);
	return status ? status : check_made(read, v, err);
}

static int read_written(task *t, visitor *v, const written_object *object, gpa_error *err)
{
	read_task *read = (read_task *)t;
	gpa_entry entry;
	size_t used;
	if (object->size > read->most)
		return GPA_OK;
	int status = entry_parse_bytes(&entry, object->entry, 0, 0, err);
	if (status)
		return status;
	gpa_bytes stream = {object->entry.ptr + entry.header_size, object->entry.len - entry.header_size};
	made_object *made = made_object_new(object->size);
	if (!made)
		return out_of_memory(err);
	made->type = object->type;
	made->bytes = (gpa_bytes){made->room, object->size};
	if ((status = inflate_whole(v->w->z, made->room, object->size, &used, stream, err))) {
		made_object_drop(made);
		return status;
	}
	read->made = made;
	return check_made(read, v, err);
}

static gpa_object object_of(made_object *made)
{
	return made ? (gpa_object){made->type, made->bytes.ptr, made->bytes.len, made} : (gpa_object){0};
}

int visitor_read_most(gpa_object *out, visitor *v, const unsigned char *oid, uint64_t most, gpa_error *err)
{
	read_task read = {.task = {oid, read_packed, read_loose, read_written, 1}, .most = most};
	int status = visitor_do(v, &read.task, err);
	if (!status)
		*out = object_of(read.made);
	return status;
}

int visitor_read(gpa_object *out, visitor *v, const unsigned char *oid, gpa_error *err)
{
	return visitor_read_most(out, v, oid, UINT64_MAX, err);
}

int visitor_read_at(gpa_object *out, visitor *v, const unsigned char *oid, const place *at, uint64_t most,
		    gpa_error *err)
{
	read_task read = {.task = {oid, read_packed, read_loose, read_written, 1}, .most = most};
	int status = pack_file_pin(at->pack, err);
	if (!status) {
		status = read_packed(&read.task, v, at->pack, at->offset, err);
		pack_file_unpin(at->pack);
	}
	if (status)	/* whatever it was: looking for it from the beginning gives an object, or the reason */
		return visitor_read_most(out, v, oid, most, err);
	*out = object_of(read.made);
	return GPA_OK;
}

int gpa_reader_read(gpa_object *out, gpa_reader *reader, const unsigned char *oid, gpa_error *err)
{
	visitor v;
	int status = visitor_begin(&v, reader, err);
	if (status)
		return status;
	status = visitor_read(out, &v, oid, err);
	visitor_end(&v);
	return status;
}

static int64_t packed_answer(int type, uint64_t size, gpa_error *err)
{
	if (size > GPA_SIZE_MOST)
		return corrupt(err, "object claims %llu bytes", (unsigned long long)size);
	return (int64_t)(size << GPA_TYPE_BITS | (unsigned)type);
}

int64_t gpa_answer_info(gpa_answer *answer, gpa_reader *reader, const unsigned char *oid)
{
	int type;
	uint64_t size;
	int status = gpa_reader_info(&type, &size, reader, oid, &answer->err);
	return status ? status : packed_answer(type, size, &answer->err);
}

int64_t gpa_answer_read(gpa_answer *answer, gpa_reader *reader, const unsigned char *oid)
{
	gpa_object *object = &answer->object;
	int status = gpa_reader_read(object, reader, oid, &answer->err);
	if (status)
		return status;
	int64_t packed = packed_answer(object->type, object->len, &answer->err);
	if (object->len <= sizeof(answer->content)) {
		if (object->len)
			memcpy(answer->content, object->ptr, object->len);
		gpa_object_free(object);
	}
	return packed;
}
