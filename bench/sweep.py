"""Does `auto` find the best number? Fixed numbers of workers, or of processes, beside the default, alternating.

    python -m bench.sweep workers   [--https] [--objects 10000] [--size 100000] [--rounds 3] [--allowed 1.10]
    python -m bench.sweep processes [--https] [--checksums] [--objects 12] [--size 200000000] [--numbers 1,2]

Exit code 1 when a fixed number is better than auto by more than *allowed*.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from statistics import median

from bench.beds import Beds, Kind, Place, possible
from bench.contestants import Contestant, Ours, Result
from bench.run import one_run
from bench.workloads import KB, Group, Workload

NUMBERS = {"workers": (4, 8, 16, 32, 64), "processes": (1, 2, 3, 4)}


def contestants(what: str, numbers: Sequence[int]) -> list[Contestant]:
    """The default first, then each fixed number."""
    if what == "workers":
        return [Ours("auto"), *(Ours(f"{n} workers", limits={"workers": n}) for n in numbers)]
    return [Ours("auto"), *(Ours(f"{n} processes", flags=("--processes", str(n))) for n in numbers)]


def sweep(place: Place, workload: Workload, runners: Sequence[Contestant], rounds: int) -> dict[str, list[Result]]:
    """All runs by contestant. Prints as it goes."""
    runs: dict[str, list[Result]] = {runner.name: [] for runner in runners}
    beds = Beds(place, workload)
    try:
        for number in range(rounds):
            for runner in runners if number % 2 == 0 else reversed(runners):
                result = one_run(beds, workload, runner)
                runs[runner.name].append(result)
                m = result.measured
                print(f"  round {number + 1}  {runner.name:14} {m.wall:7.2f} s {m.cpu:7.2f} CPU s", flush=True)
    finally:
        beds.close()
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep")
    parser.add_argument("what", choices=list(NUMBERS))
    parser.add_argument("--https", action="store_true")
    parser.add_argument("--checksums", action="store_true", help="the servers enforce and answer CRCs")
    parser.add_argument("--numbers", help="which, comma separated")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=100 * KB)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--allowed", type=float, default=1.10)
    options = parser.parse_args(arguments)
    kind = Kind.LEAN if possible(Place(Kind.LEAN, options.https)) else Kind.RCLONE
    place = Place(kind, options.https, checksums=options.checksums)
    numbers = [int(word) for word in options.numbers.split(",")] if options.numbers else NUMBERS[options.what]
    workload = Workload(f"{options.objects:,} x {options.size / KB:g} KB", (Group(options.objects, options.size),))
    print(f"{workload.name}; {place}", flush=True)
    runs = sweep(place, workload, contestants(options.what, numbers), options.rounds)
    walls = {name: median(r.measured.wall for r in results) for name, results in runs.items()}
    for name, wall in walls.items():
        print(f"  {name:14} {wall:7.2f} s  {walls['auto'] / wall:5.2f}  (auto over this)")
    best = min(wall for name, wall in walls.items() if name != "auto")
    print(f"  auto is {walls['auto'] / best:.2f} of the best fixed number (allowed {options.allowed:.2f})")
    return 0 if walls["auto"] <= best * options.allowed else 1


if __name__ == "__main__":
    sys.exit(main())
