"""Read a repository, and return what was found. Change nothing."""
