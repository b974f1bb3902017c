"""ROS 2 topics without a ROS 2 installation: Cyclone DDS for the wire, rosbags for the types."""
