"""Output: streams that never block a run, JSON lines, errors as sentences. Imported by commands and views."""
