"""Nodes: a process of its own, within a program, or a cell for development."""
