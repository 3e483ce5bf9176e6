"""Who knows what: the network that is attacked, and how much of the defense the attacker holds a copy of."""
