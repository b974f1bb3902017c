"""The launch files and the arguments that they declare, read without ROS 2."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))


def arguments_of(path):
    """Declared arguments, name -> description, and names that are used, without importing."""
    declared, used = {}, set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            rows = [node.value] if node.targets[0].id == 'POINTS' else node.value.elts
            for row in rows:
                name, _, description = row.elts
                declared[name.value] = ast.literal_eval(description)
        elif isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'LaunchConfiguration':
            if isinstance(node.args[0], ast.Constant):
                used.add(node.args[0].value)
    return declared, used
