"""The command line: commands, views, settings, wiring."""

__version__ = "0.1.0"
