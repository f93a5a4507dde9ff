use std::path::Path;

use crate::machine::{Machine, filesystem_of};
use crate::sheet::{Bound, Sheet, Spread};

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

#[test]
fn a_sheet_says_what_was_measured_and_whether_it_is_enough() {
    let machine = Machine {
        cores: 2,
        cpu: "a processor".to_owned(),
        memory_mib: 1_024,
        kernel: "6.1".to_owned(),
        filesystem: "ext4".to_owned(),
        syncs_per_s: 1_234.5,
        load_average: 0.5,
    };
    let mut sheet = Sheet::new("saga", machine);
    sheet.setting("SQLite, read back", "synchronous=2");
    sheet.figure("orders", "/s", &[1_543.2, 1_446.0, 1_631.0]).must(Bound::AtLeast(600.0), Bound::AtLeast(2_000.0));
    sheet.figure("waited", "ms", &[49.96]).must(Bound::AtMost(50.0), Bound::AtMost(20.0));
    let text = sheet.to_string();
    for line in [
        "- file system: ext4; 1,234 durable 4 KiB appends a second, one at a time",
        "- SQLite, read back: synchronous=2",
        "| orders | **1,543** /s | 1,446 to 1,631 | 1,543, 1,446, 1,631 | ≥ 600: met | ≥ 2,000: **missed** |",
        "| waited | **50.0** ms | 50.0 to 50.0 |  | ≤ 50.0: met | ≤ 20.0: **missed** |",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
