"""How cost grows with the work: measured curves, and a model of the capacity that is needed."""
