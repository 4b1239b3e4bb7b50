"""Photos that are damaged on purpose, always the same ones: python -m tests.fuzz --help."""
