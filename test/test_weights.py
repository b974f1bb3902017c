"""A weights file comes back as it was written; every broken one is one clear line."""

import hashlib
import json
import os
import pickle
import resource
import signal
import stat

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from dlc_ros.errors import WeightsError
from dlc_ros.registration.confidence import UNFITTED, Model
from dlc_ros.registration.descriptor import DescriptorNet, NetOptions
from dlc_ros.registration.weights import (
    FORMAT,
    load_weights,
    save_confidence,
    save_weights,
)

OPTIONS = NetOptions(width=16, heads=2, layers=1, keypoints=16, neighbours=4, affinity_width=8)


@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    return DescriptorNet(OPTIONS)


@pytest.fixture(scope='module')
def good(net, tmp_path_factory):
    """Bytes of a good file."""
    path = tmp_path_factory.mktemp('good') / 'good.safetensors'
    save_weights(path, net, {'name': 'test', 'steps': 7})
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'weights.safetensors'


def refusal(path):
    """One line that names the file and says what to do; nothing but WeightsError is raised."""
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    message = str(caught.value)
    assert '\n' not in message
    assert len(message) < 600
    assert str(path) in message
    assert any(verb in message for verb in ('copy', 'train', 'install', 'update', 'give', 'use'))
    return message


def take_apart(data):
    """Header (dict) and tensors (bytes) of a safetensors file."""
    length = int.from_bytes(data[:8], 'little')
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def put_together(header, tensors):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + tensors


def edited(data, **changes):
    """The file with entries of its model card changed; None removes one."""
    header, tensors = take_apart(data)
    card = {**json.loads(header['__metadata__']['dlc_ros_model_card']), **changes}
    card = {key: value for key, value in card.items() if value is not None}
    header['__metadata__']['dlc_ros_model_card'] = json.dumps(card)
    return put_together(header, tensors)


def test_what_is_saved_is_loaded(net, path):
    save_weights(path, net, {'name': 'test', 'scores': {'recall': 0.5}})
    loaded = load_weights(path)
    assert not loaded.net.training
    assert loaded.net.options == OPTIONS
    for name, value in net.state_dict().items():
        assert torch.equal(value, loaded.net.state_dict()[name])
    assert not any(p.requires_grad for p in loaded.net.parameters())
    assert loaded.card['name'] == 'test'
    assert loaded.card['scores'] == {'recall': 0.5}
    assert loaded.card['format'] == FORMAT
    assert loaded.path == path


def test_hash_names_the_file(net, path):
    save_weights(path, net, {})
    assert load_weights(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_file_is_whole_readable_and_alone(net, tmp_path):
    path = tmp_path / 'new' / 'folder' / 'weights.safetensors'
    save_weights(path, net, {})
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert load_weights(str(path)).path == path


def test_a_file_without_checksum_is_still_read(good, path):
    path.write_bytes(edited(good, tensors_sha256=None))
    assert load_weights(path).card['steps'] == 7


def test_the_gates_constants_are_written_into_the_card_and_nothing_else_changes(good, path):
    path.write_bytes(good)
    before = load_weights(path)
    assert before.confidence is UNFITTED and 'not calibrated' in before.trained_on
    model = Model(2.0, {'log_residual': -5.0, 'log_support': 2.5})
    save_confidence(path, model)
    after = load_weights(path)
    assert after.confidence == model and 'not calibrated' not in after.trained_on
    assert {**after.card, 'gate': None} == {**before.card, 'gate': None}
    assert take_apart(path.read_bytes())[1] == take_apart(good)[1]


@pytest.mark.parametrize(
    'entry', [7, {}, {'bias': 1e9}, {'bias': -1, 'x' * 500: 1}, {'bias': '0'}]
)
def test_constants_that_cannot_be_used_are_one_line(good, path, entry):
    path.write_bytes(edited(good, gate=entry))
    assert "gate's constants" in refusal(path)


def test_place_that_cannot_be_written_is_one_line(net, tmp_path):
    (tmp_path / 'file').write_text('')
    for path in (tmp_path / 'file' / 'weights.safetensors', tmp_path):
        with pytest.raises(WeightsError, match='cannot write') as caught:
            save_weights(path, net, {})
        assert str(path) in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['file']


def test_a_full_disk_leaves_the_old_file(net, good, path):
    path.write_bytes(good)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(WeightsError, match='cannot write'):
            save_weights(path, net, {'name': 'newer'})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_weights(path).card['name'] == 'test'
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_missing_and_not_a_file(tmp_path, path):
    assert 'No such file' in refusal(path)
    assert 'not a file' in refusal(tmp_path)
    if os.path.exists('/dev/zero'):
        assert 'not a file' in refusal('/dev/zero')
    os.mkfifo(path)  # reading it would wait for ever
    assert 'not a file' in refusal(path)


def test_shipped_weights_that_are_gone_say_so(tmp_path, monkeypatch):
    gone = tmp_path / 'default.safetensors'
    monkeypatch.setattr('dlc_ros.registration.weights.default_weights_path', lambda: gone)
    with pytest.raises(WeightsError, match='install dlc_ros again'):
        load_weights()


def test_file_too_large_to_be_weights_is_not_read(path):
    with path.open('wb') as file:
        file.truncate(40 << 30)  # sparse: takes no space
    assert 'too large' in refusal(path)


def test_truncated_anywhere(good, path):
    header = int.from_bytes(good[:8], 'little')
    ends = {0, 1, 7, 8, 9, 8 + header // 2, 8 + header - 1, 8 + header, 9 + header, len(good) - 1}
    for end in sorted(ends | set(range(0, len(good), len(good) // 60))):
        path.write_bytes(good[:end])
        refusal(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found_or_harmless(net, good, path, data):
    """In the tensors the checksum finds it; in the header the file may still mean the same."""
    header = 8 + int.from_bytes(good[:8], 'little')
    in_header = data.draw(st.booleans())
    at = data.draw(st.integers(0, header - 1) if in_header else st.integers(header, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != good[at]))
    path.write_bytes(good[:at] + bytes([byte]) + good[at + 1 :])
    if not in_header:
        assert 'checksum' in refusal(path)
        return
    try:
        loaded = load_weights(path)
    except WeightsError as error:
        assert '\n' not in str(error)
        return
    for name, value in net.state_dict().items():
        assert torch.equal(value, loaded.net.state_dict()[name])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(path, content):
    path.write_bytes(content)
    refusal(path)


def test_text_archive_and_pickle_execute_nothing(path, tmp_path):
    witness = tmp_path / 'executed'

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    torch.save({'a': Malicious()}, tmp_path / 'checkpoint.pt')
    contents = [pickle.dumps(Malicious(), protocol) for protocol in range(6)]
    contents += [(tmp_path / 'checkpoint.pt').read_bytes(), b'<!DOCTYPE html><html>404</html>']
    # A header that is as long as the pickle says its first bytes are.
    contents += [(len(c)).to_bytes(8, 'little') + c for c in contents]
    for content in contents:
        path.write_bytes(content)
        assert 'no safetensors file' in refusal(path)
        assert not witness.exists()


def test_foreign_safetensors(path):
    path.write_bytes(save({'weight': torch.zeros(3)}))
    assert 'another program' in refusal(path)
    path.write_bytes(save({'weight': torch.zeros(3)}, {'format': 'pt'}))
    assert 'another program' in refusal(path)


@pytest.mark.parametrize(
    'header',
    [
        [], 5, None, 'text', {}, {'__metadata__': 5}, {'__metadata__': 'dlc_ros_model_card'},
        {'__metadata__': ['dlc_ros_model_card']}, {'__metadata__': {'dlc_ros_model_card': 5}},
        b'[' * 200_000, b'{"__metadata__": ' * 50_000, b'\xff\xfe', b'{"a": ' + b'9' * 5000 + b'}',
    ],
)  # fmt: skip
def test_headers_of_any_form(good, path, header):
    path.write_bytes(put_together(header, take_apart(good)[1]))
    refusal(path)


@pytest.mark.parametrize(
    'card',
    ['', 'null', '[]', '5', '"text"', '{}', '[' * 100_000, '{"format": "new"}', '{"format": null}',
     '{"format": 1e999}', '{"format": NaN}', '{"format": [1]}', '{"format": 1}'],
)  # fmt: skip
def test_model_cards_of_any_form(good, path, card):
    header, tensors = take_apart(good)
    header['__metadata__']['dlc_ros_model_card'] = card
    path.write_bytes(put_together(header, tensors))
    refusal(path)


@pytest.mark.parametrize('number', [FORMAT + 1, 99, '2', 10**400])
def test_newer_format_says_update(good, path, number):
    path.write_bytes(edited(good, format=number))
    message = refusal(path)
    assert f'reads up to {FORMAT}' in message
    assert 'update dlc_ros' in message


@pytest.mark.parametrize(
    'change',
    [
        {'width': 32}, {'width': 15}, {'heads': 4}, {'layers': 2}, {'affinity_width': 16},
        {'keypoints': 0}, {'keypoints': 10**12}, {'neighbours': -1}, {'neighbours': 10**9},
        {'width': 10**9}, {'layers': 10**9}, {'heads': 10**6, 'width': 10**6}, {'width': '16'},
        {'width': None}, {'width': 16.0}, {'width': [16]}, {'depth': 3},
    ],
)  # fmt: skip
def test_edited_architecture(good, path, change):
    path.write_bytes(edited(good, architecture={**load_architecture(good), **change}))
    assert 'architecture' in refusal(path)


def load_architecture(data):
    header, _ = take_apart(data)
    return json.loads(header['__metadata__']['dlc_ros_model_card'])['architecture']


@pytest.mark.parametrize('architecture', [None, [], 'DescriptorNet', 5, {}])
def test_architecture_of_another_form(good, path, architecture):
    path.write_bytes(edited(good, architecture=architecture))
    assert 'architecture' in refusal(path)


def test_huge_architecture_allocates_nothing(good, path):
    """The largest that passes needs 200 MB; all else is refused first, whatever it asks for."""
    huge = {'width': 512, 'heads': 16, 'layers': 12, 'affinity_width': 512, 'keypoints': 1024}
    path.write_bytes(edited(good, architecture={**load_architecture(good), **huge}))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open('/proc/self/statm').read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20), hard))
    try:
        assert 'architecture' in refusal(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_tensor_that_claims_more_than_the_file_holds(good, path):
    header, tensors = take_apart(good)
    name = next(key for key in header if key != '__metadata__')
    header[name]['shape'] = [1 << 40]
    path.write_bytes(put_together(header, tensors))
    refusal(path)
    header[name]['shape'], header[name]['data_offsets'] = [1 << 20], [0, 4 << 20]
    path.write_bytes(put_together(header, tensors))
    refusal(path)


def test_missing_and_additional_tensors(net, good, path):
    card = take_apart(edited(good, tensors_sha256=None))[0]['__metadata__']
    state = {k: v.detach().clone() for k, v in net.state_dict().items()}
    few = dict(list(state.items())[1:])
    for tensors in (few, {}, {**state, 'more': torch.zeros(2)}):
        path.write_bytes(save(tensors, card))
        assert 'do not fit' in refusal(path)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(path, value):
    net = DescriptorNet(OPTIONS)
    with torch.no_grad():
        net.affinity.weight[2, 3] = value
    save_weights(path, net, {})
    assert 'NaN or infinite' in refusal(path)
