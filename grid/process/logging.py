"""Structured logs on standard error: JSON lines for machines, colours on a terminal.

Callers bind event_id, dispatch_id and site_id where they know them.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure(process: str, *, level: str = "INFO", **bound: str) -> None:
    """Set up logging for the whole process; every line carries ``process`` and ``bound``."""
    structlog.contextvars.bind_contextvars(process=process, **bound)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *(shared[:-1] if terminal else shared),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # Who calls it tells of a failure itself, once and by the device's name.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
