"""One self-contained HTML page of any number of results: headline, tables, pictures."""

import base64
import html
import io
import json
import math

from dlc_ros.errors import FileError
from dlc_training.evaluate import figures
from dlc_training.evaluate.runner import write_text

_STYLE = """
:root { --ink: #1d2733; --soft: #5b6b7c; --line: #dde3ea; --back: #f6f8fa; --blue: #1859b7; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 0 0 4px; }
.lead { color: var(--soft); margin: 0 0 20px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px;
  padding: 24px; margin: 24px 0; overflow-x: auto; }
nav a { color: var(--blue); text-decoration: none; margin-right: 18px; }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.fact { border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; min-width: 150px; }
.fact b { display: block; font-size: 24px; color: var(--blue); line-height: 1.2; }
.fact span { color: var(--soft); font-size: 13px; }
table { border-collapse: collapse; font-size: 13.5px; margin: 10px 0 18px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 22px 0; } figure img { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: 13.5px; max-width: 820px; }
pre { background: var(--back); border: 1px solid var(--line); border-radius: 6px;
  padding: 10px 14px; overflow-x: auto; font-size: 13px; white-space: pre-wrap; }
details { color: var(--soft); font-size: 13px; }
"""


def page(contents):
    """
    HTML text of a page.

    :param contents: results as ``dlc-eval`` writes them, in order.
    """
    titles = [content['title'] for content in contents]
    links = ''.join(
        f'<a href="#r{number}">{html.escape(title)}</a>' for number, title in enumerate(titles)
    )
    sections = ''.join(_section(number, content) for number, content in enumerate(contents))
    navigation = f'<nav>{links}</nav>' if len(contents) > 1 else ''
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>dlc_ros evaluation</title><style>{_STYLE}</style></head><body><main>'
        '<h1>dlc_ros evaluation</h1><p class="lead">Every method on the same pairs; '
        'brackets and bars are 95 % intervals.</p>'
        f'{navigation}{sections}</main></body></html>'
    )


def write_result(out, content):
    """Write ``result.json`` and ``report.html`` of one result into a folder, and say so."""
    write_text(out / 'result.json', json.dumps(content, allow_nan=True))
    write_text(out / 'report.html', page([content]))
    print(f'\n{out}/result.json, {out}/report.html')


def read_result(path):
    """
    Read a ``result.json``.

    :raises FileError: it is missing or no result of ``dlc-eval``.
    """
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except OSError as error:
        raise FileError(f'{path}: {error.strerror}; give result.json files of dlc-eval') from None
    except ValueError:
        raise FileError(f'{path}: no JSON; give result.json files of dlc-eval') from None
    if not isinstance(content, dict) or content.get('kind') not in figures.DRAWN:
        raise FileError(f'{path}: no result of this version of dlc-eval; measure again')
    return content


def _section(number, content):
    facts = ''.join(
        f'<div class="fact"><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>'
        for value, what in content.get('facts', ())
    )
    pictures = ''.join(_figure(*drawn) for drawn in figures.draw(content))
    made = {key: content.get(key) for key in ('weights', 'weights_sha256', 'machine', 'versions')}
    return (
        f'<section id="r{number}"><h2>{html.escape(content["title"])}</h2>'
        f'<p class="lead">{html.escape(content.get("summary_line", ""))}</p>'
        f'<div class="facts">{facts}</div>{pictures}{tables(content.get("text", ""))}'
        f'<pre>{html.escape(content.get("command", ""))}</pre>'
        f'<details><summary>made with</summary>{html.escape(json.dumps(made))}</details></section>'
    )


def _figure(figure, caption):
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
        f'<figcaption>{html.escape(caption)}</figcaption></figure>'
    )


def tables(text):
    """The Markdown of a report as HTML: rows of ``|`` become tables, other lines paragraphs."""
    out, rows = [], []
    for line in [*text.splitlines(), '']:
        if line.startswith('|'):
            rows.append([cell.strip() for cell in line.strip('|').split('|')])
            continue
        if rows:
            out.append(_table(rows))
            rows = []
        if line.strip():
            out.append(f'<p>{html.escape(line)}</p>')
    return ''.join(out)


def _table(rows):
    head, body = rows[0], rows[2:]
    cells = ''.join(f'<th>{html.escape(cell)}</th>' for cell in head)
    lines = ''.join(
        '<tr>' + ''.join(f'<td>{html.escape(cell)}</td>' for cell in row) + '</tr>' for row in body
    )
    return f'<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>'


def percent(share):
    """A number 0..1, or None, for a headline."""
    return '-' if share is None or math.isnan(share) else f'{100 * share:.1f} %'
