"""Quality of service, by the names and with the values that ROS 2 gives them."""

from dataclasses import dataclass, replace

from cyclonedds.core import Policy, Qos
from cyclonedds.util import duration


@dataclass(frozen=True)
class QosProfile:
    """
    The part of ROS 2's QoS that this project uses; everything else is at its default.

    :param depth: messages kept (KEEP_LAST).
    :param reliable: True RELIABLE, False BEST_EFFORT; None, for subscriptions, is whatever each
        publisher offers (BEST_AVAILABLE): a big cloud survives a small socket buffer wherever the
        publisher can repeat what was lost.
    :param transient_local: late subscribers get the last ``depth`` messages, else VOLATILE.
    """

    depth: int = 10
    reliable: bool | None = True
    transient_local: bool = False

    def with_depth(self, depth):
        """The same profile with another depth."""
        return replace(self, depth=depth)

    def variants(self):
        """The profiles with a definite reliability that make up this one."""
        if self.reliable is not None:
            return (self,)
        return (replace(self, reliable=True), replace(self, reliable=False))

    def to_cyclone(self, user_data):
        """Endpoint QoS of Cyclone DDS; ``user_data`` are the bytes ROS 2 announces with it."""
        # ROS 2 lets a reliable writer block this long; a robot's node must not hang on a reader.
        reliability = Policy.Reliability.Reliable(duration(milliseconds=100))
        return Qos(
            Policy.History.KeepLast(self.depth),
            reliability if self.reliable else Policy.Reliability.BestEffort,
            Policy.Durability.TransientLocal
            if self.transient_local
            else Policy.Durability.Volatile,
            Policy.DataRepresentation(use_cdrv0_representation=True),
            Policy.WriterDataLifecycle(autodispose=False),
            Policy.Userdata(user_data),
        )


DEFAULT = QosProfile()
SENSOR_DATA = QosProfile(depth=5, reliable=False)
# A big cloud that is offered best effort gets lost where sockets are small; a best-effort
# subscriber takes a reliable one as well.
CLOUD = QosProfile(depth=2)
# Deep enough that what comes while a library keeps the interpreter busy is still counted.
NEWEST_CLOUD = QosProfile(depth=10, reliable=None)
TF = QosProfile(depth=100)
TF_STATIC = QosProfile(depth=100, transient_local=True)
CLOCK = QosProfile(depth=1, reliable=False)
LATCHED = QosProfile(depth=1, transient_local=True)
