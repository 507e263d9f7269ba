"""What a user configures: cells, their files, names, durations."""
