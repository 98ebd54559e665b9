"""What knows no repository: the standard library and the error tree alone."""
