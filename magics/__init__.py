"""The notebook front end: `%flow`, `%%flow` and what they show."""

from __future__ import annotations
