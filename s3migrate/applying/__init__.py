"""What `apply` adds around one executor: several processes, endpoint care. Imported by commands/apply only."""
