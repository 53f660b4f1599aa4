"""Output: streams that never block a run, JSON lines, error messages. Imported by commands and views."""
