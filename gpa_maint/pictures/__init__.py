"""What `git gpa map` and `git gpa history` draw: SVG files, and the same for a terminal. Pure: values in, text out."""
