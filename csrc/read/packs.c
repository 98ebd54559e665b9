/*
 * Packs and their idx files, mapped when they are used. If there are too many maps, a pack that was not used lately and
 * that has no pin is unmapped. A map needs no descriptor, so the number of packs is not limited by `ulimit -n`.
 *
 * Pinning a mapped pack takes no lock. One word holds a flag for the map and the number of pins, and only a pack
 * without pins is unmapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "read/objdir.h"
#include "read/packs.h"

#define IDX_COPY_MOST (64 * 1024)	/* bytes; for the idx of a page, a map would take a whole VM page more */
#define FAULT_AROUND 65536		/* bytes that the kernel maps when one of them is read */

struct pack_maps {
	uint64_t most_bytes;
	uint32_t most_count;
	int algo;
	pthread_mutex_t lock;		/* held also while files are opened */
	uint64_t next_id;
	uint64_t open_count;
	uint64_t map_count;
	uint64_t map_bytes;
	uint64_t read_bytes;		/* since pages were last released */
	pack_file *newest, *oldest;	/* mapped packs; those not used lately drift to `oldest` */
};

int pack_maps_new(pack_maps **out, const gpa_reader_options *options, gpa_error *err)
{
	pack_maps *maps = calloc(1, sizeof(*maps));
	if (!maps)
		return out_of_memory(err);
	maps->most_bytes = options->map_bytes;
	maps->most_count = options->map_count;
	maps->algo = options->algo;
	maps->next_id = 1;
	pthread_mutex_init(&maps->lock, NULL);
	*out = maps;
	return GPA_OK;
}

/* Call after all packs have been dropped. */
void pack_maps_free(pack_maps *maps)
{
	if (!maps)
		return;
	pthread_mutex_destroy(&maps->lock);
	free(maps);
}

void pack_maps_count(pack_maps *maps, gpa_reader_stats *out)
{
	pthread_mutex_lock(&maps->lock);
	out->open_count = maps->open_count;
	out->map_count = maps->map_count;
	out->map_bytes = maps->map_bytes;
	pthread_mutex_unlock(&maps->lock);
}

void pack_maps_lock(pack_maps *maps)
{
	pthread_mutex_lock(&maps->lock);
}

void pack_maps_unlock(pack_maps *maps)
{
	pthread_mutex_unlock(&maps->lock);
}

int pack_file_new(pack_file **out, pack_maps *maps, const char *dir_path, uint32_t dir, const char *idx_name,
		  gpa_error *err)
{
	pack_file *made = calloc(1, sizeof(*made));
	if (made)
		made->path = objdir_pack_path(dir_path, idx_name);
	if (!made || !made->path) {
		free(made);
		return out_of_memory(err);
	}
	made->name = made->path + strlen(made->path) - strlen(idx_name);
	made->maps = maps;
	made->dir = dir;
	made->owners = 1;
	pthread_mutex_lock(&maps->lock);
	made->id = maps->next_id++;
	pthread_mutex_unlock(&maps->lock);
	*out = made;
	return GPA_OK;
}

pack_file *pack_file_share(pack_file *pack)
{
	__atomic_add_fetch(&pack->owners, 1, __ATOMIC_RELAXED);
	return pack;
}

/* ---- maps; under the lock ---- */

static void take_out(pack_file *p)
{
	pack_maps *maps = p->maps;
	if (p->newer)
		p->newer->older = p->older;
	else
		maps->newest = p->older;
	if (p->older)
		p->older->newer = p->newer;
	else
		maps->oldest = p->newer;
	p->newer = p->older = NULL;
}

static void put_newest(pack_file *p)
{
	pack_maps *maps = p->maps;
	p->newer = NULL;
	p->older = maps->newest;
	if (maps->newest)
		maps->newest->newer = p;
	else
		maps->oldest = p;
	maps->newest = p;
}

static void count_map(pack_maps *maps, size_t bytes, int more)
{
	maps->map_count += more ? 1 : -1;
	__atomic_store_n(&maps->map_bytes, maps->map_bytes + (more ? bytes : -bytes), __ATOMIC_RELAXED);
}

static void unload_idx(pack_file *p)
{
	if (!p->idx.file.len || p->idx_pins || p->pack.len)
		return;
	if (!p->idx_file.is_copy)
		count_map(p->maps, p->idx_file.bytes.len, 0);
	file_release(&p->idx_file);
	p->idx = (gpa_idx){0};
}

/* Unmap a pack, unless it is pinned. */
static void unload_pack(pack_file *p)
{
	uint32_t mapped = PACK_MAPPED;
	if (!__atomic_compare_exchange_n(&p->hold, &mapped, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	take_out(p);
	count_map(p->maps, p->pack.len, 0);
	gpa_map_close(&p->pack);
	unload_idx(p);
}

/*
 * Unmap packs until few enough are mapped. The first pass spares those used since the last call; the second does not.
 */
static void make_room(pack_maps *maps)
{
	for (int round = 0; round < 2; round++) {
		pack_file *p = maps->oldest, *last = maps->newest, *newer;
		for (; p && maps->map_count > maps->most_count; p = newer) {
			newer = p == last ? NULL : p->newer;
			if (round || !__atomic_exchange_n(&p->used, 0, __ATOMIC_RELAXED)) {
				unload_pack(p);
			} else {
				take_out(p);
				put_newest(p);
			}
		}
	}
}

void pack_file_drop(pack_file *pack)
{
	if (!pack || __atomic_sub_fetch(&pack->owners, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_mutex_lock(&pack->maps->lock);
	unload_pack(pack);
	unload_idx(pack);
	pthread_mutex_unlock(&pack->maps->lock);
	free(pack->path);
	free(pack);
}

/* ---- opening; under the lock ---- */

void blame_file(gpa_error *err, uint32_t number, const char *pack_path, const char *suffix)
{
	const char *name = strrchr(pack_path, '/');
	name = name ? name + 1 : pack_path;
	err->source = (int32_t)number;
	snprintf(err->file, sizeof(err->file), "pack/%.*s%s", (int)(strlen(name) - strlen(".idx")), name, suffix);
}

static int failed(pack_file *p, int status, const char *suffix, gpa_error *err)
{
	blame_file(err, p->dir, p->path, suffix);
	if (status == GPA_ENOMEM || (status == GPA_ESYS && err->sys_errno != ENOENT))
		return status;
	__atomic_store_n(&p->suspect, 1, __ATOMIC_RELAXED);
	return status == GPA_ESYS ? GPA_ENOTFOUND : GPA_ECORRUPT;
}

static int load_idx(pack_file *p, gpa_error *err)
{
	held_file file;
	gpa_idx idx;
	if (p->idx.file.len)
		return GPA_OK;
	int status = file_hold(&file, NULL, AT_FDCWD, p->path, IDX_COPY_MOST, err);
	if (status)
		return failed(p, status, ".idx", err);
	if ((status = gpa_idx_parse(&idx, file.bytes, p->maps->algo, err))) {
		file_release(&file);
		return failed(p, status, ".idx", err);
	}
	p->idx_file = file;
	p->idx = idx;
	if (!file.is_copy)
		count_map(p->maps, file.bytes.len, 1);
	return GPA_OK;
}

static int open_pack(gpa_bytes *out, pack_file *p, gpa_error *err)
{
	char path[PATH_ROOM];
	int len = (int)(strlen(p->path) - strlen("idx"));
	if (snprintf(path, sizeof(path), "%.*spack", len, p->path) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return failed(p, system_failed(err, "cannot open"), ".pack", err);
	}
	int status = file_map_ends(out, path, err);
	if (!status && (status = gpa_pack_match(*out, &p->idx, err)))
		gpa_map_close(out);
	return status ? failed(p, status, ".pack", err) : GPA_OK;
}

static int load_pack(pack_file *p, gpa_error *err)
{
	gpa_bytes pack;
	int status = load_idx(p, err);
	if (!status && (status = open_pack(&pack, p, err)))
		unload_idx(p);
	if (status)
		return status;
	p->pack = pack;
	put_newest(p);
	count_map(p->maps, pack.len, 1);
	p->maps->open_count++;
	__atomic_store_n(&p->hold, PACK_MAPPED, __ATOMIC_RELEASE);
	return GPA_OK;
}

static int pin_mapped(pack_file *p)
{
	uint32_t hold = __atomic_load_n(&p->hold, __ATOMIC_RELAXED);
	while (hold & PACK_MAPPED)
		if (__atomic_compare_exchange_n(&p->hold, &hold, hold + 1, 1, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			if (!__atomic_load_n(&p->used, __ATOMIC_RELAXED))
				__atomic_store_n(&p->used, 1, __ATOMIC_RELAXED);
			return 1;
		}
	return 0;
}

int pack_file_pin(pack_file *pack, gpa_error *err)
{
	int status = GPA_OK;
	if (pin_mapped(pack))
		return GPA_OK;
	pthread_mutex_lock(&pack->maps->lock);
	/* another thread may have mapped it; under the lock none unmaps it */
	if (!pin_mapped(pack) && !(status = load_pack(pack, err))) {
		pin_mapped(pack);
		make_room(pack->maps);
	}
	pthread_mutex_unlock(&pack->maps->lock);
	return status;
}

void pack_file_unpin(pack_file *pack)
{
	__atomic_sub_fetch(&pack->hold, 1, __ATOMIC_RELEASE);
}

int pack_file_pin_idx(pack_file *pack, gpa_error *err)
{
	pthread_mutex_lock(&pack->maps->lock);
	int status = load_idx(pack, err);
	if (!status)
		pack->idx_pins++;
	pthread_mutex_unlock(&pack->maps->lock);
	return status;
}

void pack_file_unpin_idx(pack_file *pack)
{
	pthread_mutex_lock(&pack->maps->lock);
	pack->idx_pins--;
	unload_idx(pack);
	pthread_mutex_unlock(&pack->maps->lock);
}

/* Released pages come back from the page cache. That costs less than counting the resident pages. */
void pack_maps_note_read(pack_maps *maps, uint64_t bytes)
{
	if (__atomic_load_n(&maps->map_bytes, __ATOMIC_RELAXED) <= maps->most_bytes ||
	    __atomic_add_fetch(&maps->read_bytes, bytes + FAULT_AROUND, __ATOMIC_RELAXED) < maps->most_bytes)
		return;
	pthread_mutex_lock(&maps->lock);
	__atomic_store_n(&maps->read_bytes, 0, __ATOMIC_RELAXED);
	for (pack_file *p = maps->newest; p; p = p->older)
		/* a pack without use since the last time has no resident page */
		if (__atomic_exchange_n(&p->used, 0, __ATOMIC_RELAXED) ||
		    __atomic_load_n(&p->hold, __ATOMIC_RELAXED) != PACK_MAPPED)
			madvise((void *)p->pack.ptr, p->pack.len, MADV_DONTNEED);
	pthread_mutex_unlock(&maps->lock);
}
