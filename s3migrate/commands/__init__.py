"""One file per command: parse, wire, call, render."""
