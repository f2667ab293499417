"""The listening test: recordings and their clones, spoken, measured, and shown on a page."""

from tune_encoder.report.listen.hearing import Heard, Listener, open_listener
from tune_encoder.report.listen.page import LISTEN_NAME, write_listen_page

__all__ = ["LISTEN_NAME", "Heard", "Listener", "open_listener", "write_listen_page"]
