"""The trio parts that clients and nodes share."""
