"""One object's way to its destination: whole, in parts, by the endpoint, version by version, or deleted. Imported by
apply/ and verify/."""
