"""
Import this first in an entry point: it disables garbage collection while modules are loaded.

Loading makes no garbage, and collections take a fifth of its time. `config.apps` enables them once Django is set up.
"""

import gc

gc.disable()
