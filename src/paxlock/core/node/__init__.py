"""What a node does (protocol.md sections 2, 5, 6 and 7)."""
