"""Coverage-guided fuzzing of everything that reads what others wrote: docs/fuzzing.md.

``python -m tests.fuzz`` looks for new inputs; the tests in this folder replay the corpus that is kept.
"""
