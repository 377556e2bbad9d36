"""Who owns which state, and who restarts whom."""
