//! What is personal or secret is nowhere in the database: neither in a row nor in a byte of its files.

mod support;

use pangaea_journal::{Database, Statement};
use serde_json::json;
use support::{Folder, Host, config};

const EMAIL: &str = "canary.bird@example.org";
const NAME: &str = "Canary Yellowbird";
const PASSWORD: &str = "canary-password-in-a-mine";
const STREET: &str = "7 Coalmine Lane";

async fn rows(database: &Database) -> Vec<String> {
    let tables = Statement::new("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
    let mut all = Vec::new();
    for table in database.fetch(tables).await.unwrap() {
        let table: String = table.get(0).unwrap();
        let columns = format!("SELECT name FROM pragma_table_info('{table}')");
        let columns = database.fetch(Statement::new(columns)).await.unwrap();
        let columns: Vec<String> = columns
            .iter()
            .map(|row| format!("COALESCE(CAST({} AS TEXT), '')", row.get::<String>(0).unwrap()))
            .collect();
        let select = format!("SELECT {} FROM {table}", columns.join(" || ' ' || "));
        for row in database.fetch(Statement::new(select)).await.unwrap() {
            all.push(format!("{table}: {}", row.get::<String>(0).unwrap()));
        }
    }
    all
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

#[tokio::test]
async fn no_canary_is_in_the_database() {
    let folder = Folder::new("canary");
    let host = Host::at(&folder.url(), config()).await;
    host.register(EMAIL, PASSWORD, NAME).await.expect(201);
    host.register(EMAIL, PASSWORD, NAME).await.expect(409);
    let tokens = host.sign_in(EMAIL, PASSWORD).await.expect(201);
    host.sign_in(EMAIL, "canary-wrong-password").await.expect(401);
    let tokens_after = host.refresh(&tokens.text("refresh_token")).await.expect(200);
    let address = json!({"recipient": NAME, "line1": STREET, "city": "Whitby", "country": "GB"});
    host.call("PATCH", "/v1/users/me", json!({"addresses": [address]}))
        .token(&tokens.text("access_token"))
        .header("if-match", "\"1\"")
        .send()
        .await
        .expect(200);

    let canaries = [
        EMAIL.to_owned(),
        NAME.to_owned(),
        PASSWORD.to_owned(),
        STREET.to_owned(),
        "canary".to_owned(),
        tokens.text("access_token"),
        tokens.text("refresh_token"),
        tokens_after.text("refresh_token"),
    ];
    let rows = rows(host.edge.database()).await;
    assert!(rows.iter().any(|row| row.starts_with("inbox: ")) && rows.iter().any(|row| row.starts_with("secret: ")));
    for canary in &canaries {
        let found: Vec<&String> = rows.iter().filter(|row| holds(row.as_bytes(), canary)).collect();
        assert!(found.is_empty(), "{canary} is in {found:?}");
    }
    // Outside the secrets there is no hash of a password either, and no private key.
    for row in rows.iter().filter(|row| !row.starts_with("secret: ")) {
        assert!(!row.contains("$argon2"), "{row}");
    }
    assert!(rows.iter().any(|row| row.starts_with("secret: password/") && row.contains("$argon2id$")));

    host.stop().await;
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        files += usize::from(holds(&bytes, "user.rpc.register.v1"));
        for canary in &canaries {
            assert!(!holds(&bytes, canary), "{canary} is in {}", file.display());
        }
    }
    assert!(files > 0, "the search finds what is there");
}
