"""Weights files: safetensors with the model card inside; a bad file is one clear error."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dlc_ros.errors import WeightsError
from dlc_ros.registration.confidence import UNFITTED, Model

# Raised when a file's content changes meaning; a reader refuses files with a higher number.
FORMAT = 1
_KEY = 'dlc_ros_model_card'
# Entry of the card.
_GATE = 'gate'
# Bytes; far above any architecture that the card may name.
_LARGEST = 1 << 30


@dataclass(frozen=True)
class LoadedWeights:
    """
    A network ready to run and where it came from.

    :param net: :class:`dlc_ros.registration.descriptor.DescriptorNet` in evaluation mode.
    :param card: model card: architecture, training configuration, scores, measured basin.
    :param path: file.
    :param sha256: of the file's bytes, hex.
    :param confidence: :class:`~dlc_ros.registration.confidence.Model` of the gate, from the card;
        one that asks more of a pose where the card has none.
    """

    net: object
    card: dict
    path: Path
    sha256: str
    confidence: Model = UNFITTED

    @property
    def trained_on(self):
        """What the model card says about data, steps and date of the training, as one line."""
        known = ((name, self.card.get(name)) for name in ('data', 'steps', 'date'))
        said = [f'{name} {_short(value)}' for name, value in known if value]
        if self.confidence is UNFITTED:
            said.append('gate not calibrated')
        return ', '.join(said) or 'the model card does not say'

    @property
    def basin_deg(self):
        """Measured radius of the basin in rotation [deg]; None if the model card has none."""
        try:
            return float(self.card['landscape']['basin']['radius_deg'])
        except (KeyError, TypeError, ValueError):
            return None


def default_weights_path():
    """Return the path of the weights that ship with the package."""
    return Path(__file__).resolve().parent.parent / 'weights' / 'default.safetensors'


def save_weights(path, net, card):
    """
    Write a network and its model card; the file appears whole or not at all.

    :param path: file to write (``.safetensors``).
    :param net: :class:`dlc_ros.registration.descriptor.DescriptorNet`.
    :param card: JSON-able dict about how the weights were made; the architecture and a digest of
        the tensors are added.
    :raises WeightsError: when the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    tensors = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    card = {
        **card,
        'format': FORMAT,
        'architecture': net.description(),
        'tensors_sha256': _digest(save(tensors)),
    }
    partial = path.with_name(path.name + '.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(save(tensors, {_KEY: json.dumps(card)}))
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WeightsError(
            f'cannot write weights {path}: {error.strerror}; choose another place'
        ) from None


def load_weights(path=None, device='cpu'):
    """
    Read a weights file.

    :param path: file; None for the weights that ship with the package.
    :param device: torch device of the network.
    :return: :class:`LoadedWeights`.
    :raises WeightsError: when the file is missing, damaged, foreign or of a newer version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from dlc_ros.registration.descriptor import DescriptorNet

    shipped, path = not path, Path(path or default_weights_path())
    data = _read(path, shipped)
    card = _read_card(path, data)
    try:
        net = DescriptorNet.from_description(card['architecture'])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f'the model card of {path} names no architecture that this version knows '
            f'({_short(error)}); it was edited or made by another version: train or copy it again'
        ) from None
    if card.get('tensors_sha256', _digest(data)) != _digest(data):
        raise WeightsError(f'weights {path} are damaged (checksum differs); copy them again')
    try:
        net.load_state_dict(load(data))
    except (SafetensorError, ValueError) as error:
        raise WeightsError(
            f'weights {path} are damaged ({_short(error)}); copy them again'
        ) from None
    except (KeyError, TypeError, RuntimeError):
        raise WeightsError(
            f'weights {path} do not fit the architecture that their model card names; '
            'they were edited or made by another version: train or copy them again'
        ) from None
    if not all(bool(p.isfinite().all()) for p in net.parameters()):
        raise WeightsError(f'weights {path} hold NaN or infinite values; train them again')
    net.eval().requires_grad_(False).to(device)
    digest = hashlib.sha256(data).hexdigest()
    return LoadedWeights(net, card, path, digest, _confidence(path, card))


def save_confidence(path, model):
    """
    Write the gate's constants into the model card of a weights file; nothing else changes.

    :param path: weights file.
    :param model: :class:`~dlc_ros.registration.confidence.Model`.
    :raises WeightsError: when the file cannot be read or written.
    :raises ValueError: the model would accept any pose.
    """
    Model.from_card(model.as_card())
    loaded = load_weights(path)
    save_weights(path, loaded.net, {**loaded.card, _GATE: model.as_card()})


def _confidence(path, card):
    """The gate's constants in a model card, checked."""
    if _GATE not in card:
        return UNFITTED
    try:
        return Model.from_card(card[_GATE])
    except ValueError as error:
        raise WeightsError(
            f"the gate's constants in the model card of {path} cannot be used"
            f' ({_short(error)}); train the weights again or copy them again'
        ) from None


def _read(path, shipped):
    """Bytes of a regular file of a size that weights can have."""
    remedy = 'install dlc_ros again' if shipped else 'give a file that dlc-train wrote'
    try:
        if path.exists() and not path.is_file():
            raise WeightsError(f'cannot read weights {path}: not a file; {remedy}')
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f'{path} is too large for weights of dlc_ros; {remedy}')
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f'cannot read weights {path}: {error.strerror}; {remedy}') from None


def _digest(data):
    """SHA-256 of a safetensors file's tensors: what follows 8 bytes of length and the header."""
    length = int.from_bytes(data[:8], 'little')
    return hashlib.sha256(data[8 + length :]).hexdigest()


def _short(error):
    """Message of a foreign error as one line of bounded length."""
    return ' '.join(str(error).split())[:120]


def _read_card(path, data):
    """Model card of a file's bytes: 8 bytes of header length, JSON header, tensors."""
    length = int.from_bytes(data[:8], 'little')
    try:
        if len(data) < 8 or length > len(data) - 8:
            raise ValueError('cut short')
        metadata = json.loads(data[8 : 8 + length]).get('__metadata__') or {}
        text = metadata.get(_KEY)
    except (ValueError, AttributeError, RecursionError):
        raise WeightsError(
            f'{path} is no safetensors file or is cut short ({len(data)} bytes); copy it again'
        ) from None
    if text is None:
        raise WeightsError(
            f'{path} is a safetensors file of another program (no dlc_ros model card); '
            'use weights written by dlc-train'
        )
    try:
        card = json.loads(text)
        newer = int(card['format']) > FORMAT
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise WeightsError(f'the model card of {path} is damaged; copy the file again') from None
    if newer:
        raise WeightsError(
            f'{path} has format {_short(card["format"])}, this version reads up to {FORMAT}; '
            'update dlc_ros or use older weights'
        )
    return card
