"""The best-practice checklist for architecture search, answered from what a run recorded.

Marius Lindauer and Frank Hutter, "Best Practices for Scientific Research on Neural Architecture Search", JMLR 21(243),
2020: 14 practices, here in this project's words and with their numbers. Nothing is typed in: an answer follows from
rows and provenance, and what they do not hold is answered with "not recorded".

    table(answer(read_evidence("runs/reproduce/motion-dvs")))    # or a file of data/results
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightsnn_kit.cells import Cell
from lightsnn_kit.files import at_root, read_json
from lightsnn_kit.lab.results import OWN_PROVENANCE, by_method, caveat, estimate, paired, provenance_of, row_stages
from lightsnn_kit.lab.runs import Stage
from lightsnn_kit.methods import METHODS
from lightsnn_kit.spaces import SPACES

Row = Mapping[str, object]
YES, PARTLY, NO, UNKNOWN = "yes", "partly", "no", "not recorded"

MIN_SEEDS = 3  # per method; fewer have no spread to speak of
RANDOM_SEARCHES = ("random-search", "snasnet-search")
ABLATIONS = (
    ("lightsnn", "lightsnn-cut", "feedback of the found cell"),
    ("lightsnn", "lightsnn-forward", "feedback in the search"),
    ("residual-feedback", "residual", "feedback of a hand-made cell"),
    ("balanced-recurrent", "balanced", "feedback of the balanced cell"),
)
"""Pairs of methods that differ in one thing, and in what."""
_MACHINE = ("processors", "processor", "memory", "gpu", "threads")
_TIMED = ("load", "search", "train", "evaluate")
_SETUP = {"processor": "processor model", "gpu": "GPU", "memory": "memory", "threads": "threads", "load": "other load"}


@dataclass(frozen=True)
class Evidence:
    """What is known of an experiment: rows of figures, settings, and where and with what the rows were made."""

    rows: tuple[Row, ...]
    preset: Mapping[str, object]
    provenance: tuple[Mapping[str, object], ...]
    bench_cells: int = 0  # cells of a tabular benchmark that this project's score study used

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("a checklist needs at least one row of results, got none.")

    @property
    def seeds(self) -> dict[str, list[int]]:
        """The seeds of each method."""
        return {method: sorted(row["seed"] for row in group) for method, group in by_method(self.rows).items()}

    @property
    def commits(self) -> list[str]:
        """The commits at which rows were made; "none" where there was no repository."""
        return sorted({(made.get("git") or {}).get("commit") or "none" for made in self.provenance})

    @property
    def changed(self) -> int:
        """How many of the records were made from a working copy with uncommitted changes."""
        return sum(bool((made.get("git") or {}).get("dirty")) for made in self.provenance)

    @property
    def versioned(self) -> bool:
        """True if the code of every row is known by its commit."""
        return bool(self.commits) and "none" not in self.commits

    def distinct(self, *names: str) -> int:
        """How many different values of these entries the provenance holds."""
        return len({str([made.get(name) for name in names]) for made in self.provenance})


def read_evidence(place: str | Path) -> Evidence:
    """The evidence in a run folder with finished rows or in a result file; ``RunError`` if there is none."""
    path, study = at_root(place), at_root("data/results/score_correlations.json")
    bench = int(read_json(study)["cells"]["at hand"]) if study.is_file() else 0
    if path.is_file():
        kept = read_json(path)
        rows, preset = kept["rows"], kept.get("preset") or {}
        places = [(row, i, number) for row in rows for i, number in enumerate(row["provenance"])]
        made = [kept["provenance"][n] | {name: row[name][i] for name in OWN_PROVENANCE} for row, i, n in places]
    else:
        stages = row_stages(path)
        rows, made = [stage.result for stage in stages], [record for stage in stages for record in provenance_of(stage)]
        train = Stage(stages[0].path / "train").settings["train"]
        preset = Stage(path / "experiment").settings["preset"]
        preset |= {"train": {name: value for name, value in train.items() if name != "seed"}}  # each row has its own
    return Evidence(tuple(rows), preset, tuple(made), bench_cells=bench)


@dataclass(frozen=True)
class Answer:
    """The answer to one practice: its number in the paper, a verdict, and the facts it rests on."""

    number: int
    item: str
    verdict: str
    facts: str


def _listed(values: Mapping[str, object] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (values or {}).items())


def _seed_facts(evidence: Evidence) -> str:
    return f"seeds {', '.join(map(str, sorted({row['seed'] for row in evidence.rows})))}"


def _versions(evidence: Evidence) -> str:
    packages = (evidence.provenance[0].get("packages") or {}) if evidence.provenance else {}
    commits = [commit[:7] for commit in evidence.commits]
    return f"lightsnn_kit {packages.get('lightsnn_kit', UNKNOWN)}, commits {', '.join(commits) or UNKNOWN}"


def _training_code(evidence: Evidence) -> tuple[str, str]:
    train = evidence.preset.get("train")
    return _had(evidence, bool(train)), f"{_versions(evidence)}; training: {_listed(train) or UNKNOWN}"


def _had(evidence: Evidence, settings: bool) -> str:
    if not evidence.versioned or not settings:
        return UNKNOWN
    return PARTLY if evidence.changed else YES  # changes that no commit holds are lost


def _search_code(evidence: Evidence) -> tuple[str, str]:
    strange = [method for method in evidence.seeds if method not in METHODS]
    scoring, budget = evidence.preset.get("scoring"), evidence.preset.get("budget", UNKNOWN)
    facts = f"space {evidence.preset.get('space', UNKNOWN)}; scoring: {_listed(scoring) or UNKNOWN}; "
    facts += f"cells that a random search scores: {budget}; {_seed_facts(evidence)}"
    facts += f"; not methods of this version: {', '.join(strange)}" if strange else ""
    verdict = _had(evidence, bool(scoring))
    return (PARTLY if strange and verdict == YES else verdict), facts


def _code_as_used(evidence: Evidence) -> tuple[str, str]:
    states = [made.get("git") for made in evidence.provenance]
    if not states or not all(states):
        return UNKNOWN, "no commit recorded"
    if evidence.changed:
        return NO, f"working copy with uncommitted changes in {evidence.changed} of {len(states)} records"
    return YES, "rows were made from committed code"


def _same_benchmark(evidence: Evidence) -> tuple[str, str]:
    different = {
        name: values
        for name in ("preset", "dataset", "source", "test_samples")
        if len(values := sorted({str(row.get(name, UNKNOWN)) for row in evidence.rows})) > 1
    }
    space = SPACES.get(str(evidence.preset.get("space")))
    narrower = sorted({str(row["method"]) for row in evidence.rows if Cell.parse(row["cell"]).backward is False})
    first = evidence.rows[0]
    facts = f"data {first.get('source', UNKNOWN)}, {first.get('test_samples', UNKNOWN)} test samples"
    facts += f", space {evidence.preset.get('space', UNKNOWN)}, one training for all"
    if space and space.backward and narrower:
        facts += f"; cells without backward edges: {', '.join(narrower)}"
    facts += f"; {warning}" if (warning := caveat(evidence.rows)) else ""
    if different:
        return NO, "; ".join(f"{name}: {', '.join(values)}" for name, values in different.items())
    if len(set(map(tuple, evidence.seeds.values()))) > 1:
        return PARTLY, f"{facts}; not all methods have the same seeds, on which the parts depend"
    return YES, facts


def _ablations(evidence: Evidence) -> tuple[str, str]:
    gaps = [(first, second, what, paired(evidence.rows, first, second)) for first, second, what in ABLATIONS]
    text = "{} ({} − {}): {} points over {} seeds".format
    gains = [text(what, first, second, gap.text(factor=100), gap.n) for first, second, what, gap in gaps if gap]
    return (YES if gains else NO), "; ".join(gains) or "no two methods that differ in one thing"


def _same_protocol(evidence: Evidence) -> tuple[str, str]:
    silent = [row for row in evidence.rows if not row.get("diverged") and row.get("val_accuracy") is None]
    diverged = sum(bool(row.get("diverged")) for row in evidence.rows)
    if silent:
        return UNKNOWN, f"no epoch chosen on validation is recorded in {len(silent)} of {len(evidence.rows)} rows"
    facts = "the epoch best on validation, then the test part once, for every row"
    return YES, f"{facts}; diverged trainings: {diverged}"


def _seconds(row: Row) -> float | None:
    """All seconds of a row; writing checkpoints counts unless a resumed training has lost its first part's."""
    seconds = row.get("seconds") or {}
    if not all(name in seconds for name in _TIMED):
        return None
    written = max(0.0, seconds.get("train_and_checkpoints", 0.0) - seconds["train"])
    return sum(float(seconds[name]) for name in _TIMED) + written


def _over_compute(evidence: Evidence) -> tuple[str, str]:
    if any(_seconds(row) is None or row.get("evaluations") is None for row in evidence.rows):
        return UNKNOWN, "scores or seconds are missing in some rows"
    counts = ", ".join(sorted({f"{row['method']} {row['evaluations']}" for row in evidence.rows if row["evaluations"]}))
    facts = "one point a method, accuracy beside seconds and SynOps; what a search would have returned earlier was not "
    return PARTLY, f"{facts}trained. Scores taken: {counts or 'none'}"


def _random_baselines(evidence: Evidence) -> tuple[str, str]:
    groups = by_method(evidence.rows)
    drawn, searches = "random" in groups, [name for name in RANDOM_SEARCHES if name in groups]
    scores = {name: max(row.get("evaluations") or 0 for row in group) for name, group in groups.items()}
    most = max((count for name, count in scores.items() if name not in RANDOM_SEARCHES), default=0)
    facts = f"random sampling: {'one cell per seed' if drawn else 'no'}; random search: "
    facts += ", ".join(f"{name} with {scores[name]} scores" for name in searches) or "no"
    facts += f"; other searches: at most {most} scores"
    fair = any(scores[name] >= most for name in searches)
    if not drawn and not searches:
        return NO, facts
    return (YES if drawn and fair else PARTLY), facts


def _several_seeds(evidence: Evidence) -> tuple[str, str]:
    fewest = min(map(len, evidence.seeds.values()))
    few = [method for method, seeds in evidence.seeds.items() if len(seeds) < MIN_SEEDS]
    facts = f"{_seed_facts(evidence)}; the fewest a method has: {fewest}"
    facts += f"; fewer than {MIN_SEEDS}: {', '.join(few)}" if few else ""
    return (YES if not few else PARTLY if fewest > 1 else NO), facts


def _tabular(evidence: Evidence) -> tuple[str, str]:
    facts = f"all {len(evidence.rows)} rows were trained, none looked up"
    if not evidence.bench_cells:
        return NO, facts
    return PARTLY, f"{facts}; the score study used {evidence.bench_cells} cells of SpikeNAS-Bench (notebook 02)"


def _confounders(evidence: Evidence) -> tuple[str, str]:
    machines, versions = evidence.distinct("platform", *_MACHINE), evidence.distinct("packages", "python")
    if not evidence.provenance or not any(evidence.provenance):
        return UNKNOWN, "no provenance"
    commits = len(evidence.commits) if evidence.versioned else UNKNOWN
    facts = f"machines {machines}, sets of library versions {versions}, commits {commits}"
    loads = [made["load"] for made in evidence.provenance if made.get("load") is not None]
    facts += f", busy processes at the start of a row {min(loads):.1f} to {max(loads):.1f}" if loads else ""
    if machines > 1 or versions > 1:
        return NO, facts
    return (YES if commits == 1 else PARTLY), facts


def _tuning(evidence: Evidence) -> tuple[str, str]:
    trials = evidence.preset.get("tuning")
    facts = f"settings: {evidence.preset.get('source') or UNKNOWN}; trials and time of tuning: {trials or UNKNOWN}"
    return (YES if trials else UNKNOWN), facts


def _end_to_end(evidence: Evidence) -> tuple[str, str]:
    if any(_seconds(row) is None for row in evidence.rows):
        return UNKNOWN, "loading, search, training or evaluation was not timed in some rows"
    seconds = [f"{name} {estimate(group, _seconds).mean:.0f}" for name, group in by_method(evidence.rows).items()]
    total = sum(_seconds(row) for row in evidence.rows) / 60
    facts = f"seconds with loading, building, search, training and evaluation, mean over seeds: {', '.join(seconds)}; "
    facts += f"all rows {total:.0f} minutes. Not recorded: starting Python, and choosing a cell without scores"
    return YES, facts


def _setup(evidence: Evidence) -> tuple[str, str]:
    made = evidence.provenance[0] if evidence.provenance else {}
    missing = [text for name, text in _SETUP.items() if made.get(name) is None]
    known = {name: made[name] for name in _SETUP if name != "load" and made.get(name) is not None}
    facts = f"{made.get('processors', UNKNOWN)} processors, {made.get('platform', UNKNOWN)}, {_listed(known)}, Python "
    facts += f"{made.get('python', UNKNOWN)}; {_listed(made.get('packages')) or 'versions ' + UNKNOWN}"
    facts += f"; not recorded: {', '.join(missing)}" if missing else ""
    return (UNKNOWN if not made else PARTLY if missing else YES), facts


ITEMS: tuple[tuple[str, Callable[[Evidence], tuple[str, str]]], ...] = (
    ("The code and settings that trained the final networks can be had", _training_code),
    ("So can the search methods, their space, settings and seeds", _search_code),
    ("The code is kept as it was used, tidy or not", _code_as_used),
    ("All methods share data and its parts, space and training", _same_benchmark),
    ("What each ingredient brings is measured by leaving it out", _ablations),
    ("Final networks are chosen and tested in one way for all methods", _same_protocol),
    ("Accuracy is reported as a function of compute spent", _over_compute),
    ("A random cell and a random search of equal effort stand beside", _random_baselines),
    ("Every method is run from several seeds, which are listed", _several_seeds),
    ("Tables of trained cells are used where they exist", _tabular),
    ("Hardware, library versions and run times are the same for all", _confounders),
    ("How settings were tuned, and what it cost, is reported", _tuning),
    ("Time is counted from start to end, not for the search alone", _end_to_end),
    ("The whole set-up is reported: hardware, libraries, versions", _setup),
)
"""The 14 practices in order, each with the function that answers it."""


def answer(evidence: Evidence) -> tuple[Answer, ...]:
    """Answer all practices from the evidence."""
    return tuple(Answer(number, item, *judge(evidence)) for number, (item, judge) in enumerate(ITEMS, start=1))


def table(answers: Iterable[Answer]) -> str:
    """The answers as a Markdown table.

    >>> print(table([Answer(9, "Several seeds", "no", "seeds 0")]).splitlines()[-1])
    | 9 | Several seeds | **no** | seeds 0 |
    """
    lines = ["| | practice | | recorded facts |", "|--:|---|---|---|"]
    clean = lambda text: text.replace("|", "/")  # noqa: E731
    lines += [f"| {a.number} | {a.item} | **{a.verdict}** | {clean(a.facts)} |" for a in answers]
    return "\n".join(lines)


def tally(answers: Sequence[Answer]) -> str:
    """How often each verdict was given.

    >>> tally([Answer(1, "", "yes", ""), Answer(2, "", "no", ""), Answer(3, "", "yes", "")])
    'yes 2, no 1'
    """
    counts = {verdict: sum(a.verdict == verdict for a in answers) for verdict in (YES, PARTLY, NO, UNKNOWN)}
    return ", ".join(f"{verdict} {count}" for verdict, count in counts.items() if count)
