"""The experiment: many paths, what each reports, and what they say together."""
