/*
 * Filling in a gpa_error. Each function returns the status that it reports, so that a caller can write
 * `return corrupt(err, "...")`.
 */
#ifndef GPA_ERROR_H
#define GPA_ERROR_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/gpa_base.h"

__attribute__((format(printf, 4, 5)))
static inline int fail_at(gpa_error *err, int status, int64_t offset, const char *format, ...)
{
	va_list args;
	err->offset = offset;
	err->source = -1;
	err->sys_errno = 0;
	err->git_dies = 0;
	err->fault = 0;
	err->file[0] = 0;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return status;
}

#define corrupt(err, ...) fail_at((err), GPA_ECORRUPT, GPA_NO_OFFSET, __VA_ARGS__)
#define corrupt_at(err, offset, ...) fail_at((err), GPA_ECORRUPT, (int64_t)(offset), __VA_ARGS__)
#define unsupported(err, ...) fail_at((err), GPA_EUNSUPPORTED, GPA_NO_OFFSET, __VA_ARGS__)

/* Whether another thread has asked the call to end. `progress` may be NULL. */
static inline int is_stopped(const gpa_progress *progress)
{
	return progress && progress->stop;
}

static inline int stopped(gpa_error *err)
{
	return fail_at(err, GPA_ESTOPPED, GPA_NO_OFFSET, "stopped");
}

static inline int out_of_memory(gpa_error *err)
{
	return fail_at(err, GPA_ENOMEM, GPA_NO_OFFSET, "out of memory");
}

/* Report `errno`; `what` says which operation failed. */
static inline int system_failed(gpa_error *err, const char *what)
{
	int saved = errno;
	fail_at(err, GPA_ESYS, GPA_NO_OFFSET, "%s: %s", what, strerror(saved));
	err->sys_errno = saved;
	return GPA_ESYS;
}

/*
 * Whether a failure is about one file alone, so that another copy of an object may serve. A lack of descriptors or memory
 * is not: it says nothing about any file.
 */
static inline int is_of_one_file(int status, const gpa_error *err)
{
	return status == GPA_ESYS && err->sys_errno != EMFILE && err->sys_errno != ENFILE && err->sys_errno != ENOMEM;
}

#endif
