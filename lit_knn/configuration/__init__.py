"""What a configuration must not say, which the parser would pass over: keys twice, misspelled variables, null."""

from .files import check_files
from .values import check_environment, check_nulls

__all__ = ["check_environment", "check_files", "check_nulls"]
