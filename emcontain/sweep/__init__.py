"""Sweeps: organisms × seeds × arms from one study file, trained, evaluated and reported, and resumed where stopped."""
