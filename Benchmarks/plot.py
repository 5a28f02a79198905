#!/usr/bin/env python3
"""Draws the lines of JSON that Tools/bench writes: plot.py RUN.jsonl PICTURE.png (or .svg).

A panel for each kind of work, a bar for each store, the middle round's figure, with the span of all rounds.
"""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plot

OURS, PEERS = "#1b7f5c", "#9aa5b1"


def read(path):
    """The machine of a run, and the figures of each work in the order of the run."""
    machine, works = {}, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["type"] == "run":
                machine = row
            elif row["type"] == "figures" and row["seconds"]:
                works.setdefault(row["work"], []).append(row)
    return machine, works


def draw(panel, rows):
    """One kind of work."""
    rows = sorted(rows, key=lambda row: row["median"])
    names = [row["peer"] for row in rows]
    medians = [row["median"] for row in rows]
    below = [row["median"] - min(row["values"]) for row in rows]
    above = [max(row["values"]) - row["median"] for row in rows]
    colors = [OURS if "holdfast" in name else PEERS for name in names]
    panel.barh(names, medians, xerr=[below, above], color=colors, error_kw={"lw": 0.8, "ecolor": "#444"})
    panel.set_title(rows[0]["work"] + ": " + rows[0]["unit"], fontsize=9, loc="left")
    panel.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))
    panel.tick_params(labelsize=7)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def main():
    if len(sys.argv) != 3:
        print("usage: plot.py RUN.jsonl PICTURE.png", file=sys.stderr)
        return 64
    machine, works = read(sys.argv[1])
    if not works:
        print(f"{sys.argv[1]} has no figures", file=sys.stderr)
        return 65
    columns = min(3, len(works))
    rows = -(-len(works) // columns)
    figure, panels = plot.subplots(rows, columns, figsize=(4.6 * columns, 2.5 * rows), squeeze=False)
    cells = [panel for line in panels for panel in line]
    for panel, figures in zip(cells, works.values()):
        draw(panel, figures)
    for panel in cells[len(works):]:
        panel.axis("off")
    told = [machine.get(name, "?") for name in ("cpu", "kernel", "fileSystem", "versions", "date")]
    commit = machine.get("commit", "?")[:10]
    figure.suptitle("{}, Linux {}, {}\n{}\n{}, {}".format(*told, commit), fontsize=7, x=0.01, ha="left")
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=130)
    return 0


if __name__ == "__main__":
    sys.exit(main())
