"""The page of results: self-contained, complete, and safe whatever names hold."""

from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip('matplotlib', reason='matplotlib is not installed')

from dlc_ros.errors import FileError  # noqa: E402
from dlc_training.evaluate import figures  # noqa: E402
from dlc_training.evaluate.page import page, read_result, tables, write_result  # noqa: E402


def share(hits, of):
    return {'hits': hits, 'of': of, 'interval': [0.1, 0.9]}


def pairs_result(title='first'):
    rng = np.random.default_rng(0)
    bins = {'0': share(3, 4), '90': share(2, 4)}
    columns = {
        'rre_deg': [*rng.uniform(0, 3, 7), float('inf')],
        'rte': [*rng.uniform(0, 0.1, 7), float('inf')],
        'success': [True] * 5 + [False] * 3,
        'cpu_ms': list(rng.uniform(50, 99, 8)),
    }
    ours = {'confidence': [0.9] * 7 + [None], 'stages': [{'predict': 60.0, 'refine': 20.0}] * 8}
    return {
        'kind': 'pairs',
        'title': title,
        'facts': [('90.0 %', 'success of <ours>')],
        'text': 'success:\n\n| method | all |\n|---|---|\n| <b>dlc_ros</b> | 5 |\n\nthe end',
        'command': 'dlc-eval so3-crop --out "a & b"',
        'bin_label': 'initial rotation',
        'length_unit': '',
        'success': [5.0, 0.1],
        'strict': [1.0, 0.02],
        'labels': {'dlc_ros': 'dlc_ros', 'gicp': 'GICP'},
        'pairs': [{'ambiguous': index == 3} for index in range(8)],
        'methods': {
            name: {'success': share(5, 8), 'success_by_bin': bins} for name in ('dlc_ros', 'gicp')
        },
        'scores': {'dlc_ros': {**columns, **ours}, 'gicp': columns},
    }


class _Checked(HTMLParser):
    """Every tag that is opened is closed, and nothing comes from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.images = [], 0

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ('src', 'href'):
                assert value.startswith(('data:image/png;base64,', '#'))
        self.images += tag == 'img'
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_stands_alone_and_shows_every_result():
    text = page([pairs_result('first'), pairs_result('second <script>')])
    checked = _Checked()
    checked.feed(text)
    assert checked.open == [] and checked.images == 8
    assert '<script' not in text and 'second &lt;script&gt;' in text
    assert 'success of &lt;ours&gt;' in text and 'a &amp; b' in text


def lines_of_success(content):
    """Heights of the curves of success by bin, one a method, and their names."""
    figure, _ = figures.draw(content)[0]
    curves = figure.axes[0].get_lines()
    return [(curve.get_label(), curve.get_ydata()) for curve in curves]


def test_a_bin_without_a_clear_pair_is_a_gap():
    content = pairs_result()
    for row in content['methods'].values():
        row['success_by_bin'] = {**row['success_by_bin'], '180': share(0, 0)}
    for label, heights in lines_of_success(content):
        np.testing.assert_array_equal(heights, [75, 50, np.nan])
        assert label.endswith('62 %')


@pytest.mark.filterwarnings('error')
def test_a_result_without_a_clear_pair_is_shown():
    content = pairs_result()
    content['pairs'] = [{'ambiguous': True}] * 8
    for row in content['methods'].values():
        row['success'] = share(0, 0)
        row['success_by_bin'] = dict.fromkeys(row['success_by_bin'], share(0, 0))
    assert page([content]).count('<img') == 4
    assert [label[-1] for label, _ in lines_of_success(content)] == ['-', '-']


def test_markdown_tables_become_tables():
    text = tables('before\n\n| a | b |\n|---|---|\n| 1 | <2> |\n| 3 | 4 |\nafter')
    assert text == (
        '<p>before</p><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>'
        '<tr><td>1</td><td>&lt;2&gt;</td></tr><tr><td>3</td><td>4</td></tr></tbody></table>'
        '<p>after</p>'
    )


def test_a_written_result_is_read_back(tmp_path, capsys):
    write_result(tmp_path, pairs_result())
    assert read_result(tmp_path / 'result.json')['title'] == 'first'
    assert '<table>' in (tmp_path / 'report.html').read_text()
    assert 'report.html' in capsys.readouterr().out


@pytest.mark.parametrize('text', ['{', '[]', '{"kind": "cake"}'])
def test_what_is_no_result_is_one_clear_line(text, tmp_path):
    path = tmp_path / 'result.json'
    path.write_text(text)
    with pytest.raises(FileError, match='result'):
        read_result(path)
