"""Bugs planted in the shipped code, each of which a checker or a test must catch (docs/planted_bugs.md).

``python -m tests.planted`` from the root of the repository has every one of them caught.
"""
