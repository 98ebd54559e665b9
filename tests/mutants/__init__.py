"""Small faults in safety-critical code, one a patch, and the tests that must notice them: `make mutants`."""
