/*
 * Preloaded into every process of a hunt: it delays the calls that make names appear, vanish or become durable, shifts the
 * clock by some seconds, and writes down what happens to packs and indexes.
 *
 * GPA_HUNT_SEED    a number; each process adds the words of its command line to it
 * GPA_HUNT_DELAY   the longest ordinary delay in milliseconds; 0: none
 * GPA_HUNT_STOP    "<n>:<ms>": the process's n-th call that changes something in a watched folder waits that long
 * GPA_HUNT_TRACE   the file to which events are appended, a line each: time, pid, event, path
 * GPA_HUNT_GRAVE   a folder that gets a link to each pack and idx before it is unlinked
 */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define RARE_STOP 12	/* one process of so many stops once for longer */
#define RARE_STOP_MS 1500
#define CHANGES 24	/* at one of its first so many changes */

static uint64_t state;
static int delay_ms, stop_at, stop_ms, changes, trace_fd = -1;
static time_t shift;
static const char *grave;
static char process[400];

static uint64_t draw(void)
{
	uint64_t x = __atomic_add_fetch(&state, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static void sleep_ms(long ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	syscall(SYS_nanosleep, &left, NULL);
}

static double now(void)
{
	struct timespec at;

	syscall(SYS_clock_gettime, CLOCK_REALTIME, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void note(const char *event, const char *path, const char *other, int error)
{
	char line[2000];
	int len;

	if (trace_fd < 0)
		return;
	len = snprintf(line, sizeof line, "%.4f %d %s %s%s%s%s%s\n", now(), (int)getpid(), event, path, *other ? " -> " : "",
		       other, error ? " failed: " : "", error ? strerror(error) : "");
	if (len >= (int)sizeof line)
		return;
	if (write(trace_fd, line, (size_t)len) < 0)
		return;	/* a trace with a gap is better than a process that stops */
}

/* The words of the command line that hold no path seed the process: they are the same in every run of a hunt. */
static void read_command_line(void)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0);
	ssize_t len = fd < 0 ? 0 : read(fd, process, sizeof process - 1);

	if (fd >= 0)
		close(fd);
	for (ssize_t at = 0, word = 0; at < len; at++) {
		if (process[at])
			continue;
		if (!strchr(process + word, '/'))
			for (ssize_t i = word; i < at; i++)
				state = (state ^ (unsigned char)process[i]) * 0x100000001b3u;
		process[at] = ' ';
		word = at + 1;
	}
	for (char *at = process; *at; at++)
		if (*at == '\n')
			*at = ' ';
}

static long setting(const char *name)
{
	const char *text = getenv(name);

	return text ? atol(text) : 0;
}

static void prepare(void)
{
	const char *stop = getenv("GPA_HUNT_STOP"), *trace = getenv("GPA_HUNT_TRACE");

	state = (uint64_t)setting("GPA_HUNT_SEED");
	read_command_line();
	delay_ms = (int)setting("GPA_HUNT_DELAY");
	grave = getenv("GPA_HUNT_GRAVE");
	if (stop && strchr(stop, ':')) {
		stop_at = atoi(stop);
		stop_ms = atoi(strchr(stop, ':') + 1);
	} else if (delay_ms && draw() % RARE_STOP == 0) {
		stop_at = 1 + (int)(draw() % CHANGES);
		stop_ms = 200 + (int)(draw() % (RARE_STOP_MS - 200));
	}
	if (delay_ms && draw() % 2)
		shift = draw() % 10 ? (time_t)(draw() % 7) - 3 : (time_t)(draw() % 121) - 60;
	if (trace)
		trace_fd = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (trace_fd >= 0) {	/* away from the numbers that programs pass on or close */
		int high = fcntl(trace_fd, F_DUPFD_CLOEXEC, 700);

		close(trace_fd);
		trace_fd = high;
	}
}

__attribute__((constructor)) static void start(void)
{
	prepare();
	note("start", process, "", 0);
}

/* After a fork the child draws other numbers. */
__attribute__((constructor)) static void watch_forks(void);
static void in_child(void)
{
	state ^= (uint64_t)getpid() * 0x100000001b3u;
}
int pthread_atfork(void (*)(void), void (*)(void), void (*)(void));
static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

static int is_hex(const char *text, int count)
{
	while (count--)
		if (!strchr("0123456789abcdef", *text) || !*text++)
			return 0;
	return 1;
}

/* Packs and indexes, loose objects, and what lies in gpa/; also by names that are relative to a folder. */
static int is_watched(const char *path)
{
	const char *objects, *base = strrchr(path, '/');

	base = base ? base + 1 : path;
	if (!strncmp(base, "pack-", 5) || !strncmp(base, "multi-pack-index", 16) || !strncmp(base, "loose-", 6))
		return 1;
	if (strstr(path, "gpa/") || !strncmp(base, "tmp_", 4) || !strncmp(base, ".tmp-", 5))
		return 1;
	if (is_hex(path, 2) && path[2] == '/' && is_hex(path + 3, 38))
		return 1;
	objects = strstr(path, "objects/");
	return objects && (!strncmp(objects + 8, "pack", 4) || is_hex(objects + 8, 2));
}

static int is_traced(const char *path)
{
	return is_watched(path) && !strstr(path, "/tmp_") && !strstr(path, ".tmp-");
}

/* Before a call that changes something, about every second one waits; before one that opens, every eighth, and less. */
static void delay(int change)
{
	if (change) {
		int mine = __atomic_add_fetch(&changes, 1, __ATOMIC_RELAXED);

		if (stop_at && mine == stop_at) {
			note("stops", process, "", 0);
			sleep_ms(stop_ms);
		}
		if (delay_ms && draw() % 2)
			sleep_ms((long)(draw() % (uint64_t)delay_ms));
	} else if (delay_ms && draw() % 8 == 0) {
		sleep_ms((long)(draw() % (uint64_t)(delay_ms / 3 + 1)));
	}
}

static void keep_for_the_trace(int dir, const char *path)
{
	const char *base = strrchr(path, '/'), *end = strrchr(path, '.');
	char link_path[1000];

	base = base ? base + 1 : path;
	if (!grave || !end || (strcmp(end, ".idx") && strcmp(end, ".pack")) || strstr(base, "tmp"))
		return;
	if (snprintf(link_path, sizeof link_path, "%s/%s", grave, base) < (int)sizeof link_path)
		syscall(SYS_linkat, dir, path, AT_FDCWD, link_path, 0);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CHANGE(event, first, second, call)                                      \
	do {                                                                    \
		int watched = is_watched(first) || is_watched(second), done;    \
		if (watched)                                                    \
			delay(1);                                               \
		done = (call);                                                  \
		if (watched && (!done || errno != ENOENT) && (is_traced(first) || is_traced(second))) { \
			int error = errno;                                      \
			note(event, first, second, done ? error : 0);           \
			errno = error;                                          \
		}                                                               \
		return done;                                                    \
	} while (0)

int rename(const char *from, const char *to)
{
	CHANGE("rename", from, to, REAL(rename)(from, to));
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	CHANGE("rename", from, to, REAL(renameat)(from_dir, from, to_dir, to));
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	CHANGE("rename", from, to, REAL(renameat2)(from_dir, from, to_dir, to, flags));
}

int link(const char *from, const char *to)
{
	CHANGE("link", from, to, REAL(link)(from, to));
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	CHANGE("link", from, to, REAL(linkat)(from_dir, from, to_dir, to, flags));
}

int unlink(const char *path)
{
	if (is_watched(path))
		keep_for_the_trace(AT_FDCWD, path);
	CHANGE("unlink", path, "", REAL(unlink)(path));
}

int unlinkat(int dir, const char *path, int flags)
{
	if (is_watched(path))
		keep_for_the_trace(dir, path);
	CHANGE("unlink", path, "", REAL(unlinkat)(dir, path, flags));
}

static void before_open(const char *path, int flags)
{
	if (!is_watched(path))
		return;
	delay(!!(flags & O_CREAT));
	if ((flags & O_CREAT) && is_traced(path))
		note("create", path, "", 0);
}

#define MODE_OF(flags, mode)                                                    \
	mode_t mode = 0;                                                        \
	if ((flags) & (O_CREAT | __O_TMPFILE)) {                                \
		va_list rest;                                                   \
		va_start(rest, flags);                                          \
		mode = va_arg(rest, mode_t);                                    \
		va_end(rest);                                                   \
	}

int open(const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	before_open(path, flags);
	return REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	before_open(path, flags);
	return REAL(open64)(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	before_open(path, flags);
	return REAL(openat)(dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	before_open(path, flags);
	return REAL(openat64)(dir, path, flags, mode);
}

int creat(const char *path, mode_t mode)
{
	before_open(path, O_CREAT);
	return REAL(creat)(path, mode);
}

int creat64(const char *path, mode_t mode)
{
	before_open(path, O_CREAT);
	return REAL(creat64)(path, mode);
}

static void before_sync(int fd)
{
	char name[40], path[1000];
	ssize_t len;

	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	len = readlink(name, path, sizeof path - 1);
	if (len <= 0)
		return;
	path[len] = 0;
	if (is_watched(path))
		delay(1);
}

int fsync(int fd)
{
	before_sync(fd);
	return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	before_sync(fd);
	return REAL(fdatasync)(fd);
}

time_t time(time_t *out)
{
	time_t at = (time_t)now() + shift;

	if (out)
		*out = at;
	return at;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	int done = (int)syscall(SYS_gettimeofday, at, zone);

	if (!done)
		at->tv_sec += shift;
	return done;
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
	int done = (int)syscall(SYS_clock_gettime, clock, at);

	if (!done && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		at->tv_sec += shift;
	return done;
}
