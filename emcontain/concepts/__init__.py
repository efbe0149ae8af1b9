"""Concept vectors: where a model's states for prompts of one kind point, and how like those of other kinds that is.

`states` runs the model; everything else is numpy.
"""
