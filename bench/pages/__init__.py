"""What every measurement that is shown shares: pictures, markup, pages, results, surroundings.

Only `canvas`, and what draws with it, imports matplotlib, which takes half a second.
"""
