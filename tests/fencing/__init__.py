"""Guards of paxlock.fencing, each against the mistakes that are made with fencing tokens."""
