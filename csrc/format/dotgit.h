/* Names that a file system may take for ".git" or for a dot file of git's. Each name ends with a NUL byte. */
#ifndef GPA_DOTGIT_H
#define GPA_DOTGIT_H

/* Whether HFS+ or NTFS may take the name for ".git". */
int name_is_dotgit(const unsigned char *name);
/* Whether NTFS may. */
int name_is_dotgit_on_ntfs(const unsigned char *name);
/* Whether NTFS may take the name for ".gitmodules". */
int name_is_gitmodules_on_ntfs(const unsigned char *name);
/* The dot file, ".gitmodules" or another, that a file system may take the name for; NULL if there is none. */
const char *name_of_dot_file(const unsigned char *name);

#endif
