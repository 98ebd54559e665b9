/*
 * Finding an object, from any thread. For each object directory in turn the combined index is asked, then the packs
 * that it does not name, then loose objects. If none has the object, the directories are checked for changes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "read/objdir.h"
#include "read/reader.h"

#define LOOKS_MAX 16		/* rescans in one call, each because the directories changed during the last */
#define LOOSE_COPY_MOST 16384	/* bytes of a loose file; more is mapped */

/* A query that is being answered. */
typedef struct search {
	reader_session *v;
	query *q;
	int lost;		/* a copy was found and could not be used */
	int damaged;
	gpa_error why;		/* about the first damaged copy */
} search;

/*
 * Note that a copy cannot be used. Returns GPA_ENOTFOUND to go on with the next copy; any other status ends the call.
 */
static int pass_over(search *s, int status, const gpa_error *err)
{
	if (status != GPA_ENOTFOUND && status != GPA_ECORRUPT && status != GPA_EUNSUPPORTED && !is_of_one_file(status, err))
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
		status = s->q->packed(s->q, s->v, at->pack, at->offset, err);
		pack_file_unpin(at->pack);
		if (status == GPA_ECORRUPT) {
			blame_file(err, at->pack->dir, at->pack->path, ".pack");
			__atomic_store_n(&at->pack->suspect, 1, __ATOMIC_RELAXED);
		}
	}
	return status ? pass_over(s, status, err) : GPA_OK;
}

static int try_overlay(search *s, overlay *o, gpa_error *err)
{
	overlay_object found;
	int status = o->calls->find(&found, o, s->v->r, s->q->oid, s->q->with_entry, err);
	if (status)
		return pass_over(s, status, err);
	if (!found.at.pack) {
		status = s->q->overlaid(s->q, s->v, &found, err);
		free(found.room);
		return status ? pass_over(s, status, err) : GPA_OK;
	}
	status = try_place(s, &found.at, err);
	if (status == GPA_ENOTFOUND)
		o->calls->forget(o, found.at.pack);
	pack_file_drop(found.at.pack);
	return status;
}

static int try_overlays(search *s, int turn, gpa_error *err)
{
	const held_overlays *held = &s->v->overlays;
	int status = GPA_ENOTFOUND;
	for (uint32_t i = 0; status == GPA_ENOTFOUND && i < held->count; i++)
		if (held->list[i]->turn == turn)
			status = try_overlay(s, held->list[i], err);
	return status;
}

static int try_view(search *s, uint32_t dir, gpa_error *err)
{
	const scanned_dir *l = &s->v->s->dirs[dir];
	place at;
	uint32_t turn = 0;
	int status = view_find_indexed(&at, l, dir, s->q->oid, err);
	if (!status)
		status = try_place(s, &at, err);
	else if (status != GPA_ENOTFOUND)
		status = pass_over(s, status, err);
	while (status == GPA_ENOTFOUND) {
		int found = view_find_unindexed(&at, l->view, &turn, s->q->oid, err);
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
		status = s->q->loose(s->q, s->v, &file, err);
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
	objdir_loose_name(name, s->q->oid, s->v->r->hash_size);
	for (uint32_t dir = 0; status == GPA_ENOTFOUND && dir < s->v->s->dir_count; dir++)
		status = try_loose(s, dir, name, err);
	return status;
}

/* Try the copy in one pack, by the pack's own idx, whatever the combined index says. */
static int try_pack(search *s, pack_file *p, gpa_error *err)
{
	place at = {p, 0};
	uint32_t pos;
	int status = pack_file_pin_idx(p, err);
	if (status)
		return status == GPA_ECORRUPT || is_of_one_file(status, err) ? GPA_ENOTFOUND : status;
	status = gpa_idx_find(&pos, &p->idx, s->q->oid);
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

/* The status if no copy was found. An idx that cannot be read may hold the object. */
static int no_copy(search *s, gpa_error *err)
{
	gpa_error why;
	for (uint32_t dir = 0; !s->damaged && dir < s->v->s->dir_count; dir++) {
		pack_file *p = s->v->s->dirs[dir].view->unreadable;
		int status = p ? pack_file_pin_idx(p, &why) : GPA_OK;
		if (status == GPA_ECORRUPT || status == GPA_ESYS) {
			s->damaged = status;
			s->why = why;
		} else if (p && !status) {
			pack_file_unpin_idx(p);
		}
	}
	if (!s->damaged)
		return GPA_ENOTFOUND;
	*err = s->why;
	return s->damaged;
}

static int put_back(const held_overlays *held)
{
	int any = 0;
	for (uint32_t i = 0; i < held->count; i++)
		any |= held->list[i]->calls->put_back && held->list[i]->calls->put_back(held->list[i]);
	return any;
}

/* Rescan the directories and try again. *changed: whether anything was new. */
static int try_again(search *s, int *changed, gpa_error *err)
{
	int status = reader_look_again(changed, &s->v->s, s->v->r, 0, err);
	if (status || !*changed)
		return status ? status : GPA_ENOTFOUND;
	s->lost = s->damaged = 0;
	return try_snapshot(s, err);
}

/*
 * Before a miss is reported, the directories are rescanned once if they changed, or if their times are too recent to
 * tell. After that one more try is enough, unless they changed again: an object that moves is written at its new place
 * before it is removed from the old one, and loose files are tried both before and after the rescan. A page of the
 * reader's own writer that `git gc` took away is put back before a miss is reported.
 */
int session_find(reader_session *v, query *q, gpa_error *err)
{
	search s;
	s.v = v;
	s.q = q;
	s.lost = s.damaged = 0;
	int status = v->overlays.count ? try_overlays(&s, OVERLAY_FIRST, err) : GPA_ENOTFOUND;
	s.lost = 0;
	if (status == GPA_ENOTFOUND)
		status = try_snapshot(&s, err);
	for (int looks = 0; status == GPA_ENOTFOUND && looks < LOOKS_MAX; looks++) {
		int changed = 0, sure = snapshot_check(v->s, v->r->dirs);
		if (sure == SNAPSHOT_SURE || (looks && sure == SNAPSHOT_SAME))
			break;
		status = try_again(&s, &changed, err);
		if (!changed)
			break;
	}
	if (status == GPA_ENOTFOUND && v->overlays.count && put_back(&v->overlays)) {
		int ignored = 0;
		status = try_again(&s, &ignored, err);
	}
	if (status == GPA_ENOTFOUND && s.lost)
		status = try_everywhere(&s, err);
	if (status == GPA_ENOTFOUND && v->overlays.count)
		status = try_overlays(&s, OVERLAY_LAST, err);
	return status == GPA_ENOTFOUND ? no_copy(&s, err) : status;
}

int find_once(gpa_reader *r, query *q, gpa_error *err)
{
	reader_session v;
	int status = session_begin(&v, r, err);
	if (status)
		return status;
	status = session_find(&v, q, err);
	session_end(&v);
	return status;
}
