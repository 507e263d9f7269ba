"""Pods that are started, moved and lost: ``python -m tests.pods`` plays it with network namespaces."""
