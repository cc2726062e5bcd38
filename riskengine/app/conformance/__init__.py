"""`task=conformance`: the venues' worked examples against the engine's own formulas."""
