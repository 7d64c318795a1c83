"""Traces: what is read is what was written, and what is wrong is named with its line."""

from __future__ import annotations

import pytest

from orchestrator.simulator.generate import generate, write_trace
from orchestrator.simulator.trace import elastic, read_trace
from workers.errors import InputError

HEADER = "job_id,submit_s,duration_s,gpus,vc"


def written(tmp_path, *lines):
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_five_columns_are_enough(tmp_path):
    late, early = "a,20,3.5,2,x", "b,10,1,1,y"
    first, second = read_trace(written(tmp_path, HEADER, late, early))
    assert (first.id, first.submitted_at, first.queue) == ("b", 10.0, "y")
    assert (second.seconds, second.gpus, second.min_workers, second.max_workers) == (3.5, 2, 2, 2)


def test_columns_may_come_in_any_order_and_optional_ones_may_be_empty(tmp_path):
    header = "vc,gpus,duration_s,submit_s,job_id,max,min,speedup,deadline,within,priority"
    rows = "q,4,10,0,a,8,2,1:1 4:3.5,60,zone,3", "q,4,10,0,b,,,,,,"
    full, bare = read_trace(written(tmp_path, header, *rows))
    assert (full.min_workers, full.max_workers, full.speedup) == (2, 8, ((1, 1.0), (4, 3.5)))
    assert (full.deadline, full.within, full.priority) == (60.0, "zone", 3)
    assert (bare.min_workers, bare.max_workers, bare.deadline, bare.speedup) == (4, 4, None, ())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,0,1,zero,q", "gpus is 'zero': write a whole number from 1"),
        ("a,0,1,0,q", "gpus is 0: write a whole number from 1"),
        ("a,-1,1,1,q", "submit_s is -1: write a number from 0"),
        ("a,0,nan,1,q", "duration_s is nan: write a number from 0"),
        (",0,1,1,q", "job_id is empty"),
        ("a,0,1,1", "it has 4 fields instead of 5"),
        ("first,0,1,1,q", "job_id 'first' is that of line 2"),
    ],
)
def test_a_wrong_row_is_named_with_its_line_and_the_reason(tmp_path, row, words):
    path = written(tmp_path, HEADER, "first,0,1,1,q", row)
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert f"line 3: {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("min", "9", "min is 9, which is more than max, 2"),
        ("speedup", "2:1 1:1", "more workers come later"),
        ("speedup", "fast", "write pairs such as 4:3.6"),
        ("within", "rack", "within is 'rack': write anywhere, zone, node"),
    ],
)
def test_optional_columns_are_checked_too(tmp_path, column, value, words):
    with pytest.raises(InputError, match=words):
        read_trace(
            written(tmp_path, f"{HEADER},{column},max" if column != "max" else HEADER, f"a,0,1,1,q,{value},2")
        )


def test_all_wrong_rows_are_counted_and_the_first_are_told(tmp_path):
    with pytest.raises(InputError) as caught:
        read_trace(written(tmp_path, HEADER, *(f"j{n},0,1,0,q" for n in range(15))))
    assert "15 rows are wrong" in caught.value.what
    assert "and 5 more" in caught.value.what


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("job_id,submit_s,gpus,vc", "columns are missing: duration_s"),
        (f"{HEADER},color", "columns are unknown: color"),
        (f"{HEADER},vc", "two columns have the same name"),
    ],
)
def test_the_first_line_is_checked(tmp_path, header, words):
    with pytest.raises(InputError, match=words):
        read_trace(written(tmp_path, header))


def test_a_trace_without_jobs_and_one_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(InputError, match="no jobs"):
        read_trace(written(tmp_path, HEADER))
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "nothing.csv")


def test_what_is_generated_comes_out_of_the_seed_and_is_read_as_it_was_written(tmp_path):
    jobs = generate(300, gpus=64, seed=5)
    assert jobs == generate(300, gpus=64, seed=5)
    assert jobs != generate(300, gpus=64, seed=6)
    write_trace(tmp_path / "t.csv", jobs)
    assert read_trace(tmp_path / "t.csv") == jobs
    with pytest.raises(FileExistsError):
        write_trace(tmp_path / "t.csv", jobs)


@pytest.mark.parametrize("load", [0.3, 0.9])
def test_what_is_generated_is_the_load_that_was_asked_for(load):
    jobs = generate(2000, gpus=64, load=load)
    work = sum(job.seconds * job.gpus for job in jobs)
    span = max(job.submitted_at for job in jobs)
    assert work / (64 * span) == pytest.approx(load, rel=0.05)


def test_a_stretched_job_is_the_same_work_at_any_size():
    (job,) = elastic(generate(1, gpus=8), 4)
    assert (job.min_workers, job.max_workers) == (1, 4 * job.gpus)
    assert job.speedup == ((4 * job.gpus, 4.0 * job.gpus),)
