/* Checking the ids of a pack's objects, from inside. */
#ifndef GPA_PACK_CHECK_H
#define GPA_PACK_CHECK_H

#include "format/gpa_format.h"

enum {
	ENTRY_UNKNOWN,		/* its chain of deltas cannot be followed */
	ENTRY_PROVED,		/* its content has the id that the idx says */
	ENTRY_LIES,		/* its content is sound, and has another id */
	ENTRY_DAMAGED,
};
/* Make every object of a pack that matches its idx. verdicts[i] becomes the verdict on the entry of idx position i. */
int pack_check_ids(unsigned char *verdicts, gpa_bytes pack, const gpa_idx *idx, unsigned threads, gpa_progress *progress,
		   gpa_error *err);

#endif
