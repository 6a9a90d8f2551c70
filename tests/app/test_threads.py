"""No more threads than the CPU time that a container allows, from made-up control groups."""

import os

import pytest

from sdg.app import threads
from sdg.app.threads import limit_threads
from sdg.machine.cpus import cpu_limit


def root(tmp_path, membership, files):
    """A file system with these lines in /proc/self/cgroup, and these files of control groups."""
    for name, text in ({"proc/self/cgroup": membership} | files).items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "membership, files, limit",
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "400000 100000\n"}, 4.0),
        (  # a parent's limit counts too
            "0::/a/b\n",
            {
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
            },
            2.0,
        ),
        (  # inside a container the path may be the host's
            "0::/docker/0123\n",
            {"sys/fs/cgroup/cpu.max": "50000 100000\n"},
            0.5,
        ),
        (
            "4:memory:/x\n3:cpu,cpuacct:/y\n0::/\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/y/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/y/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/x/cpu.cfs_quota_us": "1\n",
                "sys/fs/cgroup/memory/x/cpu.cfs_period_us": "1\n",
            },
            3.0,
        ),
        (
            "1:cpu:/\n",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ("0::/\n", {}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_smallest_limit_of_the_process_is_read(tmp_path, membership, files, limit):
    assert cpu_limit(root(tmp_path, membership, files)) == limit


def test_a_machine_without_control_groups_has_no_limit(tmp_path):
    assert cpu_limit(tmp_path) is None


@pytest.mark.parametrize(
    "visible, limit, given, expected",
    [
        (16, 4.0, None, "4"),
        (16, 1.5, None, "1"),
        (16, 0.5, None, "1"),
        (2, 4.0, None, None),  # the affinity is tighter, and the libraries heed that themselves
        (16, None, None, None),
        (16, 4.0, "7", "7"),
    ],
)
def test_threads_follow_the_limit_unless_the_user_says_otherwise(
    monkeypatch, visible, limit, given, expected
):
    monkeypatch.setattr(threads, "visible_cpus", lambda: visible)
    monkeypatch.setattr(threads, "cpu_limit", lambda: limit)
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == expected


def test_no_more_processes_than_the_limit_allows(monkeypatch):
    from sdg.machine import cpus

    monkeypatch.setattr(cpus, "visible_cpus", lambda: 8)
    for limit, count in ((None, 8), (2.5, 2), (0.5, 1), (64.0, 8)):
        monkeypatch.setattr(cpus, "cpu_limit", lambda limit=limit: limit)
        assert cpus.usable_cpus() == count
