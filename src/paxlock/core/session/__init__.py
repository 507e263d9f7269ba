"""What a client does (protocol.md sections 3, 5 and 6)."""
