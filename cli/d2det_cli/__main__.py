"""``python -m d2det_cli`` is ``d2det``."""

from d2det_cli.main import app

app(prog_name="d2det")
