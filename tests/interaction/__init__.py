"""Golden scripts: the protocol in commands and what they print, to be read and to be run.

`*.txt` are the scripts, script.py reads and plays them, commands.py is what they may say, cell.py the cell
they say it to, and wording.py how a message is written. The pictures of docs/how_it_works.md are drawn
(charts.py) from the traces of runs (stories.py). ``--rewrite`` writes the output and the pictures anew:

    python -m pytest -n0 tests/interaction --rewrite
"""
