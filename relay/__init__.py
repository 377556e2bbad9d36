"""The program: accept, authenticate, configure, observe, wire the tree."""
