"""Characters (Koch et al. 2015) and signatures (Bromley et al. 1993): from training to decisions of the service."""
