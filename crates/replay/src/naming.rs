//! Names for ids that are the same in two runs: after where an id appears, never after what it is.

use std::collections::BTreeMap;

use pangaea_contracts::digest_text;

use crate::text::Piece;

/// Rounds in which ids are told apart by their neighbours. An order, its payment and its refunds are within three steps.
const ROUNDS: usize = 4;
const COLOUR_CHARS: usize = 26;

/// One history of a key, or one row: a text whose ids are marked.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) label: String,
    pub(crate) lines: Vec<Vec<Piece>>,
}

/// The documents as lines, in an order that does not depend on the ids, with each id named by its first appearance.
///
/// Documents are ordered by their texts. Where two differ by ids alone, what else is said of these ids decides: each id has
/// a colour, which is a digest of the places where it stands, refined a few times by the colours of the ids beside it. Ids that
/// are equal after that are interchangeable, and so are their names.
pub(crate) fn name_ids(mut documents: Vec<Document>) -> Vec<String> {
    let mut colours = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for document in &documents {
            let text = coloured(document, &colours);
            for (number, id) in first_appearances(document).into_iter().enumerate() {
                places.entry(id.to_owned()).or_default().push(digest(&[&text, &number.to_string()]));
            }
        }
        colours = places
            .into_iter()
            .map(|(id, mut places)| {
                places.sort();
                let places: Vec<&str> = places.iter().map(String::as_str).collect();
                (id, digest(&places))
            })
            .collect();
    }
    documents.sort_by_cached_key(|document| (document.label.clone(), coloured(document, &colours)));
    let mut names = BTreeMap::new();
    documents.iter().flat_map(|document| named(document, &mut names)).collect()
}

/// A document's text with each id as its prefix, its number within the document, and its colour.
fn coloured(document: &Document, colours: &BTreeMap<String, String>) -> String {
    let numbers: BTreeMap<&str, usize> =
        first_appearances(document).into_iter().enumerate().map(|(number, id)| (id, number)).collect();
    let mut text = document.label.clone();
    for line in &document.lines {
        text.push('\n');
        for piece in line {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Id(id) => {
                    let colour = colours.get(id).map_or("", String::as_str);
                    text.push_str(&format!("<{} {} {colour}>", prefix(id), numbers[id.as_str()]));
                }
            }
        }
    }
    text
}

fn first_appearances(document: &Document) -> Vec<&str> {
    let mut seen = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for piece in document.lines.iter().flatten() {
        if let Piece::Id(id) = piece
            && known.insert(id.as_str())
        {
            seen.push(id.as_str());
        }
    }
    seen
}

fn named<'a>(document: &'a Document, names: &mut BTreeMap<&'a str, String>) -> Vec<String> {
    let name_line = |line: &'a Vec<Piece>| {
        let mut text = format!("{}: ", document.label);
        for piece in line {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Id(id) => {
                    let number = names.len() + 1;
                    text.push_str(names.entry(id).or_insert_with(|| format!("{}#{number}", prefix(id))));
                }
            }
        }
        text
    };
    document.lines.iter().map(name_line).collect()
}

fn prefix(id: &str) -> &str {
    id.split_once('_').map_or(id, |(prefix, _)| prefix)
}

fn digest(parts: &[&str]) -> String {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    digest_text(&parts, COLOUR_CHARS)
}
