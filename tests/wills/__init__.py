"""Last wills, with real processes (protocol.md section 11)."""
