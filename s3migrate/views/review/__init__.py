"""A plan put before a reviewer: verdict, costs, changes, and the forms in which they are shown."""
