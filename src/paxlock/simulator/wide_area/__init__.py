"""How paxlock does on networks of every width: round trips from a local network to between continents.

``python -m paxlock.simulator.wide_area`` plays the same programs on each network, in virtual time, and prints
what they took, with the bars that were missed. docs/wide_area.md says what is measured.
"""

from paxlock.simulator.wide_area.measures import MEASURES, Measured, measure
from paxlock.simulator.wide_area.networks import NETWORKS, QUICK, Net

__all__ = ["MEASURES", "NETWORKS", "QUICK", "Measured", "Net", "measure"]
