/* The names of the files in an object directory, and which of them exist. */
#ifndef GPA_OBJDIR_H
#define GPA_OBJDIR_H

#include "base/files.h"

typedef struct names {
	char **names;
	uint32_t count;
	uint32_t room;
} names;

void names_free(names *list);
/*
 * List the packs in <dir>/pack that have both .idx and .pack, as "pack-<hex>.idx", ascending. No directory has no
 * packs.
 */
int objdir_packs(names *out, const char *dir, gpa_error *err);
/* gpa_files_ahead() for files in the pack directory. */
void objdir_packs_ahead(const char *dir, uint32_t count, const char *const *names);
/* The stamps of <dir>/pack, and of the combined index in it. */
void objdir_stamp_packs(file_stamp *out, const char *dir);
void objdir_stamp_index(file_stamp *out, const char *dir);
int objdir_hold_index(held_file *out, file_stamp *stamp, const char *dir, gpa_error *err);
/* Hold a loose file by its name from objdir_loose_name(). GPA_ENOTFOUND if there is no such file. */
int objdir_hold_loose(held_file *out, const char *dir, const char *name, size_t copy_most, gpa_error *err);
/* "<dir>/pack/<idx_name>", which the caller frees; NULL without memory. */
char *objdir_pack_path(const char *dir, const char *idx_name);
#define OBJDIR_LOOSE_ROOM (2 * GPA_OID_MAX + 3)
/* Write "/xx/yyyy...", the path of an object's loose file below its directory. */
void objdir_loose_name(char *out, const unsigned char *oid, size_t hash_size);
/* Append the ids of the loose files in <dir>/<first> to `oids`, `hash_size` bytes each, in no order. */
int objdir_loose_ids(gpa_buffer *oids, size_t *room, const char *dir, unsigned first, size_t hash_size, gpa_error *err);

#endif
