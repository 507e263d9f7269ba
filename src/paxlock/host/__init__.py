"""What every face of paxlock stands on, without an event loop: the sockets and the clock of this host, where
the nodes are, and one turn of a machine.
"""
