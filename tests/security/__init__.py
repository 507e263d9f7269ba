"""What somebody could try, from each position (docs/security.md)."""
