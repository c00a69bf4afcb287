"""Plans of runs and of folds; nothing is run here."""

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest

from ser_nsl.corpora.prepare import read_corpus
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig, SyntheticConfig
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.experiment import Experiment, load_experiment
from ser_nsl.pipeline.plan_folds import plan_folds, sweep_training
from ser_nsl.pipeline.plan_run import plan_run
from ser_nsl.pipeline.run import run_pipeline
from ser_nsl.pipeline.steps import Step
from ser_nsl.pipeline.sweep import run_sweep, write_speakers
from ser_nsl.pipeline.sweep_config import Fold, Grid, list_runs
from ser_nsl.upstream.settings import FineTuningConfig, HeadConfig

WHISPER = Path(__file__).parents[2] / "models" / "whisper-base-lower"

TINY = Experiment(
    name="tiny",
    title="Tiny",
    source=CorpusConfig("ravdess", audio_dir=Path("clips"), leave_out=("calm",), skip_bad=True),
    target=CorpusConfig("demos", synthetic=SyntheticConfig(speakers=6)),
    upstream="mini",
    finetuning=FineTuningConfig(),
    graph=GraphConfig(similarity_threshold=0.5),
    networks=("cnn6",),
)


def planned(experiment: Experiment, run: Path = Path("run")) -> dict[str, Step]:
    """Steps by output."""
    return {step.out.relative_to(run).as_posix(): step for step in plan_run(experiment, run)}


def inputs(step: Step) -> list[Path]:
    values = [step.arguments.get(name) for name in step.function.inputs]
    each = [v for value in values for v in (value if isinstance(value, tuple) else [value])]
    return [Path(value) for value in each if value is not None]


EXPERIMENTS = {
    "as it is": TINY,
    "head": replace(TINY, finetuning=None, head=HeadConfig()),
    "learned before": replace(TINY, finetuning=None, center="speaker"),
    "transfer": replace(TINY, methods=("max", "base"), networks=("cnn6", "vgg15"), seeds=(3, 4)),
    "probe": replace(
        TINY,
        graph=GraphConfig(embeddings="probe", across_speakers=True, edges="nearest"),
        center="speaker",
    ),
}


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_steps_come_after_those_that_make_their_inputs(experiment):
    made: set[Path] = set()
    for step in plan_run(experiment, Path("run")):
        here = {path for path in inputs(step) if path.parts[0] == "run"}
        assert here <= made, step
        assert step.out not in made
        made.add(step.out)


def test_run_in_its_order():
    assert [*planned(TINY)] == [
        *("source/manifest.csv", "target/audio", "target/manifest.csv"),
        "upstream/finetuned",
        *("features", "uncentered", "graph/graph.tsv", "training"),
        *("uncentered_mfcc", "results/baseline-mfcc.json", "results/baseline-upstream.json"),
        *("uncentered_both", "results/baseline-both.json"),
        *("models/cnn6-base-seed0", "results/cnn6-base-seed0.json"),
        *("models/cnn6-nsl-seed0", "results/cnn6-nsl-seed0.json"),
        *("chosen", "recogniser.tflite"),
    ]


def test_a_graph_is_built_where_a_method_has_one(tone_corpus, tmp_path):
    steps = planned(replace(TINY, methods=("base", "embedding", "add")))
    assert not {"graph/graph.tsv", "training"} & {*steps}

    by_clips = replace(TINY.target, corpus="folder", audio_dir=tone_corpus, synthetic=None)
    target = replace(by_clips, split=SplitConfig("clips"))
    graph = GraphConfig(across_speakers=True)
    run = replace(TINY, source=None, finetuning=None, target=target, graph=graph, center=None)
    with pytest.raises(InputError, match="across_speakers: .* no speaker"):
        run_pipeline(run, tmp_path / "run", dry_run=True)
    assert "36 clips" in run_pipeline(replace(run, methods=("base",)), tmp_path, dry_run=True)


@pytest.mark.parametrize(("keep", "splits"), [("best", 3), ("last", 2)])
def test_baselines_know_what_training_knows(keep, splits):
    training = replace(TINY.training, keep=keep, label_share=0.5)
    steps = planned(replace(TINY, training=training, seeds=(7,)))

    kinds = {"mfcc": "uncentered_mfcc", "upstream": "uncentered", "both": "uncentered_both"}
    for kind, embeddings in kinds.items():
        arguments = steps[f"results/baseline-{kind}.json"].arguments
        assert arguments["embeddings"] == Path("run") / embeddings
        assert (arguments["label_share"], arguments["seed"]) == (0.5, 7)
        if kind != "both":  # which has the splits of the two
            assert len(steps[embeddings].arguments["splits"]) == splits


def test_every_setting_of_a_corpus_is_passed_on():
    arguments = planned(TINY)["source/manifest.csv"].arguments

    assert (arguments["audio_dir"], arguments["skip_bad"]) == (Path("clips"), True)
    assert {field.name for field in fields(CorpusConfig)} - {"synthetic"} <= arguments.keys()


def test_transfer_learning():
    steps = planned(EXPERIMENTS["transfer"])

    assert steps["uncentered"].arguments["splits"] == ("train", "val", "test")
    assert [out for out in steps if out.startswith("models")] == [
        f"models/{network}-{method}-seed{seed}"
        for network in ("cnn6", "vgg15")
        for seed in (3, 4)
        for method in ("base", "max")
    ]
    training = steps["models/vgg15-max-seed4"].arguments
    assert (training["model"], training["method"], training["training"].seed) == ("vgg15", "max", 4)
    assert training["embeddings"] == Path("run/uncentered")
    assert training["training_records"] is None
    scoring = steps["results/vgg15-max-seed4.json"].arguments
    assert scoring["model_dir"] == training["out"]
    assert scoring["compare_with"] == Path("run/results/vgg15-base-seed4.json")
    assert steps["results/vgg15-base-seed4.json"].arguments["compare_with"] is None


def test_settings_of_the_graph_leave_other_methods_up_to_date():
    stronger = replace(TINY, training=replace(TINY.training, alpha=9.0, layer="fc1"))
    before, after = planned(TINY), planned(stronger)

    assert [out for out in before if before[out] != after[out]] == ["models/cnn6-nsl-seed0"]


def test_alpha_weighs_what_the_upstream_teaches():
    training = replace(TINY.training, alpha=9.0, layer="fc1")
    steps = planned(replace(TINY, methods=("base", "embedding"), training=training))

    used = [steps[f"models/cnn6-{name}-seed0"].arguments for name in ("base", "embedding")]
    assert [(own["training"].alpha, own["training"].layer) for own in used] == [
        (1.0, "fc2"),
        (9.0, "fc2"),
    ]
    assert used[1]["embeddings"] == Path("run/uncentered")


def test_networks_start_from_those_that_were_taught_before():
    taught = {"cnn6": Path("taught")}
    steps = planned(replace(TINY, networks=("cnn6", "vgg15"), methods=("base",), starts=taught))

    assert steps["models/cnn6-base-seed0"].arguments["start"] == Path("taught")
    assert steps["models/vgg15-base-seed0"].arguments["start"] is None


def test_pseudo_labels_of_a_probe_train_in_place_of_those_that_are_not_known():
    few = replace(TINY.training, label_share=0.5)
    steps = planned(replace(TINY, methods=("base", "pseudo_labels"), training=few))

    labelled = steps["pseudo_labels/probe_0.5_0"].arguments
    assert labelled["embeddings"] == Path("run/probe_0.5_0")
    assert labelled["label_share"] == steps["probe_0.5_0"].arguments["label_share"] == 0.5
    trained = steps["models/cnn6-pseudo_labels-seed0"].arguments
    assert trained["features"] == Path("run/pseudo_labels/probe_0.5_0")
    assert (trained["method"], trained["training"].label_share) == ("base", 1.0)
    assert Path("run/models/cnn6-pseudo_labels-seed0") in steps["chosen"].arguments["models"]
    assert steps["models/cnn6-base-seed0"].arguments["training"].label_share == 0.5


def test_upstream_that_has_learned_before():
    steps = planned(EXPERIMENTS["learned before"])

    assert not [out for out in steps if out.startswith(("source", "upstream"))]
    assert steps["uncentered"].arguments["upstream"] == "mini"
    assert steps["embeddings"].arguments["embeddings"] == Path("run/uncentered")
    assert steps["graph/graph.tsv"].arguments["embeddings"] == Path("run/embeddings")


def test_graph_of_a_probe():
    steps = planned(EXPERIMENTS["probe"])

    assert steps["fused"].arguments["embeddings"] == (Path("run/embeddings"), Path("run/mfcc"))
    assert steps["mfcc"].arguments["embeddings"] == Path("run/uncentered_mfcc")
    assert steps["probe"].arguments["embeddings"] == Path("run/fused")
    built = steps["graph/graph.tsv"].arguments
    assert built["embeddings"] == Path("run/probe")
    assert built["manifest"] == Path("run/target/manifest.csv")
    assert (built["across_speakers"], built["max_neighbors"]) == (True, 3)
    assert steps["training"].arguments["graph"] == Path("run/graph/graph.tsv")


@pytest.mark.parametrize("kind", ["mfcc", "fused"])
def test_graph_of_other_embeddings(kind):
    steps = planned(replace(TINY, graph=replace(TINY.graph, embeddings=kind)))

    name = {"mfcc": "uncentered_mfcc", "fused": "fused"}[kind]
    assert steps["graph/graph.tsv"].arguments["embeddings"] == Path("run") / name


def test_centring_changes_no_stage_of_an_output():
    """A stage replaces only what it has made, and a run may go on with other settings."""
    stages = [
        {out: step.function.__name__ for out, step in planned(replace(TINY, center=center)).items()}
        for center in (None, "speaker")
    ]

    assert stages[0].items() <= stages[1].items()


def test_large_graph():
    def arguments(**graph) -> tuple[dict, dict]:
        steps = planned(replace(TINY, graph=replace(TINY.graph, **graph)))
        return steps["graph/graph.tsv"].arguments, steps["training"].arguments

    build, pack = arguments()
    assert (build["builder"], build["max_neighbors"]) == ("auto", None)
    assert (pack["form"], pack["max_neighbors"]) == ("auto", 3)
    build, pack = arguments(builder="exact", edges="nearest", packing="indexed", max_neighbors=6)
    assert (build["builder"], build["max_neighbors"]) == ("exact", 6)
    assert (pack["form"], pack["max_neighbors"]) == ("indexed", 6)


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (("nsl", "base"), ["cnn6-base-seed0", "cnn6-nsl-seed0"]),
        (("base", "add"), ["cnn6-base-seed0"]),
        (("probabilities", "base"), ["cnn6-base-seed0", "cnn6-probabilities-seed0"]),
        (("add", "max"), []),
    ],
)
def test_exported_model_needs_no_upstream(methods, expected):
    experiment = replace(TINY, methods=methods)
    steps = planned(experiment)

    if expected:
        assert [path.name for path in steps["chosen"].arguments["models"]] == expected
        assert steps["recogniser.tflite"].arguments["model_dir"] == Path("run/chosen")
    else:
        assert not {"chosen", "recogniser.tflite"} & steps.keys()


def fold_steps(sweep, *arms: str, folds: tuple[int, ...] = (0,), **grid) -> dict[str, Step]:
    """Steps before the trainings of some arms, by output."""
    grids = {"main": Grid(arms=arms, folds=folds, seeds=(), **grid)}
    sweep = replace(sweep, grids=grids, default=("main",))
    plans = plan_folds(sweep, folds, Path("work"))
    for run in list_runs(sweep):
        plans[run.fold].features()
        plans[run.fold].inputs(sweep_training(sweep, run))
    steps = plans[folds[0]].steps
    return {out.relative_to("work").as_posix(): step for out, step in steps.items()}


def test_only_what_the_arms_need_is_made(tiny):
    """Centring needs speakers; plain training, transfer and the paper's graph do not."""

    def made(*arms: str) -> set[str]:
        return {step.function.__name__ for step in fold_steps(tiny, *arms).values()}

    always = {"prepare_corpus", "extract_features"}
    assert made("base") == always
    assert made("add") == always | {"extract_embeddings"}
    assert made("paper") == always | {"extract_embeddings", "build_graph", "pack_neighbors"}
    assert made("mfcc") & {"extract_embeddings", "fuse_embeddings"} == set()
    assert made("pseudo_labels") >= {"fuse_embeddings", "probe_embeddings", "pseudo_label"}


def test_head_is_trained_on_the_source_and_embeds_the_target():
    steps = planned(replace(TINY, finetuning=None, head=HeadConfig(layers=(2, 3))))

    assert "upstream/finetuned" not in steps
    arguments = steps["upstream/head"].arguments
    assert arguments["manifest"] == Path("run/source/manifest.csv")
    assert (arguments["upstream"], arguments["config"].layers) == ("mini", (2, 3))
    assert steps["uncentered"].arguments["upstream"] == "run/upstream/head"


def test_a_sweep_of_one_fold_makes_what_a_run_makes(tiny):
    """In the same folders, except that a fold may have several graphs."""
    run = Experiment(
        name="tiny",
        title="Tiny",
        target=replace(tiny.target, split=SplitConfig(method="paper")),
        upstream=tiny.upstream,
        finetuning=None,
        clip_seconds=tiny.clip_seconds,
        front_end=tiny.front_end,
        center="speaker",
        methods=("base", "add"),
    )
    folds = [Fold(split=run.target.split)]
    sweep = replace(tiny, folds=folds, grids={}, default=())
    alike = ["target/manifest.csv", "features", "uncentered", "embeddings"]

    of_run = planned(run, Path("work/fold0"))
    of_fold = fold_steps(sweep, "base", "nsl", "add")

    assert {out: of_run[out] for out in alike} == {out: of_fold[f"fold0/{out}"] for out in alike}


def test_folds_share_what_does_not_depend_on_them(tiny):
    sweep = replace(tiny, grids={}, default=())
    steps = fold_steps(sweep, "probe", "add", folds=(0, 1))
    names = [step.function.__name__ for step in steps.values()]

    once = ("extract_features", "extract_embeddings", "extract_mfccs")
    assert [names.count(name) for name in once] == [1, 1, 1]
    assert names.count("center_embeddings") == 4
    divided = steps["fold1/uncentered_mfcc"]
    assert divided.arguments["records"] == Path("work/fold0/uncentered_mfcc")
    assert divided.arguments["manifest"] == Path("work/fold1/target/manifest.csv")
    assert divided.arguments["standardise"]
    assert not steps["fold1/uncentered"].arguments["standardise"]


def test_arms_share_a_graph_and_differ_in_records(tiny):
    steps = fold_steps(
        tiny, *("nsl", "agreeing", "random", "oracle", "purity_50", "probe"), label_shares=(0.5,)
    )

    graph = Path("work/fold0/graph")
    packed = {
        out.removeprefix("fold0/training/"): (
            step.arguments["graph"].relative_to(graph).as_posix(),
            step.arguments["max_neighbors"],
        )
        for out, step in steps.items()
        if "/training/" in out
    }
    assert packed == {
        "upstream_3": ("upstream/nearest_30.tsv", 30),
        "upstream_random_3": ("upstream/random_3.tsv", 3),
        "upstream_oracle_3": ("upstream/oracle_3.tsv", 3),
        "upstream_oracle_50_3": ("upstream/oracle_3_purity_50.tsv", 3),
        "probe_0.5_0_3": ("probe_0.5_0/nearest_30.tsv", 30),
    }
    built = {out for out, step in steps.items() if step.function.__name__ == "build_graph"}
    limits = {out: steps[out].arguments["max_neighbors"] for out in built}
    assert limits == {
        "fold0/graph/upstream/nearest_30.tsv": 30,
        "fold0/graph/upstream/nearest_3.tsv": 3,
        "fold0/graph/upstream/oracle_3.tsv": 3,
        "fold0/graph/probe_0.5_0/nearest_30.tsv": 30,
    }
    assert all(steps[out].arguments["across_speakers"] for out in built)
    knowing = {out for out in built if steps[out].arguments["within_emotions"]}
    assert knowing == {"fold0/graph/upstream/oracle_3.tsv"}
    probe = steps["fold0/probe_0.5_0"].arguments
    assert (probe["label_share"], probe["seed"]) == (0.5, 0)


def test_a_probe_of_all_labels_is_the_same_for_every_seed(tiny):
    runs = [
        replace(list_runs(tiny)[-2], method="probe", label_share=share, seed=seed)
        for share in (1.0, 0.5)
        for seed in (1, 2)
    ]

    assert [sweep_training(tiny, run).probe_name for run in runs] == [
        *("probe", "probe", "probe_0.5_1", "probe_0.5_2")
    ]


@pytest.mark.parametrize(
    "method", ["pseudo_labels", "pseudo_labels_probe", "probe", "probabilities", "propagated"]
)
def test_what_tests_in_a_joined_sweep_is_made_of_validation_clips_too(method, tiny):
    """And in other folders than trials, which know no label of clips that score them."""
    sweep, made = replace(tiny, joined=True), []
    trial = replace(list_runs(tiny)[-1], method=method, trial="plain", label_share=0.5)
    for run in (trial, replace(trial, trial="")):
        plan = plan_folds(sweep, [1], Path("work"))[1]
        model = plan.model(sweep_training(sweep, run), "model")
        made.append({out: step for out, step in plan.steps.items() if out != model})
        for step in plan.steps.values():
            if "splits" in step.arguments and step.function.__name__ in _OF_TRAINING:
                splits = ("train", "val") if run.test else ("train",)
                assert step.arguments["splits"] == splits, step.function.__name__

    shared = {made[0][out].function.__name__ for out in made[0].keys() & made[1].keys()}
    assert shared.isdisjoint(_OF_TRAINING)
    assert all(made[0][out] == made[1][out] for out in made[0].keys() & made[1].keys())
    assert Path("work/fold1/probe_0.5_0") in made[0]
    assert Path("work/fold1/probe_0.5_0-val") in made[1]


_OF_TRAINING = {
    "probe_embeddings",
    "pseudo_label",
    "propagate_labels",
    "build_graph",
    "pack_neighbors",
    "train_downstream",
}


def test_linear_classifiers_train_on_the_clips_of_networks(tiny):
    (run, *_) = (each for each in list_runs(tiny) if each.network == "linear")
    splits = {}
    for joined in (False, True):
        plan = plan_folds(replace(tiny, joined=joined), [1], Path("work"))[1]
        training = sweep_training(replace(tiny, joined=joined), run)
        scores = plan.baseline(run.method, training, "scores.json")
        splits[joined] = plan.steps[scores].arguments["splits"]

    assert splits == {False: ("train",), True: ("train", "val")}


def test_vectors_that_teach_each_arm(tiny):
    taught = {
        "embedding": "embeddings",
        "similarity": "embeddings",
        "probabilities": "probe_0.5_0",
        "propagated": "propagated/fused_probe_0.5_0",
        "random_propagated": "propagated/fused_random_probe_0.5_0",
    }
    plan = plan_folds(tiny, [1], Path("work"))[1]
    for method, embeddings in taught.items():
        run = replace(list_runs(tiny)[-1], method=method, label_share=0.5)
        training = sweep_training(tiny, run)
        arguments = plan.steps[plan.model(training, f"models/{method}")].arguments
        scoring = plan.steps[plan.scores(training, Path("model"), f"{method}.json")].arguments

        assert arguments["embeddings"] == Path("work/fold1") / embeddings
        assert (arguments["training_records"], scoring["embeddings"]) == (None, None)
        assert arguments["training"].label_share == 0.5
    spread = plan.steps[Path("work/fold1/propagated/fused_random_probe_0.5_0")].arguments
    assert spread["graph"] == Path("work/fold1/graph/fused/random_10.tsv")
    assert (spread["label_share"], spread["seed"]) == (0.5, 0)


def test_folds_and_seeds_start_from_one_taught_network(tiny):
    sweep = replace(tiny, speech=(Path("speech"),), layers=(1,), grids={}, default=())
    arms = ("start_base", "start_embedding", "start_graph_nsl")
    steps = fold_steps(sweep, *arms, folds=(0, 1), networks=("cnn6",), trial_seeds=(0, 1))
    run = replace(list_runs(tiny)[-1], method="start_nsl", fold=1)
    start = plan_folds(sweep, [1], Path("work"))[1].inputs(sweep_training(sweep, run))["start"]

    made = {out: step.arguments for out, step in steps.items() if "taught" in out}
    assert [*made] == ["fold0/taught/cnn6_frames", "fold0/taught/cnn6_similarity"]
    assert [given["method"] for given in made.values()] == ["frames", "similarity"]
    assert made["fold0/taught/cnn6_frames"]["speech"] == (Path("speech"),)
    assert made["fold0/taught/cnn6_frames"]["config"].layers == (1,)
    assert start == Path("work/fold0/taught/cnn6_frames")


def test_pseudo_labels_hide_no_label_from_training(tiny):
    run = next(each for each in list_runs(tiny, ["controls"]) if "pseudo" in each.method)
    plan = plan_folds(tiny, [1], Path("work"))[1]

    arguments = plan.steps[plan.model(sweep_training(tiny, run), Path("model"))].arguments

    assert arguments["training"].label_share == 1.0
    assert arguments["features"] == Path("work/fold1/pseudo_labels/probe_0.5_0")
    packed = plan.steps[arguments["training_records"]].arguments
    assert packed["features"] == arguments["features"]


def test_sweep_without_centring(tiny):
    grid = Grid(arms=("nsl", "fused"), networks=("cnn6",), seeds=())
    sweep = replace(tiny, center=None, grids={"main": grid}, default=("main",))
    plan = plan_folds(sweep, [0], Path("work"))[0]
    for run in list_runs(sweep):
        plan.inputs(sweep_training(sweep, run))

    assert "center_embeddings" not in {step.function.__name__ for step in plan.steps.values()}


@pytest.fixture
def one_emotion_each(tone_corpus, tmp_path) -> CorpusConfig:
    """Six actors, each with one of two emotions."""
    table = tmp_path / "clips.csv"
    rows = [
        f"{path.relative_to(tone_corpus)},{path.parent.name},{'joy' if i < 18 else 'fear'}\n"
        for i, path in enumerate(sorted(tone_corpus.rglob("*.wav")))
    ]
    table.write_text("".join(["path,speaker,emotion\n", *rows]))
    return CorpusConfig("csv", audio_dir=tone_corpus, table=table)


def test_dry_runs_find_what_the_run_would(one_emotion_each, tiny, tmp_path):
    run = replace(TINY, source=None, finetuning=None, target=one_emotion_each)
    plan = run_pipeline(run, tmp_path / "run", dry_run=True)
    assert "found 36 clips" in plan and "have one emotion only" in plan

    one = replace(one_emotion_each, label_map={"joy": "fear"})
    with pytest.raises(InputError, match=r"clips\.csv: must have clips of two emotions .* fear"):
        run_pipeline(replace(run, target=one), tmp_path, dry_run=True)
    shipped = {"upstream": str(WHISPER), "layers": (3, 4)}
    with pytest.raises(InputError, match="layers: must be 0 to 3 of .*whisper.*received 3, 4"):
        run_pipeline(replace(run, **shipped), tmp_path, dry_run=True)
    with pytest.raises(InputError, match="layers: must be 0 to 3 of "):
        run_sweep(replace(tiny, **shipped), tmp_path / "sweep", work=tmp_path, dry_run=True)
    for center, leave_out, rule in (
        ("speaker", (), "center: .* coincide"),
        (None, ("bordom",), "leave_out: .*fear, joy"),
    ):
        target = replace(one_emotion_each, leave_out=leave_out)
        with pytest.raises(InputError, match=rule):
            run_pipeline(replace(run, center=center, target=target), tmp_path, dry_run=True)
        sweep = replace(tiny, center=center, target=replace(tiny.target, leave_out=leave_out))
        if leave_out:
            with pytest.raises(InputError, match="leave_out: "):
                run_sweep(sweep, tmp_path / "sweep", work=tmp_path / "work", dry_run=True)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("center", {"center": "speaker"}),
        ("graph.across_speakers", {"graph": GraphConfig(across_speakers=True)}),
    ],
)
def test_dry_runs_tell_what_needs_speakers(setting, changes, tone_corpus, tmp_path):
    table = tmp_path / "clips.csv"
    paths = sorted(tone_corpus.rglob("*.wav"))
    rows = [f"{path.relative_to(tone_corpus)},{[*'ab'][i % 2]}\n" for i, path in enumerate(paths)]
    table.write_text("".join(["path,emotion\n", *rows]))
    by_clips = SplitConfig("clips")
    target = CorpusConfig("csv", audio_dir=tone_corpus, table=table, split=by_clips)
    run = replace(TINY, source=None, finetuning=None, target=target, center=None)
    assert "found 36 clips" in run_pipeline(run, tmp_path / "run", dry_run=True)
    with pytest.raises(InputError, match=f"^{setting}: .* 36 of 36 clips .* no speaker"):
        run_pipeline(replace(run, **changes), tmp_path / "run", dry_run=True)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("corpus", "emodb"), ("synthetic.speakers", 0), ("synthetic.clips_per_emotion", 99)],
)
def test_dry_runs_tell_what_synthetic_speech_cannot_be(setting, value, tmp_path):
    run = load_experiment("smoke", [f"target.{setting}={value}"])
    with pytest.raises(InputError, match=f"^{setting.split('.')[-1]}: .*received .{{0,1}}{value}"):
        run_pipeline(run, tmp_path, dry_run=True)


def test_a_folder_of_one_s_own_needs_its_path_only_and_no_speakers(tone_corpus, tmp_path):
    given = [f"target.audio_dir={tone_corpus}", "target.split.method=clips"]

    plan = run_pipeline(load_experiment("folder", given), tmp_path / "run", dry_run=True)

    assert "found 36 clips" in plan and "recogniser.tflite" in plan


def test_speakers_outside_of_all_folds_train(tiny, tmp_path):
    sweep = replace(tiny, folds=[Fold(("01",), ("02",))], grids={}, default=())

    write_speakers(sweep, tmp_path)
    (plan,) = plan_folds(sweep, [0], tmp_path).values()

    assert Counter(read_corpus(plan.setup.target).rows["split"]) == {
        "train": 24,
        "val": 6,
        "test": 6,
    }
