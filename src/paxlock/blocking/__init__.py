"""Leases for programs without an event loop."""
