"""Pictures of the landscape: cuts, rays, basin and bias, with and without DLC."""

import numpy as np

from dlc_training.evaluate.figures import SOFT, new_figure

_SHADES = ('#1859b7', '#d55e00')


def draw(content):
    """Pictures of a result of kind ``landscape``: list of (figure, caption)."""
    networks = content['networks']
    pairs = len(next(iter(networks.values()))['slices']['energies'])
    return [
        *(_cuts(networks, pair) for pair in range(pairs)),
        _rays(networks),
        _basin(networks),
        _bias(networks),
    ]


def _cuts(networks, pair):
    rows = next(iter(networks.values()))['rays']
    figure, axes = new_figure(
        10.5, 2.2 * len(networks) + 0.5, len(networks), len(rows), squeeze=False,
        sharex=True, sharey=True,
    )  # fmt: skip
    for line, (label, network) in zip(axes, networks.items(), strict=True):
        angles = network['slices']['angles_deg']
        for place, row, cut in zip(line, rows, network['slices']['energies'][pair], strict=True):
            cut = np.array(cut)
            top = np.quantile(cut, 0.98)
            image = place.pcolormesh(angles, angles, cut, cmap='viridis', shading='gouraud',
                                     vmin=min(cut.min(), 0.0), vmax=top)  # fmt: skip
            place.contour(angles, angles, cut, 9, colors='white', linewidths=0.4, alpha=0.6)
            place.plot(0, 0, '+', color='white', ms=11, mew=2)
            least = np.unravel_index(np.argmin(cut), cut.shape)
            place.plot(angles[least[1]], angles[least[0]], 'o', mfc='none', mec='#ff5c39', ms=8,
                       mew=1.6)  # fmt: skip
            place.grid(False)
            place.set(aspect='equal', xticks=(-180, 0, 180), yticks=(-180, 0, 180))
            if place in axes[0]:
                place.set_title(f'beta {row["beta"]:g}')
            figure.colorbar(image, ax=place, shrink=0.72, pad=0.02)
        line[0].set_ylabel(f'{label}\nsecond axis [deg]')
    for place in axes[-1]:
        place.set_xlabel('first axis [deg]')
    return figure, (
        f'Energy above that of the truth on one held-out pair (number {pair}), the source turned '
        'about two axes at right angles. Cross: the truth; circle: the lowest energy of the cut.'
    )


def _rays(networks):
    rows = next(iter(networks.values()))['rays']
    figure, axes = new_figure(10.5, 3.3, 1, len(rows))
    for shade, (label, network) in zip(_SHADES, networks.items(), strict=False):
        for place, row in zip(axes, network['rays'], strict=True):
            share = np.linspace(0, 1, len(row['curve']))
            place.plot(share, row['curve'], color=shade, lw=2.2, label=label)
            place.fill_between(share, *row['quartiles'], color=shade, alpha=0.15, lw=0)
    for number, (place, row) in enumerate(zip(axes, rows, strict=True)):
        texts = [
            f'{100 * network["rays"][number]["rising"]:.0f} %' for network in networks.values()
        ]
        place.axhline(0, color=SOFT, lw=0.8)
        place.set(
            title=f'beta {row["beta"]:g}, {row["radius_deg"]:g} deg\nrising: {" / ".join(texts)}',
            xlabel='share of the radius',
        )
    axes[0].set_ylabel('energy above the truth [nats]')
    axes[0].legend(fontsize=9)
    return figure, (
        'Energy along random rays that leave the truth, up to the radius of each beta: mean and '
        'quartiles. A star-convex bowl only rises; above each panel the share of rays that do.'
    )


def _basin(networks):
    figure, axes = new_figure(7.5, 3.8)
    dashes = ('-', '--', ':')
    for shade, (label, network) in zip(_SHADES, networks.items(), strict=False):
        cells = network['basin']['cells']
        for dash, length in zip(
            dashes, dict.fromkeys(cell['length'] for cell in cells), strict=False
        ):
            found = [cell for cell in cells if cell['length'] == length]
            angle = [cell['angle_deg'] for cell in found]
            axes.plot(angle, [100 * cell['share'] for cell in found], 'o', ls=dash, ms=3.5,
                      color=shade, lw=2, label=f'{label}, shifted by {length:g}')  # fmt: skip
            if length == 0:
                axes.fill_between(angle, [100 * c['low'] for c in found],
                                  [100 * c['high'] for c in found], color=shade, alpha=0.12,
                                  lw=0)  # fmt: skip
    axes.axhline(95, color=SOFT, lw=0.9, ls=':')
    axes.set(
        xlabel='rotation of the start from the truth [deg]',
        ylabel='starts that reach the truth [%]',
        ylim=(0, 102),
        xticks=angle,
    )
    figure.legend(loc='outside right center', fontsize=9)
    return figure, (
        'The measured basin: share of random starts that the descent alone brings to the truth, '
        'without the features-only stage, by how far away they start (shifts in network units; '
        'the root mean square radius of a reference is one half).'
    )


def _bias(networks):
    figure, axes = new_figure(6.5, 3.2)
    for shade, (label, network) in zip(_SHADES, networks.items(), strict=False):
        angles = np.sort(network['bias']['angle_deg'])
        share = 100 * (np.arange(len(angles)) + 1) / len(angles)
        axes.step(np.maximum(angles, 0.02), share, where='post', color=shade, lw=2.2, label=label)
    axes.set(xscale='log', xlabel='angle between truth and nearest minimum [deg]',
             ylabel='% of pairs below', ylim=(0, 102))  # fmt: skip
    axes.legend(fontsize=9)
    return figure, (
        'Bias: where the descent at the sharpest beta settles when it starts at the truth. '
        'Refinement on all points mends what is left.'
    )
