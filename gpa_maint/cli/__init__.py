"""The command line: main.py finds the verb, one small file each says its options and prints its answer."""
