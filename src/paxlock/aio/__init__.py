"""Leases for asyncio programs."""
