"""The rclpy side: a lifecycle node that converts, calls and publishes."""
