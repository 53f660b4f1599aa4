"""The files that are exchanged: declaration, plan, manifests. Nothing else in schema/ imports this room."""
