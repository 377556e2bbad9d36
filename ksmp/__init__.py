"""KSMP v3: the protocol's values and bytes, and the client that stands on them.

This is the package to import elsewhere. `relay`, `actors` and `storage`, which come in the same
distribution, are the parts of an application and not an interface.
"""
