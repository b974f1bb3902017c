"""Transforms of several topics: which are those of the robot that carries the sensor."""

from dlc_training.recordings.clocks import Lags
from dlc_training.recordings.frames import TransformLog

# Frames that a sentence names.
_MOST_NAMED = 4


class TransformTopics:
    """
    All transforms of a recording, by topic; ``/tf`` and ``/tf_static`` are one.

    Robots of one make give their frames the same names, each on topics of its own namespace, and
    a recording that is played and recorded again has its frames twice.
    """

    def __init__(self):
        self._topics = {}

    def add(self, topic, message, bag_ns):
        """Take in a ``tf2_msgs/TFMessage`` that was recorded at a time [ns]."""
        static = topic.endswith('_static')
        found = self._topics.setdefault(topic.removesuffix('_static'), _Topic())
        found.names.add(topic)
        found.log.add_message(message, static)
        if not static and message.transforms:
            stamp = message.transforms[0].header.stamp
            found.lags.add(bag_ns, stamp.sec * 10**9 + stamp.nanosec)

    def of_sensor(self, cloud_topic):
        """
        Transforms for the clouds of a topic.

        Of the namespaces that the topic lies in the innermost goes first, ``/tf`` last. Topics of
        other namespaces are used too, unless they tell of frames that are known already: then
        they are another robot's, or another time's, with all that is on them.

        :return: :class:`TransformLog`, :class:`Lags` of the first topic that has moving ones (of
            none: empty), list of sentences: what was left out.
        """
        log, lags, owner, notes = TransformLog(), Lags(), {}, []
        order = sorted(self._topics, key=lambda topic: -_closeness(topic, cloud_topic))
        for topic in order:
            found = self._topics[topic]
            names = ', '.join(sorted(found.names))
            twice = [child for child in found.log.children if child in owner]
            if twice:
                others = ', '.join(sorted({owner[child] for child in twice}))
                if _closeness(topic, cloud_topic) == 0:
                    notes.append(
                        f'{names}: left out, for {others} has frames of the same name '
                        f'({_listed(twice)})'
                    )
                    continue
                notes.append(
                    f'{names}: the transforms of {_listed(twice)} are left out, for those of '
                    f'{others} are used'
                )
            owner = dict.fromkeys(found.log.children, topic) | owner
            log.fill_from(found.log)
            lags = lags or found.lags
        return log, lags, notes


class _Topic:
    def __init__(self):
        self.names, self.log, self.lags = set(), TransformLog(), Lags()


def _closeness(topic, cloud_topic):
    """The larger, the nearer to the sensor is a topic of transforms; 0: of another namespace."""
    space, _, name = topic.rpartition('/')
    return len(space) + 1 if name == 'tf' and cloud_topic.startswith(f'{space}/') else 0


def _listed(frames):
    more = f' and {len(frames) - _MOST_NAMED} more' if len(frames) > _MOST_NAMED else ''
    return ', '.join(repr(frame) for frame in sorted(frames)[:_MOST_NAMED]) + more
