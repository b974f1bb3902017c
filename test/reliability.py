"""
The rows of ``docs/reliability.md``: what the tests marked ``scenario`` did, and how it went.

A test is marked ``@pytest.mark.scenario(TABLE, NAME, ADAPTER)`` and may take the fixture
``scenario``, which tells it how much to do and keeps the numbers that it saw. In an ordinary run
it does little; ``--reliability SHARE`` makes it do that share of the whole and writes the rows.
Without a name the test's own is taken, without an adapter its parameter ``adapter``. Tests of one
name are one row.
"""

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'reliability.md'
TABLES = ('faults', 'scenarios')
HEADINGS = ('what happens', 'adapter', 'outcome', 'seen', 'run')


@dataclass
class Scenario:
    """
    One row.

    :param table: one of :data:`TABLES`.
    :param name: what happens, in words.
    :param adapter: ``embedded``, ``rclpy``, or ``library`` where no middleware takes part.
    :param share: of the full size that is run; 0 is an ordinary test run.
    """

    table: str
    name: str
    adapter: str
    share: float
    outcome: str = ''
    seen: list = field(default_factory=list)

    @classmethod
    def of(cls, item, mark, share):
        """Row of a pytest item and its mark."""
        parameters = dict(item.callspec.params) if hasattr(item, 'callspec') else {}
        own = parameters.pop('adapter', 'library')
        values = {
            **dict(zip(('table', 'name', 'adapter'), mark.args, strict=False)),
            **mark.kwargs,
        }
        name = values.get('name')
        if name is None:
            name = item.originalname.removeprefix('test_').replace('_', ' ')
            details = ', '.join(map(str, parameters.values()))
            name = f'{name} ({details})' if details else name
        return cls(values['table'], name, values.get('adapter') or own, share)

    def size(self, small, full):
        """How often to do something: ``small`` in a test run, a share of ``full`` else."""
        return max(small, round(self.share * full)) if self.share else small

    def saw(self, text):
        """Keep numbers for the row; ``text`` is one short phrase."""
        self.seen.append(text)


def write(rows):
    """Bring the page up to date; several test runs may do so at the same time."""
    import fcntl

    with PAGE.open('r+', encoding='utf-8') as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        page = update(stream.read(), rows, commit())
        stream.seek(0)
        stream.write(page)
        stream.truncate()


def update(page, rows, commit):
    """
    Text of the page with the rows of this run; what was not run, or skipped, stays as it was.

    :param page: text, with ``<!-- TABLE -->`` before and ``<!-- end -->`` after each table.
    :param rows: list of :class:`Scenario`.
    :param commit: its short name.
    """
    for table in TABLES:
        begin, end = f'<!-- {table} -->\n', '<!-- end -->'
        before, found, rest = page.partition(begin)
        if not found:
            continue
        old, _, after = rest.partition(end)
        lines = {}
        for line in old.splitlines()[2:]:
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            lines[tuple(cells[:2])] = cells
        for row in merged(rows):
            if row.table == table and (row.outcome != 'skipped' or _key(row) not in lines):
                run = '' if row.outcome == 'skipped' else f'{commit}, size {row.share:g}'
                lines[_key(row)] = [*_key(row), row.outcome, '; '.join(row.seen), run]
        head = [list(HEADINGS), ['---'] * len(HEADINGS)]
        text = ''.join(f'| {" | ".join(cells)} |\n' for cells in [*head, *lines.values()])
        page = before + begin + text + end + after
    return page


def merged(rows):
    """Rows of the same name as one, which passed if all of them did."""
    groups = {}
    for row in rows:
        groups.setdefault((row.table, *_key(row)), []).append(row)
    for group in groups.values():
        outcomes = [row.outcome for row in group]
        worst = next((o for o in ('failed', 'passed', 'skipped') if o in outcomes), outcomes[0])
        seen = [text for row in group for text in row.seen]
        if len(group) > 1:
            passed = f'{outcomes.count("passed")} of {len(group)} variants passed'
            seen = [passed, *dict.fromkeys(seen)]
        yield replace(group[0], outcome=worst, seen=seen)


def commit():
    """Short name of the commit; ``+`` when files, the page apart, differ from it."""

    def git(*words):
        return subprocess.run(
            ['git', *words], cwd=PAGE.parent, capture_output=True, text=True, check=False
        )

    try:
        name = git('rev-parse', '--short', 'HEAD')
        changed = git('diff', '--quiet', 'HEAD', '--', ':/', f':(exclude){PAGE.name}')
    except OSError:
        return 'no git'
    if name.returncode:
        return 'no git'
    return name.stdout.strip() + ('+' if changed.returncode else '')


def _key(row):
    return (row.name, row.adapter)
