"""The release gate: from finished logs and a policy to pass, block or inconclusive, with evidence; docs/gate.md."""
