"""Which clouds are looked at: their stamp and their frame."""

from dataclasses import dataclass

from dlc_ros.errors import CloudError


class CloudRefused(CloudError):
    """
    A cloud that is dropped before its points are looked at.

    :param kind: ``frame``, ``stamp`` or ``late``.
    :param text: one line for a person.
    """

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Admission:
    """
    A cloud that is looked at.

    :param stamp_ns: the stamp to use.
    :param unstamped: whether the cloud had none and its time of arrival is used.
    :param time_jumped: whether time went back so far that everything starts afresh.
    :param age_s: the node's clock at its arrival less its stamp.
    """

    stamp_ns: int
    unstamped: bool
    time_jumped: bool
    age_s: float


class Intake:
    """Remembers the last cloud's header and arrival; holds no lock."""

    def __init__(self):
        self.last_stamp_ns = None
        self._stamp_before_ns = None
        self.frame = ''
        self.age_s = 0.0
        self.listening = True  # whether clouds can come
        self._heard_ns = None  # the node's clock when a cloud was last heard or worked on
        self._admitted = False  # whether the last cloud was

    def admit(self, stamp_ns, frame_id, arrival_ns, expected_frame, time_jump_s):
        """
        Check a cloud's header.

        :param stamp_ns: of the cloud; 0 for none.
        :param frame_id: of the cloud.
        :param arrival_ns: the node's clock at its arrival, or None.
        :param expected_frame: the only frame that is accepted, or empty.
        :param time_jump_s: a stamp that is older by more than this is a restart of time.
        :returns: :class:`Admission`.
        :raises CloudRefused: another frame, no stamp at all, or older than the last cloud.
        """
        self._admitted = False
        if not frame_id:
            raise CloudRefused('frame', 'cloud dropped: its header names no frame')
        if expected_frame not in ('', frame_id):
            raise CloudRefused(
                'frame',
                f'cloud dropped: it is in the frame {frame_id!r}; frames.cloud asks for '
                f'{expected_frame!r}',
            )
        unstamped = stamp_ns == 0
        if unstamped:
            if not arrival_ns:
                raise CloudRefused('stamp', 'cloud dropped: its stamp is zero')
            stamp_ns = arrival_ns
        age_s = (arrival_ns - stamp_ns) * 1e-9 if arrival_ns else 0.0
        jumped = False
        if self.last_stamp_ns is not None and stamp_ns <= self.last_stamp_ns:
            behind = (self.last_stamp_ns - stamp_ns) * 1e-9
            if behind <= time_jump_s:
                raise CloudRefused(
                    'late', f'cloud dropped: its stamp is {behind:.3f} s behind the last one'
                )
            jumped = True
        self._stamp_before_ns = None if jumped else self.last_stamp_ns
        self.last_stamp_ns = stamp_ns
        self.frame = frame_id
        self.age_s = age_s
        self._heard_ns = arrival_ns or stamp_ns
        self._admitted = True
        return Admission(stamp_ns, unstamped, jumped, age_s)

    def withdraw(self):
        """
        Compare the next stamp with the one before the last.

        For a stamp that no transform is known at: had a sensor's clock leapt ahead for one cloud,
        the next would look like a restart of time.
        """
        self.last_stamp_ns = self._stamp_before_ns

    def busy(self, now_ns):
        """Note that the last cloud is worked on, or was until now: that is no silence."""
        if self._admitted:
            self._heard_ns = max(self._heard_ns, now_ns)

    def listen(self, now_ns):
        """Count silence from now on: no cloud could come before."""
        self.listening = True
        self._heard_ns = now_ns or None

    def silent_s(self, now_ns):
        """
        Seconds since a cloud was heard, or since one could come.

        Where nobody told of that (:meth:`listen`), since the first time that this was asked; 0
        while none can come or the node's clock stands at 0, as a simulated one does at the start.
        """
        if not (self.listening and now_ns):
            return 0.0
        if self._heard_ns is None:
            self._heard_ns = now_ns
        return max(0.0, (now_ns - self._heard_ns) * 1e-9)

    def forget_time(self):
        """Take the next stamp whatever it is."""
        self.last_stamp_ns = self._stamp_before_ns = None
        self._heard_ns = None
        self._admitted = False
