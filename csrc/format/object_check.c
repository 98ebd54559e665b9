/*
 * Rules for a new tree, commit or tag. They are the rules of `git hash-object` since 2.40, which are those of `git fsck
 * --strict`, with its words: the id of the rule, then what is wrong. One rule of older versions is kept: a commit whose
 * tree is also its parent is refused, because no object is both. A blob may hold anything.
 *
 * One check is stricter than hash-object: a tag with a wrong tagger line followed by other headers. Git reports the
 * line and then forgets the report; fsck fails on such a tag.
 */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "format/dotgit.h"
#include "format/gpa_format.h"

#define NAME_MOST 4096		/* bytes; git's default for fsck.largePathname */
#define DATE_MOST INT64_MAX	/* the largest time_t */

#define MODE_TYPE 0170000
#define MODE_TREE 0040000
#define MODE_LINK 0120000
#define MODE_GITLINK 0160000

/* The text that is still to be read. `end` is the end of the whole object. */
typedef struct text {
	const unsigned char *at;
	const unsigned char *end;
} text;

static int is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static int hex_value(unsigned char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- lines of commits and tags ---- */

/* Check that the header ends. After that, each of its lines ends with a newline, and it holds no NUL byte. */
static int check_header_end(text t, gpa_error *err)
{
	for (const unsigned char *p = t.at; p < t.end; p++) {
		if (!*p)
			return corrupt(err, "nulInHeader: unterminated header: NUL at offset %td", p - t.at);
		if (*p == '\n' && p + 1 < t.end && p[1] == '\n')
			return GPA_OK;
	}
	if (t.at < t.end && t.end[-1] == '\n')
		return GPA_OK;
	return corrupt(err, "unterminatedHeader: unterminated header");
}

/* Skip `word` and a space. Returns 0 if the line begins otherwise. */
static int take_word(text *t, const char *word)
{
	size_t len = strlen(word);
	if ((size_t)(t->end - t->at) <= len || memcmp(t->at, word, len) || t->at[len] != ' ')
		return 0;
	t->at += len + 1;
	return 1;
}

/* Skip an id in hex digits and the newline after it. */
static int take_oid(unsigned char *oid, text *t, size_t hash_size)
{
	if ((size_t)(t->end - t->at) <= 2 * hash_size)
		return 0;
	for (size_t i = 0; i < hash_size; i++) {
		int high = hex_value(t->at[2 * i]), low = hex_value(t->at[2 * i + 1]);
		if (high < 0 || low < 0)
			return 0;
		oid[i] = (unsigned char)(high << 4 | low);
	}
	if (t->at[2 * hash_size] != '\n')
		return 0;
	t->at += 2 * hash_size + 1;
	return 1;
}

/* Skip the rest of the line. Returns it, without the newline. */
static text take_line(text *t)
{
	const unsigned char *newline = memchr(t->at, '\n', (size_t)(t->end - t->at));
	text line = {t->at, newline ? newline : t->end};
	t->at = newline ? newline + 1 : t->end;
	return line;
}

static int bad_ident(gpa_error *err, const char *rule, const char *what)
{
	return corrupt(err, "%s: invalid author/committer line - %s", rule, what);
}

/* Check "1234567890 +0100", which fills the rest of the line. */
static int check_date(text line, gpa_error *err)
{
	const unsigned char *p = line.at, *end = line.end;
	uint64_t seconds = 0;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	if (p == end || !is_digit(*p))
		return bad_ident(err, "badDate", "bad date");
	if (*p == '0' && (p + 1 == end || p[1] != ' '))
		return bad_ident(err, "zeroPaddedDate", "zero-padded date");
	for (; p < end && is_digit(*p); p++) {
		if (seconds > DATE_MOST / 10 || (seconds = 10 * seconds + (uint64_t)(*p - '0')) > DATE_MOST)
			return bad_ident(err, "badDateOverflow", "date causes integer overflow");
	}
	if (p == end || *p != ' ')
		return bad_ident(err, "badDate", "bad date");
	p++;
	int good = end - p == 5 && (*p == '+' || *p == '-');
	for (int i = 1; good && i < 5; i++)
		good = is_digit(p[i]);
	return good ? GPA_OK : bad_ident(err, "badTimezone", "bad time zone");
}

/* Check "Name <email> 1234567890 +0100", the rest of a line. */
static int check_ident(text *t, gpa_error *err)
{
	text line = take_line(t);
	const unsigned char *p = line.at, *end = line.end;
	if (p < end && *p == '<')
		return bad_ident(err, "missingNameBeforeEmail", "missing space before email");
	while (p < end && *p != '<' && *p != '>')
		p++;
	if (p == end)
		return bad_ident(err, "missingEmail", "missing email");
	if (*p == '>')
		return bad_ident(err, "badName", "bad name");
	if (p[-1] != ' ')
		return bad_ident(err, "missingSpaceBeforeEmail", "missing space before email");
	for (p++; p < end && *p != '<' && *p != '>';)
		p++;
	if (p == end || *p == '<')
		return bad_ident(err, "badEmail", "bad email");
	if (++p == end || *p != ' ')
		return bad_ident(err, "missingSpaceBeforeDate", "missing space before date");
	return check_date((text){p + 1, end}, err);
}

/* ---- commits ---- */

static int check_parents(text *t, const unsigned char *tree, size_t hash_size, int *is_own_tree, gpa_error *err)
{
	unsigned char parent[GPA_OID_MAX];
	while (take_word(t, "parent")) {
		if (!take_oid(parent, t, hash_size))
			return corrupt(err, "badParentSha1: invalid 'parent' line format - bad sha1");
		*is_own_tree |= !memcmp(tree, parent, hash_size);
	}
	return GPA_OK;
}

static int check_people(text *t, gpa_error *err)
{
	int status, authors = 0;
	for (; take_word(t, "author"); authors++)
		if ((status = check_ident(t, err)))
			return status;
	if (!authors)
		return corrupt(err, "missingAuthor: invalid format - expected 'author' line");
	if (authors > 1)
		return corrupt(err, "multipleAuthors: invalid format - multiple 'author' lines");
	if (!take_word(t, "committer"))
		return corrupt(err, "missingCommitter: invalid format - expected 'committer' line");
	return check_ident(t, err);
}

static int check_commit(text t, size_t hash_size, gpa_error *err)
{
	text whole = t;
	unsigned char tree[GPA_OID_MAX];
	int is_own_tree = 0, status = check_header_end(t, err);
	if (status)
		return status;
	if (!take_word(&t, "tree"))
		return corrupt(err, "missingTree: invalid format - expected 'tree' line");
	if (!take_oid(tree, &t, hash_size))
		return corrupt(err, "badTreeSha1: invalid 'tree' line format - bad sha1");
	if ((status = check_parents(&t, tree, hash_size, &is_own_tree, err)) || (status = check_people(&t, err)))
		return status;
	if (memchr(whole.at, 0, (size_t)(whole.end - whole.at)))
		return corrupt(err, "nulInCommit: NUL byte in the commit object body");
	if (is_own_tree)
		return corrupt(err, "badParent: a parent is also the tree of the commit");
	return GPA_OK;
}

/* ---- tags ---- */

static int is_type(text word)
{
	static const char *const types[] = {"commit", "tree", "blob", "tag"};
	size_t len = (size_t)(word.end - word.at);
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (len == strlen(types[i]) && !memcmp(word.at, types[i], len))
			return 1;
	return 0;
}

static int ends_with(text name, const char *suffix)
{
	size_t len = strlen(suffix);
	return (size_t)(name.end - name.at) >= len && !memcmp(name.end - len, suffix, len);
}

/* Whether a text may stand between two slashes of a ref's name. */
static int is_ref_component(text part)
{
	if (part.at == part.end || *part.at == '.' || ends_with(part, ".lock"))
		return 0;
	for (const unsigned char *p = part.at; p < part.end; p++) {
		int follows = p > part.at ? p[-1] : 0;
		if (*p <= ' ' || *p == 127 || strchr("*:?[\\^~", *p))
			return 0;
		if ((*p == '.' && follows == '.') || (*p == '{' && follows == '@'))
			return 0;
	}
	return 1;
}

/* Whether a ref below refs/tags/ may have this name. */
static int is_tag_name(text name)
{
	for (text part = {name.at, name.at};; part.at = ++part.end) {
		while (part.end < name.end && *part.end != '/')
			part.end++;
		if (!is_ref_component(part))
			return 0;
		if (part.end == name.end)
			return part.end[-1] != '.';
	}
}

static int check_tag(text t, size_t hash_size, gpa_error *err)
{
	unsigned char oid[GPA_OID_MAX];
	int status = check_header_end(t, err);
	if (status)
		return status;
	if (!take_word(&t, "object"))
		return corrupt(err, "missingObject: invalid format - expected 'object' line");
	if (!take_oid(oid, &t, hash_size))
		return corrupt(err, "badObjectSha1: invalid 'object' line format - bad sha1");
	if (!take_word(&t, "type"))
		return corrupt(err, "missingTypeEntry: invalid format - expected 'type' line");
	if (!is_type(take_line(&t)))
		return corrupt(err, "badType: invalid 'type' value");
	if (!take_word(&t, "tag"))
		return corrupt(err, "missingTagEntry: invalid format - expected 'tag' line");
	if (!is_tag_name(take_line(&t)))
		return corrupt(err, "badTagName: invalid 'tag' name");
	if (!take_word(&t, "tagger"))
		return corrupt(err, "missingTaggerEntry: invalid format - expected 'tagger' line");
	return check_ident(&t, err);
}

/* ---- trees ---- */

typedef struct tree_entry {
	const unsigned char *name;	/* ends with a NUL byte */
	size_t len;
	const unsigned char *oid;
	unsigned mode;
	int is_padded;			/* the mode begins with a zero */
} tree_entry;

/* Skip an entry. Returns 0 if it is not a complete one. */
static int take_entry(tree_entry *out, text *t, size_t hash_size)
{
	const unsigned char *p = t->at;
	if ((size_t)(t->end - p) < hash_size + 3)
		return 0;
	/* as in git, a NUL byte at the place where the last name has to end: so no name leads beyond it */
	const unsigned char *last = t->end - hash_size - 1;
	if (*last)
		return 0;
	*out = (tree_entry){.is_padded = *p == '0'};
	if (*p == ' ')
		return 0;
	for (; *p != ' '; p++) {
		if (*p < '0' || *p > '7')
			return 0;
		out->mode = (out->mode << 3) + (*p - '0');
	}
	out->mode &= 0xffff;	/* git keeps these bits */
	out->name = p + 1;
	out->len = strlen((const char *)out->name);
	out->oid = out->name + out->len + 1;
	t->at = out->oid + hash_size;
	return out->len > 0;
}

/*
 * Entries without a trailing slash whose names a later folder may repeat: "a" comes before "a.b", which comes before
 * "a/".
 */
typedef struct shorter_names {
	tree_entry *rows;
	size_t count;
	size_t room;
} shorter_names;

static int push(shorter_names *stack, tree_entry entry)
{
	if (array_reserve(stack->rows, stack->room, stack->count + 1, 16))
		return -1;
	stack->rows[stack->count++] = entry;
	return 0;
}

/* Whether a folder has the name of an earlier file. Returns 1, 0, or -1 without memory. */
static int is_taken(shorter_names *stack, const tree_entry *folder)
{
	while (stack->count) {
		tree_entry file = stack->rows[--stack->count];
		if (folder->len < file.len || memcmp(folder->name, file.name, file.len))
			continue;
		unsigned char next = folder->name[file.len];
		if (!next)
			return 1;
		if (next < '/')
			return push(stack, file);
	}
	return 0;
}

enum order { IN_ORDER, NOT_SORTED, TWICE, NO_MEMORY };

static enum order compare_entries(const tree_entry *before, const tree_entry *entry, shorter_names *stack)
{
	size_t len = before->len < entry->len ? before->len : entry->len;
	int difference = memcmp(before->name, entry->name, len);
	if (difference)
		return difference < 0 ? IN_ORDER : NOT_SORTED;
	unsigned char left = before->name[len], right = entry->name[len];
	if (!left && !right)
		return TWICE;
	if (!left && (before->mode & MODE_TYPE) == MODE_TREE)
		left = '/';
	if (!right && (entry->mode & MODE_TYPE) == MODE_TREE)
		right = '/';
	if (!left && right && right < '/') {
		if (push(stack, *before))
			return NO_MEMORY;
	} else if (right == '/' && left && left < '/') {
		int taken = is_taken(stack, entry);
		if (taken)
			return taken < 0 ? NO_MEMORY : TWICE;
	}
	return left < right ? IN_ORDER : NOT_SORTED;
}

/* The faults of a tree, in the order in which git reports them. */
enum fault {
	NULL_OID, FULL_PATH, DOT, DOTDOT, DOTGIT, ZERO_PADDED, BAD_MODE, DUPLICATE, UNSORTED, LARGE_NAME, FAULTS
};

static const char *const FAULT_WORDS[FAULTS] = {
	[NULL_OID] = "nullSha1: contains entries pointing to null sha1",
	[FULL_PATH] = "fullPathname: contains full pathnames",
	[DOT] = "hasDot: contains '.'",
	[DOTDOT] = "hasDotdot: contains '..'",
	[DOTGIT] = "hasDotgit: contains '.git'",
	[ZERO_PADDED] = "zeroPaddedFilemode: contains zero-padded file modes",
	[BAD_MODE] = "badFilemode: contains bad file modes",
	[DUPLICATE] = "duplicateEntries: contains duplicate file entries",
	[UNSORTED] = "treeNotSorted: not properly sorted",
	[LARGE_NAME] = "largePathname: contains excessively large pathname",
};

static int is_known_mode(unsigned mode)
{
	return mode == 0100644 || mode == 0100755 || mode == MODE_LINK || mode == MODE_TREE || mode == MODE_GITLINK;
}

/* Check a symbolic link that has the name of a dot file of git's. */
static int check_link(const tree_entry *entry, gpa_error *err)
{
	const char *file = name_of_dot_file(entry->name);
	if (!file)
		return GPA_OK;
	return corrupt(err, "%sSymlink: %s is a %s", file + 1, file,
		       strcmp(file, ".gitmodules") ? "symlink" : "symbolic link");
}

static int check_name(unsigned *faults, const tree_entry *entry, gpa_error *err)
{
	const unsigned char *name = entry->name;
	int is_link = (entry->mode & MODE_TYPE) == MODE_LINK, status = GPA_OK;
	*faults |= (unsigned)(memchr(name, '/', entry->len) != NULL) << FULL_PATH;
	*faults |= (unsigned)(entry->len > NAME_MOST) << LARGE_NAME;
	if (*name == '.')
		*faults |= (unsigned)(entry->len == 1) << DOT |
			   (unsigned)(entry->len == 2 && name[1] == '.') << DOTDOT;
	*faults |= (unsigned)name_is_dotgit(name) << DOTGIT;
	if (is_link)
		status = check_link(entry, err);
	const unsigned char *end = name + entry->len, *p = name;
	while ((p = memchr(p, '\\', (size_t)(end - p)))) {
		p++;
		*faults |= (unsigned)name_is_dotgit_on_ntfs(p) << DOTGIT;
		if (!status && is_link && name_is_gitmodules_on_ntfs(p))
			status = corrupt(err, "gitmodulesSymlink: .gitmodules is a symbolic link");
	}
	return status;
}

static int is_null(const unsigned char *oid, size_t hash_size)
{
	return !oid[0] && !memcmp(oid, oid + 1, hash_size - 1);
}

static int check_entries(unsigned *faults, text t, size_t hash_size, shorter_names *stack, gpa_error *err)
{
	tree_entry before = {0}, entry;
	int status;
	for (; t.at < t.end; before = entry) {
		if (!take_entry(&entry, &t, hash_size))
			return corrupt(err, "badTree: cannot be parsed as a tree");
		if ((status = check_name(faults, &entry, err)))
			return status;
		*faults |= (unsigned)is_null(entry.oid, hash_size) << NULL_OID;
		*faults |= (unsigned)entry.is_padded << ZERO_PADDED;
		*faults |= (unsigned)!is_known_mode(entry.mode) << BAD_MODE;
		if (!before.name)
			continue;
		enum order order = compare_entries(&before, &entry, stack);
		if (order == NO_MEMORY)
			return out_of_memory(err);
		*faults |= (unsigned)(order == TWICE) << DUPLICATE | (unsigned)(order == NOT_SORTED) << UNSORTED;
	}
	return GPA_OK;
}

static int check_tree(text t, size_t hash_size, gpa_error *err)
{
	shorter_names stack = {0};
	unsigned faults = 0;
	int status = check_entries(&faults, t, hash_size, &stack, err);
	free(stack.rows);
	if (status)
		return status;
	for (int i = 0; i < FAULTS; i++)
		if (faults >> i & 1)
			return corrupt(err, "%s", FAULT_WORDS[i]);
	return GPA_OK;
}

/* ---- the calls ---- */

int gpa_object_check(int algo, int type, const unsigned char *data, size_t len, gpa_error *err)
{
	text t = {data, data + len};
	size_t hash_size = gpa_hash_size(algo);
	switch (type) {
	case GPA_COMMIT:
		return check_commit(t, hash_size, err);
	case GPA_TREE:
		return check_tree(t, hash_size, err);
	case GPA_TAG:
		return check_tag(t, hash_size, err);
	default:
		return GPA_OK;
	}
}

int gpa_objects_check(uint32_t *bad, int algo, const unsigned char *types, const uint64_t *sizes,
		      const unsigned char *data, uint32_t count, gpa_error *err)
{
	for (uint32_t i = 0; i < count; data += sizes[i++]) {
		int status = gpa_object_check(algo, types[i], data, sizes[i], err);
		if (status) {
			*bad = i;
			return status;
		}
	}
	return GPA_OK;
}
