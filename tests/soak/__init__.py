"""Many threads and tasks of one process that take, lose and release under faults, for as long as you like:
``python -m tests.soak --seconds 600``. What is looked for are leaks.
"""
