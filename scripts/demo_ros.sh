#!/usr/bin/env bash
# The demo with the rclpy node, started by ros2 launch from a fresh colcon build of this checkout.
# Camera and checker stay in .venv; the node runs in the sourced ROS 2's own Python.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "demo-ros: $*" >&2; exit 2; }

python3 -c 'import rclpy' 2> /dev/null \
  || die 'rclpy is not importable: source ROS 2 first (source /opt/ros/<distro>/setup.bash)'
python3 -c 'import numpy, scipy, yaml, torch, small_gicp, safetensors, pydantic' 2> /dev/null \
  || die "the Python of ROS 2 lacks what the node needs: python3 -m pip install 'numpy<2' scipy \
torch small_gicp safetensors 'pydantic>=2' (docs/ros2.md)"
command -v colcon > /dev/null \
  || die 'colcon is missing: apt-get install python3-colcon-common-extensions'

mkdir -p build
colcon --log-base build/ros_log build --base-paths . --build-base build/ros \
  --install-base build/ros_install > build/ros_build.txt 2>&1 \
  || die 'colcon build failed: build/ros_build.txt'
set +u  # the set-up files of ROS 2 read variables that may be unset
# shellcheck disable=SC1091
source build/ros_install/local_setup.bash
set -u
# Camera and checker are on loopback alone; so must the node be to find them.
if [ "${ROS_DISTRO:-}" = humble ]; then
  export ROS_LOCALHOST_ONLY=1
else
  export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
fi
export CYCLONEDDS_URI=${CYCLONEDDS_URI:-file://$PWD/config/cyclonedds.xml}
exec .venv/bin/dlc-ros demo \
  --node 'ros2 launch dlc_ros localizer.launch.py params_file:={params}' "$@"
