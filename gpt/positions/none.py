"""No positions."""

from tunemax.gpt.positions.base import Positions


class NoPositions(Positions, name="none"):
    """Only what a token may look at tells where it stands (Kazemnejad et al., arXiv 2305.19466)."""

    relative = True
