from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from alwatch.records import FrameScores, LabelledFrame, LabelledPoint, Snapshot
from alwatch.store import Store
from tests.store.helpers import NEW, NOW, OLD, add_video, ingested, make_current, seen


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as opened:
        make_current(opened, OLD, NOW)
        yield opened


def scores(indices: list[int], value: float = 0.5) -> FrameScores:
    n = len(indices)
    return FrameScores(
        np.array(indices, np.int64),
        {
            "mpe": np.full((n, 2), value, np.float32),
            "uncertainty": np.full(n, value, np.float32),
            "pose": np.arange(n * 6, dtype=np.float32).reshape(n, 1, 2, 3),
        },
    )


def score_all(store: Store, snapshot: Snapshot) -> list[int]:
    """Score whatever waits; the ids of the videos in the order they were taken."""
    order = []
    while claim := store.scores.claim(snapshot, NOW):
        order.append(claim.video_id)
        found = scores(claim.frame_indices.tolist())
        store.scores.finish(claim, snapshot, found, elapsed_s=2.0, now=NOW)
    return order


def test_what_was_written_is_read_back(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 10, 20])
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    assert claim.frame_indices.tolist() == [0, 10, 20]
    written = scores([0, 10, 20], 0.25)
    store.scores.finish(claim, OLD, written, elapsed_s=1.0, now=NOW)
    read = store.scores.of_video(video, OLD)
    assert read is not None
    assert read.frame_indices.tolist() == [0, 10, 20]
    assert read.signals.keys() == written.signals.keys()
    for name, array in written.signals.items():
        np.testing.assert_array_equal(read.signals[name], array)
    only = store.scores.of_video(video, OLD, ["mpe"])
    assert only is not None
    assert list(only.signals) == ["mpe"]


def test_every_video_is_scored_once_by_each_snapshot_and_old_scores_stay(store: Store) -> None:
    ids = {add_video(store, f"{n}.mp4", [0, 1]) for n in range(3)}
    assert set(score_all(store, OLD)) == ids
    assert score_all(store, OLD) == []
    make_current(store, NEW, NOW)
    assert store.scores.n_waiting(NEW) == 3
    assert set(score_all(store, NEW)) == ids
    for video in ids:
        assert store.scores.of_video(video, OLD) is not None
    assert store.snapshots.scored() == [OLD, NEW]


def test_the_newest_season_is_scored_first(store: Store) -> None:
    old = add_video(store, "old.mp4", [0], season="zz-2020")
    store.videos.link(seen("new.mp4"), "hash-of-new", NOW + timedelta(days=200))
    claim = store.videos.claim(NOW)
    assert claim is not None
    store.videos.finish(claim.video_id, ingested([0]), "aa-2021", NOW)
    assert score_all(store, OLD) == [claim.video_id, old]


def test_a_video_that_waits_to_be_ingested_is_not_scored(store: Store) -> None:
    store.videos.link(seen("a.mp4"), "hash", NOW)
    assert store.scores.claim(OLD, NOW) is None
    assert store.scores.n_waiting(OLD) == 0


def test_what_a_kill_interrupted_is_scored_again_with_the_attempt_counted(store: Store) -> None:
    add_video(store, "a.mp4", [0])
    first = store.scores.claim(OLD, NOW)
    assert first is not None
    assert first.attempts == 1
    assert store.scores.claim(OLD, NOW) is None  # it is being worked on
    assert store.scores.recover(NOW) == 1
    again = store.scores.claim(OLD, NOW)
    assert again is not None
    assert again.attempts == 2


def test_a_video_given_back_untried_has_its_attempt_back(store: Store) -> None:
    video = add_video(store, "a.mp4", [0])
    store.scores.claim(OLD, NOW)
    store.scores.set_aside(video, OLD, "ready", None, NOW, untried=True)
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    assert claim.attempts == 1


def test_a_failed_video_is_left_alone_until_somebody_asks(store: Store) -> None:
    video = add_video(store, "a.mp4", [0])
    store.scores.claim(OLD, NOW)
    store.scores.set_aside(video, OLD, "failed", "out of memory", NOW)
    assert store.scores.claim(OLD, NOW) is None
    assert store.scores.failures(OLD) == [(video, "out of memory")]
    assert store.scores.retry_failed(OLD, NOW) == 1
    assert store.scores.claim(OLD, NOW) is not None


def test_progress_tells_the_time_left_from_the_time_spent(store: Store) -> None:
    for n in range(4):
        add_video(store, f"{n}.mp4", [0, 1, 2])
    nothing_yet = store.scores.progress(OLD)
    assert (nothing_yet.videos_left, nothing_yet.left_s) == (4, None)
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    store.scores.finish(claim, OLD, scores([0, 1, 2]), elapsed_s=6.0, now=NOW)
    progress = store.scores.progress(OLD)
    assert (progress.videos_done, progress.videos_left) == (1, 3)
    assert (progress.frames_done, progress.frames_left) == (3, 9)
    assert progress.left_s == pytest.approx(9 * 6.0 / 3)


def label(frame: int, x_px: float = 1.0) -> LabelledFrame:
    points = (LabelledPoint("", "nose", x_px, 2.0),)
    return LabelledFrame(Path("/p"), "a", frame, Path("/p/labels.csv"), points)


def test_a_new_label_on_a_frame_never_looked_at_has_the_video_scored_again(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 10])
    score_all(store, OLD)
    store.labels.set("deeplabcut", Path("/p"), [(video, label(10))], NOW)
    assert store.scores.n_waiting(OLD) == 0
    store.labels.set("deeplabcut", Path("/p"), [(video, label(10)), (video, label(7))], NOW)
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    assert claim.frame_indices.tolist() == [0, 7, 10]


def test_a_label_beyond_the_end_of_the_video_is_not_scored(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 10])
    store.labels.set("deeplabcut", Path("/p"), [(video, label(5000))], NOW)
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    assert claim.frame_indices.tolist() == [0, 10]


def test_points_are_kept_and_follow_what_the_person_moves(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 10])
    assert store.labels.set("deeplabcut", Path("/p"), [(video, label(10))], NOW) == (1, 0, 0)
    moved = [(video, label(10, x_px=99.5))]
    assert store.labels.set("deeplabcut", Path("/p"), moved, NOW) == (0, 1, 0)
    points = store.labels.points()
    assert points == {(video, 10): (LabelledPoint("", "nose", 99.5, 2.0),)}


def test_other_frames_after_ingesting_anew_are_scored_anew(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 10])
    score_all(store, OLD)
    store.videos.finish(video, ingested([0, 10]), "s1", NOW)
    assert store.scores.n_waiting(OLD) == 0  # the same frames: only the vectors are new
    store.videos.finish(video, ingested([0, 5, 10]), "s1", NOW)
    assert store.scores.n_waiting(OLD) == 1


def test_a_label_that_comes_while_a_video_is_scored_is_not_lost(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 10])
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    store.labels.set("deeplabcut", Path("/p"), [(video, label(7))], NOW)
    store.scores.finish(claim, OLD, scores([0, 10]), elapsed_s=1.0, now=NOW)
    again = store.scores.claim(OLD, NOW)
    assert again is not None
    assert again.frame_indices.tolist() == [0, 7, 10]


def test_frames_that_cannot_be_decoded_do_not_keep_a_video_from_being_done(store: Store) -> None:
    add_video(store, "a.mp4", [0, 10])
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    store.scores.finish(claim, OLD, scores([0]), elapsed_s=1.0, now=NOW)
    assert store.scores.claim(OLD, NOW) is None


def test_a_video_that_failed_does_not_hold_up_an_older_season(store: Store) -> None:
    new = add_video(store, "new.mp4", [0], season="2025")
    old = add_video(store, "old.mp4", [0], season="2024")
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    first, second = claim.video_id, ({new, old} - {claim.video_id}).pop()
    store.scores.set_aside(first, OLD, "ready", "its worker ended", NOW)
    assert score_all(store, OLD) == [second, first]


def test_content_that_was_overwritten_is_neither_shown_nor_counted(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 10])
    failed = add_video(store, "b.mp4", [0, 10])
    kept = add_video(store, "c.mp4", [0])
    while claim := store.scores.claim(OLD, NOW):
        if claim.video_id == failed:
            store.scores.set_aside(failed, OLD, "failed", "broken", NOW)
        else:
            found = scores(claim.frame_indices.tolist())
            store.scores.finish(claim, OLD, found, elapsed_s=1.0, now=NOW)
    for name in ("a.mp4", "b.mp4"):
        store.videos.link(seen(name), f"other content of {name}", NOW)
    assert [video_id for video_id, _ in store.scores.scored_videos(OLD)] == [kept]
    assert store.scores.failures(OLD) == []
    progress = store.scores.progress(OLD)
    assert (progress.videos_done, progress.videos_failed, progress.frames_done) == (1, 0, 1)
    assert store.scores.of_video(video, OLD) is not None  # should that content come back


def test_videos_whose_file_is_away_are_left_out_where_only_those_that_are_here_count(
    store: Store,
) -> None:
    video = add_video(store, "a.mp4", [0])
    score_all(store, OLD)
    store.videos.mark_absent(seen("a.mp4"))
    assert store.scores.scored_videos(OLD, here=True) == []
    assert [video_id for video_id, _ in store.scores.scored_videos(OLD)] == [video]


def test_a_video_that_failed_is_tried_again_where_its_file_is_found_anew(store: Store) -> None:
    video = add_video(store, "a.mp4", [0])
    store.scores.claim(OLD, NOW)
    store.scores.set_aside(video, OLD, "failed", "cannot be read", NOW)
    content = store.videos.by_id([video])[video].content_hash
    store.videos.link(seen("copy.mp4"), content, NOW)
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    assert claim.attempts == 1


def test_a_signal_that_is_wanted_by_now_has_everything_without_it_scored_again(
    store: Store,
) -> None:
    add_video(store, "a.mp4", [0])
    score_all(store, OLD)
    store.scores.require(OLD, ["mpe"], NOW)
    assert store.scores.n_waiting(OLD) == 0
    store.scores.require(OLD, ["mpe", "flip"], NOW)
    assert store.scores.n_waiting(OLD) == 1


def test_old_snapshots_are_still_compared_when_their_videos_are_stale(store: Store) -> None:
    video = add_video(store, "a.mp4", [0, 10])
    score_all(store, OLD)
    make_current(store, NEW, NOW)
    score_all(store, NEW)
    store.labels.set("deeplabcut", Path("/p"), [(video, label(7))], NOW)
    assert store.snapshots.scored() == [OLD, NEW]


def test_a_folder_stays_with_its_video_when_another_of_that_name_comes(store: Store) -> None:
    video = add_video(store, "2024/a.mp4", [0, 10])
    store.labels.set("deeplabcut", Path("/p"), [(video, label(10))], NOW)
    add_video(store, "2025/a.mp4", [0, 10])
    assert store.videos.by_stem() == {}
    assert store.queues.export_folders("deeplabcut", Path("/p")) == {"a": video}


def test_only_some_frames_of_some_videos_may_be_scored_and_the_rest_waits_on(store: Store) -> None:
    first, second = (add_video(store, f"{name}.mp4", [0, 10, 20]) for name in "ab")
    store.labels.set("deeplabcut", Path("/p"), [(second, label(7))], NOW)
    wanted = {second: {7, 20, 500}}
    assert store.scores.n_waiting(OLD, only=wanted) == 1
    claim = store.scores.claim(OLD, NOW, only=wanted)
    assert claim is not None
    assert (claim.video_id, claim.frame_indices.tolist()) == (second, [7, 20])
    store.scores.finish(claim, OLD, scores([7, 20]), elapsed_s=1.0, now=NOW)
    assert store.scores.scored_frames(second, OLD) == [7, 20]
    assert store.scores.scored_frames(first, OLD) == []
    assert store.scores.n_waiting(OLD) == 2
    more = store.scores.claim(OLD, NOW, only={second: {0}})
    assert more is not None
    assert more.frame_indices.tolist() == [0, 7, 20]  # nothing that is scored is lost
    store.scores.finish(more, OLD, scores([0, 7, 20]), elapsed_s=1.0, now=NOW)
    assert set(score_all(store, OLD)) == {first, second}
    assert store.scores.scored_frames(second, OLD) == [0, 7, 10, 20]
    assert store.scores.n_waiting(OLD, only=[second]) == 0
    assert store.scores.claim(OLD, NOW, only={}) is None


def test_what_has_yet_to_be_scored_is_known_by_video(store: Store) -> None:
    a, b = (add_video(store, f"{name}.mp4", [0]) for name in "ab")
    assert store.scores.unscored(OLD) == {a, b}
    claim = store.scores.claim(OLD, NOW)
    assert claim is not None
    assert store.scores.unscored(OLD) == {a, b}  # one of them is being scored
    store.scores.set_aside(claim.video_id, OLD, "failed", "broken", NOW)
    assert store.scores.unscored(OLD) == {a, b} - {claim.video_id}
    score_all(store, OLD)
    assert store.scores.unscored(OLD) == set()
    assert store.snapshots.first_seen(OLD) == NOW
