"""What `plan` finds out about the endpoints before the planner decides. Imported by commands/plan only."""
