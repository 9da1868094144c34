"""Comparison: grouping, honesty about what was not run, and what the files hold."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from records import RECORD as PLAIN
from rich.console import Console

from mwl.app.cli import main
from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.evaluation.compare import (
    compare_experiment,
    compare_to_folder,
    newest_experiment,
    reaches,
    read_comparison,
    rows_of,
    standings,
    to_json,
)
from mwl.evaluation.curves import RETURN, REWARD, Point, bands, history, measure_of, reach_step
from mwl.evaluation.published import beside, printed, published
from mwl.evaluation.record import FILE, Record
from mwl.evaluation.table import comma_separated, comparison_table, latex, markdown, record_table, wide_lines
from mwl.experiments import tracking

RECORD = replace(PLAIN, episodes=4, return_std=11.2, returns=[840.0, 850.0, 850.0, 860.0], lengths=[1000] * 4)
KEYS = {
    *("task", "suite", "agent", "instruction", "episodes", "seed", "return_mean", "return_std", "return_ci95"),
    *("returns", "length_mean", "success_rate", "fall_rate", "action_rate", "jerk", "energy", "env_steps_per_s"),
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return "walks"


def log(experiment: str, record: Record, **tags: str) -> str:
    with tracking.run(experiment, record.agent, tags={tracking.KIND_TAG: "evaluation", **tags}) as run_id:
        tracking.client().log_text(run_id, replace(record, run_id=run_id).to_json(), FILE)
    return run_id


def test_environments_of_other_packages_are_rows_of_their_own_and_no_scores() -> None:
    """Nothing says which return there counts as a success, so nothing is a share of it."""
    figures = dict.fromkeys(("success_rate", "fall_rate", "action_rate", "jerk", "energy"))
    pendulum = replace(RECORD, task="gym:Pendulum-v1", agent="sac", returns=[-150.0] * 4, **figures)
    rows = rows_of([RECORD, replace(RECORD, agent="sac"), pendulum], {})
    measured = [(row.task, row.agent, row.return_iqm) for row in rows if row.status == "measured"]
    assert measured == [("gym:Pendulum-v1", "sac", -150.0), ("h1-walk", "guided", 850.0), ("h1-walk", "sac", 850.0)]
    assert {(agent.agent, *agent.tasks) for agent in standings([RECORD, pendulum])} == {("guided", "h1-walk")}


def test_rows_group_by_task_and_agent_over_seeds() -> None:
    other = replace(RECORD, address="runs/b", returns=[600.0, 610.0, 610.0, 620.0], expert_steps=1)
    rows = rows_of([RECORD, other, replace(RECORD, agent="tdmpc2")], {})
    guided = next(row for row in rows if (row.task, row.agent) == ("h1-walk", "guided"))
    assert guided.seeds == 2
    # the middle four of the eight: 610 620 840 850
    assert guided.return_iqm == pytest.approx((610 + 620 + 840 + 850) / 4)
    assert guided.expert_steps == 5_000_000, "what the experts cost is stated, at its highest"


def test_other_suites_instructions_and_ways_of_acting_are_other_rows() -> None:
    others = [
        replace(RECORD, suite="humanoid_bench", returns=[100.0] * 4),
        replace(RECORD, instruction="stand still", returns=[500.0] * 4),
        replace(RECORD, act="policy", returns=[700.0] * 4),
    ]
    rows = [row for row in rows_of([RECORD, *others], {}) if row.status == "measured"]
    found = {(row.suite, row.instruction, row.act): row.return_iqm for row in rows}
    assert found == {
        ("embedded", None, None): 850.0,
        ("humanoid_bench", None, None): 100.0,
        ("embedded", "stand still", None): 500.0,
        ("embedded", None, "policy"): 700.0,
    }
    assert {row.seeds for row in rows} == {1}
    assert (rows[0].episodes, rows[0].label) == (4, "guided")
    assert len({row.label for row in rows}) == 4, "a reader of the table can tell them apart"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"address": "runs/a"}, {"address": "./runs/a"}),
        ({"address": "runs/a"}, {"address": "runs/../runs/a/"}),
        ({"address": "runs/a", "agent_sha256": "12ab"}, {"address": "copies/a", "agent_sha256": "12ab"}),
        ({"address": "runs/a", "agent_run_id": "7"}, {"address": "run:7", "agent_run_id": "7"}),
    ],
)
def test_one_agent_under_two_names_is_one_seed_and_its_newest_evaluation_counts(first: dict, second: dict) -> None:
    old, new = replace(RECORD, **first), replace(RECORD, returns=[900.0] * 4, **second)
    (row,) = [row for row in rows_of([old, new], {}) if row.status == "measured"]
    assert (row.seeds, row.return_iqm) == (1, 900.0)


def test_the_interval_of_several_seeds_is_over_seeds() -> None:
    # three seeds of means 600, 700, 800 that hardly scatter themselves: t(0.975, 2) * 100 / sqrt(3) = 248
    seeds = [replace(RECORD, address=f"runs/{i}", returns=[600.0 + 100 * i] * 4) for i in range(3)]
    (row,) = [row for row in rows_of(seeds, {}) if row.status == "measured"]
    assert row.return_ci95 is not None
    assert row.return_ci95[1] - row.return_ci95[0] > 2 * 200


def test_what_was_not_run_is_called_so() -> None:
    rows = rows_of([RECORD], {})
    missing = [row for row in rows if row.status == "not run"]
    assert {(row.task, row.agent) for row in missing} == set(printed()) - {("h1-walk", "guided")}
    assert all(row.return_iqm is None and row.run_ids == [] for row in missing)


def test_record_prints_exactly_the_public_keys() -> None:
    assert set(RECORD.printed()) == KEYS
    json.dumps(RECORD.printed(), allow_nan=False)


def test_record_survives_the_disk(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(RECORD.to_json())
    assert Record.read(tmp_path) == RECORD
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(CorruptFile):
        Record.read(tmp_path)
    with pytest.raises(MissingFile):
        Record.read(tmp_path / "nowhere")


def test_experiment_counts_only_the_newest_of_each(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    log(store, replace(RECORD, returns=[1.0, 1.0]), **{tracking.SUPERSEDED_TAG: "true"})
    kept = log(store, RECORD)
    rows = compare_experiment(store).rows
    assert next(row for row in rows if row.status == "measured").run_ids == [kept]
    log(store, replace(RECORD, suite="humanoid_bench", returns=[1.0] * 4))
    assert next(row for row in compare_experiment(store).rows if row.suite == "embedded").run_ids == [kept]
    newer = log(store, replace(RECORD, address="./runs/a"))
    assert next(row for row in compare_experiment(store).rows if row.suite == "embedded").run_ids == [newer]
    assert newest_experiment() == store
    assert capsys.readouterr().err == "", "no bars for files of a few bytes"
    with pytest.raises(MissingFile, match="no experiment"):
        compare_experiment("another")


def test_folder_holds_table_plot_and_json(store: str, tmp_path: Path) -> None:
    fit = tracking.open_run(store, "fit")
    for step in range(0, 20_000, 1000):
        tracking.client().log_metric(fit, REWARD, min(800.0, step / 10), step=step)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / FILE).write_text(replace(RECORD, agent_run_id=fit).to_json())
    rows = compare_to_folder([tmp_path / "one"], tmp_path / "out", store, None)
    measured = rows[0]
    assert measured.convergence_steps is not None
    assert 8000 <= measured.convergence_steps <= 12_000, "the curve reaches its level at 8000, five points are averaged"
    assert read_comparison(tmp_path / "out")[0] == rows
    (run,) = tracking.find_runs(store, "tags.`mwl.kind` = 'comparison'")
    assert run.data.tags[tracking.STAGE_TAG] == "out", "by which a later run of the stage replaces it"
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000
    assert "| h1-walk | guided | 850.0 |" in (tmp_path / "out" / "table.md").read_text()


def test_tables_can_be_printed() -> None:
    console = Console(record=True, width=200)
    rows = rows_of([RECORD, replace(RECORD, agent="expert:walk", episodes=1, return_ci95=None)], {})
    console.print(comparison_table(rows))
    console.print(record_table(RECORD))
    shown = console.export_text()
    assert re.search(r"guided \(paper\) +│ +701.2", shown), "the paper's figure stands beside ours"
    assert "not run" in shown
    others = beside("h1-walk")
    assert markdown(rows).count("\n") == len(rows) + len(others) + 4 + 3  # and three agents of the paper
    assert {"rows", "agents", "paper", "published"} == set(to_json(rows, []))


def test_what_others_published_stands_beside_ours() -> None:
    """The best at 100k and at 1M steps, and TD-MPC2: FlashSAC twice on the maze, Simba and FoG between the poles."""
    for task, expected in {"h1-maze": (247, 358, 245), "h1-pole": (236, 893, 744)}.items():
        assert tuple(entry.mean for entry in beside(task)) == expected
    assert beside("h1-door") == [], "nobody published it without hands"
    walk = next(e for e in published() if (e.task, e.method, e.steps) == ("h1-walk", "TD-MPC2", 200_000))
    assert (walk.mean, walk.sd, walk.seeds, walk.source) == (82.0, 20.0, 3, "SimbaV2")
    text = markdown(rows_of([RECORD], {}))
    assert "| h1-walk | FlashSAC (published) | 891.0 | ± 6 | 1M | - | - | 5 |" in text


TWO = [
    replace(RECORD, task=task, agent=agent, address=f"{task}{agent}{seed}", returns=[value + 10.0 * seed] * 4)
    for seed in range(3)
    for task, agent, value in (
        ("h1-walk", "guided", 840.0),
        ("h1-walk", "tdmpc2", 490.0),
        ("h1-stand", "guided", 400.0),
        ("h1-stand", "tdmpc2", 420.0),
    )
]


def test_agents_over_tasks() -> None:
    """Guided: walk 840, 850, 860 of 700, stand 400, 410, 420 of 800; TD-MPC2: walk 490 to 510, stand 420 to 440.

    The interquartile mean of six scores drops one at either end. A gap counts nothing above 1: (3 x 0 + 0.5 + 0.4875 +
    0.475) / 6. On walk every pair is won; on stand of nine pairs one ties (420): (1 + 0.5 / 9) / 2.
    """
    first, second = standings(TWO, "tdmpc2")
    assert (first.agent, first.tasks, first.runs) == ("guided", ["h1-stand", "h1-walk"], 6)
    assert first.score == pytest.approx((410 / 800 + 420 / 800 + 840 / 700 + 850 / 700) / 4)
    assert first.gap == pytest.approx((0.5 + 0.4875 + 0.475) / 6)
    assert first.improvement == pytest.approx((1 + 0.5 / 9) / 2)
    assert second.improvement is None, "an agent isn't compared with itself"
    text = markdown(rows_of(TWO, {}), [first, second])
    assert "| guided | 2 | 6 |" in text
    assert standings([replace(RECORD, task="of-ones-own")]) == [], "no return for a success is known"


def test_differences_are_those_from_the_same_starts() -> None:
    rows = {(row.task, row.agent): row for row in rows_of(TWO, {}, "tdmpc2")}
    assert rows["h1-walk", "guided"].difference == pytest.approx(350.0)
    assert rows["h1-stand", "guided"].difference == pytest.approx(-20.0)
    assert rows["h1-walk", "tdmpc2"].difference is None
    other_starts = [replace(record, seed=7) for record in TWO if record.agent == "guided"]
    apart = rows_of([*other_starts, *(r for r in TWO if r.agent == "tdmpc2")], {}, "tdmpc2")
    assert all(row.difference is None for row in apart)
    with pytest.raises(BadInput, match="guided, tdmpc2"):
        rows_of(TWO, {}, "sac")
    assert "+350.0" in comma_separated(rows_of(TWO, {}, "tdmpc2"))


def test_several_tasks_are_drawn_as_a_profile(store: str, tmp_path: Path) -> None:
    for number, record in enumerate(TWO):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / FILE).write_text(record.to_json())
    compare_to_folder([tmp_path / str(number) for number in range(len(TWO))], tmp_path / "out", store, None)
    assert (tmp_path / "out" / "profile.png").stat().st_size > 10_000
    _, agents = read_comparison(tmp_path / "out")
    assert [agent.agent for agent in agents] == ["guided", "tdmpc2"]


def test_tables_for_papers() -> None:
    rows = rows_of([replace(RECORD, agent="guided_50%")], {})
    text = latex(rows, standings(TWO))
    assert r"h1-walk & guided\_50\% & 850.0 &" in text
    assert r"$\pm$ 6 & 1M" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    lines = comma_separated(rows).splitlines()
    assert len({line.count(",") for line in lines}) == 1
    assert lines[0].startswith("task,agent,return")


def test_a_grid_is_not_beside_what_the_paper_has_on_other_tasks() -> None:
    rows = rows_of([RECORD], {}, cells={"guided": {"h1-walk": 1, "h1-stand": 1}})
    tasks = {row.task for row in rows}
    assert tasks == {"h1-walk", "h1-stand"} < {task for task, _ in printed()}
    assert [row.agent for row in rows if row.task == "h1-walk"] == ["guided", "dreamer_v3", "tdmpc2"]


def test_returns_alone_are_a_line_a_task_and_a_column_an_agent() -> None:
    rows = rows_of([*TWO[:11], replace(RECORD, task="gym:Pendulum-v1", agent="sac", returns=[-150.0] * 4)], {})
    head, pendulum, stand, walk = wide_lines(rows)
    assert head[:4] == ("task", "guided", "sac", "tdmpc2")
    assert pendulum[:4] == ("gym:Pendulum-v1", "not run", "-150.0 (-150 to -150)", "not run")
    assert "-" in pendulum[4:], "nobody published it in this form"
    assert stand[head.index("published at 1M")] == "856 ± 63 (DR.Q)"
    assert walk[head.index("tdmpc2 (paper)")] == f"{printed()['h1-walk', 'tdmpc2'].episode_return:.0f}"


def test_experts_share_a_column_with_the_best_of_each_task() -> None:
    returns = {"run": -700.0, "walk": -90.0}
    experts = [replace(RECORD, agent=f"expert:{name}", returns=[value] * 4) for name, value in returns.items()]
    head, walk = wide_lines(rows_of([RECORD, *experts], {}))
    assert head[1:3] == ("guided", "best expert")
    assert walk[2] == "-90.0 (-90 to -90) walk"
    head, walk = wide_lines(rows_of([replace(RECORD, agent="best expert"), *experts], {}))
    assert head[1:3] == ("best expert", "best of the experts"), "an agent of that name keeps its column"
    assert walk[2] == "-90.0 (-90 to -90) walk"


def test_an_ablation_has_a_line_a_variant_and_the_share_that_a_part_is_worth() -> None:
    """On walk 850 whole and 500 without: 100 (500 / 850 - 1) = -41.2 %; on stand 410 and 430: +4.9 %."""
    head, whole, without = wide_lines(rows_of(TWO, {}), "guided")
    assert head == ("agent", "h1-stand", "h1-walk")
    assert whole[0] == "guided"
    assert not any("%" in cell for cell in whole)
    assert without[0] == "tdmpc2"
    assert without[1].endswith(", +4.9 %")
    assert without[2].endswith(", -41.2 %")
    below = [replace(RECORD, returns=[-5.0] * 4), replace(RECORD, agent="other", returns=[5.0] * 4)]
    assert not any("%" in cell for line in wide_lines(rows_of(below, {}), "guided") for cell in line), "no share of it"


def trained(store: str, name: str, measure: str, points: list[tuple[int, float, float]]) -> str:
    """A run whose training logged (step, value, seconds after it began)."""
    run_id = tracking.open_run(store, name)
    began = tracking.client().get_run(run_id).info.start_time
    for step, value, seconds in points:
        tracking.client().log_metric(run_id, measure, value, timestamp=began + round(1000 * seconds), step=step)
    return run_id


def test_wall_time_is_of_training_without_stops(store: str) -> None:
    """A minute between points; after the third it was stopped for a day, went on from the second and logged it anew."""
    points = [(100, 1.0, 60), (200, 2.0, 120), (300, 2.5, 180), (300, 3.0, 86_400), (400, 4.0, 86_460)]
    run_id = trained(store, "walk", RETURN, points)
    assert history(run_id) == {
        RETURN: [Point(100, 1.0, 1.0), Point(200, 2.0, 2.0), Point(300, 3.0, 3.0), Point(400, 4.0, 4.0)]
    }


def test_curves_are_against_steps_or_minutes_over_seeds() -> None:
    seeds = [{REWARD: [Point(10 * i, i / seed, 1.0 * i) for i in range(5)]} for seed in (1, 2)]
    histories = {RECORD.row: seeds}
    assert measure_of("h1-walk", histories) == REWARD, "no episode ended"
    steps, middle, *_ = bands("h1-walk", histories, REWARD, "steps")["guided"]
    assert (steps[-1], middle[-1]) == (40, 4.0)
    minutes, *_ = bands("h1-walk", histories, REWARD, "minutes")["guided"]
    assert minutes[-1] == 2.0, "as far as the faster one goes"
    assert bands("h1-stand", histories, REWARD, "steps") == {}
    episodes = [{**seed, RETURN: [Point(i, 1.0, 100.0 * i) for i in range(3)]} for seed in seeds]
    assert measure_of("h1-walk", {RECORD.row: episodes}) == RETURN


def test_the_command_writes_a_folder_and_replaces_none_unasked(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log(store, replace(RECORD, agent_run_id=trained(store, "walk", RETURN, [(i, 1.0 * i, 1.0 * i) for i in range(9)])))
    command = ["compare", "--output", str(tmp_path / "out"), "--wide", "--format", "csv"]
    assert main(command) == 0
    shown = capfd.readouterr().out
    assert shown.splitlines()[0].startswith("task,guided,")
    files = {"comparison.json", "table.md", "table.tex", "table.csv", "comparison.png"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == files
    assert main(command) == 2
    assert "--force replaces it" in capfd.readouterr().err
    assert main(["compare", "--wide", "--against", "nobody"]) == 2
    assert main([*command, "--force"]) == 0


def test_a_return_is_reached_where_five_episodes_on_average_have_it() -> None:
    """A round in which none ended logs the last value again, which is no other episode."""
    returns = [0.0, 10.0, 10.0, 10.0, 90.0, 20.0, 60.0, 70.0, 80.0]  # 10 three times is one
    curve = [Point(100 * at, 0.0, value) for at, value in enumerate(returns)]
    # the means of five: of 0 10 90 20 60 it is 36, of 10 90 20 60 70 it is 50, of 90 20 60 70 80 it is 64
    assert [reach_step(curve, target) for target in (36.0, 36.1, 50.0, 64.0, 64.1)] == [600, 700, 700, 800, None]
    assert reach_step(curve[:6], -1000.0) is None, "four episodes are too few"


def test_steps_to_a_return_are_over_seeds_with_and_without_those_of_the_experts(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Means of five are 200, 300 and so on: 600 is reached after eight rounds, by the slower at twice the steps."""
    steps = (1_000, 2_000)
    for seed, every in enumerate(steps):
        points = [(round_ * every, 100.0 * round_, 60.0 * round_) for round_ in range(10)]
        run_id = trained(store, f"guided-{seed}", RETURN, points)
        log(store, replace(RECORD, address=f"runs/{seed}", agent_run_id=run_id, expert_steps=5_000_000))
    comparison = compare_experiment(store)
    (reach,) = reaches(comparison, 600.0)
    assert (reach.task, reach.agent, reach.seeds, reach.reached) == ("h1-walk", "guided", 2, 2)
    assert (reach.steps, reach.expert_steps) == (12_000.0, 5_000_000)
    # t(0.975, 1) = 12.706 times 4000 / 2
    assert reach.steps_ci95 == pytest.approx([12_000 - 12.706 * 4_000, 12_000 + 12.706 * 4_000], rel=1e-3)
    (success,) = reaches(comparison)
    assert (success.target, success.reached, success.steps) == (700.0, 2, 13_500.0)
    assert main(["compare", "--experiment", store, "--reach", "800", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "h1-walk,guided,800,0 of 2,-,-,-"
    assert main(["compare", "--experiment", store, "--reach", "600", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reach"][0]["steps"] == 12_000.0
