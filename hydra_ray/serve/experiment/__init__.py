"""Online experiments while serving: who is in which arm, and the switch that ends personalisation for everybody."""
