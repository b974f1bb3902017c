"""What is readable of a recording that was cut off: mcap record by record, sqlite3 row by row."""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

from rosbags.rosbag2.storage_mcap import decompress
from rosbags.typesys import get_types_from_msg

from dlc_ros.errors import FileError
from dlc_ros.node.bag import Topic
from dlc_ros.node.definitions import distro_typestore

_MAGIC = b'\x89MCAP0\r\n'
# Records of an mcap file (https://mcap.dev/spec) that matter here.
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F


class CutMcap:
    """
    An mcap file without its index, read from the front as far as it is whole.

    Has what :class:`dlc_ros.node.bag.Bag` has of a whole one: ``topics``, ``messages``,
    ``typestore``; the same order of messages as in the file. ``lost`` is the share of the file's
    bytes that cannot be read, 0..1.

    :param path: file.
    :raises FileError: nothing of it can be read.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.size = self.path.stat().st_size
        self.typestore = _own_typestore()
        self._channels, counts, self._readable = {}, {}, 0
        try:
            for channel, _, _ in self._records():
                counts[channel] = counts.get(channel, 0) + 1
        except OSError as error:
            raise FileError(f'{self.path}: cannot be read: {error.strerror}') from None
        if not counts:
            raise FileError(f'{self.path}: nothing of it can be read; record again')
        # Told now: whoever reads a few messages later has read few bytes.
        self.lost = 1.0 - self._readable / self.size
        self.topics = {}
        for number, count in counts.items():
            name, kind = self._channels[number]
            before = self.topics[name].count if name in self.topics else 0
            self.topics[name] = Topic(name, kind, before + count, name == '/tf_static')

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        """Nothing stays open between messages."""

    def messages(self, topics):
        """Yield topic name, time of recording [ns], CDR bytes of the topics (names)."""
        for channel, stamp_ns, data in self._records():
            name = self._channels[channel][0]
            if name in topics:
                yield name, stamp_ns, data

    def _records(self):
        """Yield channel number, time and bytes of every message that is whole."""
        with self.path.open('rb') as file:
            if file.read(8) != _MAGIC:
                raise FileError(f'{self.path}: not an mcap file')
            self._readable = 8
            while len(head := file.read(9)) == 9:
                code, length = head[0], struct.unpack_from('<Q', head, 1)[0]
                if code == _DATA_END:
                    return
                if length > self.size - file.tell():
                    if code == _CHUNK:
                        yield from self._cut_chunk(file.read())
                    return
                if code in (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK):
                    try:
                        yield from self._record(code, file.read(length))
                    except Exception:  # a damaged chunk fails in its decompressor in any way
                        return
                else:
                    file.seek(length, 1)
                self._readable = file.tell()

    def _record(self, code, data):
        if code == _MESSAGE:
            channel, _, stamp_ns, _ = struct.unpack_from('<HIQQ', data)
            if channel in self._channels:
                yield channel, stamp_ns, data[22:]
        elif code == _CHUNK:
            size, crc = struct.unpack_from('<QI', data, 16)
            compression, at = _text(data, 28)
            yield from self._within(decompress(data[at + 8 :], compression, size, crc))
        elif code == _SCHEMA:
            name, at = _text(data, 2)
            encoding, at = _text(data, at)
            if encoding == 'ros2msg' and name not in self.typestore.fielddefs:
                self.typestore.register(get_types_from_msg(_text(data, at)[0], name))
            self._schemas = {**getattr(self, '_schemas', {}), data[:2]: name}
        elif code == _CHANNEL:
            number = struct.unpack_from('<H', data)[0]
            kind = getattr(self, '_schemas', {}).get(data[2:4])
            if kind in self.typestore.fielddefs:
                self._channels[number] = '/' + _text(data, 4)[0].lstrip('/'), kind

    def _within(self, content):
        """Messages of a chunk's content, as far as records are whole."""
        at = 0
        while at + 9 <= len(content):
            code, length = content[at], struct.unpack_from('<Q', content, at + 1)[0]
            if at + 9 + length > len(content):
                return
            yield from self._record(code, content[at + 9 : at + 9 + length])
            at += 9 + length

    def _cut_chunk(self, data):
        """Messages of a chunk that ends with the file; of a compressed one there are none."""
        try:
            compression, at = _text(data, 28)
        except (struct.error, UnicodeDecodeError):
            return
        if not compression:
            self._readable += len(data)
            yield from self._within(data[at + 8 :])


class CutSqlite:
    """
    A .db3 file of which pages are missing, read row by row until one of those.

    :param path: file.
    :raises FileError: nothing of it can be read.
    """

    def __init__(self, path):
        self.path, self.typestore = Path(path), distro_typestore()
        try:
            with closing(self._connect()) as database:
                rows = database.execute('SELECT id, name, type FROM topics').fetchall()
        except sqlite3.Error as error:
            raise FileError(f'{self.path}: nothing of it can be read: {error}') from None
        self._names = {
            number: ('/' + name.lstrip('/'), kind)
            for number, name, kind in rows
            if kind in self.typestore.fielddefs
        }
        counts, self._rows = {}, 0
        for number, _, _ in self._messages('length(data)'):
            counts[number] = counts.get(number, 0) + 1
        if not counts:
            raise FileError(f'{self.path}: nothing of it can be read; record again')
        self.topics = {
            self._names[number][0]: Topic(*self._names[number], count, False)
            for number, count in counts.items()
        }
        size, found = self.path.stat().st_size, self._declared_size()
        self.lost = max(0.0, 1.0 - size / found) if found else 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        """Nothing stays open between messages."""

    def messages(self, topics):
        """Yield topic name, time of recording [ns], CDR bytes of the topics (names)."""
        for number, stamp_ns, data in self._messages('data'):
            if self._names[number][0] in topics:
                yield self._names[number][0], stamp_ns, data

    def _messages(self, what):
        with closing(self._connect()) as database:
            try:
                # In the order of the table: an index may lie on the missing pages.
                found = database.execute(f'SELECT topic_id, timestamp, {what} FROM messages')
                for number, stamp_ns, data in found:
                    if number in self._names:
                        yield number, stamp_ns, data
            except sqlite3.Error:
                return

    def _connect(self):
        database = sqlite3.connect(f'{self.path.resolve().as_uri()}?mode=ro', uri=True)
        # Nothing is written; so told, sqlite3 opens a file that is shorter than it should be.
        database.execute('PRAGMA writable_schema = ON')
        return database

    def _declared_size(self):
        """Bytes that the file's header says it has (https://sqlite.org/fileformat.html)."""
        with self.path.open('rb') as file:
            head = file.read(32)
        page = struct.unpack_from('>H', head, 16)[0]
        return (65536 if page == 1 else page) * struct.unpack_from('>I', head, 28)[0]


SALVAGE = {'.mcap': CutMcap, '.db3': CutSqlite}


def _text(data, at):
    """A string with its length before it, and where it ends."""
    length = struct.unpack_from('<I', data, at)[0]
    return data[at + 4 : at + 4 + length].decode(), at + 4 + length


def _own_typestore():
    """The standard types in a store to which a recording's own may be added."""
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.EMPTY)
    store.register(distro_typestore().fielddefs)
    return store
