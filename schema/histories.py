"""Why a version is left alone: written by the planner into the manifest of skipped keys, read by verify."""

HELD_VERSION = "the destination's history holds this version in its place"
HELD_MARKER = "a delete marker on both sides"
