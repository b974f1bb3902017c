"""The ROS 2 side: an embedded Cyclone DDS node and an rclpy node over one localizer."""
