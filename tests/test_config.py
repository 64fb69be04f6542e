"""Settings files: what they mean, what is wrong with them, and the ones alwatch writes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from alwatch.config import (
    Settings,
    commented_settings,
    find_settings,
    load_settings,
    settings_table,
)
from alwatch.config.base import all_settings, words_of
from alwatch.errors import SettingsError
from tests.conftest import REPOSITORY

HOME = {"HOME": "/home/lab"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alwatch.yaml"


def load(file: Path, text: str, **environ: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ=HOME | environ)


def faults_of(file: Path, text: str, archive: str = "archive: [/data/videos]\n") -> list[str]:
    """Load and return the faults, without the sentence that names the file."""
    with pytest.raises(SettingsError) as caught:
        load(file, archive + text)
    ends = (f" Set it in {file}.", f" Correct it in {file}.")
    shortened = []
    for fault in caught.value.faults:
        assert "\n" not in fault and str(file) in fault
        shortened.append(next((fault.removesuffix(e) for e in ends if fault.endswith(e)), fault))
    return shortened


# --- what a good file means ----------------------------------------------------------------------


def test_an_archive_is_all_that_a_file_must_name(file: Path) -> None:
    loaded = load(file, "archive: [/data/videos]")
    assert loaded.source == file
    assert loaded.archive[0].path == Path("/data/videos")
    assert loaded.state_dir == Path("/home/lab/.local/state/alwatch")
    assert (loaded.queue.budget, loaded.queue.strategy) == (20, "herding")
    assert (loaded.season.from_, loaded.sampling.rate_hz) == ("date", 1.0)


def test_settings_cannot_be_changed(file: Path) -> None:
    loaded = load(file, "archive: [/data/videos]")
    with pytest.raises(ValidationError):
        loaded.queue.budget = 3


def test_a_path_alone_is_a_whole_archive_entry(file: Path) -> None:
    short = load(file, "archive: [/a, {path: /b, watch: poll, settle_s: 0, scan_s: 1.5}]")
    first, second = short.archive
    assert (first.path, first.watch, first.settle_s) == (Path("/a"), "auto", None)
    assert (second.path, second.watch, second.settle_s, second.scan_s) == (
        Path("/b"),
        "poll",
        0,
        1.5,
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/data/videos", "/data/videos"),
        ("videos", "{folder}/videos"),
        ("../videos/./x/..", "{parent}/videos"),
        ("~/videos", "/home/lab/videos"),
        ("~", "/home/lab"),
        ("$SITE/videos", "/srv/site/videos"),
        ("${SITE}2", "/srv/site2"),
        ("$HOUSE/x", "/home/lab/x"),
        ("/data/$$HOME", "/data/$HOME"),
        ("/data/5$", "/data/5$"),
        ("/data/with space", "/data/with space"),
        ("/data/tierfüße", "/data/tierfüße"),
        ("2018", "{folder}/2018"),
        ("007", "{folder}/007"),
    ],
)
def test_paths_are_expanded_and_start_at_the_files_folder(
    file: Path, written: str, meant: str
) -> None:
    text = f"archive: [{{path: '{written}'}}]\nstate_dir: /var/lib/alwatch\n"
    loaded = load(file, text, SITE="/srv/site", HOUSE="~")
    expected = meant.format(folder=file.parent, parent=file.parent.parent)
    assert loaded.archive[0].path == Path(expected)


def test_the_source_is_absolute_however_the_file_was_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("archive: [videos]")
    monkeypatch.chdir(file.parent)
    loaded = load_settings(Path("alwatch.yaml"), environ=HOME)
    assert loaded.source == file
    assert loaded.archive[0].path == file.parent / "videos"


def test_the_state_folder_follows_the_xdg_variable_unless_it_is_set(file: Path) -> None:
    text = "archive: [/data/videos]\n"
    assert load(file, text, XDG_STATE_HOME="/var/$x").state_dir == Path("/var/$x/alwatch")
    assert load(file, text, XDG_STATE_HOME="rel").state_dir == Path(
        "/home/lab/.local/state/alwatch"
    )
    chosen = load(file, text + "state_dir: here\n", XDG_STATE_HOME="/var/state")
    assert chosen.state_dir == file.parent / "here"


def test_values_are_taken_as_written_and_not_as_yaml_guesses(file: Path) -> None:
    loaded = load(
        file,
        """
archive: [/data/videos]
season:
  ranges:
    - {season: no, first: 2018-01-01, last: 2018-06-30}
    - {season: 007, first: 2018-07-01, last: 2018-12-31}
    - {season: 1:30, first: 2019-01-01, last: 2019-01-01}
  otherwise: 2017
queue: {budget: 1_000, min_gap_s: 1e-1}
""",
    )
    assert [r.season for r in loaded.season.ranges] == ["no", "007", "1:30"]
    assert loaded.season.ranges[0].last == date(2018, 6, 30)
    assert loaded.season.otherwise == "2017"
    assert (loaded.queue.budget, loaded.queue.min_gap_s) == (1000, 0.1)


def test_what_is_left_empty_keeps_its_default(file: Path) -> None:
    loaded = load(
        file, "archive: [/data/videos]\nqueue:\nexports:\nsampling:\n  rate_hz:\n  stride: 3"
    )
    assert loaded.queue.budget == 20
    assert loaded.exports == ()
    assert loaded.sampling.stride == 3


def test_extensions_are_lower_case_with_a_dot(file: Path) -> None:
    loaded = load(file, "archive: [{path: /a, extensions: [MP4, .Avi]}]")
    assert loaded.archive[0].extensions == (".mp4", ".avi")


def test_a_byte_order_mark_is_no_fault(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfarchive: [/data/videos]\r\nqueue: {budget: 3}\r\n")
    assert load_settings(file).queue.budget == 3


# --- what is wrong with a bad one ----------------------------------------------------------------


def test_a_fault_names_the_setting_the_value_the_remedy_and_the_file(file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(file, "archive: [/data/videos]\nqueue: {budget: -5}")
    assert str(caught.value) == (
        f"queue.budget is -5; it must be a whole number >= 1. Set it in {file}."
    )


PERMITTED = "(?P<season>…)"
GROUP = f"it must be a regular expression with a named group, `{PERMITTED}`"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("queue: {budget: 2.5}", "queue.budget is 2.5; it must be a whole number >= 1."),
        ("queue: {budget: many}", "queue.budget is many; it must be a whole number >= 1."),
        ("queue: {budget: ''}", 'queue.budget is ""; it must be a whole number >= 1.'),
        ("queue: {budget: true}", "queue.budget is true; it must be a whole number >= 1."),
        ("queue: {budget: [1]}", "queue.budget is a list; it must be a whole number >= 1."),
        (
            "queue: {budget: {a: 1}}",
            "queue.budget is a group of settings; it must be a whole number >= 1.",
        ),
        ("queue: {seed: -1}", "queue.seed is -1; it must be a whole number >= 0."),
        (
            "queue: {seed: 99999999999}",
            "queue.seed is 99999999999; it must be at most 4294967295.",
        ),
        ("queue: {audit_share: 1.5}", "queue.audit_share is 1.5; it must be a number from 0 to 1."),
        (
            "queue: {min_gap_s: .nan}",
            "queue.min_gap_s is .nan; it must be a number of seconds >= 0.",
        ),
        ("queue: {min_gap_s: nan}", "queue.min_gap_s is nan; it must be a number of seconds >= 0."),
        ("sampling: {rate_hz: inf}", "sampling.rate_hz is inf; it must be a number > 0."),
        ("decoding: {stall_s: 0}", "decoding.stall_s is 0; it must be a number of seconds > 0."),
        (
            "sampling: {method: best}",
            "sampling.method is best; it must be uniform, keyframes or adaptive.",
        ),
        (
            "embedding: {device: gpu}",
            "embedding.device is gpu; it must be auto, cpu, cuda or cuda:N.",
        ),
        ("embedding: {model: ''}", 'embedding.model is ""; it must be text.'),
        (
            "queue: 5",
            "queue is 5; it must be a group of settings (budget, strategy, bandit_arms, seed, "
            "per_video_max, per_individual_max, per_session_max, equal_share_max, share_by, "
            "presence_min, outlier_share, min_gap_s, near_duplicate_quantile, audit_share).",
        ),
        ("exports: folder", "exports is folder; it must be a list of labelling projects."),
        ("exports: [{to: folder}]", "exports[0].project is not set; it must be a path."),
        (
            "embedding: {weights: /w.pt, weights_sha256: abc}",
            "embedding.weights_sha256 is abc; it must be a sha256, 64 digits from 0-9 and a-f.",
        ),
        (
            f"embedding: {{weights_sha256: {'a' * 64}}}",
            f"embedding.weights_sha256 is {'a' * 64}; "
            "it must come with embedding.weights, the file that it belongs to.",
        ),
        (
            "sampling: {rate_hz: 2, stride: 3}",
            "sampling.rate_hz is 2; it must be left out where sampling.stride is set (to 3).",
        ),
        (
            "season: {from: path}",
            f"season.pattern is not set; {GROUP}, because season.from is path.",
        ),
        ("season: {from: path, pattern: '(?P<s>.)'}", f"season.pattern is (?P<s>.); {GROUP}."),
        (
            "season: {pattern: '(?P<season>'}",
            f"season.pattern is (?P<season>; {GROUP}, but: missing ), unterminated subpattern at "
            "position 0.",
        ),
        (
            "season: {pattern: 'a{99999999999999999999}'}",
            f"season.pattern is a{{99999999999999999999}}; {GROUP}, but: the repetition number is "
            "too large.",
        ),
        (
            "groups: {individual: '(?P<session>.)'}",
            "groups.individual is (?P<session>.); it must be a regular expression with a named "
            "group, `(?P<individual>…)`.",
        ),
        (
            "groups: {session: '('}",
            "groups.session is (; it must be a regular expression with a named group, "
            "`(?P<session>…)`, but: missing ), unterminated subpattern at position 0.",
        ),
        (
            "queue: {share_by: cage}",
            "queue.share_by is cage; it must be video, individual or session.",
        ),
        (
            "season: {from: mapping}",
            "season.mapping is empty; it must hold at least one `pattern: season`, because "
            "season.from is mapping.",
        ),
        ("season: {mapping: {'a/*': ''}}", 'season.mapping["a/*"] is ""; it must be text.'),
        (
            "season: {ranges: [{season: a, first: 2018-13-01, last: 2019-01-01}]}",
            "season.ranges[0].first is 2018-13-01; it must be a day such as 2018-10-30.",
        ),
        (
            "season: {ranges: [{season: a, first: 2019-01-02, last: 2019-01-01}]}",
            "season.ranges[0].last is 2019-01-01; it must not lie before the range's first day, "
            "2019-01-02.",
        ),
        (
            "season: {ranges: [{season: a, first: 2018-01-01, last: 2018-06-01}, "
            "{season: b, first: 2018-06-01, last: 2018-12-31}]}",
            "season.ranges[1].last is 2018-12-31; it must not overlap the range of a (2018-01-01 "
            "to 2018-06-01); this one begins on 2018-06-01.",
        ),
        (
            "state_dir: $NOWHERE/x",
            "state_dir is $NOWHERE/x; it must not name NOWHERE, an environment variable that is "
            "not set.",
        ),
        ("state_dir: [x]", "state_dir is a list; it must be the path of a folder."),
        (
            "triggers: [{new_labels: 5, actions: [{do: file, folder: /data/videos/out}]}]",
            "triggers[0].actions[0].folder is /data/videos/out; it must lie outside the archive "
            "folder /data/videos, because nothing is ever written there.",
        ),
        (
            "triggers: [{new_labels: 5, actions: [{do: webhook, url: lab.example}]}]",
            "triggers[0].actions[0].url is lab.example; it must begin with http:// or https://.",
        ),
        (
            "triggers: [{new_labels: 5, actions: [{do: command, command: []}]}]",
            "triggers[0].actions[0].command is empty; it must be a list of at least one text.",
        ),
        (
            "triggers: [{new_labels: 5, actions: [{do: mail, to: [], sender: a@lab.example}]}]",
            "triggers[0].actions[0].to is empty; it must be a list of at least one text.",
        ),
        (
            "triggers: [{season_ended: true, actions: [{do: file, folder: /out}]}]",
            "triggers is a list; it must not wait for a season's end (season_ended) unless "
            "season.ranges has its days.",
        ),
        ("promotion: {gate: maybe}", "promotion.gate is maybe; it must be true or false."),
        (
            "exports: [{to: folder, project: /data/videos/queues}]",
            "exports[0].project is /data/videos/queues; it must lie outside the archive folder "
            "/data/videos, because nothing is ever written there.",
        ),
        (
            "exports: [{to: label_studio, project: /q, url: localhost, token_file: /t}]",
            "exports[0].url is localhost; it must begin with http:// or https://.",
        ),
        (
            "exports: [{to: cvat, project: /q, url: 'https://ana:secret@host', token_file: /t}]",
            "exports[0].url is https://***@host; it must hold no name and password, because the "
            "token says who asks.",
        ),
        (
            "exports: [{to: label_studio, project: /q, url: http://localhost}]",
            "exports[0].token_file is not set; it must be set where url is, and nowhere else.",
        ),
        (
            "state_dir: /data/videos/state",
            "archive[0].path is /data/videos; it must not hold state_dir (/data/videos/state), "
            "because nothing is ever written in an archive folder.",
        ),
    ],
)
def test_each_kind_of_fault_is_one_plain_sentence(file: Path, text: str, fault: str) -> None:
    assert faults_of(file, text) == [fault]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "queue: {seed: 1}",
            "archive is not set; it must be a list of at least one folder to watch.",
        ),
        ("archive:", "archive is not set; it must be a list of at least one folder to watch."),
        ("archive: []", "archive is empty; it must be a list of at least one folder to watch."),
        ("archive: /a", "archive is /a; it must be a list of at least one folder to watch."),
        (
            "archive: [{watch: poll}]",
            "archive[0].path is not set; it must be the path of a folder.",
        ),
        ("archive: [' ']", 'archive[0].path is " "; it must be the path of a folder.'),
        ("archive: [/a, /a/]", "archive[1].path is /a/; it must be listed only once."),
        (
            "archive: [/a/b, {path: /a}]",
            "archive[1].path is /a; it must not hold, or lie in, another archive folder (/a/b).",
        ),
        (
            "archive: [/a, /a/c/../b]",
            "archive[1].path is /a/c/../b; it must not hold, or lie in, another archive folder "
            "(/a).",
        ),
        (
            "archive: [{path: /a, extensions: ['*.mp4']}]",
            "archive[0].extensions[0] is *.mp4; it must be the end of a file name such as .mp4.",
        ),
        (
            "archive: [{path: /a, extensions: []}]",
            "archive[0].extensions is empty; it must be a list of at least one file ending.",
        ),
        (
            "archive: [{path: /a, ignore: x}]",
            "archive[0].ignore is x; it must be a list of texts.",
        ),
        (
            "archive: [{path: /a, scan_s: 0}]",
            "archive[0].scan_s is 0; it must be a number of seconds > 0.",
        ),
    ],
)
def test_faults_of_the_archive(file: Path, text: str, fault: str) -> None:
    assert faults_of(file, text, archive="") == [fault]


def test_folders_with_a_common_beginning_of_their_names_are_not_nested(file: Path) -> None:
    loaded = load(file, "archive: [/data/a, /data/ab]\nstate_dir: /data/a-state")
    assert len(loaded.archive) == 2


def test_a_state_folder_that_only_leads_into_an_archive_is_a_fault(
    file: Path, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "videos", target_is_directory=True)
    (fault,) = faults_of(file, "state_dir: state", archive=f"archive: [{tmp_path}/videos]\n")
    assert "must not hold state_dir" in fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("queue: {bugdet: 3}", "queue.bugdet is not a setting; did you mean queue.budget?"),
        ("queue: {Budget: 3}", "queue.Budget is not a setting; did you mean queue.budget?"),
        ("queue: {bugdet: }", "queue.bugdet is not a setting; did you mean queue.budget?"),
        ("queue: {Seed-: 3}", "queue.Seed- is not a setting; did you mean queue.seed?"),
        ("budget: 3", "budget is not a setting; did you mean queue.budget?"),
        (
            "min_gap_s: 3",
            "min_gap_s is not a setting; did you mean sampling.min_gap_s or queue.min_gap_s?",
        ),
        ("season: {from_: path}", "season.from_ is not a setting; did you mean season.from?"),
        ("source: x", "source is not a setting; the settings there are state_dir, archive, "
         "season, groups, sampling, embedding, decoding, pose_model, queue, exports, labels, "
         "rounds, triggers, promotion, backup."),
        ("queue: {<<: {budget: 3}}", 'queue["<<"] is not a setting; the settings there are budget, '
         "strategy, bandit_arms, seed, per_video_max, per_individual_max, per_session_max, "
         "equal_share_max, "
         "share_by, presence_min, outlier_share, min_gap_s, near_duplicate_quantile, "
         "audit_share."),
    ],
)  # fmt: skip
def test_an_unknown_setting_is_a_fault_that_names_the_nearest(
    file: Path, text: str, fault: str
) -> None:
    assert faults_of(file, text) == [fault]


def test_all_faults_come_at_once_in_the_order_of_the_file(file: Path) -> None:
    faults = faults_of(
        file,
        """\
queue:
  audit_share: 2
  bugdet: 3
  budget: 0
  budget: 7
archive:
  - /data/videos
  - {path: /data/videos/2018, settle_s: -1}
  - {path: $NOPE}
  - /data/videos/2019
state_dir: /data/videos/state
season:
  from: path
  ranges:
    - {season: '', first: 2018-01-01, last: 2018-12-31}
    - {season: b, first: 2018-12-31, last: 2019-12-31}
""",
        archive="",
    )
    assert [re.split(r" is |; ", fault)[0] for fault in faults] == [
        "queue.audit_share",
        "queue.bugdet",
        "queue.budget",
        f"{file}, line 5: queue.budget",
        "archive[0].path",
        "archive[1].path",
        "archive[1].settle_s",
        "archive[2].path",
        "archive[3].path",
        "season.pattern",
        "season.ranges[0].season",
        "season.ranges[1].last",
    ]


def test_long_and_unprintable_values_are_shown_short_and_safe(file: Path) -> None:
    (long,) = faults_of(file, f"queue: {{budget: {'9' * 5000}}}")
    assert len(long) < 200
    (escaped,) = faults_of(file, 'queue: {budget: "1\\n\\e2\\u202e"}'.replace("\\e", ""))
    assert escaped == 'queue.budget is "1\\n2\\u202e"; it must be a whole number >= 1.'


# --- YAML --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("archive: [/a]\nqueue:\n\tbudget: 3\n", "line 3, column 1", "a tab"),
        ("archive: [/a\nqueue: {}\n", "line 2, column 6", "flow sequence"),
        ("archive: [/a]\nqueue: {budget: 3\n", "line 3, column 1", "expected ',' or '}'"),
        ("archive: [/a]\n b: 3\n", "line 2, column 2", "the indentation does not fit"),
        ('a: "\\d"\n', "line 1, column 6", "use single quotes"),
        ("archive: *x\n", "line 1, column 10", "undefined alias"),
        ("archive: [/a]\n---\nqueue: {}\n", "line 2, column 1", "another document"),
        ("archive: [/a]\narchive: [/b]\n", "line 2", "archive is already set in line 1"),
        ("archive: &x [/a]\nexports: *x\n", "line 1", "by an alias"),
        ("archive: &x [*x]\n", "line 1", "by an alias"),
        ("archive: [!!python/name:os.system x]\n", "line 1", "the tag !!python/name:os.system"),
        ("!mine {archive: [/a]}\n", "line 1", "the tag !mine"),
        ("archive: [/a]\n? [b]\n: 3\n", "line 2", "a name must be plain text"),
        ('archive: ["/a\\0"]\n', "line 1", "control character"),
        ('archive: ["/a\\ud800"]\n', "line 1", "control character"),
        ("archive: [/a\x07]\n", "position 12", "number 7"),
    ],
)
def test_yaml_faults_are_one_line_that_says_where(
    file: Path, text: str, line: str, says: str
) -> None:
    fault = faults_of(file, text, archive="")[0]
    assert line in fault
    assert says in fault


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "is empty; it must at least name an archive"),
        (b"# nothing\n", "is empty"),
        (b"~\n", "is empty"),
        (b"- /data/videos\n", "holds a list; it must hold settings"),
        (b"archive\n", "holds archive; it must hold settings"),
        (b"archive: [/a]\n# \xe9t\xe9\n", "line 2: byte 0xe9 is not UTF-8 text"),
        ("archive: [/a]".encode("utf-16"), "line 1: byte 0xff is not UTF-8 text"),
        (b"[" * 5000, "is nested too deeply"),
        (b"a: b\n" * 300_000, "is larger than 1000000 bytes"),
        (b'a: "\\UFFFFFFFF"', "is not valid YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_one_clear_line(file: Path, raw: bytes, says: str) -> None:
    file.write_bytes(raw)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    (fault,) = caught.value.faults
    assert fault.startswith(str(file))
    assert says in fault
    assert "\n" not in fault


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"x\.yaml does not exist; .* `alwatch init`"):
        load_settings(tmp_path / "x.yaml")
    with pytest.raises(SettingsError, match="is a folder; it must be a settings file"):
        load_settings(tmp_path)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "loop.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_one_clear_line(file: Path) -> None:
    file.write_text("archive: [/a]")
    file.chmod(0)
    with pytest.raises(SettingsError, match="Permission denied"):
        load_settings(file)


names = st.sampled_from(
    [name for key, _ in all_settings(Settings) for name in re.split(r"\W+", key) if name]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.text(max_size=8),
    st.sampled_from(["/a", "/a/b", "~", "$X", "(?P<season>.)", "path", "mapping", "2018-01-01"]),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(names | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=30,
)


def loads_or_explains(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    try:
        loaded = load_settings(file, environ=HOME)
    except SettingsError as error:
        assert error.faults
        assert all(fault.isprintable() for fault in error.faults)
    else:
        assert isinstance(loaded, Settings)


any_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@any_file
@given(st.dictionaries(names, trees, max_size=6) | trees)
def test_any_yaml_gives_settings_or_an_explanation(file: Path, tree: Any) -> None:
    loads_or_explains(file, yaml.safe_dump(tree, allow_unicode=True).encode())


@any_file
@given(st.data())
def test_any_damage_to_a_good_file_gives_settings_or_an_explanation(
    file: Path, data: st.DataObject
) -> None:
    raw = commented_settings(None, full=True).encode()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 30))
        new = data.draw(st.text(max_size=6).map(str.encode) | st.binary(max_size=3))
        raw = raw[:at] + new + raw[at + cut :]
    loads_or_explains(file, raw)


@any_file
@given(st.text(alphabet="[]{}:,-?&*!|>'\"%@`# \n\tab0\\x", max_size=40) | st.text())
@example("%YAML 1." + "1" * 5000 + "\n--- a")
def test_any_text_gives_settings_or_an_explanation(file: Path, text: str) -> None:
    loads_or_explains(file, text.encode())


# --- finding the file ----------------------------------------------------------------------------


def test_the_usual_places_are_searched_in_order(tmp_path: Path) -> None:
    cwd, home, xdg = tmp_path / "cwd", tmp_path / "home", tmp_path / "xdg"
    in_home = home / ".config" / "alwatch" / "alwatch.yaml"
    in_xdg = xdg / "alwatch" / "alwatch.yaml"
    for place in (cwd / "alwatch.yaml", in_home, in_xdg):
        place.parent.mkdir(parents=True)
    find = {"cwd": cwd, "home": home}
    in_home.touch()
    assert find_settings(None, **find, environ={}) == in_home
    assert find_settings(None, **find, environ={"XDG_CONFIG_HOME": "relative"}) == in_home
    in_xdg.touch()
    assert find_settings(None, **find, environ={"XDG_CONFIG_HOME": str(xdg)}) == in_xdg
    (cwd / "alwatch.yaml").touch()
    assert find_settings(None, **find, environ={}) == cwd / "alwatch.yaml"


@pytest.mark.parametrize("name", ["other.yaml", "/x/y.yaml"])
def test_a_file_named_on_the_command_line_counts_even_if_it_is_missing(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "alwatch.yaml").touch()
    found = find_settings(Path(name), cwd=tmp_path, home=tmp_path, environ={})
    assert found == tmp_path / name


@pytest.mark.skipif(Path("/etc/alwatch/alwatch.yaml").exists(), reason="alwatch is set up here")
def test_without_any_file_the_places_and_the_remedy_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        find_settings(None, cwd=tmp_path / "c", home=tmp_path / "h", environ={})
    assert str(caught.value) == (
        f"no settings file was found; looked for {tmp_path}/c/alwatch.yaml, "
        f"{tmp_path}/h/.config/alwatch/alwatch.yaml and /etc/alwatch/alwatch.yaml. "
        "Write one with `alwatch init`, or name one with --config."
    )


def test_settings_load_without_any_heavy_package() -> None:
    code = "import sys, alwatch.config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "torch", "cv2", "av", "pandas", "sklearn", "faiss", "click", "rich"}
    assert not heavy & set(done.stdout.split())


# --- the files that alwatch writes ---------------------------------------------------------------


@pytest.mark.parametrize(("name", "full"), [("minimal", False), ("full", True)])
def test_the_samples_are_what_alwatch_writes_and_hold_the_defaults(name: str, full: bool) -> None:
    sample = REPOSITORY / "config" / f"{name}.yaml"
    assert sample.read_text(encoding="utf-8") == commented_settings(None, full=full)
    loaded = load_settings(sample, environ=HOME)
    defaults = Settings.model_validate(
        {"archive": [{"path": "/data/videos"}], "state_dir": "/home/lab/.local/state/alwatch"}
    )
    assert loaded.model_dump() == defaults.model_dump()


def test_every_example_in_the_full_sample_loads_when_uncommented(file: Path) -> None:
    text = commented_settings(None, full=True)
    keys = "|".join(name.split(".")[-1] for name, _, _ in settings_table())
    uncommented = re.sub(rf"^( *)# ( *(?:- )?(?:{keys}):.*)$", r"\1\2", text, flags=re.M)
    uncommented = re.sub(r"^ *rate_hz.*\n", "", uncommented, flags=re.M)
    loaded = load(file, uncommented)
    assert loaded.sampling.stride == 30
    assert loaded.season.ranges[0].first == date(2018, 9, 1)
    assert loaded.season.mapping == {"cage-a/*": "spring", "cage-b/*": "autumn"}
    assert loaded.exports[0].to == "folder"
    assert loaded.archive[0].settle_s == 60
    assert loaded.embedding.weights_sha256 is not None


@any_file
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30), st.booleans()
)
@example("it's: #1 {x}", True)
@example("$HOME ~", False)
@example("null", True)
@example('a"b\\', True)
def test_a_written_file_names_the_archive_that_was_asked_for(
    file: Path, name: str, full: bool
) -> None:
    archive = Path(os.path.normpath(Path("/videos") / name.replace("/", "_")))
    file.write_text(commented_settings(archive, full=full), encoding="utf-8")
    assert load_settings(file, environ=HOME).archive[0].path == archive


def test_every_setting_is_documented() -> None:
    table = settings_table()
    sample = commented_settings(None, full=True)
    assert len({name for name, _, _ in table}) == len(table)
    for name, default, description in table:
        assert default
        assert re.search(r"\w\.( |$)", description), name
        key = name.split(".")[-1].removesuffix("[]")
        assert re.search(rf"^[ #]*(- )?{key}:", sample, flags=re.M), name
    assert ("queue.budget", "20", "Frames in one queue. [a whole number >= 1]") in table


def test_the_words_for_a_choice_name_every_choice() -> None:
    choices = 0
    for name, setting in all_settings(Settings):
        if get_origin(setting.annotation) is Literal:
            choices += 1
            words = re.split(r", | or ", words_of(setting) or "")
            assert words == list(get_args(setting.annotation)), name
    assert choices >= 5
