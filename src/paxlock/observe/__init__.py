"""What a running node lets its operator see.

noticing.py     pure: what a node has seen of itself and of its peers -> the lines that are worth saying
judging.py      pure: what `paxlock doctor` has measured -> findings, a ttl, the worst takeover
explaining.py   pure: what all nodes remember of a name -> sentences
auditing.py     pure: the same -> whether two grants overlapped
statistics.py   frozen counters of a node
logs.py         lines as text or as JSON, written without ever holding up the node
"""
