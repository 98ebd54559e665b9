/*
 * A driver that runs a fuzz target without libFuzzer: every file given as an argument once, and with -mutate=<n>,<seed>
 * also <n> random changes of each. The same seed makes the same changes. If an input crashes, hangs for a minute or
 * allocates more than 256 MiB, its bytes are left in the file `crash-input` of the current directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1 << 16)
#define HANG_SECONDS 60

typedef struct file {
	uint8_t *data;
	size_t size;
} file;

static uint8_t input[INPUT_MAX];
static size_t input_size;

/* Options of AddressSanitizer. Large allocations fail, as on a small machine, so a size that lies shows up. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "max_allocation_size_mb=256:allocator_may_return_null=0:handle_abort=1";
}

void __asan_on_error(void);
static void keep_input(void)
{
	int fd = open("crash-input", O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd >= 0 && write(fd, input, input_size) == (ssize_t)input_size)
		close(fd);
}

void __asan_on_error(void)
{
	keep_input();
}

static void on_signal(int number)
{
	keep_input();
	signal(number, SIG_DFL);
	raise(number == SIGALRM ? SIGABRT : number);
}

/* ---- changing an input ---- */

static uint64_t random_state;

/* The next number of xorshift64*: random enough to change every byte, and the same on every machine. */
static uint64_t next_random(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dULL;
}

static size_t below(size_t limit)
{
	return limit ? (size_t)((next_random() >> 16) % limit) : 0;
}

static void insert(size_t at, const uint8_t *bytes, size_t count)
{
	if (count > INPUT_MAX - input_size)
		count = INPUT_MAX - input_size;
	memmove(input + at + count, input + at, input_size - at);
	memcpy(input + at, bytes, count);
	input_size += count;
}

static void overwrite_number(size_t at)
{
	static const uint64_t edges[] = {0, 1, 2, 11, 12, 255, 256, 0x7f, 0x80, 0x7fffffff, 0x80000000, 0xffffffff,
					 0x100000000, UINT64_MAX, INT64_MAX};
	uint64_t value = below(3) ? edges[below(sizeof(edges) / sizeof(*edges))] : input_size + below(64) - 32;
	size_t width = (size_t)1 << below(4);
	for (size_t i = 0; i < width && at + i < input_size; i++)
		input[at + i] = (uint8_t)(value >> (8 * (width - 1 - i)));
}

static void insert_from(const file *other)
{
	uint8_t piece[64];
	size_t from = below(other->size), count = below(sizeof(piece)) + 1;
	count = count < other->size - from ? count : other->size - from;
	memcpy(piece, other->data + from, count);
	insert(below(input_size + 1), piece, count);
}

static void change_once(const file *other)
{
	uint8_t piece[64];
	size_t at = below(input_size), left = input_size - at, count = below(left < 64 ? left : 64);
	switch (below(8)) {
	case 0:
	case 1:
		if (input_size)
			input[at] ^= (uint8_t)(1 << below(8));
		break;
	case 2:
		if (input_size)
			input[at] = (uint8_t)next_random();
		break;
	case 3:
		overwrite_number(at);
		break;
	case 4:
		memmove(input + at, input + at + count, left - count);
		input_size -= count;
		break;
	case 5:
		memcpy(piece, input + at, count);
		insert(below(input_size + 1), piece, count);
		break;
	case 6:
		if (!below(4))
			input_size = at;
		else if (input_size)
			input[at] += (uint8_t)(below(2) ? 1 : -1);
		break;
	default:
		insert_from(other);
	}
}

/* ---- running ---- */

/*
 * Run the target on a copy of exactly the input's size, so that AddressSanitizer notices the first byte read beyond it.
 */
static void run_once(void)
{
	uint8_t *copy = malloc(input_size ? input_size : 1);
	if (!copy)
		abort();
	memcpy(copy, input, input_size);
	alarm(HANG_SECONDS);
	LLVMFuzzerTestOneInput(copy, input_size);
	alarm(0);
	free(copy);
}

static int read_file(file *out, const char *path)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	out->data = malloc(INPUT_MAX);
	ssize_t got = out->data ? read(fd, out->data, INPUT_MAX) : -1;
	out->size = got < 0 ? 0 : (size_t)got;
	close(fd);
	return got < 0 ? -1 : 0;
}

static void start_from(const file *f)
{
	memcpy(input, f->data, f->size);
	input_size = f->size;
}

static void run_mutations(const file *files, size_t count, uint64_t rounds)
{
	for (uint64_t round = 0; round < rounds; round++)
		for (size_t i = 0; i < count; i++) {
			start_from(&files[i]);
			for (size_t changes = 1 + below(6); changes; changes--)
				change_once(&files[below(count)]);
			run_once();
		}
}

int main(int argc, char **argv)
{
	uint64_t rounds = 0, seed = 1;
	size_t count = 0;
	file *files = calloc((size_t)argc, sizeof(*files));
	if (!files)
		return 1;
	signal(SIGALRM, on_signal);
	signal(SIGABRT, on_signal);
	for (int i = 1; i < argc; i++) {
		if (sscanf(argv[i], "-mutate=%" SCNu64 ",%" SCNu64, &rounds, &seed) >= 1)
			continue;
		if (argv[i][0] == '-')
			continue;	/* an option of libFuzzer's */
		if (read_file(&files[count++], argv[i])) {
			fprintf(stderr, "error: cannot read '%s': %s\n", argv[i], strerror(errno));
			return 1;
		}
		start_from(&files[count - 1]);
		run_once();
	}
	random_state = seed * 2 + 1;
	run_mutations(files, count, rounds);
	while (count)
		free(files[--count].data);
	free(files);
	return 0;
}
