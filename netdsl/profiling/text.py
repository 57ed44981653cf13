"""Print a profile: the annotated source, tables of the other views, and the data of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.shape import format_shape
from netdsl.base.terminal import escape, plural
from netdsl.ir.graph import PHASES
from netdsl.profiling.views import BETWEEN, UNKNOWN, joined_lines, rows
from netdsl.report.table import aligned, csv_text, markdown_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netdsl.profiling.profile import Profile
    from netdsl.profiling.views import Row

TOP = 15
"""Default number of rows of a table."""

SUMMARIZED = ("phase", "kind", "block", "op")
"""Views whose most expensive rows are summarized below the annotated source."""

MAX_SUMMARIZED = 6
"""Maximum number of rows in such a summary."""

MAX_LINE = 72
"""Width at which a line of the source is cut."""

CONTEXT = 1
"""Number of lines without costs that are shown around those with costs."""

MIN_SHARE = 0.0005
"""Share below which a row is left out of a summary."""


def profile_text(profile: Profile, by: str = "line", top: int | None = None) -> str:
    """Return the annotated source, or another view as a table of the `top` rows, with a title."""
    body = _annotated(profile) if by == "line" and top is None else _table(profile, by, top or TOP)
    lines = [profile_title(profile), *_about(profile), "", *body]
    if by == "line":
        lines += ["", *_summaries(profile)]
    return "\n".join(lines)


def profile_data(profile: Profile, by: str = "line", top: int | None = None) -> dict[str, object]:
    """Return a profile as JSON data: totals, and the rows of a view."""
    peaks = profile.peaks
    return {
        "model": profile.name,
        "batch": profile.batch,
        "threads": profile.threads,
        "provider": profile.provider,
        "unit": profile.unit,
        "runs": profile.runs,
        "seconds": profile.seconds,
        "profiled_seconds": profile.profiled,
        "between_seconds": profile.between * profile.scale,
        "layout_seconds": _layout(profile),
        "unknown_seconds": _unknown(profile),
        "flops": profile.flops,
        "peak_memory": profile.memory or None,
        "peak_flops_per_second": peaks.flops if peaks else None,
        "peak_bytes_per_second": peaks.bandwidth if peaks else None,
        "notes": [*profile.notes],
        "warnings": [*profile.doubts],
        "by": by,
        "rows": [dict(zip(FIELDS, _record(row), strict=True)) for row in _shown(profile, by, top)],
    }


FIELDS = ("name", "file", "line", "count", "seconds", "share", "flops", "flops_per_second", "bytes", "phases", "joined")


def _record(row: Row) -> tuple[object, ...]:
    place = row.place
    file, line = (place.file or None, place.line or None) if place else (None, None)
    costs = row.seconds, row.share, row.flops, row.rate, row.moved
    return row.name, file, line, row.count, *costs, row.phases, row.joined


def profile_csv(profile: Profile, by: str = "line", top: int | None = None) -> str:
    """Return a header and a line for each row of a view."""
    return csv_text(FIELDS[:-2], [_record(row)[:-2] for row in _shown(profile, by, top)])


def profile_markdown(profile: Profile, by: str = "line", top: int | None = None) -> str:
    """Return the rows of a view as a GitHub table, with a title."""
    head, *cells = _cells(profile, by, top or TOP)
    return "\n\n".join([f"**{profile_title(profile)}**", *_about(profile), markdown_text(head, cells)])


def _shown(profile: Profile, by: str, top: int | None) -> list[Row]:
    return rows(profile, by)[:top]


def profile_title(profile: Profile) -> str:
    """Return the time of a run and its speed, beside the machine's."""
    text = f"{profile.name}, batch {profile.batch}, {plural(profile.threads, 'thread')}"
    if profile.provider != "cpu":
        text = f"{profile.name}, batch {profile.batch}, {profile.provider}"
    text += f": {time_text(profile.seconds)} a {profile.unit}"
    if profile.flops and profile.seconds:
        text += f", {_number(profile.flops / profile.seconds / 1e9)} GFLOP/s"
        text += f" of {_number(profile.peaks.flops / 1e9)} measured here" if profile.peaks else ""
    return escape(text)


def _about(profile: Profile) -> Iterator[str]:
    words = [f"median of {plural(profile.runs, profile.unit)}"]
    if profile.peaks:
        words.append(f"memory copied at {_number(profile.peaks.bandwidth / 1e9)} GB/s")
    if profile.memory:
        words.append(f"peak memory {_number(profile.memory / 1e6)} MB without weights")
    yield "; ".join(words)
    if profile.launches:
        yield (
            f"{profile.provider} runs kernels asynchronously or all at once: only the time of a run is measured, and "
            "the times of lines are those of launches"
        )
    yield from map(escape, profile.notes)
    yield from (f"warning: {escape(text)}" for text in profile.doubts)


def time_text(seconds: float) -> str:
    """Format a time with three digits: `98.2 ms`."""
    if seconds >= 1:
        return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s"
    return f"{_number(1e3 * seconds)} ms" if seconds >= 1e-4 else f"{_number(1e6 * seconds)} µs"


def _number(value: float) -> str:
    """Format a number with three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _phases(profile: Profile) -> list[str]:
    found = {cost.phase for cost in profile.costs}
    return [phase for phase in PHASES if phase in found]


def _figures(row: Row, profile: Profile) -> list[str]:
    """Return the cells of a row's figures: time, share, speed and bytes, and the times of phases."""
    rate = "" if row.rate is None or profile.launches else _number(row.rate / 1e9)
    phases = [_cell_time(row.phases[name], profile) if name in row.phases else "" for name in _phases(profile)]
    moved = _number(row.moved / 1e6) if row.moved else ""
    return [_cell_time(row.seconds, profile), f"{100 * row.share:.1f}", *phases, rate, moved]


def _heads(profile: Profile) -> list[str]:
    return [_unit(profile)[0], "%", *_phases(profile), "GFLOP/s", "MB"]


def _notes(row: Row) -> list[str]:
    """Return how often a row occurs, its shapes, and the other layers that it computes."""
    shapes = row.shapes
    ends = dict.fromkeys(format_shape(shape) for shape in (*shapes[:1], *shapes[-1:]) if shape)
    return [
        f"{row.count}×" if row.count > 1 else "",
        " … ".join(ends),
        f"+ {' '.join(row.joined)}" if row.joined else "",
    ]


def _table(profile: Profile, by: str, top: int) -> list[str]:
    cells = [[str(cell) for cell in line] for line in _cells(profile, by, top)]
    right = range(len(_heads(profile)))
    return aligned(cells, right=right)


def _cells(profile: Profile, by: str, top: int) -> list[list[str]]:
    """Return a table of a view, with a header and rows for what is in no other."""
    found = rows(profile, by)
    table = [[*_heads(profile), by, "", "", ""]]
    table += [[*_figures(row, profile), row.name, *_notes(row)] for row in found[:top]]
    if rest := found[top:]:
        seconds, share = sum(row.seconds for row in rest), sum(row.share for row in rest)
        table.append(_plain_row(profile, seconds, share, f"{len(rest)} more"))
    return [*table, _between(profile)]


def _plain_row(profile: Profile, seconds: float, share: float, name: str) -> list[str]:
    blank = [""] * (len(_heads(profile)) - 2)
    return [_cell_time(seconds, profile), f"{100 * share:.1f}", *blank, name, "", "", ""]


def _unit(profile: Profile) -> tuple[str, float]:
    """Return the unit of times in tables, and how many of it a second has."""
    return ("ms", 1e3) if profile.seconds >= 1e-3 else ("µs", 1e6)


def _cell_time(seconds: float, profile: Profile) -> str:
    return _number(seconds * _unit(profile)[1])


def _between(profile: Profile) -> list[str]:
    share = profile.between / (profile.profiled or 1)
    return _plain_row(profile, profile.between * profile.scale, share, BETWEEN)


def _layout(profile: Profile) -> float:
    return sum(cost.seconds for cost in profile.costs if cost.layout) * profile.scale


def _unknown(profile: Profile) -> float:
    return sum(cost.seconds for cost in profile.costs if cost.place is None) * profile.scale


def _annotated(profile: Profile) -> list[str]:
    """Return the lines of the sources with their costs; long runs of lines without any are left out."""
    known = {(row.place.file, row.place.line): row for row in rows(profile, "line") if row.place and row.place.line}
    elsewhere = joined_lines(profile.costs)
    blank = [""] * len(_heads(profile))
    table = [[*_heads(profile), "", "", "", ""]]
    files = dict.fromkeys((*profile.sources, *(file for file, _ in known)))
    for file in files:
        numbers = sorted(number for name, number in (*known, *elsewhere) if name == file)
        if not numbers:
            continue
        table.append([*blank, f"│ {file}", "", "", ""])
        last = 0
        for number in _around(numbers, profile, file):
            if number > last + 1:
                table.append([*blank, "│   …", "", "", ""])
            last = number
            row = known.get((file, number))
            text = f"│ {number:3} {_source_line(profile, file, number)}".rstrip()
            if row is not None:
                table.append([*_figures(row, profile), text, *_notes(row)])
            else:
                others = sorted(elsewhere.get((file, number), ()))
                note = f"in line {', '.join(map(str, others))}" if others else ""
                table.append([*blank, text, "", "", note])
    table += [[*_figures(row, profile), f"│     {row.name}", "", "", ""] for row in _placeless(profile)]
    *figures, name, _, _, _ = _between(profile)
    table.append([*figures, f"│     {name}", "", "", ""])
    return aligned(table, right=range(len(blank)))


def _placeless(profile: Profile) -> list[Row]:
    """Return the rows of costs that are on no line."""
    return [row for row in rows(profile, "line") if not (row.place and row.place.line)]


def _around(numbers: Sequence[int], profile: Profile, file: str) -> list[int]:
    """Return the numbers of lines to show: those given, and some around them."""
    if file not in profile.sources:
        return [*numbers]
    source = profile.sources[file]
    near = {number + away for number in numbers for away in range(-CONTEXT, CONTEXT + 1)}
    shown = [number for number in sorted(near) if 1 <= number <= len(source.line_starts)]
    return [number for number in shown if number in numbers or source.line(number).strip()]


def _source_line(profile: Profile, file: str, number: int) -> str:
    if file not in profile.sources:
        return ""
    text = profile.sources[file].line(number).rstrip().expandtabs()
    return text if len(text) <= MAX_LINE else text[: MAX_LINE - 1] + "…"


def _summaries(profile: Profile) -> Iterator[str]:
    """Yield the most expensive rows of other views, a line for each view."""
    heads = {"phase": "by phase", "kind": "by kind", "block": "by block", "op": "by operator"}
    for by in SUMMARIZED:
        found = [row for row in rows(profile, by) if row.share >= MIN_SHARE and row.name != UNKNOWN]
        words = [f"{row.name} {100 * row.share:.1f} %" for row in found[:MAX_SUMMARIZED]]
        if len(found) > 1:
            yield escape(f"{heads[by]}: {', '.join(words)}{', …' if len(found) > MAX_SUMMARIZED else ''}")
    layout = _layout(profile) / (profile.seconds or 1)
    if layout >= MIN_SHARE:
        yield f"changes of the layout, in the lines that need them: {100 * layout:.1f} %"
