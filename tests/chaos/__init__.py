"""Chaos: a cell of real processes behind a network that misbehaves, and a verdict on what it did.

``python -m tests.chaos`` from the root of the repository; see docs/chaos.md.
"""
