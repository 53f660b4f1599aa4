"""What `plan` asks of endpoints before the planner decides. Imported by commands/plan only."""
