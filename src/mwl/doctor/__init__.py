"""`mwl doctor`: what is installed, what works, what lies around, and what to do about the rest."""

from collections.abc import Callable, Iterator

from mwl.core.errors import MwlError
from mwl.doctor import installation, storage
from mwl.doctor.finding import Finding

__all__ = ["Finding", "diagnose"]

_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (*installation.CHECKS, *storage.CHECKS)


def diagnose() -> list[Finding]:
    """Look at everything; a check that itself fails is a finding, not an error."""
    findings: list[Finding] = []
    for check in _CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            findings += check()
        except MwlError as error:
            findings.append(Finding(name, False, str(error), "do as the message says, or make setup"))
        except Exception as error:  # whatever breaks in a half-installed environment is what the user wants to know
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            findings.append(Finding(name, False, what, "make setup"))
    return findings
