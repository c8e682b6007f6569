"""How a check fails."""


class CheckFailed(AssertionError):
    """A claim that does not hold."""


def require(holds: object, claim: str) -> None:
    """Fail with the claim that does not hold."""
    if not holds:
        raise CheckFailed(claim)
