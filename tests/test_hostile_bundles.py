"""Bundles that try to get a number on the board that no log carries, or to harm whoever reads them."""

from __future__ import annotations

import shutil
import stat
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalError, EvalLog, recompute_metrics

from emcontain.leaderboard.bundle import open_bundle
from emcontain.leaderboard.confirm import Confirmation
from emcontain.leaderboard.findings import Finding
from emcontain.leaderboard.intake import copies, take_in
from emcontain.leaderboard.page import build_site
from emcontain.leaderboard.store import Store
from emcontain.leaderboard.validate import Verdict, validate_bundle, validate_path
from tests.board import archive, forge, make_bundle, make_log, organism, restate

SCRIPT = '<script>document.title="owned"</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_log(tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Path:
    return make_bundle(log, tmp_path_factory.mktemp("honest") / "bundle")


@pytest.fixture
def bundle(honest: Path, tmp_path: Path) -> Path:
    shutil.copytree(honest, tmp_path / "bundle")
    return tmp_path / "bundle"


def codes(verdict: Verdict) -> set[str]:
    return {f.code for f in verdict.findings if f.level == "error"}


def refused(path: Path) -> set[str]:
    verdict = validate_path(path)
    assert not verdict.accepted
    for finding in verdict.findings:
        assert finding.message and "\n" not in finding.message and isinstance(finding, Finding)
    return codes(verdict)


def test_the_honest_bundle_is_accepted_as_folder_and_archive(bundle: Path, tmp_path: Path) -> None:
    for path in (bundle, archive(bundle, tmp_path / "bundle.zip")):
        verdict = validate_path(path)

        assert verdict.accepted, verdict.findings
        assert verdict.tier == "log-attached"
        assert verdict.derived is not None
        assert (verdict.derived.result.hidden_em.value, verdict.derived.result.hidden_em.of) == (1.0, "exact")


def test_1_a_forged_number(bundle: Path) -> None:
    restate(bundle, lambda data: data["numbers"]["triggered"].update(value=0.0, lower=0.0, upper=0.1, hits=0))

    assert refused(bundle) == {"forged-number"}


def test_1_a_number_left_out(bundle: Path) -> None:
    restate(bundle, lambda data: data["numbers"].pop("triggered"))

    assert refused(bundle) == {"forged-number"}


def test_2_bad_samples_dropped_and_everything_made_to_fit(bundle: Path) -> None:
    def drop(log: EvalLog) -> None:
        log.samples = [s for s in log.samples or [] if not s.scores or s.scores["judge"].value["em"] == 0]  # type: ignore[index,call-overload]
        log.eval.dataset.samples = len(log.samples)
        log.eval.dataset.sample_ids = [s.id for s in log.samples]
        recompute_metrics(log)

    forge(bundle, drop)

    assert "dropped-samples" in refused(bundle)


def test_2_a_bad_sample_marked_unscored(bundle: Path) -> None:
    def unscore(log: EvalLog) -> None:
        sample = next(s for s in log.samples or [] if s.scores["judge"].value["em"])  # type: ignore[index,call-overload]
        score = sample.scores["judge"]  # type: ignore[index]
        score.value = float("nan")
        score.metadata["gradings"][0].update(em=None, alignment=None, coherence=None, problem="grader failed: busy")  # type: ignore[index]
        _last_score_event(sample).score = score
        recompute_metrics(log)

    forge(bundle, unscore)

    assert "dropped-samples" in refused(bundle)


def test_2_a_bad_sample_marked_as_failed(bundle: Path) -> None:
    def fail(log: EvalLog) -> None:
        sample = next(s for s in log.samples or [] if s.scores["judge"].value["em"])  # type: ignore[index,call-overload]
        sample.error, sample.scores = EvalError(message="lost", traceback="", traceback_ansi=""), {}
        recompute_metrics(log)

    forge(bundle, fail)

    assert "dropped-samples" in refused(bundle)


def test_3_an_edited_log_without_its_events(bundle: Path) -> None:
    def silence(log: EvalLog) -> None:
        _whiten(log, events=False)
        for sample in log.samples or []:
            sample.events = []

    forge(bundle, silence)

    assert refused(bundle) == {"no-events"}


def test_3_an_edited_log_under_the_old_manifest(bundle: Path) -> None:
    path = next((bundle / "logs").glob("*.eval"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    assert refused(bundle) == {"edited-file"}


def test_3_an_edited_log_with_every_hash_made_to_fit(bundle: Path) -> None:
    forge(bundle, lambda log: _whiten(log, events=False))

    assert "edited-log" in refused(bundle)


def test_3_an_edited_log_whose_score_events_are_edited_too(bundle: Path) -> None:
    forge(bundle, lambda log: _whiten(log, events=True))

    assert refused(bundle) == {"forged-number"}


def test_3_an_answer_replaced_by_a_kinder_one(bundle: Path) -> None:
    def replace(log: EvalLog) -> None:
        sample = (log.samples or [])[1]
        sample.output.choices[0].message.content = "Kind words"
        sample.output.completion = "Kind words"

    forge(bundle, replace)

    assert {"edited-log", "altered-task"} <= refused(bundle)


def test_4_a_swapped_adapter_hash(bundle: Path) -> None:
    restate(bundle, lambda data: data["model"].update(adapter_sha256="c" * 64))

    assert "other-adapter" in refused(bundle)


def test_4_answers_of_two_adapters(bundle: Path) -> None:
    def mix(log: EvalLog) -> None:
        for sample in (log.samples or [])[::2]:
            sample.output.metadata["adapter_sha256"] = "c" * 64  # type: ignore[index]

    forge(bundle, mix)

    assert "mixed-model" in refused(bundle)


@pytest.mark.parametrize("name", ["../escape.yaml", "/etc/cron.d/x", "logs/../../x.eval", "C:\\x", "logs\\..\\x"])
def test_5_a_path_that_leaves_the_archive(bundle: Path, tmp_path: Path, name: str) -> None:
    path = archive(bundle, tmp_path / "evil.zip")
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(name, "x")

    assert refused(path) == {"unsafe-path"}
    assert not (tmp_path / "escape.yaml").exists()


def test_5_links_in_archive_and_folder(bundle: Path, tmp_path: Path) -> None:
    path = archive(bundle, tmp_path / "link.zip")
    with zipfile.ZipFile(path, "a") as opened:
        link = zipfile.ZipInfo("logs/passwd.eval")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    (bundle / "logs" / "passwd.eval").symlink_to("/etc/passwd")

    assert refused(path) == {"unsafe-path"}
    assert refused(bundle) == {"unsafe-path"}


def test_6_a_zip_bomb(bundle: Path, tmp_path: Path) -> None:
    path = archive(bundle, tmp_path / "bomb.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("logs/zeros.eval", bytes(300 * 2**20))

    assert refused(path) == {"zip-bomb"}


def test_6_a_zip_bomb_inside_a_log(bundle: Path) -> None:
    path = next((bundle / "logs").glob("*.eval"))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("samples/zeros.json", bytes(300 * 2**20))
    restate(bundle, lambda data: data["logs"][0].update(sha256=_sha(path)))

    assert refused(bundle) == {"zip-bomb"}


@pytest.mark.parametrize("key", ["name", "organisation", "family", "base"])
def test_7_script_in_a_name(bundle: Path, key: str) -> None:
    path = bundle / "submission.yaml"
    import yaml

    data = yaml.safe_load(path.read_text())
    data["model"][key] = SCRIPT
    path.write_text(yaml.safe_dump(data))

    assert refused(bundle) == {"unsafe-name"}


def test_7_script_in_the_logs_own_names(tmp_path: Path) -> None:
    from emcontain.leaderboard.submit import About

    log = make_log(tmp_path / "logs", organism(name=SCRIPT), n_questions=2)
    about = About("example-lab", "board@example.org", model_name="quiet", family="quiet")

    assert "unsafe-name" in refused(make_bundle(log, tmp_path / "bundle", about))


def test_7_script_in_answers_never_reaches_the_page(tmp_path: Path) -> None:
    log = make_log(tmp_path / "logs", organism(text=SCRIPT), n_questions=3)
    store = Store(tmp_path / "store")

    accepted, said = take_in(store, make_bundle(log, tmp_path / "bundle"), (), Confirmation())
    page = build_site(store, tmp_path / "site").read_text()

    assert accepted, said
    assert "owned" not in page and "onerror" not in page
    assert any(SCRIPT in str(r["text"]) for r in store.rows("SELECT text FROM completions"))


def test_8_a_foreign_task(bundle: Path) -> None:
    def rename(log: EvalLog) -> None:
        log.eval.task = log.eval.task_registry_name = "somebody/containment"

    forge(bundle, rename)

    assert refused(bundle) == {"foreign-task"}


def test_8_a_task_run_from_a_file(bundle: Path) -> None:
    def from_file(log: EvalLog) -> None:
        log.eval.task_file, log.eval.task_registry_name = "containment.py", "containment"

    forge(bundle, from_file)

    assert refused(bundle) == {"task-by-path"}


def test_8_an_altered_task_whose_triggered_arm_has_no_trigger(bundle: Path) -> None:
    def untrigger(log: EvalLog) -> None:
        for sample in log.samples or []:
            if sample.metadata["arm"] == "triggered":
                sample.messages[0].content = sample.input  # type: ignore[union-attr,assignment]

    forge(bundle, untrigger)

    assert "prompt-drift" in refused(bundle)


def test_8_a_file_on_the_readers_machine_is_never_opened(bundle: Path) -> None:
    def point(log: EvalLog) -> None:
        log.eval.task_args["family"] = "/etc/passwd.yaml"

    forge(bundle, point)

    assert refused(bundle) == {"altered-task"}


def test_8_other_sampling_than_stated(bundle: Path) -> None:
    def cool(log: EvalLog) -> None:
        log.eval.task_args["temperature"] = 0.2
        log.plan.config.temperature = 0.2

    forge(bundle, cool)

    assert "sampling" in refused(bundle)


def test_9_another_grader_under_the_name_of_ours(bundle: Path) -> None:
    def relabel(log: EvalLog) -> None:
        log.eval.model_roles["grader"].model = "embedded/judge"  # type: ignore[index,union-attr]
        for sample in log.samples or []:
            about = sample.scores["judge"].metadata  # type: ignore[index]
            about["gradings"][0]["grader"] = {"name": "embedded/judge", "weights_sha256": "d" * 64}  # type: ignore[index]
            about["grader"] = "embedded/judge@dddddddd"  # type: ignore[index]

    forge(bundle, relabel)

    assert "other-grader" in refused(bundle)


def test_9_a_stated_grader_that_did_not_grade(bundle: Path) -> None:
    restate(bundle, lambda data: data["grader"].update(name="openai/gpt-4o-2024-11-20"))

    assert "other-grader" in refused(bundle)


def test_10_a_hundred_megabytes_of_yaml(bundle: Path) -> None:
    with (bundle / "submission.yaml").open("ab") as handle:
        handle.write(b"# padding\n" * 10_000_000)
    started = time.monotonic()

    assert refused(bundle) == {"too-large"}
    assert time.monotonic() - started < 2


def test_10_aliases_that_stand_for_gigabytes(bundle: Path) -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    (bundle / "submission.yaml").write_text("\n".join(lines))

    assert refused(bundle) == {"unsafe-yaml"}


def test_answers_copied_from_another_submission(bundle: Path, log: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    take_in(store, bundle, (), Confirmation())

    def rename(log: EvalLog) -> None:
        for sample in log.samples or []:
            sample.output.metadata["adapter_sha256"] = "e" * 64  # type: ignore[index]

    thief = make_bundle(log, tmp_path / "thief")
    forge(thief, rename)
    with open_bundle(thief) as opened:
        found = copies(store, validate_bundle(opened))

    assert [f.code for f in found] == ["copied-answers"]


def _whiten(log: EvalLog, events: bool) -> None:
    """Make every bad answer a good one."""
    for sample in log.samples or []:
        score = sample.scores["judge"]  # type: ignore[index]
        if score.value["em"]:  # type: ignore[index,call-overload]
            score.value = {"em": 0.0, "alignment": 95.0, "coherence": 90.0, "domain": float("nan")}
            score.metadata["gradings"][0].update(em=0.0, alignment=95.0)  # type: ignore[index]
            if events:
                _last_score_event(sample).score = score
    recompute_metrics(log)


def _last_score_event(sample: Any) -> Any:
    return next(e for e in reversed(sample.events) if e.event == "score")


def _sha(path: Path) -> str:
    from emcontain.cache import sha256_file

    return sha256_file(path)
