"""`python -m ppl`: what can be done from the shell."""

import sys

from .studies.shell import main

sys.exit(main())
