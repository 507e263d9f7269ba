"""The protocol in first-order logic, the invariant that proves it, and what happens without each of its
rules.
"""
