"""The design: how much capital meets a target."""
