"""The world: configuration, files, terminal."""
