"""A plan for its reviewer: verdict, costs, changes, and the formats in which they are shown."""
