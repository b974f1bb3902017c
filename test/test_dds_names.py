"""Names, types, domains and values: as ROS has them, and one line where they cannot be."""

import pytest

pytest.importorskip('cyclonedds')
pytest.importorskip('rosbags')

from participants import DOMAIN, STRING, participant  # noqa: E402
from rosbags.typesys import Stores, get_types_from_idl, get_typestore  # noqa: E402
from wire import LOOPBACK, Process  # noqa: E402

from dlc_ros.errors import DlcError  # noqa: E402
from dlc_ros.node.convert import stamp_from_ns  # noqa: E402
from dlc_ros.node.dds.participant import Participant  # noqa: E402
from dlc_ros.node.definitions import build_message, distro_typestore  # noqa: E402


def test_topic_names_follow_ros():
    with participant('localizer', namespace='robot/') as node:
        assert node.resolve('points') == '/robot/points'
        assert node.resolve('/points') == '/points'
        assert node.resolve('~/pose') == '/robot/localizer/pose'


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: participant('no-dash'), 'node name'),
        (lambda: participant('x', namespace='/1st'), 'namespace'),
        (lambda: Participant('x', domain_id=DOMAIN + 100, interface='nonsense0'), 'nonsense0'),
        (lambda: Participant('x', domain_id=233), 'no DDS domain 233: they go from 0 to 232'),
        (lambda: Participant('x', domain_id=-1), 'no DDS domain -1'),
        (lambda: distro_typestore('lunar'), "Unknown ROS 2 distribution 'lunar'"),
    ],
)
def test_impossible_participant_is_one_line(make, words):
    with pytest.raises(DlcError, match=words) as caught:
        make()
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('distro', ['rolling', 'noetic'])
def test_a_distribution_that_is_not_known_here_stops_nobody(distro):
    code = 'from dlc_ros.node.definitions import distro_typestore; distro_typestore()'
    with Process('-c', code, ROS_DISTRO=distro) as process:
        status, _, said = process.finish()
    assert status == 0, said
    assert f"ROS_DISTRO is '{distro}': messages are taken as in jazzy" in said


@pytest.mark.parametrize(
    ('topic', 'kind', 'words'),
    [
        ('a b', STRING, 'topic name'),
        ('', STRING, 'topic name'),
        ('word', 'std_msgs/msg/Nothing', "Unknown message type 'std_msgs/msg/Nothing'"),
    ],
)
def test_impossible_topic_is_one_line(topic, kind, words):
    with participant('node') as node, pytest.raises(DlcError, match=words):
        node.publisher(topic, kind)


def test_a_type_that_dds_cannot_carry_is_named():
    store = get_typestore(Stores.ROS2_JAZZY)
    wide = 'module some_msgs { module msg { struct Wide { long double value; }; }; };'
    store.register(get_types_from_idl(wide))
    with participant('node') as node, pytest.raises(DlcError, match='float128 cannot be sent'):
        node.publisher('wide', 'some_msgs/msg/Wide', typestore=store)


def test_domain_number_comes_from_ros_domain_id(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN))
    with participant('there') as there, Participant('default', interface=LOOPBACK) as default:
        assert there.publisher('x', STRING) and default.subscribe('x', STRING, print)
    monkeypatch.setenv('ROS_DOMAIN_ID', 'seven')
    with pytest.raises(DlcError, match="ROS_DOMAIN_ID is 'seven'"):
        Participant('default', interface=LOOPBACK)


def test_values_of_a_message_are_checked_and_completed():
    store = distro_typestore()
    pose = build_message(store, 'geometry_msgs/msg/PoseWithCovarianceStamped', {})
    assert pose.pose.covariance.shape == (36,) and pose.header.frame_id == ''
    clock = build_message(store, 'rosgraph_msgs/msg/Clock', {'clock': stamp_from_ns(-1)})
    assert (clock.clock.sec, clock.clock.nanosec) == (-1, 999_999_999)
    with pytest.raises(DlcError, match="no field 'frame'"):
        build_message(store, 'std_msgs/msg/Header', {'frame': 'map'})
