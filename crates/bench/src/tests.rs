use std::path::Path;

use crate::machine::filesystem_of;
use crate::sheet::Spread;

#[test]
fn the_longest_mount_point_above_a_path_tells_its_file_system() {
    let mounts = "\
        /dev/vda / ext4 rw,relatime 0 0\n\
        tmpfs /tmp tmpfs rw 0 0\n\
        /dev/vdb /tmp/disk xfs rw 0 0\n\
        /dev/vdc /my\\040disk btrfs rw 0 0\n";
    let of = |path: &str| filesystem_of(mounts, Path::new(path));
    assert_eq!(of("/home/me/bench"), Some("ext4"));
    assert_eq!(of("/tmp/bench"), Some("tmpfs"));
    assert_eq!(of("/tmpfiles"), Some("ext4"));
    assert_eq!(of("/tmp/disk/bench"), Some("xfs"));
    assert_eq!(of("/my disk/bench"), Some("btrfs"));
}

#[test]
fn a_median_is_the_middle_one_or_between_the_two() {
    let of = |values: &[f64]| Spread::of(values);
    assert_eq!(of(&[3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
    assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
    assert_eq!(of(&[]), Spread { min: 0.0, median: 0.0, max: 0.0 });
}
