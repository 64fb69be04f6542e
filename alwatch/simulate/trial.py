"""One experiment after the other: train, choose, "label" from the truth, train again, test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from alwatch.errors import SettingsError
from alwatch.pose_models.prediction import Prediction
from alwatch.pose_models.signals import feature_vectors, signals_of
from alwatch.scores.aggregation import frame_scores
from alwatch.scores.aggregation import trust as measured_trust
from alwatch.simulate.archive import LabelledArchive
from alwatch.simulate.conditions import BASE, ORACLE, WHOLE_POOL, Conditions, Contender
from alwatch.simulate.features import TRUTH, embed, embedder_for, true_poses
from alwatch.simulate.measures import (
    ModelError,
    model_error,
    point_errors_px,
    reference_lengths_px,
)
from alwatch.simulate.splits import Split, draw_split
from alwatch.simulate.trainers import TrainedModel, trainer_for
from alwatch.strategies.bandit import ARMS, BANDIT, Round, choose_arm
from alwatch.strategies.pool import Picks, Pool
from alwatch.strategies.registry import select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

_BATCH = 64
_FRAMES_A_SECOND = 30.0


class Bench:
    """One seed's split, with the model that everything starts from.

    All contenders start from the same base model and train with the same seed, so that they
    differ by their labels alone.

    Parameters
    ----------
    archive : LabelledArchive
    conditions : Conditions
    seed : int
    """

    def __init__(self, archive: LabelledArchive, conditions: Conditions, seed: int) -> None:
        self._archive = archive
        self._conditions = conditions
        self._seed = seed
        self._individual = archive.groups(conditions.individual)
        self._session = archive.groups(conditions.session)
        names = archive.bodyparts
        missing = [name for name in conditions.reference if name not in names]
        if missing:
            raise SettingsError(
                f"The reference is {' and '.join(conditions.reference)}, but the bodyparts are "
                f"{', '.join(names)}; name two of these."
            )
        one, other = (names.index(name) for name in conditions.reference)
        try:
            self._lengths_px = reference_lengths_px(archive.points_px, archive.video, (one, other))
        except ValueError as error:
            raise SettingsError(
                f"The reference is {' and '.join(conditions.reference)}, but {error}; name two "
                "that are with --reference."
            ) from None
        self.split: Split = draw_split(
            self._individual,
            self._session,
            n_base=conditions.base_frames,
            base_individuals=conditions.base_individuals,
            test_sessions=conditions.test_sessions,
            n_test=conditions.test_frames,
            rng=np.random.default_rng(seed),
        )
        self._embedder = embedder_for(
            conditions.features, conditions.features_weights, conditions.device
        )
        self._trainer = trainer_for(conditions, names)
        self._base = self._train(self.split.base)
        self._vectors: NDArray[np.float32] | None = None
        self._base_vectors: NDArray[np.float32]
        self._base_scored: tuple[dict[str, NDArray[np.float32]], NDArray[Any]] | None = None

    def run(self, contender: Contender, asked: str) -> dict[str, Any]:
        """Spend a budget by a contender; what came of it, as a flat row.

        Parameters
        ----------
        contender : Contender
        asked : str
            The budget, as `n_labels` reads it; no matter for the base and the whole pool.
        """
        if contender.strategy == BASE:
            return self._tested(contender, asked, self._base, self.split.pool[:0], 0.0)
        if contender.strategy == WHOLE_POOL:
            model = self._retrain(self.split.pool)
            return self._tested(contender, asked, model, self.split.pool, 0.0)
        budget = n_labels(asked, len(self.split.pool))
        model, picked, trust = self._base, self.split.pool[:0], 0.0
        rounds: list[Round] = []
        for share in _shares(budget, self._conditions.rounds):
            scores, errors_px = self._scored(model)
            pool = self._pool(picked, scores, trust)
            by = self._with_arm(contender, rounds)
            picks = self._choose(by, pool, errors_px, share, len(picked))
            chosen, audit_px = picks.rows, errors_px[picks.rows[: picks.n_audit]]
            error_px = float(audit_px.mean()) if len(audit_px) else None
            rounds.append(Round(by.strategy, len(chosen), error_px))
            trust = measured_trust(scores["confidence"][chosen], errors_px[chosen])
            picked = np.concatenate([picked, self.split.pool[chosen]])
            model = self._retrain(picked)
        arms = [one.arm for one in rounds] if contender.strategy == BANDIT else []
        return self._tested(contender, asked, model, picked, trust) | {"arms": arms}

    def _with_arm(self, contender: Contender, rounds: list[Round]) -> Contender:
        """The contender itself, or the bandit with the strategy that it draws for this round."""
        if contender.strategy != BANDIT:
            return contender
        arm, _ = choose_arm(ARMS, rounds, np.random.default_rng([self._seed, len(rounds)]))
        return replace(contender, strategy=arm)

    def _train(self, rows: Rows, *, start: TrainedModel | None = None) -> TrainedModel:
        archive = self._archive
        return self._trainer.train(  # type: ignore[no-any-return]
            archive.images[rows], archive.points_in_images(rows), seed=self._seed, start=start
        )

    def _retrain(self, picked: Rows) -> TrainedModel:
        start = self._base if self._conditions.more_steps else None
        return self._train(np.concatenate([self.split.base, picked]), start=start)

    def _scored(self, model: TrainedModel) -> tuple[dict[str, NDArray[np.float32]], NDArray[Any]]:
        """Scores of the pool by a model, and its true error on each frame."""
        if model is not self._base:
            return self._score(model)
        if self._base_scored is None:
            self._base_scored = self._score(model)
        return self._base_scored

    def _score(self, model: TrainedModel) -> tuple[dict[str, NDArray[np.float32]], NDArray[Any]]:
        """Score the pool; the first time, when the base model does, the vectors come with it."""
        archive, rows = self._archive, self.split.pool
        signals: list[dict[str, NDArray[np.float32]]] = []
        vectors = []
        for part in _batches(rows):
            prediction = model.predict(archive.images[part], _BATCH)
            signals.append(signals_of(prediction))
            if self._vectors is None:
                vectors.append(self._vectors_of(part, prediction))
        if self._vectors is None:
            self._vectors = np.concatenate(vectors)
            base = self.split.base
            prediction = model.predict(archive.images[base], _BATCH)
            self._base_vectors = self._vectors_of(base, prediction)
        together = {name: np.concatenate([part[name] for part in signals]) for name in signals[0]}
        errors_px = self._errors_px(together["pose"][:, 0, :, :2], rows)
        known = np.isfinite(errors_px)
        means = np.where(known, errors_px, 0).sum(axis=1) / known.sum(axis=1).clip(1)
        return frame_scores(together), means

    def _vectors_of(self, rows: Rows, prediction: Prediction) -> NDArray[np.float32]:
        """Vectors of frames; those of the base model's backbone stay the same in every round."""
        if self._conditions.features == TRUTH:
            return true_poses(self._archive.points_in_images(rows), self._conditions.size_px)
        if self._embedder is not None:
            return embed(self._embedder, self._archive.images[rows])
        vectors = feature_vectors(prediction, self._conditions.size_px)
        assert vectors is not None
        return vectors

    def _pool(self, picked: Rows, scores: Mapping[str, NDArray[np.float32]], trust: float) -> Pool:
        archive, rows, base = self._archive, self.split.pool, self.split.base
        assert self._vectors is not None
        taken = np.flatnonzero(np.isin(rows, picked))
        labelled = np.concatenate([base, rows[taken]])
        time_s = archive.frame.astype(np.float64) / _FRAMES_A_SECOND
        return Pool(
            vectors=self._vectors,
            video=archive.video[rows],
            frame=archive.frame[rows],
            time_s=time_s[rows],
            taken_vectors=np.concatenate([self._base_vectors, self._vectors[taken]]),
            taken_video=archive.video[labelled],
            taken_frame=archive.frame[labelled],
            taken_time_s=time_s[labelled],
            individual=self._individual[rows],
            session=self._session[rows],
            taken_individual=self._individual[labelled],
            taken_session=self._session[labelled],
            scores=scores,
            trust=trust,
        )

    def _choose(
        self,
        contender: Contender,
        pool: Pool,
        errors_px: NDArray[Any],
        budget: int,
        already: int,
    ) -> Picks:
        strategy = contender.strategy
        if strategy == ORACLE:
            pool = replace(pool, scores={"confidence": errors_px.astype(np.float32)}, trust=1.0)
            strategy = "balanced_herding"
        rng = np.random.default_rng([self._seed, already])
        return select(pool, strategy=strategy, budget=budget, limits=contender.limits, rng=rng)

    def _errors_px(self, poses_px: NDArray[Any], rows: Rows) -> NDArray[Any]:
        archive = self._archive
        in_original = (poses_px + 0.5) / archive.scale[rows, None, None] - 0.5
        return point_errors_px(in_original, archive.points_px[rows])

    def _tested(
        self, contender: Contender, asked: str, model: TrainedModel, picked: Rows, trust: float
    ) -> dict[str, Any]:
        test, pool = self.split.test, self.split.pool_test
        error = self._error(model, test)
        unseen = pool[~np.isin(pool, picked)]
        on_pool = self._error(model, unseen if len(unseen) else pool)
        return {
            "seed": self._seed,
            "strategy": contender.spelled,
            "asked": asked,
            "rounds": self._conditions.rounds,
            "labels": len(picked),
            "individuals": len(np.unique(self._individual[picked])),
            "trust": round(trust, 3),
            **{name: round(value, 4) for name, value in asdict(error).items()},
            "pool_px": round(on_pool.individuals_px, 4),
            "pool_worst_px": round(on_pool.worst_individual_px, 4),
            "base_individuals": list(self.split.base_individuals),
            "test_sessions": list(self.split.test_sessions),
            "arms": [],
        }

    def _error(self, model: TrainedModel, rows: Rows) -> ModelError:
        """How wrong a model is on some frames."""
        poses = np.concatenate(
            [model.predict(self._archive.images[part], _BATCH).poses for part in _batches(rows)]
        )
        return model_error(
            self._errors_px(poses[:, 0, :, :2], rows),
            self._individual[rows],
            self._lengths_px[rows],
            pck_share=self._conditions.pck_share,
        )


def n_labels(asked: str, n_pool: int) -> int:
    """How many labels a budget such as "40" or "2.5%" is, of a pool of so many frames."""
    if asked.endswith("%"):
        return max(1, round(float(asked[:-1]) / 100 * n_pool))
    return int(asked)


def trials(
    contenders: tuple[Contender, ...], budgets: tuple[str, ...]
) -> Iterator[tuple[Contender, str]]:
    """What one seed runs: the base, every contender at every budget, the whole pool."""
    yield Contender.read(BASE), "0"
    for budget in budgets:
        for contender in contenders:
            yield contender, budget
    yield Contender.read(WHOLE_POOL), "100%"


def _shares(budget: int, rounds: int) -> list[int]:
    """A budget in rounds as equal as can be."""
    return [n for r in range(rounds) if (n := budget * (r + 1) // rounds - budget * r // rounds)]


def _batches(rows: Rows) -> Iterator[Rows]:
    for low in range(0, len(rows), _BATCH):
        yield rows[low : low + _BATCH]
