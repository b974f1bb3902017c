"""``python -m dlc_ros.demo`` is ``dlc-ros demo``."""

import sys

from dlc_ros.demo.run import main

sys.exit(main())
