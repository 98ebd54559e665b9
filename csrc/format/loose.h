/* Loose objects, from inside. */
#ifndef GPA_LOOSE_H
#define GPA_LOOSE_H

#include "base/inflate.h"
#include "base/object.h"
#include "format/gpa_format.h"

#define LOOSE_HEADER_MAX 32	/* git's own limit */

/* Read a loose object from its file, and check that the stream ends where the file does. */
int loose_read(made_object **out, gpa_bytes file, inflater *z, gpa_error *err);
/* Read the header of a loose object. *header is its length when inflated. */
int loose_header(int *type, uint64_t *size, size_t *header, gpa_bytes file, gpa_error *err);
/* Parse a header from the inflated start of a loose object. *header is its length, with the NUL. */
int loose_parse_header(int *type, uint64_t *size, size_t *header, gpa_bytes start, gpa_error *err);

#endif
