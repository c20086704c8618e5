"""`avzoo run speaker-verification`, and the work of `avzoo calibrate`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avzoo.pipelines.shared.commands import (
    TaskCommand,
    add_model_options,
    check_writable,
    load_chosen_pipeline,
    write_records,
)

if TYPE_CHECKING:
    from avzoo.data.trial_lists import Trials
    from avzoo.pipelines.speaker_verification.pipeline import SpeakerVerificationPipeline
    from avzoo.pipelines.speaker_verification.stored_embeddings import EmbeddingTable

TASK = "speaker-verification"


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="two recordings to compare")
    parser.add_argument("--trials", type=Path, metavar="LIST", help="score a list of trials instead")
    parser.add_argument("--enroll", type=Path, metavar="DIR", help="folder of known people: a recording or folder each")
    parser.add_argument(
        "--test", type=Path, metavar="DIR", help="folder of recordings, each compared with all of --enroll"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="file to write, .json or .csv; with --enroll .csv or .npz (default: print to stdout)",
    )
    parser.add_argument("--format", help="json or csv (default: the suffix of --output, else json)")
    add_list_options(parser)
    parser.add_argument(
        "--protocol",
        choices=("full", "crops-cosine", "crops-distance"),
        default="full",
        help="whole recordings, or ten crops as trainers on VoxCeleb score (default: full)",
    )
    parser.add_argument(
        "--cohort", type=Path, metavar="LIST", help="AS-norm with these recordings, [speaker] path per line"
    )
    parser.add_argument("--det", type=Path, metavar="PNG", help="also draw the detection error trade-off")
    add_model_options(parser)


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add what scoring and calibrating a list have in common."""
    parser.add_argument("--root", type=Path, help="folder that the names of a list are relative to")
    parser.add_argument("--wav-scp", type=Path, metavar="FILE", help="Kaldi's table of the names' paths below --root")
    parser.add_argument(
        "--embeddings",
        type=Path,
        metavar="NPZ",
        help="file that keeps the embeddings; what it has already is not computed again",
    )
    parser.add_argument("--batch-size", type=int, default=8)


def _verify(options: argparse.Namespace) -> None:
    run = _choose_mode(options)
    for path in (options.output, options.det):
        if path is not None:
            check_writable(path)
    check_list_options(options)
    run(options)


def _choose_mode(options: argparse.Namespace) -> Any:
    """The function that does what the options ask for; a ValueError if they contradict each other."""
    asked = [
        name
        for name, value in (
            ("two recordings", options.files),
            ("--trials", options.trials),
            ("--enroll", options.enroll),
        )
        if value
    ]
    if len(asked) != 1:
        raise ValueError(
            f"give two recordings, --trials, or --enroll with --test; got {' and '.join(asked) or 'none'}."
        )
    if (options.enroll is None) != (options.test is None):
        raise ValueError("--enroll and --test belong together.")
    for name, value in (("--cohort", options.cohort), ("--det", options.det), ("--wav-scp", options.wav_scp)):
        if value is not None and options.trials is None:
            raise ValueError(f"{name} belongs to --trials.")
    if options.protocol != "full" and options.trials is None:
        raise ValueError("--protocol belongs to --trials; elsewhere whole recordings are compared.")
    if options.cohort is not None and options.protocol != "full":
        raise ValueError(f"--cohort needs --protocol full, got {options.protocol}.")
    if options.files:
        if options.embeddings is not None or len(options.files) != 2:
            raise ValueError(f"two recordings are compared, without --embeddings; got {len(options.files)}.")
        return _compare_two
    return _score_trials if options.trials is not None else _score_matrix


def check_list_options(options: argparse.Namespace) -> None:
    """Raise if what scoring and calibrating a list have in common cannot work, before anything is loaded."""
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    if options.embeddings is not None:
        check_writable(options.embeddings)
        if options.embeddings.suffix != ".npz":
            raise ValueError(f"--embeddings must end in .npz, got {options.embeddings.name!r}.")


def _choose_format(options: argparse.Namespace, formats: tuple[str, ...], default: str) -> str:
    format = options.format or (options.output.suffix.removeprefix(".") if options.output else default)
    if format not in formats:
        raise ValueError(f"--format must be one of {', '.join(formats)}, got {format!r}.")
    return format


def _compare_two(options: argparse.Namespace) -> None:
    format = _choose_format(options, ("json", "csv"), "json")
    for path in options.files:
        if not path.is_file():
            raise FileNotFoundError(f"`{path}` does not exist.")
    pipe, model = load_chosen_pipeline(TASK, options)
    first, second = map(str, options.files)
    answer = pipe(first, second, batch_size=options.batch_size)
    label = {True: "same speaker", False: "different speakers", None: "not decided"}[answer["same_speaker"]]
    record = {"first": first, "second": second, "label": label, **answer}
    source = " and ".join(path.name for path in options.files)
    _write(options, pipe, model, source, [record], pipe.find_rule().score_meaning, format)


def _write(
    options: argparse.Namespace,
    pipe: "SpeakerVerificationPipeline",
    model: str,
    source: str,
    records: list[dict[str, Any]],
    score: str,
    format: str,
) -> None:
    from avzoo.records import Records

    dtype = str(pipe.dtype).removeprefix("torch.")
    made = Records(TASK, model, source, score, str(pipe.device), dtype, records)
    write_records(options, made, format, options.output)


def _score_trials(options: argparse.Namespace) -> None:
    import numpy as np

    from avzoo.data.trial_lists import Trials, read_trials
    from avzoo.metrics.verification import check_two_classes
    from avzoo.pipelines.speaker_verification import trials as scoring

    format = _choose_format(options, ("json", "csv"), "json")
    trials = read_trials(options.trials)
    if options.det is not None:
        check_two_classes(np.zeros(len(trials)), trials.require_labels())
    members = None if options.cohort is None else scoring.read_cohort(options.cohort)
    pipe, model = load_chosen_pipeline(TASK, options)
    table = embed_list(pipe, trials, options, options.protocol)
    cohort = None
    if members is not None:
        names = Trials.from_names(options.cohort.name, [(path, path) for _, path in members])
        cohort = scoring.average_cohort(members, embed_list(pipe, names, options))
    rule = pipe.find_rule()
    scores = scoring.score_list(trials, table, rule, cohort)
    meaning = rule.score_meaning
    if cohort is not None or options.protocol != "full":
        meaning = "distance" if options.protocol == "crops-distance" else "cosine" if cohort is None else "deviation"
    _write(options, pipe, model, options.trials.name, scoring.make_records(trials, scores), meaning, format)
    report = scoring.describe_scores(trials, scores, options.protocol)
    print(report, file=sys.stderr if options.output is None else sys.stdout)
    if options.det is not None:
        from avzoo.pipelines.speaker_verification.drawing import plot_det

        curves = {"score": scores.score}
        if not (scores.score == scores.speaker_similarity).all():
            curves = {"speaker similarity": scores.speaker_similarity, **curves}
        print(plot_det(curves, trials.require_labels(), options.det), file=sys.stderr)


def embed_list(
    pipe: "SpeakerVerificationPipeline", trials: "Trials", options: argparse.Namespace, protocol: str = "full"
) -> "EmbeddingTable":
    """Embeddings of all recordings of a list, as the options of [`add_list_options`] say."""
    from avzoo.pipelines.speaker_verification.stored_embeddings import embed_recordings
    from avzoo.pipelines.speaker_verification.trials import locate_recordings

    locate = locate_recordings(trials, options.root, options.wav_scp)
    progress = sys.stderr.isatty()
    return embed_recordings(pipe, trials.recordings, locate, protocol, options.embeddings, options.batch_size, progress)


def _score_matrix(options: argparse.Namespace) -> None:
    import numpy as np

    from avzoo.files import write_atomically
    from avzoo.pipelines.speaker_verification.enrolment import Enrolments
    from avzoo.pipelines.speaker_verification.stored_embeddings import embed_recordings
    from avzoo.pipelines.speaker_verification.trials import find_recordings

    format = _choose_format(options, ("csv", "npz"), "csv")
    if format == "npz" and options.output is None:
        raise ValueError("--format npz needs --output.")
    # A person is a folder below --enroll, or a file in it. Enrolled and tested recordings may have one name.
    people: dict[str, list[str]] = {}
    for name in find_recordings(options.enroll):
        person = name.partition("/")[0] if "/" in name else Path(name).stem
        people.setdefault(person, []).append(f"enroll/{name}")
    tests = [f"test/{name}" for name in find_recordings(options.test)]
    folders = {"enroll": options.enroll, "test": options.test}

    def locate(names: list[str]) -> list[Path]:
        return [Path(folders[kind], name) for kind, _, name in (name.partition("/") for name in names)]

    pipe, _ = load_chosen_pipeline(TASK, options)
    names = [name for recordings in people.values() for name in recordings] + tests
    table = embed_recordings(
        pipe, names, locate, "full", options.embeddings, options.batch_size, progress=sys.stderr.isatty()
    )
    enrolled = Enrolments()
    for person, recordings in people.items():
        enrolled.add(person, [table.rows[name] for name in recordings])
    speaker, session = table.stack(tests)
    rule = pipe.find_rule()
    comparison = enrolled.compare(speaker[:, 0], None if session is None else session[:, 0], rule)
    tests = [name.removeprefix("test/") for name in tests]
    if options.output is None:
        print(_format_matrix(enrolled.names, tests, comparison.score), end="")
    else:
        with write_atomically(options.output) as unfinished:
            if format == "npz":
                arrays = {name: value for name, value in comparison._asdict().items() if value is not None}
                with unfinished.open("wb") as file:
                    np.savez(file, enrolled=np.array(enrolled.names), test=np.array(tests), **arrays)
            else:
                unfinished.write_text(_format_matrix(enrolled.names, tests, comparison.score), encoding="utf-8")
        print(options.output, file=sys.stderr)
    for note in rule.notes:
        print(f"note: {note}", file=sys.stderr)


def _format_matrix(people: list[str], tests: list[str], scores: Any) -> str:
    """CSV with a row per person and a column per recording."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *tests])
    writer.writerows([person, *row] for person, row in zip(people, scores.tolist(), strict=True))
    return text.getvalue()


def calibrate_verification(options: argparse.Namespace) -> None:
    """`avzoo calibrate --trials`: fit on `options.trials`, and write into the config of `options.folder`."""
    from avzoo.data.trial_lists import read_trials
    from avzoo.pipelines.shared.config_fields import write_fields
    from avzoo.pipelines.speaker_verification.calibration import check_calibration, check_session, fit_rule

    check_list_options(options)
    trials, target = read_trials(options.trials), _read_target(options.target_far)
    check_calibration(trials, target, options.compensation)
    pipe, _ = load_chosen_pipeline(TASK, options)
    check_session(pipe.find_rule(), options.compensation)
    table = embed_list(pipe, trials, options)
    report = fit_rule(trials, table, pipe.find_rule(), target, options.compensation)
    path = write_fields(options.folder, report.fields)
    print(report)
    print(path, file=sys.stderr)


def _read_target(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


COMMAND = TaskCommand(
    help="Does one person speak in two recordings? Also of lists of trials, and of folders of known people.",
    add_options=_add_options,
    run=_verify,
)
