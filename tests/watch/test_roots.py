import os
from pathlib import Path

import pytest

from alwatch.watch import WatchedRoot, file_system_kind

WORKSTATION = rb"""24 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
22 24 0:21 / /proc rw,nosuid shared:12 - proc proc rw
41 24 0:40 / /mnt/nas rw,relatime shared:22 - nfs4 nas:/export rw,vers=4.2,hard
42 24 8:17 / /mnt/nas2 rw,relatime shared:23 - xfs /dev/sdb1 rw
43 41 8:33 / /mnt/nas/scratch rw,relatime - ext4 /dev/sdc1 rw
44 24 0:50 / /mnt/season\0402024 rw,relatime shared:25 master:3 - cifs //nas/lab rw
45 24 0:51 / /mnt/tab\011new\012line\134back\043hash rw - nfs nas:/odd rw
46 24 0:52 / /mnt/gr\303\274n rw - smb3 //nas/x rw
47 24 0:53 / /mnt/raw\377 rw - nfs nas:/raw rw
48 24 0:54 / /home/ana/drive rw,nosuid - fuse.sshfs ana@host:/data rw
49 24 0:55 / /home/ana/pool rw - fuse.mergerfs 1:2 rw
50 24 0:56 / /home/ana/cloud rw - fuse.some-new-thing x rw
51 24 8:49 / /media/usb rw - fuseblk /dev/sdd1 rw
52 24 0:57 / /net rw - autofs auto.net rw
53 24 0:58 / /raw rw - fuse x rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "local"),
        ("/data/videos", "local"),
        ("/mnt/nas", "network"),
        ("/mnt/nas/2024/a", "network"),
        ("/mnt/nas2/2024", "local"),
        ("/mnt/nas/scratch/a", "local"),
        ("/mnt/season 2024/cage 1", "network"),
        ("/mnt/tab\tnew\nline\\back#hash/a", "network"),
        ("/mnt/grün", "network"),
        ("/mnt/gr", "local"),
        (os.fsdecode(b"/mnt/raw\xff/a"), "network"),
        ("/home/ana/drive/a", "network"),
        ("/home/ana/pool/a", "local"),
        ("/home/ana/cloud/a", "network"),
        ("/media/usb/a", "local"),
        ("/net/host/a", "network"),
        ("/raw/a", "network"),
    ],
)
def test_the_mount_that_holds_a_path_tells_its_kind(path: str, kind: str) -> None:
    assert file_system_kind(Path(path), WORKSTATION) == kind


NETWORK_TYPES = """
nfs nfs4 cifs smb3 smbfs 9p afs ceph glusterfs lustre beegfs gpfs davfs
fuse.sshfs fuse.rclone fuse.davfs2 fuse.glusterfs fuse.s3fs
"""


@pytest.mark.parametrize("name", NETWORK_TYPES.split())
def test_drives_that_other_machines_write_to_are_network_drives(name: str) -> None:
    mounts = b"1 1 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / /m rw - %b x rw\n" % name.encode()
    assert file_system_kind(Path("/m/a"), mounts) == "network"


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk"])
def test_drives_of_this_machine_are_local(name: str) -> None:
    mounts = b"1 1 8:1 / / rw - %b /dev/sda rw\n" % name.encode()
    assert file_system_kind(Path("/m/a"), mounts) == "local"


def test_a_later_mount_on_the_same_point_hides_the_earlier_one() -> None:
    below = b"1 0 8:1 / / rw - ext4 a rw\n2 1 0:9 / /m rw - autofs b rw\n"
    assert file_system_kind(Path("/m/a"), below) == "network"
    assert file_system_kind(Path("/m/a"), below + b"3 2 8:2 / /m rw - ext4 c rw\n") == "local"


def test_the_later_of_two_root_mounts_counts() -> None:
    mounts = b"1 1 0:2 / / rw - rootfs rootfs rw\n24 0 0:9 / / rw - nfs nas:/boot rw\n"
    assert file_system_kind(Path("/m"), mounts) == "network"


def test_a_mount_hides_what_was_mounted_below_its_point_before() -> None:
    nas, disk = b"2 1 0:9 / /m/nas rw - nfs b rw\n", b"3 1 8:2 / /m rw - ext4 c rw\n"
    top = b"1 0 8:1 / / rw - ext4 a rw\n"
    assert file_system_kind(Path("/m/nas/a"), top + nas + disk) == "local"
    on_top = disk + b"4 3 0:9 / /m/nas rw - nfs b rw\n"
    assert file_system_kind(Path("/m/nas/a"), top + on_top) == "network"


def test_mounts_are_understood_in_any_order_and_without_a_root_mount() -> None:
    chroot = b"9 8 0:9 / /m/nas rw - nfs b rw\n8 7 8:2 / /m rw - ext4 c rw\n"
    assert file_system_kind(Path("/m/nas/a"), chroot) == "network"
    assert file_system_kind(Path("/m/a"), chroot) == "local"
    assert file_system_kind(Path("/elsewhere"), chroot) == "local"


def test_lines_that_make_no_sense_are_passed_over() -> None:
    odd = b"\nnonsense\n1 0 8:1 / / rw shared:1\n1 0 8:1 / / rw -\n"
    assert file_system_kind(Path("/m"), odd + b"1 0 0:9 / / rw - nfs b rw\n") == "network"
    assert file_system_kind(Path("/m"), b"") == "local"


def test_a_link_to_a_network_drive_is_on_the_network(tmp_path: Path) -> None:
    link = tmp_path / "archive"
    link.symlink_to("/mnt/nas/videos")
    assert file_system_kind(link / "2024", WORKSTATION) == "network"


def test_this_machines_own_mounts_can_be_read(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_bytes()
    assert file_system_kind(tmp_path) == file_system_kind(tmp_path, mounts)
    assert file_system_kind(Path("/proc/self")) == "local"


def test_network_drives_get_more_time_to_settle_unless_told_otherwise() -> None:
    root = WatchedRoot(Path("/a"))
    assert (root.resting_time_s("local"), root.resting_time_s("network")) == (60, 300)
    assert WatchedRoot(Path("/a"), settle_s=0).resting_time_s("network") == 0


def test_scans_are_rarer_where_events_help_unless_told_otherwise() -> None:
    root = WatchedRoot(Path("/a"))
    assert (root.scan_interval_s(events=True), root.scan_interval_s(events=False)) == (300, 60)
    assert WatchedRoot(Path("/a"), scan_s=7).scan_interval_s(events=True) == 7


@pytest.mark.parametrize(
    ("watch", "local", "network"),
    [("auto", True, False), ("inotify", True, True), ("poll", False, False)],
)
def test_events_are_used_where_they_can_be_trusted_or_are_asked_for(
    watch: str, local: bool, network: bool
) -> None:
    root = WatchedRoot(Path("/a"), watch=watch)  # type: ignore[arg-type]
    assert (root.wants_events("local"), root.wants_events("network")) == (local, network)


def test_all_faults_of_a_root_are_named_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        WatchedRoot(
            Path("videos"),
            watch="sometimes",  # type: ignore[arg-type]
            settle_s=float("nan"),
            scan_s=0,
            extensions=frozenset({".mp4", "AVI", "mkv"}),
            follow_symlinks="maybe",  # type: ignore[arg-type]
        )
    message = str(caught.value)
    for part in ("'videos'", "'sometimes'", "nan", "scan_s", "'.mp4', 'AVI'", "'maybe'"):
        assert part in message.replace("[", "").replace("]", "")
    assert "mkv" not in message
