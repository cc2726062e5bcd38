"""Files of a user as data: positions of a book, recorded prices, and times."""

from riskengine.app.positions import Positions, read_positions
from riskengine.app.prices import Prices, read_prices, seconds

__all__ = ["Positions", "Prices", "read_positions", "read_prices", "seconds"]
