"""Limits of the API: the size of a page, the depth of JSON, and text that is Unicode."""

import json
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.parsers import JSONParser


class LimitedPagination(LimitOffsetPagination):
    """Pagination with the client's page size, up to a limit."""

    max_limit = 1000


class ShallowJSONParser(JSONParser):
    """A JSON parser that refuses JSON nested too deeply for Python, and text that no answer could repeat."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        """Return the parsed body. Raises ParseError, which becomes a 400."""
        try:
            found = super().parse(*args, **kwargs)
            json.dumps(found, ensure_ascii=False).encode()
        except RecursionError:
            raise ParseError("JSON parse error - nested too deeply") from None
        except UnicodeEncodeError:
            raise ParseError("JSON parse error - half of a surrogate pair") from None
        return found
