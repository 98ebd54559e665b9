/*
 * The contract of the C core: every type and function that Python may use, one header for each room. The cffi cdef is made
 * from these headers, in this order, by dropping the preprocessor lines and keeping the numbers. So they stay plain:
 * typedefs, structs, prototypes, numbers.
 *
 * Every function returns GPA_OK or a negative GPA_E*, unless its comment says otherwise. `out` comes first, `err` last. A
 * miss (GPA_ENOTFOUND) is an answer and leaves `err` alone. `_parse` borrows the bytes it is given, `_open` owns what it
 * makes, `_free(NULL)` is allowed. Nothing keeps global state or prints. Any number of threads may call at once, each with
 * its own values; the comment of each type says what threads may share.
 */
#ifndef GPA_H
#define GPA_H

#include "base/gpa_base.h"
#include "format/gpa_format.h"
#include "merge/gpa_merge.h"
#include "read/gpa_read.h"
#include "write/gpa_write.h"
#include "lend/gpa_lend.h"
#include "v1/gpa_v1.h"

#endif
