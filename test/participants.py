"""Participants of the tests over DDS, on loopback and in a domain of their own."""

from wire import LOOPBACK, free_domain

from dlc_ros.node.dds.participant import Participant

DOMAIN = free_domain()
CLOUD = 'sensor_msgs/msg/PointCloud2'
STRING = 'std_msgs/msg/String'


def participant(name, **options):
    return Participant(name, domain_id=DOMAIN, interface=LOOPBACK, **options)
