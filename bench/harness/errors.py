"""The one error of the benchmarks."""


class BenchError(Exception):
    """Something the user can mend: what is wrong, and the next step."""

    def __init__(self, what: str, hint: str):
        super().__init__(what)
        self.hint = hint

    def __str__(self) -> str:
        return f"error: {self.args[0]}\n\nhint: {self.hint}"
