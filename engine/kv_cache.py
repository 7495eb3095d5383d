"""Keys and values of the running batch: all rows end at one column, so that a step is one write; knows no requests."""

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

# Columns are added in blocks of this many: a copy of everything must not happen at each token.
COLUMN_BLOCK = 256
# An idle engine keeps its memory up to so many columns, and gives the rest of a long conversation back.
KEPT_COLUMNS = 1024


class BatchCache(Cache):
    """Row i holds its tokens in columns [starts[i], end). A model sees the window (rows, columns) that is open.

    Left-aligned rows would each write at a column of their own; right-aligned ones cost some padding and need no
    gather, which is what attention on a processor is fastest at.
    """

    def __init__(self, layer_count: int) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self._keys: list[Tensor | None] = [None] * layer_count
        self._values: list[Tensor | None] = [None] * layer_count
        self._row_capacity = 0
        self.column_capacity = 0
        self.starts: list[int] = []
        self.end = 0
        self._window = (0, 0, 0, 0)

    @property
    def row_count(self) -> int:
        return len(self.starts)

    @property
    def first_column(self) -> int:
        return min(self.starts, default=self.end)

    def open_step(self) -> None:
        """Open one more column for all rows."""
        if self.end == self.column_capacity and self.first_column >= COLUMN_BLOCK:
            self._move(-self.first_column)
        self._grow(self.row_count, self.end + 1)
        self.end += 1
        self._window = (0, self.row_count, self.first_column, self.end)

    def open_rows(self, lengths: list[int]) -> None:
        """Open new rows that end at the common column, moving that column when a prompt is longer than all before."""
        longest, first_row = max(lengths), self.row_count
        if longest > self.end:
            self._move(longest - self.end)
        self._grow(first_row + len(lengths), self.end)
        self.starts.extend(self.end - length for length in lengths)
        self._window = (first_row, self.row_count, self.end - longest, self.end)

    def drop_row(self, row: int) -> None:
        """Forget a row; the last one takes its place."""
        last = self.row_count - 1
        start = self.starts.pop()
        if row != last:
            self.starts[row] = start
            for stored in self._stored():
                stored[row, :, start : self.end] = stored[last, :, start : self.end]
        if not self.starts:
            self._clear()

    def scrub_row(self, row: int) -> None:
        """Zero a row that holds NaN, before somebody else's masked columns come to lie on it."""
        for stored in self._stored():
            stored[row] = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Called by the model's attention: write what is new at the window's end, return the window."""
        if self._keys[layer_idx] is None:
            self._allocate(layer_idx, key_states, value_states)
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        assert keys is not None
        assert values is not None
        first_row, end_row, first, end = self._window
        new = end - key_states.shape[2]
        keys[first_row:end_row, :, new:end] = key_states
        values[first_row:end_row, :, new:end] = value_states
        return keys[first_row:end_row, :, first:end], values[first_row:end_row, :, first:end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The window's columns; positions and masks come from the batch, so no model has to count them."""
        return self._window[3] - self._window[2]

    def _stored(self) -> list[Tensor]:
        return [stored for stored in (*self._keys, *self._values) if stored is not None]

    def _allocate(self, layer: int, keys: Tensor, values: Tensor) -> None:
        # Zeros, not empty: a masked column has weight 0, and 0 times a NaN found in fresh memory is NaN.
        for stored, like in ((self._keys, keys), (self._values, values)):
            stored[layer] = like.new_zeros(self._row_capacity, like.shape[1], self.column_capacity, like.shape[3])

    def _clear(self) -> None:
        self.end = 0
        if self.column_capacity > KEPT_COLUMNS:
            self._row_capacity = self.column_capacity = 0
            self._keys = [None] * len(self._keys)
            self._values = [None] * len(self._values)

    def _grow(self, rows: int, columns: int) -> None:
        if rows <= self._row_capacity and columns <= self.column_capacity:
            return
        if rows > self._row_capacity:
            self._row_capacity = max(rows, 2 * self._row_capacity)
        old_columns = self.column_capacity
        self.column_capacity = max(old_columns, -(-columns // COLUMN_BLOCK) * COLUMN_BLOCK)
        for stored in (self._keys, self._values):
            for layer, old in enumerate(stored):
                if old is not None:
                    new = old.new_zeros(self._row_capacity, old.shape[1], self.column_capacity, old.shape[3])
                    new[: self.row_count, :, :old_columns] = old[: self.row_count]
                    stored[layer] = new

    def _move(self, columns: int) -> None:
        """Shift all rows by so many columns, to the right to let a longer prompt in, to the left to use freed ones."""
        first, end = self.first_column, self.end
        if self.row_count:
            self._grow(self.row_count, end + columns)
            for stored in self._stored():
                kept = stored[: self.row_count, :, first:end].clone()
                stored[: self.row_count, :, first + columns : end + columns] = kept
        self.starts = [start + columns for start in self.starts]
        self.end = end + columns
