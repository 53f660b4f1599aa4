"""What reaches the terminal: unblocked output, JSON lines, errors as sentences. Imported by commands and views."""
