"""Multi-phase liver imaging: lesions, their types and curves, with their doubt. Research use only."""

import logging

__version__ = "0.2.0"

# quiet, unless the program that uses the package asks for its log
logging.getLogger(__name__).addHandler(logging.NullHandler())
