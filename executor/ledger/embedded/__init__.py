"""The PostgreSQL server that comes along: started when needed, stopped when idle. Knows nothing of the tables."""
