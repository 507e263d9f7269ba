"""The blocking face, on real sockets."""
