/* Answers to libgit2: errors, misses, and whether an object may be reported as existing. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lend/odb_backend.h"

/* The reader names files below one of its directories; the writer names whole paths. */
int odb_refuse(odb_backend *b, int status, const gpa_error *err)
{
	char text[sizeof(err->text) + sizeof(err->file) + PATH_ROOM];
	if (status == GPA_ENOTFOUND)
		return GIT_ENOTFOUND;	/* libgit2 makes its own message */
	pthread_mutex_lock(&b->lock);
	const char *dir = err->file[0] == '/' ? "" : b->reader->dirs[err->source > 0 ? err->source : 0];
	snprintf(text, sizeof(text), "%s'%s%s%s': %s", status == GPA_ECORRUPT ? "corrupt " : "", dir,
		 err->file[0] && dir[0] ? "/" : "", err->file, err->text);
	pthread_mutex_unlock(&b->lock);
	return libgit2_fail(&b->git, status, text);
}

int odb_is_missed_again(odb_backend *b, const unsigned char *oid, size_t digits)
{
	int is_same = b->recently == RECENTLY_REFRESHED && b->missed_digits == digits &&
		      !memcmp(b->missed, oid, GIT_OID_SIZE);
	b->recently = RECENTLY_NOTHING;
	return is_same;
}

int odb_note_miss(odb_backend *b, int answer, const unsigned char *oid, size_t digits)
{
	if (answer == GIT_ENOTFOUND) {
		b->recently = RECENTLY_MISSED;
		b->missed_digits = digits;
		memcpy(b->missed, oid, GIT_OID_SIZE);
	}
	return answer;
}

int odb_settle(odb_backend *b, const unsigned char *oid)
{
	gpa_error err;
	int status = b->writer ? writer_settle(b->writer, oid, &err) : GPA_OK;
	return status ? odb_refuse(b, status, &err) : 0;
}
