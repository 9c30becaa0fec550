"""The version of the library, which files of fits name too."""

__version__ = "0.1.0"
