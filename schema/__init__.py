"""Every written shape: declaration, plan, manifest, ledger tables, and the error tree. No I/O but files."""
