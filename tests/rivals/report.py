"""A table in Markdown and a plot in SVG: medians, least to most."""
import math, statistics
from xml.sax.saxutils import escape

COLOURS = {"dartsync": "#1b7f4d", "rsync daemon, plain": "#8a8f98", "rsync -e ssh": "#5d6470", "syncthing, delay 1 s": "#3b76c4",
           "unison": "#b8792a", "lsyncd, delay 0": "#8d5fb0"}


def number(x):
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def table(figures):
    names = list(dict.fromkeys(n for by in figures.values.values() for n in by))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for (scenario, metric, unit), by in figures.values.items():
        cells = []
        for name in names:
            v = by.get(name)
            cells.append("–" if not v else number(statistics.median(v)) + ("" if len(v) < 2 else f" ({number(min(v))}–{number(max(v))})"))
        lines.append(f"| {scenario}: {metric}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(figures, path):
    """One panel a metric; bars on a scale of powers of ten, for the systems differ by such."""
    names, rows, y = list(dict.fromkeys(n for by in figures.values.values() for n in by)), [], 30
    for (scenario, metric, unit), by in figures.values.items():
        medians = {n: statistics.median(v) for n, v in by.items()}
        low = min((m for m in medians.values() if m > 0), default=1)
        top = max(max(medians.values()), low)
        rows.append(f'<text x="10" y="{y}" font-weight="bold">{escape(f"{scenario}: {metric}, {unit}")}</text>')
        y += 8
        for n in (n for n in names if n in medians):
            m = medians[n]
            span = math.log10(top / low) or 1
            width = 30 + 420 * max(0, math.log10(max(m, low) / low)) / span
            rows.append(f'<rect x="160" y="{y}" width="{width:.0f}" height="13" fill="{COLOURS.get(n, "#444")}"/>'
                        f'<text x="152" y="{y + 11}" text-anchor="end">{escape(n)}</text>'
                        f'<text x="{165 + width:.0f}" y="{y + 11}">{number(m)}</text>')
            y += 17
        y += 26
    with open(path, "w") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{y}" font-family="sans-serif" font-size="12">'
                f'<rect width="720" height="{y}" fill="white"/>{"".join(rows)}</svg>\n')
