"""What travels with the bytes and what proves them: attributes, ACLs, checksums. Imported by copy/ and above."""
