"""paxlock and its peers, measured side by side: ``python -m benchmarks --help``, and docs/benchmarks.md."""
