/* Packs and their idx files, mapped while they are used (packs.c). */
#ifndef GPA_PACKS_H
#define GPA_PACKS_H

#include "base/files.h"
#include "format/gpa_format.h"
#include "read/gpa_read.h"

typedef struct pack_maps pack_maps;

/*
 * A pack, identified by the name of its idx. While it is pinned, `pack` and `idx` do not change. The first pin maps
 * them; they are unmapped when there are too many maps. The idx stays mapped while a snapshot looks up in it.
 */
typedef struct pack_file {
	pack_maps *maps;
	uint64_t id;
	const char *name;		/* "pack-<hex>.idx", in `path` */
	char *path;
	uint32_t dir;
	uint32_t owners;
	int suspect;			/* it could not be opened, or an entry was damaged: the next scan opens it anew */
	uint32_t hold;			/* PACK_MAPPED, and the number of pins */
	int used;			/* since it was last considered for unmapping */
	int64_t freshened_ns;		/* when its mtime was last set, by a monotonic clock */
	/* the rest changes under maps->lock; a map never changes while it is pinned */
	uint32_t idx_pins;
	held_file idx_file;
	gpa_idx idx;
	gpa_bytes pack;
	struct pack_file *newer, *older;
} pack_file;

#define PACK_MAPPED 0x80000000u

int pack_maps_new(pack_maps **out, const gpa_reader_options *options, gpa_error *err);
void pack_maps_free(pack_maps *maps);
void pack_maps_count(pack_maps *maps, gpa_reader_stats *out);
void pack_maps_lock(pack_maps *maps);
void pack_maps_unlock(pack_maps *maps);
/*
 * Note that `bytes` of an object were read. If more is mapped than `map_bytes`, pages are released after as many bytes.
 */
void pack_maps_note_read(pack_maps *maps, uint64_t bytes);

int pack_file_new(pack_file **out, pack_maps *maps, const char *dir_path, uint32_t dir, const char *idx_name,
		  gpa_error *err);
pack_file *pack_file_share(pack_file *pack);
void pack_file_drop(pack_file *pack);
/* Map the pack and its idx until pack_file_unpin(). GPA_ENOTFOUND if a file is missing. Sets err->file. */
int pack_file_pin(pack_file *pack, gpa_error *err);
void pack_file_unpin(pack_file *pack);
/* Map the idx alone, until pack_file_unpin_idx(). */
int pack_file_pin_idx(pack_file *pack, gpa_error *err);
void pack_file_unpin_idx(pack_file *pack);

/* Set the file that an error is about: that of a pack, with `suffix`, in object directory number `number`. */
void blame_file(gpa_error *err, uint32_t number, const char *pack_path, const char *suffix);

#endif
