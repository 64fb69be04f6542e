"""The tables, as a list of migrations. A released migration is never edited: add another."""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

MIGRATIONS = Migrations("alwatch")


@MIGRATIONS()
def m001_archive_frames_and_queues(db: Database) -> None:
    """Roots, files and videos; frames and vectors; labels, queues and exports."""
    db.create_table(
        "roots",
        {"path": bytes, "online": int, "problem": str, "scanned_at": str},
        pk="path",
        not_null={"online"},
    )
    db.create_table(
        "videos",
        {
            "id": int,
            "content_hash": str,
            "last_path": bytes,
            "state": str,
            "reason": str,
            "attempts": int,
            "retry_at": str,
            "season": str,
            "container": str,
            "codec": str,
            "width_px": int,
            "height_px": int,
            "rotation_deg": int,
            "fps": float,
            "duration_s": float,
            "recorded_at": str,
            "n_frames": int,
            "decoder_path": str,
            "discovered_at": str,
            "changed_at": str,
        },
        pk="id",
        not_null={"content_hash", "last_path", "state", "attempts", "discovered_at", "changed_at"},
        defaults={"attempts": 0},
    )
    db.table("videos").create_index(["content_hash"], unique=True)
    db.table("videos").create_index(["state", "id"])
    db.table("videos").create_index(["season"])
    db.create_table(
        "files",
        {
            "path": bytes,
            "root": bytes,
            "device": int,
            "inode": int,
            "size_bytes": int,
            "mtime_ns": int,
            "ctime_ns": int,
            "present": int,
            "video_id": int,
        },
        pk="path",
        not_null={"root", "present", "video_id"},
        foreign_keys=[("video_id", "videos", "id")],
    )
    db.table("files").create_index(["video_id"])
    db.table("files").create_index(["root"])
    db.create_table("embedders", {"id": int, "name": str, "weights": str, "dim": int}, pk="id")
    db.table("embedders").create_index(["name", "weights", "dim"], unique=True)
    # Written by hand: sqlite-utils cannot say WITHOUT ROWID, which halves these two tables.
    db.execute(
        """
        CREATE TABLE frames (
            video_id INTEGER NOT NULL REFERENCES videos(id),
            frame_index INTEGER NOT NULL,
            time_s REAL NOT NULL,
            keyframe INTEGER NOT NULL,
            PRIMARY KEY (video_id, frame_index)
        ) WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE labels (
            video_id INTEGER NOT NULL REFERENCES videos(id),
            frame_index INTEGER NOT NULL,
            tool TEXT NOT NULL,
            project BLOB NOT NULL,
            noticed_at TEXT NOT NULL,
            PRIMARY KEY (video_id, frame_index, tool, project)
        ) WITHOUT ROWID
        """
    )
    # One float16 matrix per video and embedder; row i belongs to the video's i-th frame.
    # `revision` grows with every write, so that a cache can ask what is new since it was made.
    db.create_table(
        "vectors",
        {"video_id": int, "embedder_id": int, "revision": int, "n_frames": int, "matrix": bytes},
        pk=("video_id", "embedder_id"),
        not_null={"revision", "n_frames", "matrix"},
        foreign_keys=[("video_id", "videos", "id"), ("embedder_id", "embedders", "id")],
    )
    db.table("vectors").create_index(["embedder_id", "revision"])
    db.create_table(
        "queues",
        {
            "id": int,
            "season": str,
            "strategy": str,
            "seed": int,
            "budget": int,
            "created_at": str,
            "manifest": str,
        },
        pk="id",
        not_null={"season", "strategy", "seed", "budget", "created_at", "manifest"},
    )
    db.create_table(
        "queue_frames",
        {
            "queue_id": int,
            "rank": int,
            "video_id": int,
            "frame_index": int,
            "score": float,
            "reason": str,
        },
        pk=("queue_id", "rank"),
        not_null={"video_id", "frame_index", "score", "reason"},
        foreign_keys=[("queue_id", "queues", "id"), ("video_id", "videos", "id")],
    )
    db.table("queue_frames").create_index(["video_id", "frame_index"], unique=True)
    db.create_table(
        "exports",
        {"queue_id": int, "tool": str, "project": bytes, "exported_at": str, "written": int},
        pk=("queue_id", "tool", "project"),
        foreign_keys=[("queue_id", "queues", "id")],
    )
    db.create_table(
        "export_folders",
        {"tool": str, "project": bytes, "folder": str, "video_id": int},
        pk=("tool", "project", "folder"),
        foreign_keys=[("video_id", "videos", "id")],
    )


@MIGRATIONS()
def m002_scores_of_pose_models(db: Database) -> None:
    """Snapshots, what they say of each video's frames, and where people put the bodyparts."""
    db.create_table(
        "snapshots",
        {
            "id": int,
            "kind": str,
            "name": str,
            "sha256": str,
            "bodyparts": str,
            "n_individuals": int,
            "n_unique": int,
            "first_seen_at": str,
        },
        pk="id",
        not_null={
            "kind",
            "name",
            "sha256",
            "bodyparts",
            "n_individuals",
            "n_unique",
            "first_seen_at",
        },
    )
    db.table("snapshots").create_index(["kind", "sha256"], unique=True)
    # One row: which snapshot is current, and what keeps it from scoring, if anything does.
    db.create_table(
        "pose_model",
        {"id": int, "snapshot_id": int, "problem": str, "changed_at": str},
        pk="id",
        foreign_keys=[("snapshot_id", "snapshots", "id")],
    )
    # A video without a row, or with one that is neither done nor failed, has yet to be scored.
    db.create_table(
        "scorings",
        {
            "video_id": int,
            "snapshot_id": int,
            "state": str,
            "attempts": int,
            "reason": str,
            "n_frames": int,
            "elapsed_s": float,
            "frame_indices": bytes,
            "changed_at": str,
        },
        pk=("video_id", "snapshot_id"),
        not_null={"state", "attempts", "changed_at"},
        foreign_keys=[("video_id", "videos", "id"), ("snapshot_id", "snapshots", "id")],
    )
    db.table("scorings").create_index(["snapshot_id", "state"])
    # One float32 array per video, snapshot and signal; row i belongs to frame_indices[i].
    db.create_table(
        "scores",
        {"video_id": int, "snapshot_id": int, "signal": str, "shape": str, "data": bytes},
        pk=("video_id", "snapshot_id", "signal"),
        not_null={"shape", "data"},
        foreign_keys=[("video_id", "videos", "id"), ("snapshot_id", "snapshots", "id")],
    )
    db.table("labels").add_column("points", str)  # JSON: [[individual, bodypart, x_px, y_px], …]


@MIGRATIONS()
def m003_labellers_and_withdrawn_queues(db: Database) -> None:
    """Who labelled a frame and how; queues that were withdrawn give their frames back."""
    db.execute("ALTER TABLE labels RENAME TO labels_before")
    db.execute(
        """
        CREATE TABLE labels (
            video_id INTEGER NOT NULL REFERENCES videos(id),
            frame_index INTEGER NOT NULL,
            tool TEXT NOT NULL,
            project BLOB NOT NULL,
            labeller TEXT NOT NULL,
            state TEXT NOT NULL,
            points TEXT,
            noticed_at TEXT NOT NULL,
            changed_at TEXT NOT NULL,
            PRIMARY KEY (video_id, frame_index, tool, project, labeller)
        ) WITHOUT ROWID
        """
    )
    db.execute(
        "INSERT INTO labels SELECT video_id, frame_index, tool, project, '', 'labelled', points, "
        "noticed_at, noticed_at FROM labels_before"
    )
    db.execute("DROP TABLE labels_before")
    db.table("queues").add_column("withdrawn_at", str)
    db.table("queue_frames").add_column("withdrawn", int, not_null_default=0)
    db.execute("DROP INDEX idx_queue_frames_video_id_frame_index")
    db.execute(
        "CREATE UNIQUE INDEX idx_queue_frames_video_id_frame_index "
        "ON queue_frames (video_id, frame_index) WHERE NOT withdrawn"
    )


@MIGRATIONS()
def m004_seasons_triggers_and_judgements(db: Database) -> None:
    """What seasons were found to need, what was asked for because of it, and what came of it."""
    # Figures of a season each time that they changed: what a dry run of the rules replays.
    db.create_table(
        "assessments",
        {"id": int, "season": str, "inputs": str, "figures": str, "assessed_at": str},
        pk="id",
        not_null={"season", "inputs", "figures", "assessed_at"},
    )
    db.table("assessments").create_index(["season", "id"])
    db.create_table(
        "season_changes",
        {"id": int, "season": str, "state": str, "reason": str, "changed_at": str},
        pk="id",
        not_null={"season", "state", "reason", "changed_at"},
    )
    db.table("season_changes").create_index(["season", "id"])
    db.create_table(
        "firings",
        {
            "id": int,
            "rule": str,
            "key": str,
            "seasons": str,
            "reason": str,
            "evidence": str,
            "fired_at": str,
            "closed_at": str,
            "closed_by": str,
        },
        pk="id",
        not_null={"rule", "key", "seasons", "reason", "evidence", "fired_at"},
    )
    db.table("firings").create_index(["key"], unique=True)
    # The outbox: written with its firing in one transaction, delivered at least once.
    db.create_table(
        "deliveries",
        {
            "id": int,
            "firing_id": int,
            "key": str,
            "kind": str,
            "settings": str,
            "state": str,
            "attempts": int,
            "retry_at": str,
            "outcome": str,
            "changed_at": str,
        },
        pk="id",
        not_null={"firing_id", "key", "kind", "settings", "state", "attempts", "changed_at"},
        foreign_keys=[("firing_id", "firings", "id")],
    )
    db.table("deliveries").create_index(["key"], unique=True)
    db.table("deliveries").create_index(["state", "id"])
    # Append-only: the last judgement of a snapshot counts.
    db.create_table(
        "judgements",
        {
            "id": int,
            "snapshot_id": int,
            "against_id": int,
            "verdict": str,
            "judge": str,
            "reason": str,
            "figures": str,
            "judged_at": str,
        },
        pk="id",
        not_null={"snapshot_id", "verdict", "judge", "reason", "figures", "judged_at"},
        foreign_keys=[("snapshot_id", "snapshots", "id"), ("against_id", "snapshots", "id")],
    )
    snapshots = db.table("snapshots")
    snapshots.add_column("located", str)  # JSON: what a worker needs to load it again
    snapshots.add_column("taught_until", str)  # labels noticed until then it may know
    snapshots.add_column("held_out", str)  # JSON: [[video id, frame], …] it was not trained on
    db.execute("UPDATE snapshots SET taught_until = first_seen_at")
    db.table("pose_model").add_column("candidate_id", int, fk="snapshots", fk_col="id")
