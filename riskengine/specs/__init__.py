"""The question: a venue, a book of positions, a law of crashes."""
