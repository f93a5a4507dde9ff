//! Within a major version messages only gain fields, with defaults: a change of a schema is seen here, and read.

use anyhow::Result;
use pangaea_testkit::golden;

#[test]
fn the_schemas_are_those_that_were_released() -> Result<()> {
    let mut text = String::new();
    for entry in pangaea_blank_contracts::schemas() {
        text += &format!("{}\n{:#}\n", entry.subject, serde_json::to_value(&entry.schema)?);
    }
    golden::check("tests/golden/schemas.txt".as_ref(), &text)
}
