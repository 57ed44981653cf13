"""Data: readers of input files, and data sets for training and evaluation.

- Without NumPy, for `check`: `kinds` (the sources that a `train` block can name), `augment`, `spec` (requirements of a
  net).
- Readers: `reader` (the interface, opening by first bytes), `idx`, `npy` (also .npz), `images` (with `picture`, their
  preprocessing), `stream`; `table_file` (CSV) and `parquet`.
- Data sets: `dataset` (the interface, shuffled batches), `column`, `sources` (arrays), `table`, `image_folder`,
  `cifar`, `generated`, `iterable` (batches from Python); `labels` and `checks` validate them.
- Random numbers and image operations: `draws`, `augmenting`.
- `errors`: all errors of data.
"""
