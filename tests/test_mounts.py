"""On what a path lies, by the mount table; and what is refused for the state folder."""

from pathlib import Path

import pytest

from tests.support.namespaces import in_namespaces, mount_tmpfs
from tusd_agent.mounts import Mount, file_system_type, is_in_doubt, is_network, is_remote, mount_of

ROOT = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
PLAIN = [
    ROOT,
    "22 21 0:20 / /proc rw - proc proc rw",
    "30 21 8:17 / /srv rw shared:7 master:2 - xfs /dev/sdb1 rw",
    "31 30 0:50 / /srv/nas rw - nfs4 nas:/export rw,vers=4.2",
    "32 21 0:51 / /mnt/my\\040disk\\134\\011\\012 rw - cifs //host/share rw",
    "33 21 0:52 / /home/u/cloud rw,nosuid - fuse.sshfs u@host: rw,user_id=0",
    "34 21 8:33 /sub /bound rw - btrfs /dev/sdc rw,subvol=/sub",
    "35 21 0:53 / /mnt/caf\u00e9 rw - fuseblk /dev/sdd1 rw",
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/etc", "ext4"),
        ("/srv", "xfs"),
        ("/srv/nasty", "xfs"),
        ("/srv/nas", "nfs4"),
        ("/srv/nas/deep/down", "nfs4"),
        ("/mnt/my disk\\\t\n/sub", "cifs"),
        ("/home/u/cloud", "fuse.sshfs"),
        ("/home/u/cloudy", "ext4"),
        ("/bound/x", "btrfs"),
        ("/mnt/caf\u00e9/x", "fuseblk"),
    ],
)
def test_the_type_is_that_of_the_mount_the_path_lies_on(tmp_path: Path, path: str, expected: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("\n".join(PLAIN) + "\n")
    assert file_system_type(path, table) == expected


@pytest.mark.parametrize(
    ("lines", "path", "expected"),
    [
        pytest.param(
            [ROOT, "30 21 0:1 / /a rw - xfs x rw", "31 30 0:2 / /a rw - nfs n rw"],
            "/a/b",
            "nfs",
            id="on the same point",
        ),
        pytest.param(
            [ROOT, "31 30 0:2 / /a rw - nfs n rw", "30 21 0:1 / /a rw - xfs x rw"],
            "/a/b",
            "nfs",
            id="in the other order",
        ),
        pytest.param(
            [ROOT, "30 21 0:1 / /a/b rw - nfs n rw", "31 21 0:2 / /a rw - tmpfs t rw"],
            "/a/b",
            "tmpfs",
            id="what is mounted above covers what is below",
        ),
        pytest.param(
            [ROOT, "30 21 0:1 / /a rw - tmpfs t rw", "31 30 0:2 / /a/b rw - nfs n rw"],
            "/a/b",
            "nfs",
            id="one on another",
        ),
        pytest.param(
            ["1 1 0:2 / / rw - rootfs rootfs rw", "21 1 8:1 / / rw - ext4 e rw", "30 21 0:1 / /a rw - nfs n rw"],
            "/a",
            "nfs",
            id="over the first root of all",
        ),
        pytest.param(["77 5 0:1 / /a rw - nfs n rw"], "/a/b", "nfs", id="a chroot without a root of its own"),
        pytest.param(["77 5 0:1 / /a rw - nfs n rw"], "/b", None, id="and what lies beside it"),
        pytest.param(["", "nonsense", "1 2 3", ROOT], "/b", "ext4", id="lines of another form"),
        pytest.param([], "/", None, id="an empty table"),
    ],
)
def test_of_several_mounts_the_one_that_is_seen_counts(
    tmp_path: Path, lines: list[str], path: str, expected: str | None
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("\n".join(lines))
    assert file_system_type(path, table) == expected


def test_without_a_mount_table_nothing_is_said(tmp_path: Path) -> None:
    assert file_system_type("/", tmp_path / "nowhere") is None


@in_namespaces
@pytest.mark.heavy
def test_the_mount_table_of_this_very_system(tmp_path: Path) -> None:
    disk = tmp_path / "a disk"
    mount_tmpfs(disk)
    (disk / "sub").mkdir()
    (tmp_path / "link").symlink_to(disk)
    for path in (disk, disk / "sub", tmp_path / "link"):
        assert file_system_type(str(path)) == "tmpfs"
    assert file_system_type("/proc/self") == "proc"
    assert mount_of(str(tmp_path / "link" / "sub")) == Mount(str(disk), "tmpfs")


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse", "fuse.sshfs", "ceph"])
def test_what_others_may_write_to_is_polled(kind: str) -> None:
    assert is_remote(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "vfat", "nfsd"])
def test_what_only_this_host_writes_to_is_watched(kind: str) -> None:
    assert not is_remote(kind)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.sshfs", "fuse.rclone", "fuse.s3fs"])
def test_what_is_a_network_is_known(kind: str) -> None:
    assert is_network(kind)
    assert not is_in_doubt(kind)


@pytest.mark.parametrize("kind", ["fuse", "fuse.bindfs", "fuse.mergerfs", "fuse.fuse-overlayfs", "virtiofs", "9p"])
def test_what_can_not_be_told_is_in_doubt(kind: str) -> None:
    assert is_in_doubt(kind)
    assert not is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "vfat", "nfsd"])
def test_a_disk_of_this_host_is_neither(kind: str) -> None:
    assert not is_network(kind)
    assert not is_in_doubt(kind)
