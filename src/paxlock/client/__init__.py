"""The trio client."""
