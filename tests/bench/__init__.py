"""Benchmarks: git-gpa beside what one would use instead, on the same data in one run. No test asserts a time."""
