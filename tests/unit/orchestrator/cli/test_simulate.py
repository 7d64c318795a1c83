"""`lockstep simulate`, as it is called."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from workers.errors import InputError


def simulate(*arguments):
    result = CliRunner().invoke(app, ["simulate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.csv"
    rows = [f"j{n},{60 * n},{600 + n},{1 + n % 4},team-{n % 2}" for n in range(40)]
    path.write_text("\n".join(["job_id,submit_s,duration_s,gpus,vc", *rows, ""]))
    return path


def test_policies_stand_side_by_side(trace):
    out = simulate(trace, "--nodes", 1, "--policy", "fair", "--compare", "service,fair,elastic")
    assert out.splitlines()[0].split() == ["fair", "service", "elastic"]
    assert "completion, mean" in out
    assert "finish-time ratio, worst queue" in out


def test_json_has_all_numbers_in_seconds(trace):
    found = json.loads(simulate(trace, "--nodes", 1, "--json", "--seed", 4))["policies"]["priority"]
    assert (found["jobs"], found["finished"]) == (40, 40)
    assert 600 <= found["completion"]["p50"] <= found["completion"]["p99"] <= found["completion"]["max"]
    assert 0 < found["goodput"] <= found["utilisation"] <= 1
    assert set(found["finish_time_ratio"]) == {"team-0", "team-1"}
    assert found["worst_finish_time_ratio"] == max(found["finish_time_ratio"].values())


def test_settings_change_what_comes_out(trace):
    def mean(*more):
        found = json.loads(simulate(trace, "--nodes", 20, "--no-fairness", "--json", *more))
        return found["policies"]["priority"]["completion"]["mean"]

    assert mean("--set", "costs.start=110") == pytest.approx(mean() + 100)
    assert mean("--elastic", 4, "--policy", "priority") < mean()


def test_a_trace_can_be_generated_and_is_not_overwritten(tmp_path):
    path = tmp_path / "new.csv"
    arguments = (path, "--nodes", 2, "--no-fairness", "--json")
    first = simulate(*arguments, "--generate", 30)
    assert simulate(*arguments) == first
    with pytest.raises(InputError, match="the file exists"):
        simulate(*arguments, "--generate", 30)


def test_the_plot_is_a_picture_with_a_line_for_each_policy_in_both_panels(trace, tmp_path):
    picture = tmp_path / "plot.svg"
    simulate(trace, "--nodes", 1, "--compare", "elastic", "--plot", picture)
    root = ElementTree.parse(picture).getroot()
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 4


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--compare", "best"), "there is no policy best"),
        (("--set", "costs.free=1"), "there is no setting costs.free"),
        (("--from", "1e9"), "nothing was submitted"),
        (("--nodes", "1", "--gpus-per-node", "0"), None),
    ],
)
def test_what_makes_no_sense_is_refused(trace, more, words):
    if words is None:
        result = CliRunner().invoke(app, ["simulate", str(trace), *more])
        assert result.exit_code == 2
        return
    with pytest.raises(InputError, match=words):
        simulate(trace, "--nodes", 1, *more)
