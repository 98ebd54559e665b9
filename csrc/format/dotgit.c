/*
 * Names that some file system takes for ".git" or for one of git's own dot files. HFS+ ignores some code points and the
 * case. NTFS ignores the case, trailing dots and spaces, and anything after a colon, and has short names of six
 * characters. The answers are the same as those of git's fsck. All names end with a NUL byte.
 */
#include <string.h>

#include "format/dotgit.h"

static int lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c;
}

/* Whether `name` begins with these lower-case letters, in any case. */
static int begins(const unsigned char *name, const char *letters, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (lower(name[i]) != letters[i])
			return 0;
	return 1;
}

/* ---- HFS+ ---- */

static int is_between(unsigned value, unsigned low, unsigned high)
{
	return value >= low && value <= high;
}

/* The length of a three-byte code point that HFS+ ignores; 0 if there is none. */
static size_t ignored(const unsigned char *name)
{
	if (name[0] == 0xef)	/* U+FEFF */
		return name[1] == 0xbb && name[2] == 0xbf ? 3 : 0;
	if (name[0] != 0xe2)
		return 0;
	if (name[1] == 0x80)	/* U+200C to U+200F, U+202A to U+202E */
		return is_between(name[2], 0x8c, 0x8f) || is_between(name[2], 0xaa, 0xae) ? 3 : 0;
	return name[1] == 0x81 && is_between(name[2], 0xaa, 0xaf) ? 3 : 0;	/* U+206A to U+206F */
}

static int follows(const unsigned char *name, size_t count)
{
	for (size_t i = 1; i <= count; i++)
		if ((name[i] & 0xc0) != 0x80)
			return 0;
	return 1;
}

/* Whether `name` begins with a code point of several bytes in UTF-8. Surrogates, U+FFFE and U+FFFF do not count. */
static int is_utf8(const unsigned char *name)
{
	unsigned char first = name[0], second = first ? name[1] : 0;
	if (is_between(first, 0xc2, 0xdf))
		return follows(name, 1);
	if (is_between(first, 0xe0, 0xef))
		return follows(name, 2) && !(first == 0xe0 && second < 0xa0) && !(first == 0xed && second >= 0xa0) &&
		       !(first == 0xef && second == 0xbf && name[2] >= 0xbe);
	return is_between(first, 0xf0, 0xf4) && follows(name, 3) && !(first == 0xf0 && second < 0x90) &&
	       !(first == 0xf4 && second > 0x8f);
}

static const unsigned char *skip_ignored(const unsigned char *name)
{
	for (size_t len; (len = ignored(name));)
		name += len;
	return name;
}

static int is_hfs_dot(const unsigned char *name, const char *word)
{
	name = skip_ignored(name);
	if (*name != '.')
		return 0;
	for (; *word; word++) {
		name = skip_ignored(name + 1);
		if (lower(*name) != *word)
			return 0;
	}
	name = skip_ignored(name + 1);
	/* git takes bytes that are not UTF-8 for the end */
	return !*name || *name == '/' || (*name >= 0x80 && !is_utf8(name));
}

/* ---- NTFS ---- */

/* Whether NTFS ignores the rest of a name. */
static int is_ignored_rest(const unsigned char *rest)
{
	while (*rest == '.' || *rest == ' ')
		rest++;
	return !*rest || *rest == ':';
}

static int is_ntfs_dotgit(const unsigned char *name)
{
	if (begins(name, ".git", 4))
		name += 4;
	else if (begins(name, "git~1", 5))
		name += 5;
	else
		return 0;
	while (*name == '.' || *name == ' ')
		name++;
	return !*name || *name == ':' || *name == '/' || *name == '\\';
}

/*
 * Whether the name is a short name that NTFS makes if the usual ones are taken: letters of `hashed`, a tilde, digits;
 * eight in all.
 */
static int is_hashed_name(const unsigned char *name, const char *hashed)
{
	size_t at = 0;
	while (at < 6 && lower(name[at]) == hashed[at])
		at++;
	if (name[at] != '~' || !is_between(name[at + 1], '1', '9'))
		return 0;
	for (at += 2; at < 8; at++)
		if (!is_between(name[at], '0', '9'))
			return 0;
	return is_ignored_rest(name + at);
}

static int is_ntfs_dot(const unsigned char *name, const char *word, const char *hashed)
{
	size_t len = strlen(word);
	if (*name == '.' && begins(name + 1, word, len))
		return is_ignored_rest(name + 1 + len);
	if (begins(name, word, 6) && name[6] == '~' && is_between(name[7], '1', '4'))
		return is_ignored_rest(name + 8);
	return is_hashed_name(name, hashed);
}

/* ---- both ---- */

int name_is_dotgit(const unsigned char *name)
{
	return is_hfs_dot(name, "git") || is_ntfs_dotgit(name);
}

int name_is_dotgit_on_ntfs(const unsigned char *name)
{
	return is_ntfs_dotgit(name);
}

int name_is_gitmodules_on_ntfs(const unsigned char *name)
{
	return is_ntfs_dot(name, "gitmodules", "gi7eba");
}

const char *name_of_dot_file(const unsigned char *name)
{
	static const struct {
		const char *word, *hashed, *file;
	} files[] = {
		{"gitmodules", "gi7eba", ".gitmodules"},
		{"gitattributes", "gi7d29", ".gitattributes"},
		{"gitignore", "gi250a", ".gitignore"},
		{"mailmap", "maba30", ".mailmap"},
	};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (is_hfs_dot(name, files[i].word) || is_ntfs_dot(name, files[i].word, files[i].hashed))
			return files[i].file;
	return NULL;
}
