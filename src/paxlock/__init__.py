"""Leader election and locks for Python programs, with no coordination server to run."""
