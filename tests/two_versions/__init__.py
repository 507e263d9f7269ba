"""Two versions in one cell: ``python -m tests.two_versions WHEEL`` plays an upgrade and the way back.

With real processes; how it is used before a release is told in docs/testing.md.
"""
