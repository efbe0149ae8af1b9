"""The tasks for lm-evaluation-harness: same questions, arms, pairs and grading as under Inspect.

lm-eval run --include_path "$(emcontain lm-eval path)" --tasks emcontain_preference …
"""

from pathlib import Path

FOLDER = Path(__file__).parent
"""What `--include_path` takes."""
