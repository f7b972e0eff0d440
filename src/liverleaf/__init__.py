"""Multi-phase liver imaging: a study in, lesions with types, curves and doubt out. Research use only."""

__version__ = "0.2.0"
