"""How values become text and files: YAML, JSON, quantities, escapes. Imports only schema.errors."""
