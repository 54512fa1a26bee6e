"""
Import this first in an entry point: it disables garbage collection while modules are loaded.

There is no garbage then, and collections take a fifth of the time. `config.apps` enables them once Django is set up.
"""

import gc

gc.disable()
