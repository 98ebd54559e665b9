/*
 * A reader and a writer for a libgit2 repository: one git_odb_backend that reads (odb_read.c) and writes (odb_write.c).
 * It is an owner of both, so all of them may be freed in any order. Nothing here depends on Python.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "lend/odb_backend.h"

#define PRIORITY 3	/* libgit2's own backends have priorities 1 and 2 */

static int list_nothing(git_odb_backend *base, git_odb_foreach_cb callback, void *payload)
{
	(void)base, (void)callback, (void)payload;
	return 0;
}

static void free_backend(git_odb_backend *base)
{
	odb_backend *b = (odb_backend *)base;
	odb_free_writing(b);
	gpa_reader_free(b->reader);
	pthread_mutex_destroy(&b->lock);
	free(b->others);
	free(b);
}

static int backend_new(odb_backend **out, const libgit2 *git, gpa_reader *reader, gpa_writer *writer, gpa_error *err)
{
	odb_backend *b = calloc(1, sizeof(*b));
	if (!b)
		return out_of_memory(err);
	b->git = *git;
	pthread_mutex_init(&b->lock, NULL);
	b->reader = gpa_reader_share(reader);
	b->writer = writer ? gpa_writer_share(writer) : NULL;
	b->base = (git_odb_backend){.version = GIT_ODB_BACKEND_VERSION, .freshen = odb_freshen, .free = free_backend};
	odb_let_read(b);
	*out = b;
	return GPA_OK;
}

/* Make the other backends list nothing: their objects are listed by this one. */
static int take_listing(odb_backend *b, git_odb *odb)
{
	size_t count = b->git.odb_num_backends(odb);
	if (!(b->others = calloc(count + 1, sizeof(*b->others))))
		return -1;
	for (size_t i = 0; i < count; i++) {
		git_odb_backend *one;
		if (b->git.odb_get_backend(&one, odb, i) || one == &b->base)
			continue;
		b->others[b->other_count++] = (other){one, one->foreach};
		one->foreach = list_nothing;
	}
	return 0;
}

/* Add the commit-graph, which makes walks faster, as in a repository's own database. */
static void lend_commit_graph(const odb_backend *b, git_odb *odb)
{
	git_commit_graph *graph;
	if (b->git.commit_graph_open(&graph, b->reader->dirs[0]))
		b->git.error_clear();
	else
		b->git.odb_set_commit_graph(odb, graph);
}

/* Add the backend to the database, which owns it from then on. The only possible failure is a lack of memory. */
static int give(odb_backend *b, git_odb *odb, git_repository *repository, int replace)
{
	git_odb_backend *base = &b->base;
	if (b->git.odb_add_backend(odb, base, PRIORITY)) {
		free_backend(base);
		return -1;
	}
	if (!replace)
		return take_listing(b, odb);
	lend_commit_graph(b, odb);
	return b->git.repository_set_odb(repository, odb);
}

int gpa_libgit2_attach(const char *library, void *repository, gpa_reader *reader, gpa_writer *writer,
		       int replace, int fsync, gpa_error *err)
{
	libgit2 git;
	odb_backend *b = NULL;
	git_odb *odb;
	int status = libgit2_find(&git, library, err);
	if (!status && reader->options.algo != GPA_SHA1)
		status = unsupported(err, "SHA-256");
	if (!status)
		status = backend_new(&b, &git, reader, writer, err);
	if (status)
		return status;
	if ((replace && odb_let_write(b, fsync)) || (replace ? git.odb_new(&odb) : git.repository_odb(&odb, repository))) {
		free_backend(&b->base);
		return out_of_memory(err);
	}
	status = give(b, odb, repository, replace) ? out_of_memory(err) : GPA_OK;
	git.odb_free(odb);
	return status;
}
