"""The listening test: recordings and their clones, spoken, measured, and shown on a page."""

from tune_encoder.report.listen.hearing import Heard, Listener, hear_all, open_listener
from tune_encoder.report.listen.page import LISTEN_NAME, write_listen_page

__all__ = ["LISTEN_NAME", "Heard", "Listener", "hear_all", "open_listener", "write_listen_page"]
