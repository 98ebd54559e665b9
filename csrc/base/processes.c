/*
 * Finding processes by name in /proc. One call from Python reads all of /proc, because in Python each file would wait
 * for other threads.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/gpa_base.h"

#define NAME_ROOM 16	/* the kernel keeps 15 bytes of a name */

/* Read the name of a process, without its line feed. It is empty if the process has ended. */
static void read_name(char *name, int proc, const char *pid)
{
	char path[64];
	ssize_t len = -1;
	snprintf(path, sizeof(path), "%.32s/comm", pid);
	int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, name, NAME_ROOM);
		close(fd);
	}
	if (len > 0 && name[len - 1] == '\n')
		len--;
	name[len < 0 ? 0 : len < NAME_ROOM ? len : NAME_ROOM - 1] = '\0';
}

static int is_one_of(const char *name, const char *const *names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (!strncmp(name, names[i], NAME_ROOM - 1))
			return 1;
	return 0;
}

int gpa_processes_named(uint32_t *count, int64_t *pids, uint32_t room, const char *const *names, uint32_t name_count)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char name[NAME_ROOM];
	*count = 0;
	if (!proc)
		return GPA_OK;
	while ((entry = readdir(proc))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		read_name(name, dirfd(proc), entry->d_name);
		if (!is_one_of(name, names, name_count))
			continue;
		if (*count < room)
			pids[*count] = atoll(entry->d_name);
		++*count;
	}
	closedir(proc);
	return GPA_OK;
}
