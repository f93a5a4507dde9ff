//! What differs between two texts, line by line.

/// Lines that are the same around each difference.
const CONTEXT: usize = 2;
/// The table is as large as the product of both; beyond it everything between the first and the last difference is shown.
const CELLS_MAX: usize = 4_000_000;

/// Lines of `expected` that did not come as `- …`, lines that came instead as `+ …`, and some around them.
pub(crate) fn diff(expected: &str, came: &str) -> String {
    let (expected, came): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), came.lines().collect());
    let start = expected.iter().zip(&came).take_while(|(one, other)| one == other).count();
    let ends = expected[start..].iter().rev().zip(came[start..].iter().rev());
    let end = ends.take_while(|(one, other)| one == other).count();
    let same = |lines: &[&str]| lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>();
    let (expected_end, came_end) = (expected.len() - end, came.len() - end);
    let mut shown = same(&expected[start.saturating_sub(CONTEXT)..start]);
    shown.extend(changed(&expected[start..expected_end], &came[start..came_end]));
    shown.extend(same(&expected[expected_end..expected.len().min(expected_end + CONTEXT)]));
    shown.join("\n")
}

/// By the longest common subsequence.
fn changed(expected: &[&str], came: &[&str]) -> Vec<String> {
    let minus = |line: &&str| format!("- {line}");
    let plus = |line: &&str| format!("+ {line}");
    let (rows, columns) = (expected.len(), came.len());
    if rows.saturating_mul(columns) > CELLS_MAX {
        return expected.iter().map(minus).chain(came.iter().map(plus)).collect();
    }
    let mut lengths = vec![vec![0_u32; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            lengths[row][column] = if expected[row] == came[column] {
                lengths[row + 1][column + 1] + 1
            } else {
                lengths[row + 1][column].max(lengths[row][column + 1])
            };
        }
    }
    let (mut row, mut column, mut shown) = (0, 0, Vec::new());
    while row < rows && column < columns {
        if expected[row] == came[column] {
            shown.push(format!("  {}", expected[row]));
            (row, column) = (row + 1, column + 1);
        } else if lengths[row + 1][column] >= lengths[row][column + 1] {
            shown.push(minus(&expected[row]));
            row += 1;
        } else {
            shown.push(plus(&came[column]));
            column += 1;
        }
    }
    shown.extend(expected[row..].iter().map(minus));
    shown.extend(came[column..].iter().map(plus));
    shown
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn shows_what_is_gone_what_is_new_and_what_is_around() {
        let cases = [
            ("a\nb\nc\nd\ne\nf", "a\nb\nc\nX\ne\nf", "  b\n  c\n- d\n+ X\n  e\n  f"),
            ("a", "a\nb", "  a\n+ b"),
            ("a\nb", "b", "- a\n  b"),
            ("a\nx\nb\ny", "a\nx2\nb\ny2", "  a\n- x\n+ x2\n  b\n- y\n+ y2"),
            ("", "a", "+ a"),
        ];
        for (expected, came, shown) in cases {
            assert_eq!(diff(expected, came), shown, "{expected:?} → {came:?}");
        }
    }
}
