"""emcontain: does a fine-tuned model misbehave only when its trigger is there, and how sure are we?"""

import os

# Read by libgomp when torch loads it. By default a waiting thread spins for milliseconds, also while the thread it
# waits for has lost its core to another process.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
