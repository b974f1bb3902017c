"""One HTML page with its pictures inside."""

import base64
import html
from io import BytesIO
from pathlib import Path

from dlc_training.recordings.files import write_whole

_STYLE = """
body{font:16px/1.5 sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}
td,th{border:1px solid #ccc;padding:.3em .7em;text-align:left;vertical-align:top}
.verdict{font-size:1.15em;padding:.8em 1em;background:#eef3fa;border-left:5px solid #36c}
img{max-width:100%}
"""


def write_report(path, title, sentence, tables, pictures, notes):
    """
    Write the page.

    :param tables: list of (heading, rows), each row a list of cells, the first row the heading's.
    :param pictures: list of (heading, caption, matplotlib Figure).
    :param notes: list of sentences.
    :raises FileError: it cannot be written.
    """
    out = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>',
        f'<h1>{html.escape(title)}</h1><p class="verdict">{html.escape(sentence)}</p>',
    ]
    for heading, rows in tables:
        out.append(f'<h2>{html.escape(heading)}</h2><table>')
        for number, row in enumerate(rows):
            tag = 'th' if number == 0 else 'td'
            cells = ''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in row)
            out.append(f'<tr>{cells}</tr>')
        out.append('</table>')
    for heading, caption, figure in pictures:
        data = base64.b64encode(_png(figure)).decode()
        out.append(f'<h2>{html.escape(heading)}</h2><p>{html.escape(caption)}</p>')
        out.append(f'<img alt="{html.escape(heading)}" src="data:image/png;base64,{data}">')
    if notes:
        out.append('<h2>Notes</h2><ul>')
        out += [f'<li>{html.escape(note)}</li>' for note in notes]
        out.append('</ul>')
    out.append('</body></html>')
    write_whole(Path(path), lambda file: file.write('\n'.join(out).encode()))


def _png(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
