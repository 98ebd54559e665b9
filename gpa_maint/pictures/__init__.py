"""The pictures of `git gpa map` and `git gpa history`, as SVG and for a terminal. Pure: values in, text out."""
