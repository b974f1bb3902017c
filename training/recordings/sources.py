"""Recordings of any kind as one stream of messages, one file at a time, memory flat."""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

from dlc_ros.errors import DlcError, FileError
from dlc_ros.node.bag import CLOUD_TYPE, Bag, Topic
from dlc_training.recordings.salvage import SALVAGE

_log = logging.getLogger(__name__)

_STORAGE = ('.mcap', '.db3', '.bag')
# Of each file's beginning, middle and end, for its fingerprint [bytes].
_SAMPLED = 1 << 20


class Message(NamedTuple):
    """
    One message of a recording.

    :param topic: name with its leading slash.
    :param type_name: e.g. ``sensor_msgs/msg/PointCloud2``.
    :param stamp_ns: time of recording.
    :param cdr: bytes.
    :param typestore: where the recording's types are defined.
    """

    topic: str
    type_name: str
    stamp_ns: int
    cdr: bytes
    typestore: object

    def read(self):
        """Return the message as an object of the typestore's class; do not write to its arrays."""
        return self.typestore.deserialize_cdr(self.cdr, self.type_name)


class Recording:
    """
    One or many bags, as one recording.

    A path may be a rosbag2 folder (split or not, compressed or not), one storage file, a ROS 1
    bag, or a folder with any of these below it. Of a file that was cut off what can be read is
    used; :attr:`notes` says how much that is.

    :param paths: files and folders.
    :raises FileError: a path holds no recording, or nothing of any can be read.
    """

    def __init__(self, paths):
        self.paths = [Path(path) for path in paths]
        self.notes = []
        self._parts = []  # (start, path, opener)
        found = [part for path in self.paths for part in _bags_below(path)]
        for path in found:
            self._add(path)
        if not self._parts:
            raise FileError(f'{self.paths[0]}: nothing can be read; {"; ".join(self.notes)}')
        self._parts.sort(key=lambda part: part[0])

    @property
    def topics(self):
        """All topics by name, as :class:`~dlc_ros.node.bag.Topic`, counts summed."""
        out = {}
        for _, _, _, topics in self._parts:
            for name, topic in topics.items():
                before = out[name].count if name in out else 0
                out[name] = topic._replace(count=topic.count + before)
        return dict(sorted(out.items()))

    @property
    def files(self):
        """All storage files, sorted."""
        files = []
        for _, path, _, _ in self._parts:
            files += [path] if path.is_file() else [f for f in path.iterdir() if f.is_file()]
        return sorted(set(files))

    @property
    def size(self):
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.files)

    def cloud_topic(self, name=None):
        """
        The PointCloud2 topic that is meant, as :class:`~dlc_ros.node.bag.Topic`.

        :param name: its name, or None for the only one.
        :raises DlcError: there is none, no such one, or several and no name.
        """
        clouds = {n: t for n, t in self.topics.items() if t.type_name == CLOUD_TYPE}
        offered = ', '.join(f'{t.name} ({t.count} clouds)' for t in clouds.values())
        if not clouds:
            have = ', '.join(f'{t.name} [{t.type_name}]' for t in self.topics.values()) or 'none'
            raise DlcError(f'{self.paths[0]}: no PointCloud2 topic; its topics are: {have}')
        if name is None:
            if len(clouds) > 1:
                raise DlcError(
                    f'{self.paths[0]}: which cloud topic? Give one with --topic: {offered}'
                )
            return next(iter(clouds.values()))
        name = '/' + name.lstrip('/')
        if name not in clouds:
            raise DlcError(f'{self.paths[0]}: no cloud topic {name}; it has: {offered}')
        return clouds[name]

    def messages(self, names=None):
        """
        Messages of some topics, bag after bag, each in the order of its recording.

        What a damaged bag does not give is noted once, and the next bag goes on.

        :param names: topic names; None is all of them.
        :yields: :class:`Message`.
        """
        for _, path, opener, topics in self._parts:
            wanted = [n for n in topics if names is None or n in names]
            if not wanted:
                continue
            expected, given = sum(topics[n].count for n in wanted), 0
            with opener(path) as bag:
                try:
                    for topic, stamp_ns, cdr in bag.messages(wanted):
                        given += 1
                        yield Message(topic, topics[topic].type_name, stamp_ns, cdr, bag.typestore)
                except FileError as error:
                    self._note(
                        f'{path}: damaged after {given} of {expected} messages '
                        f'({100 * given / max(expected, 1):.0f} %), the rest is left out ({error})'
                    )

    def fingerprint(self):
        """SHA-256 over size, beginning, middle and end of every file: equal for equal content."""
        digest = hashlib.sha256()
        for file in self.files:
            size = file.stat().st_size
            digest.update(f'{file.name} {size} '.encode())
            with file.open('rb') as stream:
                for place in (0, size // 2, max(0, size - _SAMPLED)):
                    stream.seek(place)
                    digest.update(stream.read(_SAMPLED))
        return digest.hexdigest()

    def _add(self, path):
        try:
            self._open(path, Bag)
        except FileError as error:
            inside = (
                sorted(f for f in path.iterdir() if f.suffix in SALVAGE) if path.is_dir() else []
            )
            salvage = SALVAGE.get(path.suffix)
            if inside:
                what = (
                    'its index is damaged'
                    if (path / 'metadata.yaml').is_file()
                    else ('it has no metadata.yaml (recording not ended?)')
                )
                self._note(f'{path}: {what}; its files are read one by one')
                for file in inside:
                    self._add(file)
            elif salvage:
                try:
                    bag = self._open(path, salvage)
                except FileError:
                    self._note(f'left out: {error}')
                    return
                self._note(
                    f'{path}: cut off or damaged; {100 * (1 - bag.lost):.1f} % of its bytes can '
                    f'be read, with {sum(t.count for t in bag.topics.values())} messages'
                )
            else:
                self._note(f'left out: {error}')

    def _open(self, path, opener):
        with opener(path) as bag:
            topics = dict(bag.topics)
            first = next(bag.messages(list(topics)), None) if topics else None
        if first is None:
            self._note(f'{path}: holds no messages')
        else:
            self._parts.append((first[1], path, opener, topics))
        return bag

    def _note(self, text):
        if text not in self.notes:
            self.notes.append(text)
            _log.warning('%s', text)


def _bags_below(path):
    """Bags that a path stands for: itself, or what lies below it."""
    if not path.exists():
        raise FileError(f'no recording {path}; give a bag or a folder of bags')
    if path.is_file() or (path / 'metadata.yaml').is_file():
        return [path]
    found = []
    for folder in sorted(f for f in path.iterdir() if f.is_dir()):
        try:
            found += _bags_below(folder)
        except FileError:
            continue
    files = sorted(f for f in path.iterdir() if f.suffix in _STORAGE)
    compressed = [f for f in path.iterdir() if f.suffix == '.zstd']
    if not found and files and all(f.suffix in SALVAGE for f in files):
        return [path]  # one bag that was not ended: its parts belong together
    found += files
    if not found:
        hint = ' (decompress its .zstd files first: zstd -d)' if compressed else ''
        raise FileError(f'{path}: no recording below it{hint}; give a bag or a folder of bags')
    return found


__all__ = ['CLOUD_TYPE', 'DlcError', 'Message', 'Recording', 'Topic']
